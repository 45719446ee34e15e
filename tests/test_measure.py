"""What measuring several maps of one image, of many images, and again later has to get right."""

from __future__ import annotations

import copy
import json
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.weight_norm import WeightNorm

import limelight
from helpers import networks
from helpers.tolerances import assert_agrees
from limelight.errors import InputError, OutputError
from limelight.metrics.annotation_files import Annotations
from limelight.metrics.imputation import impute
from limelight.metrics.intervals import mean
from limelight.metrics.journal import Journal
from limelight.metrics.photo_measurement import MeasureSpec, measure_photos
from limelight.models.network import Network
from limelight.photos.preprocess import Preprocess


@pytest.fixture
def model() -> nn.Module:
    return networks.ready(networks.PoolLinear())


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 16, 16, dtype=torch.float64)


ROW = "insertion:steps=3"


# ---- readings of one image ---------------------------------------------------------------------


def test_classes_of_one_image_are_no_independent_images(model: nn.Module, images: Tensor) -> None:
    one = images[:1]
    grid = limelight.compare(model, one, methods=["gradcam"], targets=[0, 1, 2], metrics=[ROW])
    assert grid.measured is not None
    found = grid.measured.estimate("gradcam", "insertion")
    assert (found.own.n, found.own.images) == (3, 1)
    assert math.isnan(found.own.low)
    assert found.beats_chance is None
    assert grid.measured.verdict().trusted == ()


def test_the_same_image_measured_twice_is_one_image(model: nn.Module, images: Tensor) -> None:
    once, again = (
        limelight.measure(model, some, limelight.explain(model, some), metrics=[ROW])
        for some in (images[:2], images[1:])
    )
    own = (once + again).estimate("gradcam", "insertion").own
    assert (own.n, own.images) == (4, 3)


@pytest.mark.parametrize("over_groups", [False, True])
def test_an_interval_is_as_wide_as_that_of_the_images(over_groups: bool) -> None:
    drawn = torch.randn(40, dtype=torch.float64)
    names = [str(i) for i in range(40)]
    alone = mean(drawn, ["a"] * 40, names)
    # Ten readings of each image say no more than one does.
    tenfold = mean(
        drawn.repeat_interleave(10),
        ["a"] * 400,
        [name for name in names for _ in range(10)],
        over_groups=over_groups,
    )
    for end in ("value", "low", "high"):
        assert_agrees(getattr(tenfold, end), getattr(alone, end))
    apart = mean(drawn.repeat_interleave(10), ["a"] * 400)
    assert apart.high - apart.low < 0.5 * (alone.high - alone.low)


# ---- heatmaps of one's own -----------------------------------------------------------------------


def test_several_heatmaps_are_told_apart(model: nn.Module, images: Tensor) -> None:
    heatmaps = torch.rand(3, 16, 16)
    both = limelight.measure(model, images, [heatmaps, heatmaps**4], metrics=[ROW])  # type: ignore[list-item]
    assert both.methods == ("heatmaps 1", "heatmaps 2")
    alone = limelight.measure(model, images, heatmaps**4, metrics=[ROW])
    assert both.estimate("heatmaps 2", ROW).own == alone.estimate("heatmaps", ROW).own


def test_all_that_can_be_had_of_heatmaps_is_measured(model: nn.Module, images: Tensor) -> None:
    heatmaps = torch.rand(3, 16, 16)
    found = limelight.measure(model, images, heatmaps, metrics="all", chunk=64)
    assert "deletion" in found.metrics
    assert not {"adcc", "max-sensitivity", "parameter-randomisation"} & set(found.metrics)


def test_heatmaps_that_are_not_finite_are_refused(model: nn.Module, images: Tensor) -> None:
    heatmaps = torch.rand(3, 16, 16)
    heatmaps[1, 2, 3] = math.nan
    with pytest.raises(InputError, match="hold NaN or infinity"):
        limelight.measure(model, images, heatmaps, metrics=[ROW])


@pytest.mark.parametrize("maps", ["gradcam", ["gradcam", "layercam"]], ids=str)
def test_names_of_methods_are_no_maps(maps: Any, model: nn.Module, images: Tensor) -> None:
    says = r"hold str 'gradcam'; explanations or heatmaps .* Pass what explain\(model, images\)"
    with pytest.raises(InputError, match=says):
        limelight.measure(model, images, maps)


def test_heatmaps_without_structure_are_counted_as_such(model: nn.Module, images: Tensor) -> None:
    found = limelight.measure(model, images, torch.ones(3, 16, 16), metrics=[ROW])
    assert found.status == {("heatmaps", ""): {"flat": 3}}


# ---- recipes -------------------------------------------------------------------------------------


def test_an_explanation_can_be_pickled_whatever_its_target(
    model: nn.Module, images: Tensor
) -> None:
    plain = pickle.loads(pickle.dumps(limelight.explain(model, images, target=1)))
    assert limelight.measure(model, images, plain, metrics=["max-sensitivity:samples=1"]).n == 3
    called = limelight.explain(model, images, target=lambda y: y[:, 1])
    again = pickle.loads(pickle.dumps(called))
    assert torch.equal(again.heatmap, called.heatmap)
    assert again.recipe is None


def test_outputs_that_are_read_differently_are_measured_apart(images: Tensor) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 6, 3, padding=1)
            self.a, self.b = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            pooled = self.body(x).tanh().mean((2, 3))
            return {"a": self.a(pooled) * 9, "b": self.b(pooled) * -9}

    model = Two().double()
    found = [
        limelight.explain(model, images, target=1, output=name, method=method)
        for name, method in (("a", "gradcam"), ("b", "hirescam"))
    ]
    together = limelight.measure(model, images, found, metrics=[ROW])
    for one in found:
        alone = limelight.measure(model, images, one, metrics=[ROW])
        wanted = alone.estimate(one.method, ROW).own.value
        assert_agrees(together.estimate(one.method, ROW).own.value, wanted)


def test_whichever_class_is_highest_is_told_by_name(model: nn.Module, images: Tensor) -> None:
    names = ["ant", "bee", "cat", "dog", "elk"]
    result = limelight.explain(model, images, target=limelight.AnyOf(["bee", 3]), classes=names)
    assert set(result.label) <= {"bee", "dog"}


# ---- random weights ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pruned", "weight norm"])
def test_weights_that_are_computed_stay_as_they_are(kind: str, images: Tensor) -> None:
    convolution = nn.Conv2d(3, 4, 3, padding=1).double()
    if kind == "pruned":
        prune.l1_unstructured(convolution, "weight", amount=0.5)  # type: ignore[no-untyped-call]
    else:  # the old one, which keeps what it computes as an attribute
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            WeightNorm.apply(convolution, "weight", 0)
    model = nn.Sequential(
        convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3).double()
    ).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weight = convolution.weight.detach().clone()
    limelight.sanity(model, images, methods=["gradcam"], layer="1", steps=3)
    assert torch.equal(convolution.weight, weight)
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())


def test_a_map_that_shows_nothing_does_not_pass(images: Tensor) -> None:
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(3, 5)

        def forward(self, x: Tensor) -> Tensor:
            self.seen(x)
            return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]

    found = limelight.sanity(Blind().double(), images, methods=["gradcam"], layer="seen", steps=3)
    own = found.measurement.estimate("gradcam", "parameter-randomisation").own
    assert (own.n, own.left_out) == (0, 3)
    assert found.verdicts == {"gradcam": "unclear"}


# ---- half precision ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_imputation_is_as_good_in_half_precision(dtype: torch.dtype) -> None:
    image = torch.rand(3, 64, 64).to(dtype)
    removed = torch.zeros(2, 64, 64, dtype=torch.bool)
    removed[0, 8:56, 8:56] = True
    removed[1] = torch.rand(64, 64) < 0.9
    found = impute(image, removed)
    assert found.dtype == dtype
    exact = impute(image.double(), removed)
    assert (found.double() - exact).abs().max() <= 2 * torch.finfo(dtype).eps


# ---- a run that goes on --------------------------------------------------------------------------


def test_what_changed_is_measured_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    preprocess = Preprocess(size=(16, 16), resize=16)
    network = Network("net", networks.ready(networks.PoolLinear(), torch.float32), preprocess)
    photos = [tmp_path / "photos" / f"{name}.png" for name in "abc"]
    photos[0].parent.mkdir()
    for photo in photos:
        noise = torch.randint(0, 255, (16, 16, 3), dtype=torch.uint8)
        Image.fromarray(noise.numpy()).save(photo)
    labels = tmp_path / "labels"
    labels.mkdir()
    for photo in photos:
        (labels / f"{photo.stem}.txt").write_text("0 .5 .5 .5 .5")
    asked = MeasureSpec(
        [limelight.METHODS["gradcam"]],
        [limelight.METRICS["energy-pointing"]],
        annotations=Annotations(boxes=labels),
    )

    def journal() -> Journal:
        return Journal(tmp_path / "readings.jsonl", {}, photos, asked)

    def measure_rest() -> list[str]:
        book = journal()
        wanted = [photo for photo in photos if str(photo) not in book.done]
        for result in measure_photos(network, wanted, asked):
            assert result.error is None
            book.keep(result)
        return [photo.stem for photo in wanted]

    assert measure_rest() == ["a", "b", "c"]
    assert measure_rest() == []
    before = journal().total.estimate("gradcam", "energy-pointing").own
    (labels / "b.txt").write_text("0 .2 .2 .3 .3")
    assert measure_rest() == ["b"]
    after = journal().total.estimate("gradcam", "energy-pointing").own
    assert (before.n, after.n) == (3, 3)
    assert after.value != before.value


def test_what_decides_whether_a_run_goes_on_stays_as_it_was_written(tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("photo,x1,y1,x2,y2,class\n0.png,5,5,30,40,cat\n0.png,1.5,2,9,11,\n")
    annotations = Annotations(boxes=boxes, names=["cat"])
    spec = MeasureSpec(
        [limelight.METHODS["gradcam"]],
        [limelight.METRICS["deletion"].set(steps=5)],
        layer="bn2",
        annotations=annotations,
        matches={"cat": [281, "tabby"]},
    )
    question = spec.question(
        model="net", weights="default", classes=None, target="7", preprocessing=[24, None, None]
    )
    assert question == {
        "model": "net",
        "weights": "default",
        "methods": ["gradcam"],
        "metrics": ["deletion:steps=5"],
        "boxes": str(boxes),
        "masks": "",
        "mask value": None,
        "names": ["cat"],
        "match": {"cat": [281, "tabby"]},
        "classes": None,
        "target": "7",
        "layer": "bn2",
        "input": [24, None, None],
    }
    assert annotations.fingerprint(Path("photos/0.png")) == "925e4a07"


def test_each_class_of_a_photo_has_its_own_explanations(tmp_path: Path) -> None:
    torch.manual_seed(0)
    preprocess = Preprocess(size=(16, 16), resize=16)
    network = Network("net", networks.ready(networks.PoolLinear(), torch.float32), preprocess)
    photo, boxes = tmp_path / "a.png", tmp_path / "boxes.csv"
    noise = torch.randint(0, 255, (16, 16, 3), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(photo)
    boxes.write_text("photo,x1,y1,x2,y2,class\na.png,0,0,4,4,cat\na.png,8,8,16,16,dog\n")
    methods = ["gradcam", "rollout", "saliency"]  # rollout needs attention, which there is not
    spec = MeasureSpec(
        [limelight.METHODS[name] for name in methods],
        [limelight.METRICS["mass-accuracy"]],
        annotations=Annotations(boxes=boxes),
        matches={"cat": [0], "dog": [1, 2]},
    )
    (result,) = measure_photos(network, [photo], spec)
    images = network.images(limelight.load_photo(photo))
    assert [gap.method for gap in result.measurement.unmeasured] == ["rollout"]
    for key, maps in result.measurement.readings.items():
        assert maps.groups == ("cat", "dog")
        for number, (target, box) in enumerate((([0], [0, 0, 4, 4]), ([1, 2], [8, 8, 16, 16]))):
            alone = limelight.measure(
                network,
                images,
                limelight.explain(
                    network, images, target=limelight.AnyOf(target), method=key.method
                ),
                metrics=["mass-accuracy"],
                objects=[[box]],
            )
            wanted = alone.estimate(key.method, "mass-accuracy").own.value
            assert_agrees(maps.values["own"]["value"][number].item(), wanted)


def test_a_copy_of_a_network_measures_the_same(model: nn.Module, images: Tensor) -> None:
    result = limelight.explain(model, images)
    found = [
        limelight.measure(one, images, result, metrics=[ROW]).estimate("gradcam", ROW)
        for one in (model, copy.deepcopy(model))
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("left", [9, 1000])
def test_a_run_killed_at_its_first_words_begins_anew(tmp_path: Path, left: int) -> None:
    path, asked = tmp_path / "readings.jsonl", MeasureSpec([], [])
    begin = json.dumps({"measured": {"model": "net"}}, sort_keys=True)
    path.write_text(begin[:left])
    assert Journal(path, {"model": "net"}, [], asked).done == set()
    path.write_text("something else")
    with pytest.raises(OutputError, match="is not what `limelight measure` writes"):
        Journal(path, {"model": "net"}, [], asked)
    assert path.read_text() == "something else"


def test_a_method_that_the_network_cannot_do_is_told(model: nn.Module, images: Tensor) -> None:
    found = limelight.sanity(model, images, methods=["gradcam", "rollout"], steps=2)
    assert list(found.verdicts) == ["gradcam"]
    ((method, _, reason),) = found.measurement.unmeasured
    assert method == "rollout"
    assert "attention" in reason


def test_few_images_earn_no_trust(model: nn.Module) -> None:
    images = torch.rand(9, 3, 16, 16, dtype=torch.float64)
    objects = torch.zeros(9, 16, 16, dtype=torch.bool)
    objects[:, :4, :4] = True
    heatmaps = objects.float()
    found = {
        count: limelight.measure(
            model,
            images[:count],
            heatmaps[:count],
            metrics=["energy-pointing"],
            objects=objects[:count],
        )
        for count in (7, 9)
    }
    # All of the heat lies on the object.
    assert found[7].estimates()[0].ahead
    assert found[7].estimates()[0].beats_chance is None
    assert found[9].estimates()[0].beats_chance
    assert found[7].verdict().trusted == ()
    assert "7 images are too few to earn trust on" in found[7].verdict().sentence
    assert found[9].verdict().trusted == ("heatmaps",)
