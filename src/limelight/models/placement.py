"""How a loaded model is made whatever the caller's defaults are, and where it is put."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch
from torch import nn

from limelight.errors import ModelError, OptionError, describe_error


def place(
    model: nn.Module, name: str, device: str | torch.device, dtype: torch.dtype | None
) -> nn.Module:
    """Move a model to a device, in evaluation mode; to a type too, unless that is None.

    Raises:
        ModelError: The model has no weights: some are on the device 'meta'.
        OptionError: The device does not exist, or holds no numbers.
    """
    tensors = (*model.parameters(), *model.buffers())
    if any(tensor.is_meta for tensor in tensors):
        raise ModelError(
            f"The network {name!r} has no weights: parameters are on the device 'meta'. Build it "
            "on the CPU, and load its weights there."
        )
    if str(device).startswith("meta"):
        raise OptionError("The device 'meta' holds shapes and no numbers. Pass 'cpu' or a GPU.")
    try:
        return model.to(device=device, dtype=dtype).eval()
    except (RuntimeError, AssertionError) as error:
        reason = describe_error(error).splitlines()[0]
        raise OptionError(f"The device {str(device)!r} cannot be used: {reason}") from error


#: Defaults of the whole process are changed by one thread at a time, or they would not be restored.
_ONE_AT_A_TIME = RLock()


@contextmanager
def library_defaults() -> Iterator[None]:
    """Let new tensors be float32 on the CPU, whatever the caller's defaults are.

    Otherwise weights would be rounded to a default of float16, or drawn differently.
    """
    with _ONE_AT_A_TIME:
        before = torch.get_default_dtype()
        try:
            torch.set_default_dtype(torch.float32)
            with torch.device("cpu"):
                yield
        finally:
            torch.set_default_dtype(before)
