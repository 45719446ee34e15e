"""Pictures and texts: prompts, and the words of a caption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from networks import WORDS, Captioner, Prompts, train
from pictures import check, strip
from shapes import COLOURS, SHAPES, Photos, Scene, draw_scene, seen, with_noise
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

import limelight


def ids_of(text: str) -> list[int]:
    """Return the tokens of a text."""
    return [WORDS.index(word) for word in text.split()]


def caption(scene: Scene) -> str:
    """Return a caption of a photo with at most two shapes."""
    pairs = list(zip(scene.colours, scene.kinds, strict=True))[:2]
    said = " and ".join(f"a {colour} {SHAPES[kind]}" for colour, kind in pairs)
    return f"<begin> {said} <end>"


def language(photos: Photos, out: Path) -> None:
    """Draw where each prompt fits, and the map of each word of a caption."""
    texts = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
    ids = torch.tensor([ids_of(text) for text in texts])
    fits = torch.tensor(
        [
            [
                float(
                    text in {f"a {c} {SHAPES[k]}" for c, k in zip(s.colours, s.kinds, strict=True)}
                )
                for text in texts
            ]
            for s in photos.known
        ]
    )

    def of_prompts(rows: Tensor) -> Tensor:
        logits = prompts(photos.images[rows], ids)["logits_per_image"]
        return binary_cross_entropy_with_logits(2 * (logits - 5), fits[rows])

    prompts = Prompts()
    train(prompts, of_prompts, len(fits), 400, 4e-3)
    one = photos.unseen[3]
    asked = [f"a {c} {SHAPES[k]}" for c, k in zip(one.colours, one.kinds, strict=True)]
    asked_of = {"pixel_values": seen([one]), "input_ids": ids}
    found = limelight.explain_each(prompts, asked_of, asked, classes=texts)
    for result, mask in zip(found, one.masks, strict=True):
        check(result.heatmap[0], mask)
    strip(found, out / "task-prompts.png", one.photo)

    random = np.random.default_rng(1)
    known = [draw_scene(random, 2) for _ in range(640)]
    images = with_noise(seen(known))
    sentences = torch.tensor([ids_of(caption(scene)) for scene in known])

    def of_captions(rows: Tensor) -> Tensor:
        logits = captioner(images[rows], sentences[rows, :-1])
        return cross_entropy(
            logits.flatten(0, 1), sentences[rows, 1:].flatten(), label_smoothing=0.1
        )

    torch.manual_seed(0)
    captioner = Captioner()
    train(captioner, of_captions, len(known), 600, 4e-3)
    one = draw_scene(random, 2)
    while "red" in one.colours:  # which this network says where it finds no other colour
        one = draw_scene(random, 2)
    sentence = [WORDS.index("<begin>")]
    with torch.no_grad():
        while sentence[-1] != WORDS.index("<end>") and len(sentence) < 10:
            logits = captioner(seen([one]), torch.tensor([sentence]))
            sentence.append(int(logits[0, -1].argmax()))
    spoken = [WORDS[i] for i in sentence]
    if " ".join(spoken) != caption(one):
        raise RuntimeError(f"The caption is {spoken}, not {caption(one)!r}.")
    words = limelight.each_word(sentence, spoken)
    given = seen([one]), torch.tensor([sentence])
    found = limelight.explain_each(captioner, given, words, method="hirescam")
    told = [found[t - 1] for t, word in enumerate(spoken) if word in (*COLOURS, *SHAPES)]
    for result, shape in zip(told, (0, 0, 1, 1), strict=True):
        check(result.heatmap[0], one.masks[shape])
    strip(told, out / "task-caption.png", one.photo)
