"""The tensors of each step of one map, and the answers, layers and other maps beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from limelight.explanation import Explanation
from limelight.finish import relu, resize
from limelight.layers import Layout
from limelight.methods import Method
from limelight.photos.preprocess import Preprocess
from limelight.pipeline import Skipped

if TYPE_CHECKING:
    from PIL.Image import Image


Language = Literal["en", "zh"]


class Step(NamedTuple):
    """A layer on the way from the input to the output.

    Attributes:
        path: Its dotted path, with #k for the k-th of several calls.
        kind: The class of the module.
        shape: The shape of its output.
        layout: How the output becomes a grid over the image; None when it does not.
        share: The share of the network's multiplications that are done when it ends.
        side: `body` before the cut, `cut` for the layer where the network is cut, `head` behind it.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    layout: Layout | None
    share: float
    side: Literal["body", "cut", "head"]


class Answer(NamedTuple):
    """One of a network's first answers.

    Attributes:
        number: The class, from 0.
        label: Its name.
        logit: Its score before softmax; None unless the network is a classifier.
        probability: Its probability; for a segmenter, its share of the pixels.
    """

    number: int
    label: str
    logit: float | None
    probability: float


class Beside(NamedTuple):
    """The map of another method, from the same evidence.

    Attributes:
        method: Its row in METHODS.
        explanation: Its explanation.
        weights: Its weights, `[K]` or `[K, *grid]`; None when it weighs no channels.
    """

    method: Method
    explanation: Explanation
    weights: Tensor | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class WalkthroughData:
    """The tensors of each step from one image to its heatmap.

    Attributes:
        name: The network's name.
        method: The row of METHODS whose map is shown.
        explanation: Its explanation, of one image.
        steps: The layers from input to output, unfolded as far as can be read.
        explained: The class whose own score is explained; None for a contrast, a callable, ...
        answers: The network's first answers.
        activations: A, `[K, *grid]`.
        gradients: `dy_c/dA`, `[K, *grid]`; None when the network has none.
        weights: One per channel `[K]`, or one per cell `[K, *grid]`.
        contributions: What each channel adds, `[K, *grid]`; the raw map is their sum.
        weighs_activations: Whether the weights multiply A.
        beside: Maps of other methods from the same evidence.
        skipped: Methods that this network cannot do.
        photo: The photo to draw on; None for the network's own input.
        preprocess: How the photo was prepared; None when that is not known.
        language: The language of the page.
    """

    name: str
    method: Method
    explanation: Explanation
    steps: tuple[Step, ...]
    explained: int | None
    answers: tuple[Answer, ...]
    activations: Tensor
    gradients: Tensor | None
    weights: Tensor
    contributions: Tensor
    weighs_activations: bool
    beside: tuple[Beside, ...]
    skipped: tuple[Skipped, ...]
    photo: Image | None
    preprocess: Preprocess | None
    language: Language

    @property
    def strength(self) -> Tensor:
        """How much each channel weighs, whatever the sign: `mean_ij |w_k|`, `[K]`."""
        return self.weights.abs().reshape(len(self.weights), -1).mean(1)

    @property
    def added(self) -> Tensor:
        """How much each channel adds, whatever the sign: its mean absolute contribution, `[K]`."""
        return self.contributions.abs().flatten(1).mean(1)

    @property
    def order(self) -> Tensor:
        """The channels, `[K]`, the one that weighs most first."""
        return self.strength.argsort(descending=True, stable=True)

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of channels after which the growing sum is shown: 1, 2, 5, 10, ..., K."""
        channels = len(self.weights)
        steps = (c * 10**power for power in range(len(str(channels))) for c in (1, 2, 5))
        return (*(count for count in steps if count < channels), channels)

    @property
    def sums(self) -> Tensor:
        """The sum of what the first channels in `order` add, for each of `counts`, `[S, *grid]`."""
        growing = self.contributions[self.order].cumsum(0)
        return growing[torch.tensor(self.counts, device="cpu") - 1]

    @property
    def kept(self) -> Tensor:
        """The raw map after ReLU, `[*grid]`."""
        return relu(self.explanation.raw.detach())[0]

    @property
    def resized(self) -> Tensor:
        """The same at the image's size, `[*image]`, before it is scaled to [0, 1]."""
        explanation = self.explanation
        return resize(self.kept[None], explanation.image.shape[2:], explanation.span)[0]

    @property
    def code(self) -> str:
        """Python code that gets the same numbers."""
        layer = self.explanation.layer
        # A plain class is named by its number; any other target has to be passed again.
        target = "target=target" if self.explained is None else f"target={self.explained}"
        if self.method.name != "gradcam":
            return (
                "import limelight\n\n"
                f'result = limelight.explain(model, images, method="{self.method}", '
                f'layer="{layer}", {target})\n'
                "result.raw       # the sum, before ReLU\n"
                "result.heatmap   # after ReLU, resize and scale"
            )
        axes = tuple(range(1 - self.activations.ndim, 0))
        return (
            "import limelight\n\n"
            f'cut = limelight.cut(model, images, "{layer}")\n'
            f"alpha = cut.gradients({target}).mean({axes}, keepdim=True)\n"
            "raw = (alpha * cut.activations).sum(1)   # before ReLU\n"
            "heatmap = limelight.explain(model, images, "
            f'layer="{layer}", {target}).heatmap'
        )
