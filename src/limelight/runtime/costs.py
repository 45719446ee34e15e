"""The share of a pass's computations that is done when each module call ends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from limelight.inputs import ModelInputs, substitute_first
from limelight.runtime.execution import observe
from limelight.runtime.shadow import shadow
from limelight.runtime.unwrap import unwrap


def costs(model: nn.Module, inputs: ModelInputs) -> list[float]:
    """Return for each call in `record`, in order, the share of the cost that is spent when it ends.

    The cost is the number of multiplications and additions in one pass over the first image.
    """
    model, first_image = unwrap(model), inputs.first(1)
    from torch.utils.flop_counter import FlopCounterMode  # imported here: it loads Triton

    counter, flops_so_far = FlopCounterMode(display=False), list[int]()

    def leave(_key: int, _arguments: object, output: Any) -> Any:
        def note(tensor: Tensor) -> Tensor:
            if tensor.is_floating_point():
                flops_so_far.append(counter.get_total_flops())
            return tensor

        return substitute_first(output, note)

    # torch's counter looks for the graph behind what modules are given; without grad, a view of a
    # parameter has none, and it fails. Nothing is kept in the graph.
    forget = saved_tensors_hooks(_nothing, _nothing)
    with torch.inference_mode(False), torch.enable_grad(), forget, counter:
        root, copies = shadow(model)
        observe(model, root, copies, first_image, lambda _key, _arguments: None, leave)
    total = max(1, counter.get_total_flops())
    return [flops / total for flops in flops_so_far]


def _nothing(_tensor: Any) -> Any:
    """Keep nothing of a tensor."""
    return None
