"""The state of a network: whether its weights are sound, and what may not be changed of it."""

from __future__ import annotations

from itertools import chain

from torch import nn
from torch.nn.parameter import is_lazy

from limelight.digests import weights_digest

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def model_state(model: nn.Module) -> dict[str, object]:
    """Return the state of a network: two of them are equal if nothing was changed between them."""
    weights = list(chain(model.named_parameters(), model.named_buffers()))
    return {
        "the values of its weights": weights_digest(model),
        "its tensors": [(name, id(tensor), tensor.requires_grad) for name, tensor in weights],
        "gradients": [(name, id(tensor.grad)) for name, tensor in weights if tensor.is_leaf],
        "its mode": [(name, module.training) for name, module in model.named_modules()],
        "hooks": [
            (name, [len(getattr(module, hooks)) for hooks in _HOOKS])
            for name, module in model.named_modules()
        ],
        "attributes": [(name, sorted(vars(module))) for name, module in model.named_modules()],
    }


def changed_in(model: nn.Module, before: dict[str, object]) -> list[str]:
    """Return what of a network is not as it was before, in words."""
    after = model_state(model)
    return [what for what, value in before.items() if after[what] != value]


def empty_weights(model: nn.Module) -> list[str]:
    """Return the parameters and buffers that hold no values: not initialised, or on `meta`."""
    tensors = chain(model.named_parameters(), model.named_buffers())
    return [name for name, tensor in tensors if tensor.is_meta or is_lazy(tensor)]


def unsound_weights(model: nn.Module) -> list[str]:
    """Return the parameters with NaN or infinity, and the buffers with NaN.

    A buffer may be a mask, which holds infinity on purpose.
    """
    weights, buffers = model.named_parameters(), model.named_buffers()
    unsound = [name for name, weight in weights if not bool(weight.detach().isfinite().all())]
    return unsound + [name for name, buffer in buffers if bool(buffer.isnan().any())]
