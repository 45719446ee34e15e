"""The share of a pass's computations that is done when each module call ends."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn

from limelight.inputs import ModelInputs, substitute_first
from limelight.runtime.autograd import no_grad
from limelight.runtime.execution import observe
from limelight.runtime.shadow import shadow
from limelight.runtime.unwrap import unwrap


class _NoModules:
    """Stands in for what tells torch's counter by modules, which is not asked for here.

    It looks for the graph behind what modules are given, and fails without grad: a view of a
    parameter has none.
    """

    parents = frozenset(("Global",))

    def __enter__(self) -> Self:
        """Watch nothing."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End nothing."""


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

    counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    with no_grad(), counter:
        root, copies = shadow(model)
        observe(model, root, copies, first_image, lambda _key, _arguments: None, leave)
    total = max(1, counter.get_total_flops())
    return [flops / total for flops in flops_so_far]
