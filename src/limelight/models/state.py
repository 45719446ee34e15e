"""State dicts: read without running code, loaded strictly, mismatches listed key by key."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from limelight.errors import MissingPackageError, MissingWeightsError, WeightsError, describe_error

_MAX_LISTED = 12  # keys of each kind that an error lists


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a .pth, .pt or .safetensors file.

    A checkpoint may hold it under `state_dict`, `model_state_dict` or `model`. The prefixes of
    wrappers (`module.`, `_orig_mod.`) are removed. No code in the file is run.

    Raises:
        WeightsError: The file is missing or damaged, or holds something else.
    """
    begin = _begin(path)
    if path.suffix != ".safetensors" and not begin.startswith((b"PK", b"\x80")):
        raise WeightsError(
            f"{str(path)!r} is no file that torch.save has written: it has {path.stat().st_size} "
            f"bytes and begins with {begin!r}. Was the download cut short?"
        )
    try:
        content = _content(path, begin)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{str(path)!r} holds more than tensors, and is not run. Save the state dict alone, "
            "torch.save(model.state_dict(), path), where you trust the file."
        ) from error
    except MissingPackageError:
        raise
    except Exception as error:  # readers of damaged files raise nearly anything
        raise _unreadable(path, error) from error
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


def _unreadable(path: Path, error: Exception) -> WeightsError:
    reason = describe_error(error).splitlines()[0]
    return WeightsError(
        f"{str(path)!r} cannot be read as a state dict ({reason}). A file was expected that "
        "torch.save(model.state_dict(), path) has written, or a .safetensors file."
    )


def _begin(path: Path) -> bytes:
    """Return the first two bytes of a file.

    Raises:
        WeightsError: There is no such file, or it may not be read.
    """
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(2)
        why = ""
    except PermissionError as error:
        raise WeightsError(
            f"{str(path)!r} may not be read: {error.strerror}. Allow it, or pass another file."
        ) from error
    except (OSError, ValueError) as error:  # a name that no file can have
        why = f" ({getattr(error, 'strerror', None) or error})"
    raise MissingWeightsError(
        f"There is no weights file {str(path)!r}{why}. Pass 'default', 'none', or a file with a "
        "state dict."
    )


def _content(path: Path, begin: bytes) -> Any:
    """Read the content of a file, without running code from it."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if begin == b"PK" and not zipfile.is_zipfile(
        path
    ):  # torch would take it for a pickle with code
        raise ValueError(f"an archive without its end, of {path.stat().st_size} bytes")
    with warnings.catch_warnings(action="ignore"):  # `fit` says what does not fit
        return torch.load(path, map_location="cpu", weights_only=True)


def fit(model: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Load a state dict into a model, strictly; floating point numbers of any precision fit.

    Raises:
        WeightsError: A key is missing, unexpected, of another kind or of another shape; the model
            is then unchanged. Or a module's own loading fails.
    """
    wanted = model.state_dict()
    both = [key for key in wanted if key in state]
    kinds = {key: _unfit(state[key], wanted[key]) for key in both}
    odd = [f"{key}: {kind}" for key, kind in kinds.items() if kind]
    shapes = [(key, _shape(state[key]), _shape(wanted[key])) for key in both if not kinds[key]]
    problems = [
        *_list_keys("missing", [key for key in wanted if key not in state]),
        *_list_keys("unexpected", [key for key in state if key not in wanted]),
        *_list_keys("of another kind", odd),
        *_list_keys(
            "of another shape",
            [f"{key}: file {a}, model {b}" for key, a, b in shapes if a != b and b is not None],
        ),
    ]
    refusal = f"The weights in {source!r} do not fit this {type(model).__name__}:"
    if problems:
        advice = _PLAIN if odd else _SAME
        raise WeightsError("\n".join([refusal, *problems, advice]))
    try:
        model.load_state_dict(state)
    except Exception as error:  # a module's own loading
        raise WeightsError(f"{refusal} {describe_error(error)}\n{_SAME}") from error


_SAME = (
    "Name the model that they were saved from; if it was built with other classes, pass "
    "their names (classes=[...])."
)


_PLAIN = (
    "Pass the state dict of the plain network, as it was before it was quantised, pruned or "
    "converted: dense tensors, floating point where the model has that."
)


def _unfit(value: object, wanted: object) -> str:
    """Return why a value cannot replace the model's; "" if it can."""
    if not isinstance(value, Tensor) or not isinstance(wanted, Tensor):
        return ""
    kinds = f"file {_tensor_kind(value)}, model {_tensor_kind(wanted)}"
    if value.is_meta:
        return f"{kinds}; a meta tensor has no values"
    if _tensor_kind(value) == _tensor_kind(wanted):
        return ""
    plain = all(t.layout == torch.strided and not t.is_quantized for t in (value, wanted))
    return "" if plain and not value.is_nested and _converts(value, wanted) else kinds


def _converts(value: Tensor, wanted: Tensor) -> bool:
    """Return whether a tensor can be converted to the type of another."""
    try:
        if wanted.is_floating_point():
            if not value.is_floating_point():
                return False
            value.new_empty(1).to(wanted.dtype)  # some types can only be stored
            return True
        # A count or a mask, in a state that was converted as a whole.
        if value.is_complex():
            return False
        return torch.equal(value.to(wanted.dtype).to(value.dtype), value)
    except RuntimeError:
        return False


def _tensor_kind(value: Tensor) -> str:
    """Return the layout, device and type of a tensor, in words."""
    words = {"sparse_coo": "sparse ", "strided": ""}
    layout = str(value.layout).removeprefix("torch.")
    form = "nested " if value.is_nested else words.get(layout, f"{layout} ")
    place = "meta " if value.is_meta else ""
    return place + form + str(value.dtype).removeprefix("torch.")


def _shape(value: object) -> list[int] | str | None:
    """Return a tensor's shape; None for a lazy parameter, which takes any shape."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return None if is_lazy(value) else list(value.shape)


def _list_keys(kind: str, keys: list[str]) -> list[str]:
    if not keys:
        return []
    more = [f"    ... and {len(keys) - _MAX_LISTED} more"] if len(keys) > _MAX_LISTED else []
    return [f"  {len(keys)} {kind}:", *(f"    {key}" for key in keys[:_MAX_LISTED]), *more]
