"""The hook on a layer during a pass: its output becomes a leaf of the autograd graph."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from limelight.errors import INFERENCE, QUANTISED, LayerError
from limelight.inputs import map_tensors, substitute_first
from limelight.layers import ResolvedLayer
from limelight.runtime.autograd import KeepGrad


class Capture:
    """Hooks that turn the outputs of chosen layers into leaves of the graph, in one pass."""

    def __init__(
        self,
        layers: Sequence[ResolvedLayer],
        *,
        whole: bool = False,
        watched: Sequence[ResolvedLayer] = (),
    ) -> None:
        """Prepare the hooks for these layers.

        Of an output that holds several tensors, the first is captured; all of them if `whole`. No
        graph begins at a layer that is only `watched`.
        """
        self._whole = whole
        self._watched = {id(layer.module) for layer in watched}
        # By the module's id: the numbers of the calls to cut at; None for its only call.
        self.wanted: dict[int, set[int | None]] = {}
        for layer in layers:
            self.wanted.setdefault(id(layer.module), set()).add(layer.call)
        self._ran = dict.fromkeys(self.wanted, 0)  # by the module's id: how often it ran
        self._kept: dict[tuple[int, int], Any] = {}  # by the module's id and the call
        self._grad_mode, self._keeps_grad = ExitStack(), False

    def stop(self) -> None:
        """Leave the grad mode that the first layer's hook entered."""
        self._grad_mode.close()

    def hook(self, copy: nn.Module, key: int) -> list[RemovableHandle]:
        """Put the hooks on the copy of a module, whose id is the key, and return them.

        The first runs before the hooks of others: those may keep the output for what comes later,
        as transformers' do for hidden states. The second captures again if one of them has changed
        the output.
        """
        handed_on: list[Any] = [None]

        def first(_module: nn.Module, _args: object, output: Any) -> Any:
            self._ran[key] += 1
            handed_on[0] = self._capture(key, output)
            return handed_on[0]

        def last(_module: nn.Module, _args: object, output: Any) -> Any:
            changed = output is not handed_on[0]
            handed_on[0] = None
            return self._capture(key, output) if changed else output

        return [
            copy.register_forward_hook(first, prepend=True),
            copy.register_forward_hook(last),
        ]

    def _capture(self, key: int, output: Any) -> Any:
        if self.wanted[key].isdisjoint({None, self._ran[key]}):
            return output
        if self._whole:
            kept = self._kept[key, self._ran[key]] = map_tensors(output, self._in_graph)
            return map_tensors(kept, _copy)
        return substitute_first(output, lambda tensor: self._keep(key, tensor))

    def _keep(self, key: int, tensor: Tensor) -> Tensor:
        if key in self._watched:
            self._kept[key, self._ran[key]] = tensor.detach().clone()
            return tensor
        kept = self._in_graph(tensor)
        if not kept.is_floating_point():
            return kept
        self._kept[key, self._ran[key]] = kept
        return _copy(kept)

    def _in_graph(self, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor in the graph; the tensor itself if it is of whole numbers."""
        if tensor.is_quantized:
            raise LayerError(QUANTISED)
        if not tensor.is_floating_point():
            return tensor
        after_another_layer = torch.is_grad_enabled() and tensor.requires_grad
        if torch.is_inference_mode_enabled():
            raise LayerError(INFERENCE)
        if not self._keeps_grad:
            self._keeps_grad = True
            self._grad_mode.enter_context(KeepGrad())
            torch.set_grad_enabled(True)  # `run_pass` restores the mode when it leaves its contexts
        return tensor.clone() if after_another_layer else tensor.detach().clone().requires_grad_()

    def output_of(self, layer: ResolvedLayer) -> Any:
        """Return the captured output of a layer, in the layer's own layout.

        Raises:
            LayerError: The layer did not run, ran several times, or put out no floating point
                tensor.
        """
        ran, path = self._ran[id(layer.module)], layer.path
        times = "once" if ran == 1 else f"{ran} times"
        kept = self._kept.get((id(layer.module), layer.call or 1))
        if ran == 0:
            problem = (
                "did not run in this pass, so there is nothing to cut. A container (ModuleList) "
                "never runs itself, its children do; `limelight layers` lists what runs."
            )
        elif layer.call is None and ran > 1:
            problem = (
                f"ran {times} in this pass. Say which call is meant: {path + '#1'!r} is the first, "
                f"{f'{path}#{ran}'!r} the last."
            )
        elif layer.call is not None and layer.call > ran:
            problem = f"ran {times} in this pass, so it has no call {layer.call}."
        elif kept is None:
            problem = "put out no floating point tensor. Take the layer before or after it."
        else:
            return kept
        raise LayerError(f"The layer {path!r} ({type(layer.module).__name__}) {problem}")


def _copy(tensor: Tensor) -> Tensor:
    """Return what the network goes on with: an in-place ReLU behind the layer changes only that."""
    return tensor.clone() if tensor.is_floating_point() else tensor
