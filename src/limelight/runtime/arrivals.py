"""Where the gradient of scores arrives in a recorded pass."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from limelight.errors import DETACHED, QUANTISED, LayerError
from limelight.inputs import ModelInputs
from limelight.layers import Arrival, ModuleCall
from limelight.runtime.autograd import behind_node, first_behind, node_of
from limelight.runtime.recording import Recording
from limelight.runtime.traits import traits_of
from limelight.status import cancels
from limelight.targets import OutputSpec, ScoreTarget
from limelight.targets.context import TargetContext
from limelight.targets.target import scores_to_follow

#: How many outputs are differentiated by at a time.
_EDGES_AT_ONCE = 64


@dataclass(frozen=True)
class RecordedPass:
    """A pass that was recorded, while its graph is alive.

    Attributes:
        model: The network.
        inputs: The inputs of one image.
        batch: B, the number of images of the call; the first of them is recorded.
        spec: How to read the output.
        recording: The calls and their layouts.
        edges: By number of the call, its output in the graph.
        output: What the network returned.
        returned: The nodes of what the network returned, with the results of calls that they are;
            None for what is no such result.
        image: The image, as a leaf of the graph.
    """

    model: nn.Module
    inputs: ModelInputs
    batch: int
    spec: OutputSpec
    recording: Recording
    edges: Sequence[GradientEdge]
    output: Any
    returned: dict[Any, int | None]
    image: Tensor


class Arrivals:
    """Where gradient of the followed scores arrives at the outputs of calls.

    Attributes:
        cancelled: The numbers of the calls at which gradient is known to cancel.
        scored: The results of calls that the network returned, and the scores are read from.
    """

    def __init__(self, recorded: RecordedPass, asked: Sequence[ScoreTarget] = ()) -> None:
        """Find which calls the scores depend on: those of the targets, or of the logits.

        Raises:
            LayerError: The scores do not depend on the image.
        """
        self.cancelled = set[int]()
        self._edges, self._calls = recorded.edges, recorded.recording.calls
        inputs, image = recorded.inputs, recorded.image
        self._least_axes = inputs.least_axes
        size = tuple(inputs.image.shape[2:])
        context = TargetContext(recorded.batch, size, recorded.spec, inputs.words)
        self._scores = scores_to_follow(recorded.output, context, asked)
        returned = recorded.returned
        nodes = (first_behind(node_of(score), returned) for score in self._scores)
        results = (returned[node] for node in itertools.chain(*nodes))
        self.scored = {result for result in results if result is not None}
        behind = [behind_node(node_of(score)) for score in self._scores]
        if image.requires_grad and not any(node_of(image) in nodes for nodes in behind):
            raise LayerError(QUANTISED if traits_of(recorded.model).quantised else DETACHED)
        self._reached = [all(edge.node in nodes for nodes in behind) for edge in self._edges]
        self._found: dict[int, Arrival] = {}
        # Sharded modules expect every backward to run to its end.
        self.whole = any("fsdp" in type(m).__module__ for m in recorded.model.modules())
        self._image = [image] if self.whole and image.requires_grad else []

    def since(self, first: int) -> list[Arrival]:
        """Return by number of the call where gradient arrives; True for those before `first`."""
        waiting = [
            number
            for number in range(first, len(self._edges))
            if self._reached[number] and number not in self._found
        ]
        at_once = len(waiting) or 1 if self.whole else _EDGES_AT_ONCE
        for end in range(len(waiting), 0, -at_once):
            self._find(waiting[max(0, end - at_once) : end])
        least_axes = self._least_axes
        on_grids = (
            arrived is not None and len(self._calls[number].shape) >= least_axes
            for number, arrived in self._found.items()
        )
        if not any(on_grids):
            # The score is at a limit (a ReLU, a clamp) for this image; for another it may not be.
            return [reached or None for reached in self._reached]
        return [
            self._found.get(number) if number >= first else reached or None
            for number, reached in enumerate(self._reached)
        ]

    def cancels(self, call: ModuleCall) -> bool:
        """Return whether the gradient at a call adds up to nothing in every channel."""
        if call.number in self.cancelled or call.layout is None:
            return False
        for gradient in self._gradients(call):
            if gradient is not None and bool(cancels(call.layout.to_grid(gradient)).any()):
                self.cancelled.add(call.number)
                return True
        return False

    def arrives(self, call: ModuleCall) -> bool:
        """Return whether gradient of each score arrives at a call."""
        return all(g is not None and bool(g.any()) for g in self._gradients(call))

    def _gradients(self, call: ModuleCall) -> Iterator[Tensor | None]:
        """Yield the gradient of each score at a call."""
        sources: list[Any] = [self._edges[call.number], *self._image]
        for score in self._scores:
            yield torch.autograd.grad(score, sources, retain_graph=True, allow_unused=True)[0]

    def _find(self, numbers: Sequence[int]) -> None:
        """Differentiate the scores by the outputs of these calls."""
        edges = [self._edges[number] for number in numbers]
        total: list[Tensor | None] = []
        for score in self._scores:
            sources: list[Any] = [*edges, *self._image]
            gradients = torch.autograd.grad(score, sources, retain_graph=True, allow_unused=True)
            masks = [None if g is None or not g.any() else g != 0 for g in gradients[: len(edges)]]
            pairs = zip(total or masks, masks, strict=True)
            total = [None if a is None or b is None else a | b for a, b in pairs]
        self._found |= dict(zip(numbers, total, strict=True))
