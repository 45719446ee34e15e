"""The drop-in for grad-cam beside grad-cam 1.5.7: the same script with either import.

maps: Every class, for two networks without in-place operations, one image and three, one target
    layer and two, and targets None, a class by index, and a list. Maps are equal if they differ by
    less than 1e-4 anywhere. Where they differ more, grad-cam runs again with the errors of
    `compat_mends.py` mended, one after the other and then together, until it is equal.
times: A script with either import: in processes of their own the import and the first map; in one
    process, in turns, the calls that follow.

    python benchmarks/compat.py
    python benchmarks/compat.py --only EigenCAM FEM --no-times
"""

from __future__ import annotations

import argparse
import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass, field
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pytorch_grad_cam as theirs
import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.vision_transformer import VisionTransformer

import limelight
import limelight.compat.pytorch_grad_cam as ours
from compat_mends import (
    ABLATION_RATIO,
    ABLATION_SIGN,
    ABLATION_VALUE,
    AUGMENTED,
    CLASSES,
    EPSILON,
    FEM,
    FEM_SMOOTH,
    FIRST_IMAGE,
    FULLGRAD_INPUT,
    FULLGRAD_LAYER,
    FULLGRAD_ORDER,
    FUNCTIONAL,
    MENDS,
    PLACE,
    PLUS_PLUS,
    SCORE_ALIGN,
    SCORE_EPSILON,
    SHAPLEY,
    SIGN,
    SPAN,
    XGRAD,
    Mend,
    mended,
)
from compat_times import times
from limelight import Preprocess, load_photo
from limelight.photos.samples import find_sample
from measure import Table, setting

Array = npt.NDArray[Any]

#: Maps that differ by less are equal.
EQUAL = 1e-4

WEIGHTS = Path(__file__).parents[2] / "shared" / "weights"

DOCS = Path(__file__).parents[1] / "docs"

#: The pages that may hold the tables, between two comments; the first that has them.
PAGE = DOCS / "migrate.md"

BEGIN, END = "<!-- compat:begin -->", "<!-- compat:end -->"


# ---- the networks --------------------------------------------------------------------------------


class Shortcut(nn.Module):
    """A residual block whose shortcut runs first and is defined last; it has no last ReLU."""

    def __init__(self, before: int, after: int) -> None:
        """Make the layers."""
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.shortcut = nn.Conv2d(before, after, 1, stride=2)
        self.relu: Callable[[Tensor], Tensor] = torch.relu

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both ways; it may be negative."""
        x = self.relu(x)
        passed = self.shortcut(x)
        inner = self.relu(self.first_norm(self.first(x)))
        return torch.add(passed, self.second_norm(self.second(inner)))


def small_network() -> nn.Sequential:
    """Return a residual network with a curved head, for five classes."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        Shortcut(16, 24),
        Shortcut(24, 32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 24),
        nn.Tanh(),
        nn.Linear(24, 5),
    )


def shapes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return noisy pictures `[N, 3, 64, 64]` of a disc, square, cross, ring or stripes; classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (count,), generator=generator)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    pictures = 0.3 * torch.randn(count, 3, 64, 64, generator=generator)
    for number, label in enumerate(labels.tolist()):
        centre = 16 + 32 * torch.rand(2, generator=generator)
        across, down = (x - centre[0]).abs(), (y - centre[1]).abs()
        radius, larger = across.hypot(down), torch.maximum(across, down)
        drawn = (
            radius < 12,
            larger < 11,
            (torch.minimum(across, down) < 4) & (larger < 13),
            (radius < 14) & (radius > 8),
            (larger < 12) & (x % 6 < 3),
        )[label]
        colour = 0.5 + torch.rand(3, 1, 1, generator=generator)
        pictures[number] += drawn * colour
    return pictures, labels


@dataclass(frozen=True)
class Network:
    """A network to explain.

    Attributes:
        name: Its name.
        about: What it is, for the page.
        model: The network, in evaluation mode.
        images: Three images.
        layers: Its target layers, the last one alone or both.
        classes: The class by index, and the list with one per image.
    """

    name: str
    about: str
    model: nn.Module
    images: Tensor
    layers: tuple[str, str]
    classes: tuple[int, list[int]]


def trained(name: str, about: str, layers: tuple[str, str]) -> Network:
    """Return a network of torchvision with the weights of ImageNet where they are at hand."""
    torch.manual_seed(0)
    model: nn.Module = get_model(name, weights=None).eval()
    weights = WEIGHTS / f"{name}_imagenet.pth"
    if weights.exists():
        model.load_state_dict(torch.load(weights, weights_only=True))
    for module in model.modules():
        if isinstance(module, nn.ReLU | nn.ReLU6):
            module.inplace = False
    preprocess = Preprocess(size=(96, 96), resize=96)
    cat, cup = (preprocess(load_photo(find_sample(name))) for name in ("chelsea", "coffee"))
    images = torch.stack([cat, cup, 0.6 * cat.flip(-1) + 0.4 * cup])
    about = f"{about}, {'ImageNet' if weights.exists() else 'random'} weights, photos of 96 px"
    return Network(name, about, model, images, layers, (281, [281, 968, 285]))


def trained_small() -> Network:
    """Return the small network, trained for some seconds; the list holds the lowest classes."""
    torch.manual_seed(0)
    model = small_network()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(120):
        pictures, labels = shapes(32, step)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(pictures), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    model.eval()
    images, _ = shapes(3, 10_000)
    with torch.inference_mode():
        lowest = model(images).argmin(1).tolist()
    about = "a residual network of 28 thousand parameters, trained here on drawn shapes of 64 px"
    return Network("small", about, model, images, ("1", "2"), (1, lowest))


# ---- the cases -----------------------------------------------------------------------------------

#: What makes a library's object, from the library, the model and its layers.
Make = Callable[[Any, nn.Module, list[nn.Module]], Any]


class Row(NamedTuple):
    """A class of both libraries.

    Attributes:
        name: Its name.
        make: Make the object.
        mends: The errors of grad-cam that may play a part.
        call: Further arguments of the call.
        kind: "guided" for guided backpropagation, which takes a class alone; "probability" for
            targets that are probabilities.
    """

    name: str
    make: Make
    mends: Sequence[Mend] = ()
    call: dict[str, Any] = {}  # noqa: RUF012
    kind: Literal["map", "guided", "probability"] = "map"


def by_name(name: str, **options: Any) -> Make:
    """Return what makes the class of a name."""

    def make(library: Any, model: nn.Module, layers: list[nn.Module]) -> Any:
        return getattr(library, name)(model, layers, **options)

    return make


def guided(library: Any, model: nn.Module, _layers: list[nn.Module]) -> Any:
    """Return guided backpropagation, which has no layers."""
    return library.GuidedBackpropReLUModel(model)


ROWS = (
    Row("GradCAM", by_name("GradCAM"), [EPSILON]),
    Row("GradCAM, `eigen_smooth`", by_name("GradCAM"), [SIGN, EPSILON], {"eigen_smooth": True}),
    Row("GradCAM, `aug_smooth`", by_name("GradCAM"), [AUGMENTED, EPSILON], {"aug_smooth": True}),
    Row(
        "GradCAM, ClassifierOutputSoftmaxTarget",
        by_name("GradCAM"),
        [EPSILON],
        kind="probability",
    ),
    Row("HiResCAM", by_name("HiResCAM"), [EPSILON]),
    Row("GradCAMElementWise", by_name("GradCAMElementWise"), [EPSILON]),
    Row("GradCAMPlusPlus", by_name("GradCAMPlusPlus"), [PLUS_PLUS, EPSILON]),
    Row("XGradCAM", by_name("XGradCAM"), [XGRAD, EPSILON]),
    Row("LayerCAM", by_name("LayerCAM"), [EPSILON]),
    Row("EigenCAM", by_name("EigenCAM"), [SIGN, EPSILON]),
    Row("EigenGradCAM", by_name("EigenGradCAM"), [SIGN, EPSILON]),
    Row("SegEigenCAM", by_name("SegEigenCAM"), [EPSILON]),
    Row("KPCA_CAM", by_name("KPCA_CAM"), [SIGN, EPSILON]),
    Row("FEM", by_name("FEM"), [FEM, EPSILON]),
    Row("FEM, `eigen_smooth`", by_name("FEM"), [FEM, FEM_SMOOTH, SIGN], {"eigen_smooth": True}),
    Row("ScoreCAM", by_name("ScoreCAM"), [SCORE_ALIGN, SCORE_EPSILON, EPSILON]),
    Row("AblationCAM", by_name("AblationCAM"), [ABLATION_VALUE, ABLATION_SIGN, EPSILON]),
    Row(
        "AblationCAM, half of the channels",
        by_name("AblationCAM", ratio_channels_to_ablate=0.5),
        [ABLATION_RATIO, ABLATION_VALUE, ABLATION_SIGN, EPSILON],
    ),
    Row("ShapleyCAM", by_name("ShapleyCAM"), [SHAPLEY, EPSILON]),
    Row(
        "FullGrad",
        by_name("FullGrad"),
        [FULLGRAD_LAYER, FULLGRAD_INPUT, FULLGRAD_ORDER, EPSILON],
    ),
    Row(
        "FullGrad, `eigen_smooth`",
        by_name("FullGrad"),
        [FULLGRAD_LAYER, FULLGRAD_INPUT, FULLGRAD_ORDER, SIGN, EPSILON],
        {"eigen_smooth": True},
    ),
    Row("RandomCAM, seeded", by_name("RandomCAM"), [EPSILON]),
    Row("FinerCAM", by_name("FinerCAM"), [EPSILON]),
    Row("RefineCAM", by_name("RefineCAM"), [PLUS_PLUS, EPSILON]),
    Row("SESS, two scales", by_name("SESS", num_scales=2), [EPSILON]),
    Row("GuidedBackpropReLUModel", guided, [FIRST_IMAGE, FUNCTIONAL], kind="guided"),
)

#: What a network does that its grid does not cover the picture, for one row.
UNPADDED = Row("GradCAM, SqueezeNet", by_name("GradCAM"), [PLACE, EPSILON])


class Case(NamedTuple):
    """One call of a row."""

    network: Network
    layers: list[str]
    batch: int
    targets: str

    @property
    def images(self) -> Tensor:
        """The images `[B, 3, H, W]`."""
        return self.network.images[: self.batch]

    def classes(self) -> int | list[int] | None:
        """Return the class, or the classes."""
        one, several = self.network.classes
        return {"None": None, "int": one, "list": several[: self.batch]}[self.targets]

    def predicted(self) -> list[int]:
        """Return the predicted classes."""
        with torch.inference_mode():
            classes: list[int] = self.network.model(self.images).argmax(1).tolist()
        return classes


def cases(row: Row, networks: Sequence[Network]) -> Iterator[Case]:
    """Yield all calls of a row."""
    for network in networks:
        both = list(network.layers)
        one_alone = row.kind == "guided" or row.name.startswith("FullGrad")
        kinds = {"guided": ("None", "int"), "probability": ("list",)}
        targets = kinds.get(row.kind, ("None", "int", "list"))
        layers = [both[1:]] if one_alone else [both[1:], both]
        for several, batch, target in itertools.product(layers, (1, 3), targets):
            yield Case(network, several, batch, target)


def run(library: Any, row: Row, case: Case, mends: Sequence[Mend] = ()) -> Array | Exception:
    """Return what a library makes of a case, or the exception that it raises."""
    calls = {mend.call for mend in mends}
    classes = case.classes()
    if "wrap" in calls and isinstance(classes, int):
        classes = [classes] * case.batch
    if "predict" in calls and classes is None:
        classes = case.predicted()
    model = deepcopy(case.network.model)
    layers = [model.get_submodule(path) for path in case.layers]
    if "modules" in calls:
        with_relu_modules(model)
    np.random.seed(0)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            made = row.make(library, model, layers)
            if row.kind == "guided":
                parts = torch.split(case.images, 1 if "one by one" in calls else case.batch)
                maps = [np.asarray(made(part.clone(), classes)) for part in parts]
                return np.stack(maps) if len(maps) > 1 else maps[0]
            targets: Any = classes
            if isinstance(classes, list):
                kinds: Any = import_module(f"{library.__name__}.utils.model_targets")
                of = "Softmax" if row.kind == "probability" else ""
                wrap = getattr(kinds, f"ClassifierOutput{of}Target")
                targets = [wrap(each) for each in classes]
            return np.asarray(made(case.images, targets, **row.call))
    except Exception as error:
        return error


def with_relu_modules(model: nn.Module) -> None:
    """Let a network call modules of the type ReLU for functions, and for ReLU6."""
    for module in list(model.modules()):
        if isinstance(module, Shortcut):
            module.relu = nn.ReLU()
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ReLU6):
                setattr(module, name, nn.Sequential(nn.ReLU(), nn.Hardtanh(-1, 6)))


def difference(one: Array | Exception, other: Array | Exception) -> float:
    """Return the largest difference; infinity for what failed, has another shape or holds NaN."""
    if isinstance(one, Exception) or isinstance(other, Exception) or one.shape != other.shape:
        return math.inf
    largest = float(np.abs(one.astype(np.float64) - other).max())
    return math.inf if math.isnan(largest) else largest


class Outcome(NamedTuple):
    """How both libraries compare in one case.

    Attributes:
        before: The largest difference; infinity where grad-cam fails.
        mends: The errors that had to be mended, as few as possible; () for none.
        after: The largest difference then.
        failed: The exception of grad-cam.
        own: The exception of limelight.
    """

    before: float
    mends: tuple[Mend, ...]
    after: float
    failed: Exception | None
    own: Exception | None


def compare(row: Row, case: Case) -> Outcome:
    """Compare both, and mend as few errors of grad-cam as make it equal."""
    right, peers = run(ours, row, case), run(theirs, row, case)
    own = right if isinstance(right, Exception) else None
    failed = peers if isinstance(peers, Exception) else None
    before = best = difference(right, peers)
    chosen: tuple[Mend, ...] = ()
    always = (CLASSES,) if case.targets == "int" and row.kind == "map" and failed else ()
    sizes = range(0 if always else 1, len(row.mends) + 1)
    if before >= EQUAL:
        for some in itertools.chain(*(itertools.combinations(row.mends, n) for n in sizes)):
            mends = (*always, *some)
            with mended(mends):
                after = difference(right, run(theirs, row, case, mends))
            if after < best:
                chosen, best = mends, after
            if after < EQUAL:
                break
    return Outcome(before, chosen, best, failed, own)


@dataclass
class Rows:
    """The outcomes of all rows, and which error was found in which."""

    table: Table = field(
        default_factory=lambda: Table(
            {
                "class": "",
                "cases": "d",
                "equal": "d",
                "grad-cam fails": "d",
                "largest difference": ".0e",
                "its errors": "",
                "with these mended": ".0e",
            }
        )
    )
    unexplained: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row, networks: Sequence[Network]) -> None:
        """Run a row."""
        outcomes = [(case, compare(row, case)) for case in cases(row, networks)]
        for case, outcome in outcomes:
            if outcome.after >= EQUAL:
                self.unexplained.append(
                    f"{row.name}, {case.network.name}, {'+'.join(case.layers)}, "
                    f"batch {case.batch}, targets {case.targets}: {outcome.before:.1e}, "
                    f"{outcome.after:.1e} with {[m.number for m in outcome.mends]} mended "
                    f"({outcome.failed!r}; {outcome.own!r})"
                )
        every = [outcome for _, outcome in outcomes]
        found = Counter(m.number for outcome in every for m in outcome.mends)
        self.seen.update(found)
        finite = [outcome.before for outcome in every if math.isfinite(outcome.before)]
        self.table.add(
            row.name,
            len(every),
            sum(outcome.before < EQUAL for outcome in every),
            sum(outcome.failed is not None for outcome in every),
            max(finite, default="none"),
            ", ".join(sorted(found, key=int)) or "none",
            max(outcome.after for outcome in every),
        )
        print(str(self.table).splitlines()[-1], flush=True)


# ---- what has no map to compare ----------------------------------------------------------------


def factorization(networks: Sequence[Network]) -> Table:
    """Return how well both factorizations fit, as the share of the activations they miss."""
    columns = {"network": "", "images": "d", "limelight misses": ".4f", "grad-cam misses": ".4f"}
    table = Table(columns)
    for network, batch in itertools.product(networks, (1, 3)):
        missed = []
        for library in (ours, theirs):
            model = deepcopy(network.model)
            layer = model.get_submodule(network.layers[1])
            seen = list[Tensor]()
            handle = layer.register_forward_hook(lambda *given, kept=seen: kept.append(given[2]))
            with torch.no_grad():
                model(network.images[:batch])
            handle.remove()
            activations = seen[0].numpy()
            factorize = import_module(
                f"{library.__name__}.feature_factorization.deep_feature_factorization"
            ).dff
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                concepts, maps = factorize(activations.copy(), n_components=5)
            lowest = activations.min(axis=(0, 2, 3))[:, None]
            shifted = activations.transpose(1, 0, 2, 3).reshape(len(lowest), -1) - lowest
            rows = maps.transpose(1, 0, 2, 3).reshape(5, -1)
            left = np.linalg.norm(shifted - (concepts - lowest) @ rows)
            missed.append(float(left / np.linalg.norm(shifted)))
        table.add(network.name, batch, *missed)
    return table


def one_target_for_three(library: Any, network: Network) -> str:
    """Return what a library makes of three images and a list of one target."""
    target = import_module(f"{library.__name__}.utils.model_targets").ClassifierOutputTarget
    model = deepcopy(network.model)
    cam = library.GradCAM(model, [model.get_submodule(network.layers[1])])
    try:
        maps = cam(network.images, [target(network.classes[0])])
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return f"maps with the maxima {', '.join(f'{each.max():.2f}' for each in maps)}"


def shapley_of_tokens(library: Any) -> str:
    """Return what a library's Shapley-CAM makes of a small ViT, with a `reshape_transform`."""
    torch.manual_seed(0)
    model = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5).eval()
    nn.init.normal_(model.heads.head.weight)
    target = import_module(f"{library.__name__}.utils.model_targets").ClassifierOutputTarget(1)

    def grid(tokens: Tensor) -> Tensor:
        return tokens[:, 1:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2)

    cam = library.ShapleyCAM(model, [model.encoder.layers[-1].ln_1], grid)
    try:
        made = cam(torch.randn(1, 3, 32, 32), [target])
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return f"a map with the maximum {made.max():.2f}"


# ---- the page ------------------------------------------------------------------------------------


def publish(text: str) -> None:
    """Write the tables into their place in the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def compatibility(rows: Sequence[Row], networks: Sequence[Network], unpadded: Network) -> Rows:
    """Run the rows, and the one on a network whose grid does not cover the picture."""
    outcome = Rows()
    for row in rows:
        outcome.add(row, networks)
    (cut,) = limelight.cuts(unpadded.model, unpadded.images, [unpadded.layers[1]])
    SPAN[:] = [(axis.start, axis.end) for axis in cut.layout.span]
    outcome.add(UNPADDED, [unpadded])
    return outcome


def written(outcome: Rows, networks: Sequence[Network], clock: Table | None) -> str:
    """Return the tables and what they show, in Markdown."""
    errors = Table({"error": "", "what is wrong with grad-cam": "", "cases": "d"})
    for mend in MENDS:
        errors.add(mend.number, mend.says, outcome.seen[mend.number])
    small = networks[1]
    left = "\n".join(f"- {each}" for each in outcome.unexplained) or "- none"
    about = ", and ".join(f"{network.name} is {network.about}" for network in networks)
    parts = [
        f"On {setting()}. Here {about}; neither overwrites anything in place. A class has 24 "
        "cases: two networks, one target layer and two, one image and three, and the targets "
        "None, a class by index, and a list of targets. FullGrad has no target layers, and "
        "guided backpropagation takes neither layers nor a list; one more row has SqueezeNet,"
        " whose grid does not cover the picture. Maps are equal if they differ by less than "
        f"{EQUAL:g} at every pixel. Otherwise grad-cam ran again with its source changed in "
        "memory at its errors, as few of them as make it equal. The last column is the "
        "largest difference of all cases then. Cases in which grad-cam fails do not count in "
        "the largest difference before.",
        str(outcome.table),
        "Cases that are left different with all errors mended:\n\n" + left,
        "The errors, and in how many cases each had to be mended; those with 0 are smaller than "
        "1e-4 here, or hidden by another:",
        str(errors),
        "What has no map to compare:\n\n"
        f"- One target for three images. limelight: {one_target_for_three(ours, small)} "
        f"grad-cam: {one_target_for_three(theirs, small)}, without a word.\n"
        f"- ShapleyCAM of tokens, with a `reshape_transform`. limelight: "
        f"{shapley_of_tokens(ours)}; grad-cam: {shapley_of_tokens(theirs)}\n"
        "- RefineCAM scales the map of each layer in a loop whose result it drops. The maps are "
        "scaled already, so that nothing differs.\n"
        "- DeepFeatureFactorization starts from singular vectors, grad-cam's from random numbers: "
        "the concepts are others. Both miss this share of the activations, with five concepts:",
        str(factorization(networks)),
    ]
    if clock is not None:
        parts += [
            "The same script with either import: GradCAM of one image of 224 px, random weights, "
            "in seconds: the import and the first map in a process of their own, then the calls "
            "that follow, in turns. The last column has the medians of limelight's time over "
            "grad-cam's in the same round, for the import, the first map, and a call.",
            str(clock),
        ]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", help="rows whose name begins so")
    parser.add_argument("--starts", type=int, default=5, help="fresh processes per import")
    parser.add_argument("--calls", type=int, default=20, help="calls that follow the first")
    parser.add_argument("--no-times", action="store_true")
    parser.add_argument("--publish", action="store_true", help="write the tables into docs/")
    args = parser.parse_args()
    networks = [
        trained("mobilenet_v2", "MobileNet V2", ("features.10", "features.13")),
        trained_small(),
    ]
    unpadded = trained("squeezenet1_0", "SqueezeNet 1.0", ("features.7", "features.9"))
    rows = [row for row in ROWS if not args.only or row.name.startswith(tuple(args.only))]
    outcome = compatibility(rows, networks, unpadded)
    clock = None if args.no_times else times(args.starts, args.calls)
    text = written(outcome, networks, clock)
    print(text)
    if args.publish:
        publish(text)


if __name__ == "__main__":
    main()
