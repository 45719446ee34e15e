"""What the page of a walkthrough shows: the tensors of each step, layers, answers, other maps."""

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
from limelight.runtime.cells import CellPlaces
from limelight.translations.languages import Language

if TYPE_CHECKING:
    from PIL.Image import Image


class Step(NamedTuple):
    """A layer on the way from the input to the output.

    Attributes:
        path: Its dotted path, with #k for the k-th of several calls.
        kind: The type of the module, by name.
        shape: The shape of its output.
        layout: How the output becomes a grid over the image; None if it cannot.
        share: The share of the network's multiplications that are done when the layer ends.
        side: `body` before the cut, `cut` for the layer where the network is cut, `head` after it.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    layout: Layout | None
    share: float
    side: Literal["body", "cut", "head"]


class Answer(NamedTuple):
    """A class that the network finds probable, or that is explained.

    Attributes:
        number: The index of the class.
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
        method: The row of the method in METHODS.
        explanation: The explanation by this method.
        weights: The weights of the method, `[K]` or `[K, *grid]`; None if it weighs no channels.
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
        explanation: The explanation by this method, of one image.
        steps: The layers from input to output, with the modules inside them where there is room.
        explained: The index of the explained class; None unless the score is that of one class.
        answers: The most probable classes and, for a classifier, the explained one.
        activations: A, `[K, *grid]`.
        gradients: `dy_c/dA`, `[K, *grid]`; None when the network has none.
        weights: The weights w, one per channel `[K]`, or one per cell `[K, *grid]`.
        contributions: What each channel adds, `[K, *grid]`; the raw map is their sum.
        weighs_activations: Whether the weights multiply A itself, rather than values made from A.
        beside: Maps of other methods from the same evidence.
        skipped: Methods that cannot work on this network, with reasons.
        cells: Where the cells of the layer look; None at the input, for what is no picture, and
            where it cannot be measured.
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
    cells: CellPlaces | None
    photo: Image | None
    preprocess: Preprocess | None
    language: Language

    @property
    def strength(self) -> Tensor:
        """The mean absolute weight of each channel, `mean_ij |w_k|`, `[K]`."""
        return self.weights.abs().reshape(len(self.weights), -1).mean(1)

    @property
    def added(self) -> Tensor:
        """The mean absolute contribution of each channel, `[K]`."""
        return self.contributions.abs().flatten(1).mean(1)

    @property
    def order(self) -> Tensor:
        """The channels, `[K]`, sorted by `strength`, the strongest first."""
        return self.strength.argsort(descending=True, stable=True)

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of channels after which the growing sum is shown: 1, 2, 5, 10, ..., K."""
        channels = len(self.weights)
        steps = (c * 10**power for power in range(len(str(channels))) for c in (1, 2, 5))
        return (*(count for count in steps if count < channels), channels)

    @property
    def sums(self) -> Tensor:
        """For each of `counts`, the sum of so many first channels in `order`, `[S, *grid]`."""
        growing = self.contributions[self.order].cumsum(0)
        return growing[torch.tensor(self.counts, device="cpu") - 1]

    @property
    def kept(self) -> Tensor:
        """The raw map after ReLU, `[*grid]`."""
        return relu(self.explanation.raw.detach())[0]

    @property
    def hottest(self) -> tuple[int, ...] | None:
        """The cell of `kept` with the highest value; None if it is not known where it looks."""
        if self.cells is None or not bool(self.kept.any()):
            return None
        where = torch.unravel_index(self.kept.argmax(), self.kept.shape)
        cell = tuple(int(i) for i in where)
        return cell if float(self.cells.energy[cell]) > 0 else None

    @property
    def resized(self) -> Tensor:
        """`kept` resized to the image, `[*image]`, before it is scaled to [0, 1]."""
        explanation = self.explanation
        return resize(self.kept[None], explanation.image.shape[2:], explanation.span)[0]

    @property
    def code(self) -> str:
        """Python code that computes the same numbers."""
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
            'heatmap = limelight.explain(model, images, method="gradcam", '
            f'layer="{layer}", {target}).heatmap'
        )
