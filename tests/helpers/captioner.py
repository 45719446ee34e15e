"""A tiny captioner that learns in seconds to say what shape of what colour is on white."""

from __future__ import annotations

import warnings
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import limelight
from limelight.models.vision_language import PhotoTextProcessor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what transformers imports
    hf: Any = pytest.importorskip("transformers")
    tokenizers: Any = pytest.importorskip("tokenizers")

SIDE = 64
COLOURS = {"red": (220, 40, 40), "green": (30, 160, 60), "blue": (40, 70, 220)}
SHAPES = ("disc", "square", "ring")


class Picture(NamedTuple):
    """A picture of one shape of a colour among grey specks, on white.

    Attributes:
        photo: The picture.
        mask: Where the shape is, `[H, W]`.
        colour, shape: What a caption calls it.
    """

    photo: Image.Image
    mask: npt.NDArray[np.bool_]
    colour: str
    shape: str

    @property
    def caption(self) -> str:
        """What is said of it: the end is the same for all pictures."""
        return f"a {self.colour} {self.shape} on white"


def pictures(count: int, seed: int) -> list[Picture]:
    """Draw pictures with every pair of colour and shape about equally often."""
    random = np.random.default_rng(seed)
    return [_picture(random, number) for number in range(count)]


def _picture(random: np.random.Generator, number: int) -> Picture:
    colour = list(COLOURS)[number % len(COLOURS)]
    shape = SHAPES[number // len(COLOURS) % len(SHAPES)]
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    pixels = np.full((SIDE, SIDE, 3), 245.0)
    for _ in range(6):  # grey specks, which no caption speaks of
        y, x = random.uniform(0, SIDE, 2)
        speck = (np.abs(rows - y) < random.uniform(1, 4)) & (np.abs(columns - x) < 3)
        pixels[speck] = random.uniform(90, 200)
    radius = random.uniform(8, 11)
    y, x = random.uniform(radius, SIDE - radius, 2)
    distance = np.hypot(rows - y, columns - x)
    mask = {
        "disc": distance <= radius,
        "square": np.maximum(np.abs(rows - y), np.abs(columns - x)) <= 0.85 * radius,
        "ring": (distance <= radius) & (distance >= 0.55 * radius),
    }[shape]
    pixels[mask] = COLOURS[colour]
    pixels += random.normal(0, 8, pixels.shape)
    photo = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return Picture(photo, mask, colour, shape)


def tokeniser() -> Any:
    """Return a tokeniser of whole words."""
    words = ["<pad>", "<bos>", "<eos>", "a", *COLOURS, *SHAPES, "on", "white"]
    level = tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>")
    made = tokenizers.Tokenizer(level)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


class _Sees(hf.PreTrainedModel):  # type: ignore[misc]
    """Convolutions to a grid of 8 x 8 cells, in a row as a decoder reads them."""

    config_class = hf.ViTConfig
    main_input_name = "pixel_values"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        widths, stages = (3, 16, 32, 48, config.hidden_size), list[nn.Module]()
        for number, (before, after) in enumerate(pairwise(widths)):
            stages += [
                nn.Conv2d(before, after, 3, stride=2 if number < 3 else 1, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.stages = nn.Sequential(*stages)
        self.post_init()

    def forward(self, pixel_values: Tensor, **_options: Any) -> Any:
        cells = self.stages(pixel_values).flatten(2).transpose(1, 2).contiguous()
        return hf.modeling_outputs.BaseModelOutput(last_hidden_state=cells)


def _untrained(words: int) -> Any:
    decoder = hf.GPT2Config(
        vocab_size=words,
        n_positions=16,
        n_embd=48,
        n_layer=1,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        add_cross_attention=True,
        is_decoder=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = hf.VisionEncoderDecoderModel(
        encoder=_Sees(hf.ViTConfig(hidden_size=48, num_attention_heads=4)),
        decoder=hf.GPT2LMHeadModel(decoder),
    )
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    return model


@cache
def captioner(seed: int = 0, steps: int = 200, batch: int = 36) -> limelight.VisionLanguageModel:
    """Return a captioner, trained on pictures of its own from the weights that a seed draws."""
    words, known = tokeniser(), pictures(batch * 40, seed=1)
    images = hf.ViTImageProcessor(size={"height": SIDE, "width": SIDE})
    pixels = images([picture.photo for picture in known], return_tensors="pt")["pixel_values"]
    ids = torch.tensor(
        [[1, *words(picture.caption)["input_ids"], 2] for picture in known], dtype=torch.long
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _untrained(len(words))
        for weight in model.decoder.parameters():
            if weight.ndim > 1:  # so narrow a decoder learns slowly from its usual small weights
                nn.init.normal_(weight, 0, 0.15)
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    model.train()
    for step in range(steps):
        rows = (torch.arange(batch) + batch * step) % len(known)
        logits = model(pixel_values=pixels[rows], decoder_input_ids=ids[rows, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[rows, 1:])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return limelight.VisionLanguageModel(
        "captioner", model.eval(), PhotoTextProcessor(images, words)
    )
