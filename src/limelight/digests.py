"""Digests (SHA-256) of what a map was made from: tensors, photos, the weights of a network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

if TYPE_CHECKING:
    from PIL.Image import Image


def tensor_digest(tensor: Tensor) -> str:
    """Return the digest of a tensor: of its type, its shape and its numbers."""
    digest = hashlib.sha256()
    _add(digest, "", tensor)
    return digest.hexdigest()


def weights_digest(model: nn.Module) -> str:
    """Return the digest of all parameters and buffers of a network, with their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(_weights(model)):
        _add(digest, name, tensor)
    return digest.hexdigest()


def picture_digest(picture: Image) -> str:
    """Return the digest of a picture: of its mode, its size and its pixels."""
    digest = hashlib.sha256(f"{picture.mode} {picture.size}\n".encode())
    digest.update(picture.tobytes())
    return digest.hexdigest()


def _weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(model.named_parameters(), model.named_buffers())


def _add(digest: hashlib._Hash, name: str, tensor: Tensor) -> None:
    """Add a tensor to a digest: its name, type, shape and bytes; its name if it holds nothing."""
    if tensor.is_meta or is_lazy(tensor):
        digest.update(f"{name} without values\n".encode())
        return
    digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
    values = tensor.detach().cpu().contiguous().reshape(-1)
    digest.update(values.view(torch.uint8).numpy().data)
