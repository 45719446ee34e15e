"""Tiny networks that compare pictures with texts, of each family, with weights at random."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what transformers imports
    transformers = pytest.importorskip("transformers")

#: The grid of patches: pictures of 32 pixels, patches of 8.
GRID = (4, 4)
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
SEES: dict[str, Any] = {"image_size": 32, "patch_size": 8, **SMALL}
#: The words of every tokeniser: 0 begins a text, 1 fills it up, 29 ends it.
BEGIN, FILL, END, WORDS = 0, 1, 29, 30
READS: dict[str, Any] = {
    **SMALL,
    "vocab_size": WORDS,
    "max_position_embeddings": 40,
    "bos_token_id": BEGIN,
    "pad_token_id": FILL,
    "eos_token_id": END,
}


def drawn(model: nn.Module) -> Any:
    """Weights that make a difference."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, 0, 0.3)
    return model.eval()


def prompts(count: int, length: int = 6) -> Tensor:
    ids = torch.randint(2, 28, (count, length))
    ids[:, 0], ids[:, -1] = BEGIN, END
    return ids


def clip() -> Any:
    config = transformers.CLIPConfig(text_config=READS, vision_config=SEES, projection_dim=8)
    return drawn(transformers.CLIPModel(config))


def siglip() -> Any:
    """SigLIP, and SigLIP 2 of a fixed size, which has the same classes."""
    reads = {**READS, "projection_size": 16}
    return drawn(
        transformers.SiglipModel(transformers.SiglipConfig(text_config=reads, vision_config=SEES))
    )


def altclip() -> Any:
    config = transformers.AltCLIPConfig(
        text_config={**READS, "project_dim": 8}, vision_config=SEES, projection_dim=8
    )
    return drawn(transformers.AltCLIPModel(config))


def align() -> Any:
    eye = {
        "image_size": 64,
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "kernel_sizes": [3, 3],
        "in_channels": [32, 8],
        "out_channels": [8, 16],
        "strides": [2, 2],
        "num_block_repeats": [1, 1],
        "expand_ratios": [1, 2],
        "hidden_dim": 16,
    }
    config = transformers.AlignConfig(text_config=READS, vision_config=eye, projection_dim=16)
    return drawn(transformers.AlignModel(config))


def chinese_clip() -> Any:
    config = transformers.ChineseCLIPConfig(text_config=READS, vision_config=SEES, projection_dim=8)
    return drawn(transformers.ChineseCLIPModel(config))


def groupvit() -> Any:
    eye = {**SEES, "depths": [1, 1], "num_group_tokens": [6, 0], "num_output_groups": [4, 0]}
    config = transformers.GroupViTConfig(
        text_config=READS, vision_config=eye, projection_dim=8, projection_intermediate_dim=16
    )
    return drawn(transformers.GroupViTModel(config))


def clipseg() -> Any:
    config = transformers.CLIPSegConfig(text_config=READS, vision_config=SEES, projection_dim=8)
    return drawn(transformers.CLIPSegModel(config))


def metaclip() -> Any:
    config = transformers.MetaClip2Config(text_config=READS, vision_config=SEES, projection_dim=8)
    return drawn(transformers.MetaClip2Model(config))


def blip() -> Any:
    config = transformers.BlipConfig(
        text_config={**READS, "encoder_hidden_size": 16, "sep_token_id": 28},
        vision_config=SEES,
        projection_dim=8,
    )
    return drawn(transformers.BlipModel(config))


def dual_encoder() -> Any:
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        transformers.ViTConfig(**SEES), transformers.BertConfig(**READS), projection_dim=8
    )
    return drawn(transformers.VisionTextDualEncoderModel(config))


def xclip() -> Any:
    """X-CLIP, which takes video."""
    eye = {
        **SEES,
        "num_frames": 4,
        "mit_hidden_size": 8,
        "mit_intermediate_size": 16,
        "mit_num_attention_heads": 2,
    }
    config = transformers.XCLIPConfig(
        text_config=READS, vision_config=eye, projection_dim=8, prompt_num_attention_heads=2
    )
    return drawn(transformers.XCLIPModel(config))


class Family(NamedTuple):
    """A family of networks.

    Attributes:
        build: Makes a tiny one.
        embedding: The module that embeds the words.
        grid: The cells of a picture.
        layer: A layer of the picture tower that puts out a plain tensor, in place of the one that
            limelight chooses; "" for that.
    """

    build: Callable[[], Any]
    embedding: str = "text_model.embeddings.token_embedding"
    grid: tuple[int, ...] = GRID
    layer: str = ""

    def asked(self, batch: int, count: int) -> tuple[Any, dict[str, Tensor]]:
        """Return a network, and its inputs: so many pictures, and so many prompts."""
        ids, size = prompts(count), 8 * self.grid[-1]
        frames = self.grid[:-2]
        inputs = {
            "pixel_values": torch.randn(batch, *frames, 3, size, size),
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
        }
        return self.build(), inputs

    def logits(self, output: Any) -> Tensor:
        """Return the logits of the prompts, `[B, P]`."""
        logits: Tensor = output.logits_per_video if len(self.grid) > 2 else output.logits_per_image
        return logits

    def as_grid(self, raw: Tensor) -> Tensor:
        """Return what a layer put out as a grid `[B, K, *grid]`."""
        if len(self.grid) > 2:
            return raw.reshape(-1, self.grid[0], *raw.shape[1:]).transpose(1, 2)
        if raw.ndim == 4:
            return raw
        count = math.prod(self.grid)
        cells = raw[:, raw.shape[1] - count :].transpose(1, 2)
        return cells.reshape(*cells.shape[:2], *self.grid)


WORD = "embeddings.word_embeddings"
FAMILIES: dict[str, Family] = {
    "clip": Family(clip),
    "siglip": Family(siglip),
    "altclip": Family(altclip, f"text_model.roberta.{WORD}"),
    "align": Family(align, f"text_model.{WORD}", (8, 8), "vision_model.encoder.blocks.1"),
    "chinese clip": Family(chinese_clip, f"text_model.{WORD}"),
    "groupvit": Family(groupvit, layer="vision_model.embeddings.layernorm"),
    "clipseg": Family(clipseg),
    "metaclip 2": Family(metaclip),
    "blip": Family(blip, f"text_model.{WORD}"),
    "two encoders": Family(dual_encoder, f"text_model.{WORD}"),
    "x-clip": Family(xclip, grid=(4, *GRID), layer="vision_model.embeddings.patch_embedding"),
}

any_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def segmenter() -> Any:
    """A CLIPSeg, which segments what a text names."""
    config = transformers.CLIPSegConfig(
        text_config=READS,
        vision_config=SEES,
        projection_dim=8,
        extract_layers=[0, 1],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    return drawn(transformers.CLIPSegForImageSegmentation(config))
