"""Which words of a text matter: their values, by hand and by autograd."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers.image_text_networks import (
    BEGIN,
    END,
    FAMILIES,
    FILL,
    READS,
    SEES,
    WORDS,
    Family,
    any_family,
    drawn,
    prompts,
    segmenter,
    transformers,
)
from helpers.tolerances import assert_agrees
from limelight.errors import InputError, LayerError, MethodError, OptionError, TargetError
from limelight.models.prompted import Prompted
from limelight.targets import Contrast, Pair
from limelight.text_words import words_of

LAYER = "text_model.encoder.layers.1.layer_norm1"


def at_words(model: Any, inputs: dict[str, Tensor], layer: str, score: Any) -> tuple[Tensor, ...]:
    """What a layer of the texts put out, and the gradient of one score there: a full backward."""
    twin, kept = copy.deepcopy(model).eval().requires_grad_(True), list[Tensor]()

    def keep(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        kept.append(output.clone())
        return kept[0].clone()  # what follows may write on it

    twin.get_submodule(layer).register_forward_hook(keep)
    (gradient,) = torch.autograd.grad(score(twin(**inputs)), kept[0])
    return kept[0].detach(), gradient


# ---- by autograd -------------------------------------------------------------------------------


@any_family
def test_a_token_has_the_gradient_times_its_embedding(family: Family) -> None:
    model, inputs = family.asked(2, 3)
    found = limelight.explain_text(model, inputs, target=1)
    assert [(each.image, each.text) for each in found] == [(0, 1), (1, 1)]
    for b, each in enumerate(found):
        activations, gradients = at_words(
            model, inputs, family.embedding, lambda y, b=b: family.logits(y)[b, 1]
        )
        assert each.layer == family.embedding
        assert_agrees(each.values, (gradients * activations).sum(2)[1])
        with torch.no_grad():
            assert_agrees(each.score, float(family.logits(model(**inputs))[b, 1]))


@pytest.mark.parametrize("layer", [None, LAYER])
def test_grad_cam_over_the_tokens(layer: str | None) -> None:
    family = FAMILIES["clip"]
    model, inputs = family.asked(3, 3)
    found = limelight.explain_text(model, inputs, target=Pair(), method="gradcam", layer=layer)
    assert [(each.image, each.text) for each in found] == [(0, 0), (1, 1), (2, 2)]
    for b, each in enumerate(found):
        activations, gradients = at_words(
            model, inputs, layer or family.embedding, lambda y, b=b: y.logits_per_image[b, b]
        )
        weights = gradients[b].mean(0)  # of each channel, over the tokens
        assert_agrees(each.values, activations[b] @ weights)


def test_a_contrast_reads_two_texts() -> None:
    model, inputs = FAMILIES["clip"].asked(1, 3)
    first, second = limelight.explain_text(
        model, inputs, target=Contrast(0, 2), classes=["a cat", "a dog", "a car"]
    )
    assert (first.text, second.text) == (0, 2)
    (alone,) = limelight.explain_text(model, inputs, target=0)
    assert_agrees(first.values, alone.values)


def test_a_layer_with_the_texts_second() -> None:
    class Second(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.see, self.hear = nn.Conv2d(3, 8, 8, 8), nn.Embedding(WORDS, 8)
            self.mix = nn.Linear(8, 8)

        def forward(self, images: Tensor, texts: Tensor) -> Tensor:
            read = self.mix(self.hear(texts).transpose(0, 1)).relu().mean(0)
            logits: Tensor = self.see(images).mean((2, 3)) @ read.T
            return logits

    model, ids = Second(), prompts(3)
    images = torch.randn(1, 3, 32, 32)
    (found,) = limelight.explain_text(model, (images, ids), target=1, layer="mix")
    mixed = model.mix(model.hear(ids[1])).detach()
    image = model.see(images).mean((2, 3))[0].detach()
    assert_agrees(found.values, (mixed.relu() * image).sum(1) / ids.shape[1])


# ---- by hand -----------------------------------------------------------------------------------


class Bag(nn.Module):
    """Adds up its words: each has a share of the score of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.see, self.kind = nn.Conv2d(3, 8, 8, 8, bias=False), nn.Embedding(2, 8)
        self.hear = nn.Embedding(WORDS, 8)

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        logits: Tensor = self.see(images).mean((2, 3)) @ self.hear(texts).sum(1).T
        return logits


class Tokenizer:
    """Knows words by their numbers; 28 is the end of the word before it."""

    all_special_ids = (BEGIN, END)

    def decode(self, tokens: list[int]) -> str:
        return "".join("ly" if token == 28 else f" word{token}" for token in tokens)


def test_without_a_word_the_score_falls_by_its_value() -> None:
    model, image = Bag(), torch.randn(1, 3, 32, 32)
    images = torch.cat([image, -image])
    ids = torch.tensor([[BEGIN, 3, 4, 28, 5, END, FILL, FILL]])
    found = limelight.explain_text(model, (images, ids), target=0, tokenizer=Tokenizer())
    whole = model(images, ids)[:, 0].detach()
    for b, each in enumerate(found):
        assert [word.text for word in each.words] == ["word3", "word4ly", "word5"]
        assert [word.at for word in each.words] == [(1,), (2, 3), (4,)]
        assert [word.at for word in each.special] == [(0,), (5,), (6,), (7,)]
        for word in each.words:
            kept = [at for at in range(8) if at not in word.at]
            fall = whole[b] - model(images, ids[:, kept])[b, 0].detach()
            assert_agrees(torch.tensor(word.value), fall, scale=float(each.values.abs().sum()))
        largest = max(abs(word.value) for word in each.words)
        assert_agrees(
            [word.share for word in each.words], [word.value / largest for word in each.words]
        )
        assert_agrees(each.values.sum(), whole[b], scale=float(each.values.abs().sum()))


def test_what_speaks_against_the_score_is_negative() -> None:
    image, ids = torch.randn(1, 3, 32, 32), prompts(1)
    one, other = limelight.explain_text(Bag(), (torch.cat([image, -image]), ids), target=0)
    assert_agrees(one.values, -other.values)
    assert (one.values.abs() > 0).all()


def test_rows_and_a_table_for_a_notebook() -> None:
    ids = torch.tensor([[BEGIN, 3, 4, 28, END]])
    (found,) = limelight.explain_text(
        Bag(), (torch.randn(1, 3, 32, 32), ids), classes=["a text"], tokenizer=Tokenizer()
    )
    rows = found.rows()
    assert [row["word"] for row in rows if not row["special"]] == ["word3", "word4ly"]
    assert [row["special"] for row in rows] == [True, False, False, True]
    assert {row["target"] for row in rows} == {"a text"}
    assert list(found.to_frame()["value"]) == [row["value"] for row in rows]
    html = found._repr_html_()
    assert "word4ly" in html
    assert "a text" in html


def test_without_a_tokenizer_each_token_is_a_word() -> None:
    ids = torch.tensor([[BEGIN, 3, END]])
    (found,) = limelight.explain_text(Bag(), (torch.randn(1, 3, 32, 32), ids))
    assert [word.text for word in found.words] == [f"token {BEGIN}", "token 3", f"token {END}"]
    assert not found.special


# ---- words -------------------------------------------------------------------------------------


def fast(kind: str) -> Any:
    """A tokenizer of each kind: pieces marked at their start, at their end, or by bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    if kind == "pieces":
        known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "an", "em", "##bed", "##ded", "cat", ",", "猫"]
        vocabulary = {text: number for number, text in enumerate(known)}
        made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
    else:
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        made = Tokenizer(models.BPE())
        alphabet = pre_tokenizers.ByteLevel.alphabet() if kind == "bytes" else []
        trainer = trainers.BpeTrainer(
            vocab_size=280 if kind == "bytes" else 40,
            special_tokens=special,
            initial_alphabet=alphabet,
            show_progress=False,
            end_of_word_suffix="</w>" if kind == "ends" else "",
        )
        if kind == "bytes":
            made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            made.decoder = decoders.ByteLevel()
        else:
            made.pre_tokenizer = pre_tokenizers.Whitespace()
            made.decoder = decoders.BPEDecoder("</w>")
        made.train_from_iterator(["an embedded cat , 猫"], trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


@pytest.mark.parametrize("kind", ["pieces", "ends", "bytes"])
def test_a_word_of_several_tokens_is_one(kind: str) -> None:
    tokenizer = fast(kind)
    (ids, short) = tokenizer(["an embedded cat, 猫猫", "cat"], padding=True)["input_ids"]
    words = words_of(ids, tokenizer)
    texts = [word.text for word in words if not word.special]
    assert texts[:4] == ["an", "embedded", "cat", ","]
    assert texts[4:] in (["猫", "猫"], ["[UNK]"])
    assert [at for word in words for at in word.at] == list(range(len(ids)))
    assert [word.special for word in words_of(short, tokenizer)].count(False) == 1


def test_what_follows_the_end_fills_up() -> None:
    words = words_of([BEGIN, 3, 4, END, 5, 5], Tokenizer())
    assert [word.special for word in words] == [True, False, False, True, True, True]


# ---- networks with texts filled in ---------------------------------------------------------------


def saved(folder: Path, model: Any, size: int = 32) -> str:
    """A folder of a network, with a tokenizer and an image processor."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    known = ["<b>", "<p>", "a", "cat", "dog", "red"] + [f"w{n}" for n in range(23)] + ["<e>"]
    made = Tokenizer(models.WordLevel({text: i for i, text in enumerate(known)}, "<p>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<b> $A <e>", special_tokens=[("<b>", BEGIN), ("<e>", END)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<p>", bos_token="<b>", eos_token="<e>"
    )
    processor = transformers.ViTImageProcessor(size={"height": size, "width": size})
    for part in (model, tokenizer, processor):
        part.save_pretrained(folder)
    return f"hf:{folder}"


TEXTS = ["a red cat", "dog"]


def filled_in(network: limelight.Network) -> dict[str, Tensor]:
    assert isinstance(network.model, Prompted)
    return network.model.tokens


@pytest.mark.parametrize(
    "name", ["clip", "siglip", "altclip", "align", "chinese clip", "groupvit", "clipseg", "blip"]
)
def test_texts_as_the_classes_of_a_network(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    model = family.build()
    network = limelight.load_model(saved(tmp_path, model, 8 * family.grid[-1]), classes=TEXTS)
    photo = Image.effect_noise((64, 64), 60).convert("RGB")
    layer = f"model.{family.layer}" if family.layer else None
    result = limelight.explain(network, photo, target="dog", layer=layer)
    assert result.label == ("dog",)
    assert result.raw.shape == (1, *family.grid)
    texts = {key: value.clone() for key, value in filled_in(network).items()}
    if name == "siglip":  # it was trained on texts of full length, without a mask
        assert texts["input_ids"].shape[1] == READS["max_position_embeddings"]
    with torch.no_grad():
        assert_agrees(
            result.score,
            family.logits(model(pixel_values=result.image, **texts))[:, 1],
        )
    (words,) = limelight.explain_text(network, photo, target="a red cat")
    assert [word.text for word in words.words] == ["a", "red", "cat"]
    activations, gradients = at_words(
        model,
        {"pixel_values": result.image, **texts},
        family.embedding,
        lambda y: family.logits(y)[0, 0],
    )
    assert_agrees(words.values, (activations * gradients).sum(2)[0])


def matcher() -> Any:
    config = transformers.BlipConfig(
        text_config={**READS, "encoder_hidden_size": 16, "sep_token_id": 28},
        vision_config=SEES,
        projection_dim=8,
    )
    return drawn(transformers.BlipForImageTextRetrieval(config))


def test_a_text_as_the_class_of_a_segmenter(tmp_path: Path) -> None:
    model = segmenter()
    network = limelight.load_model(saved(tmp_path, model), classes=["a red cat"])
    images = torch.randn(2, 3, 32, 32)
    target = limelight.Region("a red cat", (5, 9))
    result = limelight.explain(network, images, target=target)
    inputs = {key: value.expand(2, -1) for key, value in filled_in(network).items()}
    inputs["pixel_values"] = images
    with torch.no_grad():
        assert_agrees(result.score, model(**inputs).logits[:, 5, 9])
    assert result.label == ("a red cat at pixel (5, 9)",) * 2
    assert result.raw.shape == (2, 4, 4)
    found = limelight.explain_text(network, images, target=target)
    assert [(each.image, each.text) for each in found] == [(0, 0), (1, 0)]
    # The network embeds texts without grad; given their embeddings, it has one.
    clip, ids = model.clip.requires_grad_(True), inputs.pop("input_ids")
    words = clip.text_model.embeddings.token_embedding(ids).detach().requires_grad_()
    clip.text_model.embeddings.token_embedding.register_forward_hook(lambda *_: words.clone())
    texts = clip.get_text_features(ids, inputs.pop("attention_mask")).pooler_output
    logits = model(**inputs, conditional_embeddings=texts).logits
    for b, each in enumerate(found):
        (gradients,) = torch.autograd.grad(logits[b, 5, 9], words, retain_graph=True)
        assert_agrees(each.values, (words.detach() * gradients).sum(2)[b])


def test_a_text_as_the_class_of_a_network_that_matches_pairs(tmp_path: Path) -> None:
    model = matcher()
    name = saved(tmp_path, model)
    network = limelight.load_model(name, classes=["dog"])
    images = torch.randn(2, 3, 32, 32)
    result = limelight.explain(network, images, target="dog")
    inputs = {key: value.expand(2, -1) for key, value in filled_in(network).items()}
    with torch.no_grad():
        both = model(pixel_values=images, **inputs).itm_score
    assert_agrees(result.score, both[:, 1] - both[:, 0])
    assert result.label == ("dog", "dog")
    assert result.raw.shape == (2, 4, 4)
    with pytest.raises(OptionError, match=r"reads a picture and a text together, and 2 texts"):
        limelight.load_model(name, classes=TEXTS)


# ---- what is refused -----------------------------------------------------------------------------


def test_what_is_refused() -> None:
    family = FAMILIES["clip"]
    model, inputs = family.asked(1, 3)
    with pytest.raises(MethodError, match=r"'rise' makes its map from other.*gradcam"):
        limelight.explain_text(model, inputs, method="rise")
    with pytest.raises(LayerError, match=r"put out \[1, 17, 16\] for texts \[3, 6\]"):
        limelight.explain_text(model, inputs, layer="vision_model.encoder.layers.1.layer_norm1")
    with pytest.raises(OptionError, match=r"tokenizer is a int.*`decode`"):
        limelight.explain_text(model, inputs, tokenizer=3)
    with pytest.raises(InputError, match=r"hold no texts; integers \[P, N\].*limelight.explain"):
        limelight.explain_text(nn.Conv2d(3, 2, 8), torch.randn(1, 3, 32, 32), target=0)
    with pytest.raises(MethodError, match=r"No gradient of the score arrives at the texts"):
        limelight.explain_text(
            model, inputs, target=limelight.Similarity(torch.ones(8)), output="image_embeds"
        )
    with pytest.raises(TargetError, match=r"2 pictures and 3 texts"):
        limelight.explain_text(*family.asked(2, 3), target=Pair())


def test_a_model_without_a_table_of_words_is_refused() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.see, self.table = nn.Conv2d(3, 8, 8, 8), nn.Parameter(torch.randn(WORDS, 8))

        def forward(self, images: Tensor, texts: Tensor) -> Tensor:
            logits: Tensor = self.see(images).mean((2, 3)) @ self.table[texts].sum(1).T
            return logits

    with pytest.raises(InputError, match=r"No nn.Embedding of the model is given the texts"):
        limelight.explain_text(Table(), (torch.randn(1, 3, 32, 32), prompts(3)))


def test_the_model_is_left_as_it_was() -> None:
    model, inputs = FAMILIES["clip"].asked(1, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    limelight.explain_text(model, inputs)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(parameter.grad is None for parameter in model.parameters())
