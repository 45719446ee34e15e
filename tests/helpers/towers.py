"""A vision-language model with two towers: the picture's, and the language model's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from helpers.input_studies import images_of
from helpers.networks import ready

PICTURES = (3, 32, 32)


def drawn(model: nn.Module, deviation: float = 0.3) -> nn.Module:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0, deviation)
    return ready(model)


def llava(kind: str = "eager") -> nn.Module:
    transformers = pytest.importorskip("transformers")
    vision = transformers.CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    text = transformers.LlamaConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=50,
    )
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=49, image_token_index=49
    )
    model = transformers.LlavaForConditionalGeneration._from_config(
        config, attn_implementation=kind
    )
    return drawn(model, 0.2)


FIRST, PATCHES, WORD = 3, 16, 22


def sentence() -> dict[str, Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(1, 40, (2, 25))
    ids[:, FIRST : FIRST + PATCHES] = 49
    return {"input_ids": ids, "pixel_values": images_of(2, PICTURES)}
