"""The share of a pass's cost at every module call."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from limelight.inputs import ModelInputs, substitute_first
from limelight.runtime.autograd import no_grad
from limelight.runtime.execution import observe
from limelight.runtime.shadow import shadow
from limelight.runtime.unwrap import unwrap


def costs(model: nn.Module, inputs: ModelInputs) -> list[float]:
    """Return, for each call of `record` in its order, the share of the pass's cost up to its end.

    The cost is counted in multiplications and additions of one pass over the first image.
    """
    model, given = unwrap(model), inputs.first(1)
    from torch.utils.flop_counter import FlopCounterMode  # it loads Triton

    counter, spent = FlopCounterMode(display=False), list[int]()

    def leave(_key: int, _arguments: object, output: Any) -> Any:
        def note(tensor: Tensor) -> Tensor:
            if tensor.is_floating_point():
                spent.append(counter.get_total_flops())
            return tensor

        return substitute_first(output, note)

    with no_grad(), counter:
        root, copies = shadow(model)
        observe(model, root, copies, given, lambda _key: None, leave)
    total = max(1, counter.get_total_flops())
    return [flops / total for flops in spent]
