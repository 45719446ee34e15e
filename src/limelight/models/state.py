"""State dicts: read without running code, loaded strictly, mismatches told key by key."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limelight.errors import MissingWeightsError, WeightsError

_SHOWN = 12  # keys of each kind that an error lists


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a .pth, .pt or .safetensors file.

    A checkpoint that keeps it under `state_dict`, `model_state_dict` or `model` is looked into, and
    the prefixes of wrappers (`module.`, `_orig_mod.`) are taken off. Nothing in the file is run.

    Raises:
        WeightsError: The file is missing or damaged, or holds something else.
    """
    if not path.is_file():
        raise MissingWeightsError(
            f"There is no weights file {str(path)!r}. Pass 'default', 'none', or a file with a "
            "state dict."
        )
    with path.open("rb") as file:
        begin = file.read(2)
    if path.suffix != ".safetensors" and not begin.startswith((b"PK", b"\x80")):
        raise WeightsError(
            f"{str(path)!r} is no file that torch.save has written: it has {path.stat().st_size} "
            f"bytes and begins with {begin!r}. Was the download cut short?"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{str(path)!r} holds more than tensors, and is not run. Save the state dict alone, "
            "torch.save(model.state_dict(), path), where you trust the file."
        ) from error
    except Exception as error:  # readers of damaged files raise nearly anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise WeightsError(
            f"{str(path)!r} cannot be read as a state dict ({reason}). A file was expected that "
            "torch.save(model.state_dict(), path) has written, or a .safetensors file."
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not any(isinstance(v, Tensor) for v in content.values()):
        raise WeightsError(
            f"{str(path)!r} holds a {type(content).__name__} without tensors; a state dict was "
            "expected, as torch.save(model.state_dict(), path) writes."
        )
    state = {str(key): value for key, value in content.items()}
    for prefix in ("module.", "_orig_mod."):
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def fit(model: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Load a state dict into a model, strictly.

    Raises:
        WeightsError: A key is missing, unexpected or of another shape; the model is unchanged.
    """
    wanted = model.state_dict()
    problems = [
        *_listed("missing", [key for key in wanted if key not in state]),
        *_listed("unexpected", [key for key in state if key not in wanted]),
        *_listed(
            "of another shape",
            [
                f"{key}: file {_shape(state[key])}, model {_shape(wanted[key])}"
                for key in wanted
                if key in state and _shape(state[key]) != _shape(wanted[key])
            ],
        ),
    ]
    if problems:
        lines = "\n".join(problems)
        raise WeightsError(
            f"The weights in {source!r} do not fit this {type(model).__name__}:\n{lines}\n"
            "Name the model that they were saved from; if it was built with other classes, pass "
            "their names (classes=[...])."
        )
    model.load_state_dict(state)


def _shape(value: object) -> list[int] | str:
    return list(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _listed(kind: str, keys: list[str]) -> list[str]:
    if not keys:
        return []
    more = [f"    ... and {len(keys) - _SHOWN} more"] if len(keys) > _SHOWN else []
    return [f"  {len(keys)} {kind}:", *(f"    {key}" for key in keys[:_SHOWN]), *more]
