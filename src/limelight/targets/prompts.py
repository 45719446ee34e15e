"""Prompts as classes: the logits of texts, from the embeddings of pictures and of texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

#: How far the length of an embedding that was divided by its length may be from 1: bfloat16 rounds
#: each of its numbers by up to 0.004 of itself.
_ROUNDED = 0.02


def prompt_logits(output: Any) -> Tensor | None:
    """Return the logits `[B, P]` of P texts, `scale image . text + bias`, as of open_clip.

    They are computed from an output that holds nothing but what they are made of, in this order:
    the embeddings of the pictures `[B, D]` and those of the texts `[P, D]`, all of length 1, and
    then perhaps a scale, and perhaps a bias. It is a tuple, or a dict by whatever names. None for
    other outputs.
    """
    if not isinstance(output, tuple | Mapping):
        return None
    values = list(output.values() if isinstance(output, Mapping) else output)
    if len(values) not in (2, 3, 4) or not all(isinstance(value, Tensor) for value in values):
        return None
    image, text, *numbers = values
    if any(number.numel() != 1 for number in numbers) or not _are_embeddings(image, text):
        return None
    scale, bias = [number.reshape(()) for number in numbers] + [1, 0][len(numbers) :]
    logits: Tensor = scale * (image @ text.to(image.dtype).T) + bias
    return logits


def _are_embeddings(image: Tensor, text: Tensor) -> bool:
    """Return whether both are vectors of length 1 in the same space, and no probabilities."""
    if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1]:
        return False
    if not image.is_floating_point() or not text.is_floating_point():
        return False
    both = torch.cat([image.detach().float(), text.detach().float()])
    # A confident softmax has length 1 as well, and is not negative.
    return bool((both < 0).any() and ((both.norm(dim=1) - 1).abs() <= _ROUNDED).all())
