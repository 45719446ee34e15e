"""What happens at the layer during a pass: its output becomes a leaf, and a graph begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from limelight.errors import INFERENCE, QUANTISED, LayerError
from limelight.inputs import substitute_first
from limelight.layers import Site
from limelight.runtime.autograd import KeepGrad


class Capture:
    """Turns the outputs of chosen layers into leaves of a graph, in one pass."""

    def __init__(self, sites: Sequence[Site]) -> None:
        """Watch the modules of these sites."""
        self.wanted: dict[int, set[int | None]] = {}  # id of a module -> which of its calls
        for site in sites:
            self.wanted.setdefault(id(site.module), set()).add(site.call)
        self.ran = dict.fromkeys(self.wanted, 0)
        self.kept: dict[tuple[int, int], Tensor] = {}
        self._grad = ExitStack()

    def stop(self) -> None:
        """End what the first layer began."""
        self._grad.close()

    def hook(self, key: int) -> Callable[[nn.Module, object, Any], Any]:
        """Return the forward hook for a module, by its id."""

        def see(_module: nn.Module, _args: object, output: Any) -> Any:
            self.ran[key] += 1
            if self.wanted[key].isdisjoint({None, self.ran[key]}):
                return output
            return substitute_first(output, lambda tensor: self._keep(key, tensor))

        return see

    def _keep(self, key: int, tensor: Tensor) -> Tensor:
        if tensor.is_quantized:
            raise LayerError(QUANTISED)
        if not tensor.is_floating_point():
            return tensor
        followed = torch.is_grad_enabled() and tensor.requires_grad  # an earlier layer leads here
        if torch.is_inference_mode_enabled():
            raise LayerError(INFERENCE)
        if not self.kept:
            self._grad.enter_context(KeepGrad())
            torch.set_grad_enabled(True)  # the pass's own context switches it back
        # One clone is kept and another handed on: a later in-place ReLU changes only the latter.
        kept = tensor.clone() if followed else tensor.detach().clone().requires_grad_()
        self.kept[key, self.ran[key]] = kept
        return kept.clone()

    def raw(self, site: Site) -> Tensor:
        """Return what the layer put out.

        Raises:
            LayerError: It did not run, ran several times, or put out no floating point tensor.
        """
        ran, path = self.ran[id(site.module)], site.path
        times = "once" if ran == 1 else f"{ran} times"
        kept = self.kept.get((id(site.module), site.call or 1))
        if ran == 0:
            problem = (
                "did not run in this pass, so there is nothing to cut. A container (ModuleList) "
                "never runs itself, its children do; `limelight layers` lists what runs."
            )
        elif site.call is None and ran > 1:
            problem = (
                f"ran {times} in this pass. Say which call is meant: {path + '#1'!r} is the first, "
                f"{f'{path}#{ran}'!r} the last."
            )
        elif site.call is not None and site.call > ran:
            problem = f"ran {times} in this pass, so it has no call {site.call}."
        elif kept is None:
            problem = "put out no floating point tensor. Take the layer before or after it."
        else:
            return kept
        raise LayerError(f"The layer {path!r} ({type(site.module).__name__}) {problem}")
