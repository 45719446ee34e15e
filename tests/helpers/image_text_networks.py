"""Tiny networks that compare pictures with texts, of each family, with weights at random."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

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
        text_config={**READS, "encoder_hidden_size": 16}, vision_config=SEES, projection_dim=8
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


FAMILIES: dict[str, Callable[[], Any]] = {
    "clip": clip,
    "siglip": siglip,
    "altclip": altclip,
    "align": align,
    "chinese_clip": chinese_clip,
    "groupvit": groupvit,
    "clipseg": clipseg,
    "metaclip": metaclip,
    "blip": blip,
    "dual": dual_encoder,
    "xclip": xclip,
}
