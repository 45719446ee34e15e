"""A walkthrough's numbers are those of the tensors that they are said to be."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import math
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchvision
from matplotlib import colormaps
from PIL import Image
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.networks import ready
from helpers.page_cases import CASES, case, double, embedded, noise, page
from helpers.page_truth import NEAR, Truth, answers_of, check, convolution_work, laid_out
from helpers.pages import Node, packed_in, path_of, read, rows_of, unpacked
from helpers.tolerances import assert_agrees
from limelight.errors import InputError
from limelight.inputs import ModelInputs
from limelight.methods import METHODS

# Every number is that of the tensor it came from


@pytest.mark.parametrize("name", CASES)
def test_every_number_and_map_is_that_of_its_tensor(name: str) -> None:
    one = case(name)
    assert one.found.explanation.status[0].ok
    counted = check(page(name), one.truth)
    assert {"score value", "raw map", "heatmap map", "image mean", "steps share"} <= set(counted)
    channels = min(15, len(one.truth.activations))
    assert counted["activations map"] == counted["gradients map"] == channels
    assert counted["beside likeness"] == len(one.found.beside)


@pytest.mark.parametrize("name", CASES)
def test_the_page_shows_where_the_hottest_cell_of_a_picture_looks(name: str) -> None:
    one, tree = case(name).found, read(page(name))
    expected = one.explanation.image.ndim == 4 and one.explanation.layer != limelight.INPUT
    shown = [data for data in tree.all("data") if data.attributes["data-as"] == "place"]
    assert len(shown) == (4 if expected else 0)
    assert (one.hottest is not None) == expected
    if one.hottest is not None:
        assert one.kept[one.hottest] == one.kept.max()
        (picture,) = tree.all("div", "looking")
        ellipses = list(picture.all("ellipse"))
        places = [float(data.attributes["value"]) for data in shown]
        width, height = map(float, picture.one("svg").attributes["viewbox"].split()[2:])
        drawn = [float(ellipses[0].attributes[at]) for at in ("cx", "cy", "rx", "ry")]
        sizes = (width, height, width, height)
        assert drawn == pytest.approx([p * s for p, s in zip(places, sizes, strict=True)], abs=0.06)


@pytest.mark.parametrize("name", ["chelsea, gradcam", "a volume, fem in float64"])
def test_the_chinese_page_has_the_same_numbers(name: str) -> None:
    english, chinese = (check(page(name, language), case(name).truth) for language in ("en", "zh"))
    assert english == chinese


def doctored_weight(text: str, truth: Truth) -> str:
    """Move one weight by 100 of the smallest steps there are."""
    weight = truth["weights"][truth.order[0]].numpy()
    off = weight + 100 * np.spacing(weight)
    return text.replace(f'value="{float(weight)!r}"', f'value="{float(off)!r}"', 1)


def doctored_map(text: str, truth: Truth) -> str:
    """Move one value of one map by a single bit."""
    packed = packed_in(read(text))
    one = packed["maps"][f"gradients/{truth.order[0]}"]
    values = unpacked(one).copy()
    values[0, 0] = np.nextafter(values[0, 0], np.inf, dtype=values.dtype)
    changed = base64.b64encode(values.tobytes()).decode()
    return text.replace(one["data"], changed)


def doctored_channels(text: str, truth: Truth) -> str:
    """Swap the activations of two channels."""
    maps = packed_in(read(text))["maps"]
    live = [k for k in truth.order[:9] if bool(truth.activations[k].any())]
    first, second = (maps[f"activations/{k}"]["data"] for k in live[:2])
    swapped = {first: second, second: first}
    pattern = "|".join(map(re.escape, swapped))
    return re.sub(pattern, lambda match: swapped[match[0]], text)


def doctored_text(text: str, truth: Truth) -> str:
    """Cut a digit of the score off rather than round it."""
    value = float(truth["score"])
    told = re.search(rf'data-of="score" data-as="value">({value:.4g})<', text)
    assert told is not None
    return text.replace(f'data-as="value">{told[1]}<', f'data-as="value">{told[1][:-1]}<', 1)


def doctored_name(text: str, truth: Truth) -> str:
    """Call a number what nobody knows."""
    return text.replace('data-of="score"', 'data-of="scores"', 1)


def doctored_mean(text: str, truth: Truth) -> str:
    """Give the share of work of another layer."""
    first, second = re.findall(r'<data value="[^"]+" data-of="steps/[01]" data-as="share">', text)[
        :2
    ]
    value = second.split('"')[1]
    return text.replace(first, re.sub(r'value="[^"]+"', f'value="{value}"', first), 1)


def doctored_place(text: str, truth: Truth) -> str:
    """Let the hottest cell look a spread farther to the left."""
    value = re.search(r'<data value="([^"]+)" data-of="centre/1"', text)
    assert value is not None
    off = float(value[1]) - float(truth["spread/1"])
    return text.replace(value[1], repr(off)).replace(f"{float(value[1]):.1%}", f"{off:.1%}")


@pytest.mark.parametrize(
    "doctor",
    [
        doctored_place,
        doctored_weight,
        doctored_map,
        doctored_channels,
        doctored_text,
        doctored_name,
        doctored_mean,
    ],
)
def test_a_doctored_page_is_caught(doctor: Callable[[str, Truth], str]) -> None:
    truth = case("swin_t").truth
    wrong = doctor(page("swin_t"), truth)
    assert wrong != page("swin_t")
    with pytest.raises((AssertionError, AttributeError)):
        check(wrong, truth)


def test_shares_of_work_are_those_of_the_shapes() -> None:
    network, _, images = embedded()
    total = convolution_work(network.model, images)
    done = 0.0
    twin = copy.deepcopy(network.model).eval()
    stem = {"": 0.0}

    def note(module: nn.Module, args: object, output: Tensor) -> None:
        stem[""] = output.numel() * cast("Tensor", module.weight)[0].numel()

    twin.get_submodule("conv_stem").register_forward_hook(note)
    with torch.no_grad():
        twin(images)
    done = stem[""] / total
    tree = read(page("chelsea, gradcam"))
    (row,) = (row for row in rows_of(tree) if path_of(row) == "conv_stem")
    assert_agrees(float(row.one("data").attributes["value"]), done)
    last_row = rows_of(tree)[-1]
    assert float(last_row.one("data").attributes["value"]) == 1


def test_the_answers_are_the_first_five_and_the_explained_one() -> None:
    tree, truth = read(page("chelsea, gradcam")), case("chelsea, gradcam").truth
    rows = answers_of(tree)
    shown = [int(row.first("small").text) for row in rows]
    assert shown == truth.logits.topk(5).indices.tolist()
    assert [row.attributes.get("class") for row in rows] == ["cut", *[None] * 4]
    network, _, images = embedded()
    found = limelight.walkthrough(network.model, images, target=7, beside=[])
    rows = answers_of(read(found.html()))
    assert [int(row.first("small").text) for row in rows] == [*shown, 7]
    assert rows[-1].attributes["class"] == "cut"
    assert "cock 7" in rows[-1].text


def test_the_cards_show_the_channels_that_weigh_most_add_most_and_weigh_least() -> None:
    tree, truth = read(page("chelsea, gradcam")), case("chelsea, gradcam").truth
    cards = list(tree.all("article", "card"))
    named = [int(card.one("h4").text.removeprefix("channel ")) for card in cards]
    size = truth["contributions"].abs().flatten(1).mean(1)
    by_added = size.argsort(descending=True, stable=True).tolist()
    adding = [k for k in by_added if k not in truth.order[:6]][:6]
    weakest = [k for k in truth.order[::-1] if k not in adding][:3]
    assert named == truth.order[:6] + adding + weakest
    for k, card in zip(named, cards, strict=True):
        keys = [figure.attributes["data-map"] for figure in card.all("figure")]
        assert keys == [f"{name}/{k}" for name in ("activations", "gradients", "contributions")]


def test_the_bars_are_the_weights_from_highest_to_lowest() -> None:
    tree, truth = read(page("chelsea, gradcam")), case("chelsea, gradcam").truth
    weights = sorted(truth["weights"].tolist(), reverse=True)
    scale = 200 / (weights[0] - weights[-1])
    for kind in ("above", "below"):
        drawn = [
            float(y) for y in re.findall(r"V([-\d.]+)H", tree.one("path", kind).attributes["d"])
        ]
        sign = 1 if kind == "above" else -1
        heights = [max(0.0, sign * w) * scale * sign for w in weights]
        expected = [weights[0] * scale - h for h in heights]
        assert drawn == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("name", CASES)
def test_layers_are_those_that_ran_with_the_shapes_that_they_put_out(name: str) -> None:
    one, shapes = case(name), dict[str, list[int]]()
    twin = copy.deepcopy(one.model).eval()

    def note(path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: object, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else output
            shapes[path] = list(output.shape)

        return hook

    for path, module in twin.named_modules():
        module.register_forward_hook(note(path))
    with torch.no_grad():
        twin(one.image)
    for row in rows_of(read(page(name))):
        path, kind, shape = (cell.text for cell in list(row.all("td"))[1:4])
        path = path.partition("#")[0]
        assert kind == type(twin.get_submodule(path)).__name__
        assert json.loads(shape) == shapes[path]


# Pictures


def decoded(figure: Node) -> npt.NDArray[Any]:
    source = figure.first("img").attributes["src"]
    kind, _, data = source.partition(";base64,")
    assert kind == "data:image/png"
    with Image.open(BytesIO(base64.b64decode(data))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("name", CASES)
def test_maps_are_drawn_in_the_colours_of_their_values(name: str) -> None:
    truth = case(name).truth
    for figure in read(page(name)).all("figure", "map"):
        key = figure.attributes["data-map"]
        table, (low, high) = laid_out(truth[key]), truth.ends(key)
        step = math.ceil(max(table.shape) / 256)
        signed = low < 0 or key.split("/")[0] not in ("activations", "kept", "heatmap")
        bar = figure.one("div", "bar").attributes["class"]
        assert bar == ("bar signed" if signed else "bar plain")
        values = table[::step, ::step].astype(float)
        share = (values - low) / (high - low) if high > low else np.full_like(values, signed / 2)
        coloured = colormaps["RdBu_r" if signed else "inferno"](share)[..., :3] * 255
        expected = np.where(np.isnan(values)[..., None], 128, coloured)
        # Colours are 255 at most, and neighbours of 255 are up to 5 apart.
        assert np.abs(decoded(figure) - expected).max() <= 5, key


def test_the_input_is_drawn_as_it_was_seen() -> None:
    network, _, images = embedded()
    tree = read(page("chelsea, gradcam"))
    (shown,) = (
        one
        for one in tree.all("figure", "picture")
        if "in its own colours" in one.one("figcaption").text
    )
    data = shown.one("img").attributes["src"].partition(";base64,")[2]
    with Image.open(BytesIO(base64.b64decode(data))) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(float)
    mean, std = (np.array(one) for one in (network.preprocess.mean, network.preprocess.std))
    expected = (images[0].permute(1, 2, 0).numpy() * std + mean) * 255
    assert np.abs(pixels - expected).max() <= 0.51


# Laws


@pytest.mark.parametrize(
    "method", [name for name, row in METHODS.items() if row.by_channel and row.place != "network"]
)
def test_contributions_add_up_to_the_raw_map(method: str) -> None:
    model, image = ready(networks.PoolLinear()), noise(3, 12, 10, dtype=double)
    layer = None if METHODS[method].place == "input" else "features"
    options = {"sscam": ":samples=2", "iscam": ":samples=2"}.get(method, "")
    found = limelight.walkthrough(
        model, image, method=method + options, layer=layer, beside=[], target=0
    )
    raw, room = found.explanation.raw[0], NEAR * float(found.contributions.abs().sum(0).max())
    assert float((found.contributions.sum(0) - raw).abs().max()) <= room
    assert float((found.sums[-1] - raw).abs().max()) <= room
    assert found.counts[-1] == len(found.weights) == len(found.order)
    assert list(found.counts) == sorted(set(found.counts))
    strength = found.strength[found.order]
    assert bool((strength[1:] <= strength[:-1]).all())
    assert found.weighs_activations == (method != "fem")
    read(found.html())


def test_the_order_of_equal_weights_is_that_of_the_channels() -> None:
    found = limelight.walkthrough(
        ready(networks.PoolLinear()), noise(3, 8, 8, dtype=double), method="fem", beside=[]
    )
    flat = torch.ones_like(found.weights)
    same = dataclasses.replace(found, weights=flat)
    assert same.order.tolist() == list(range(8))
    assert same.counts == (1, 2, 5, 8)


def sides(found: limelight.Walkthrough) -> list[str]:
    return [step.side for step in found.steps]


def is_split(found: limelight.Walkthrough) -> None:
    """Check that the rows are a body, the layer at which the network was cut, and a head."""
    layer = found.explanation.layer
    order = {"body": 0, "cut": 1, "head": 2}
    ranks = [order[side] for side in sides(found)]
    assert ranks == sorted(ranks)
    assert [step.path for step in found.steps if step.side == "cut"] == [layer]
    assert not [step.path for step in found.steps if layer.startswith(f"{step.path}.")]
    inside = [step.side for step in found.steps if step.path.startswith(f"{layer}.")]
    assert set(inside) <= {"body"}
    shares = [step.share for step in found.steps]
    assert shares == sorted(shares)
    assert_agrees(shares[-1], 1)


NETWORKS = {
    "resnet50": 64,
    "vgg16": 64,
    "vit_b_16": 32,
    "swin_t": 64,
    "densenet121": 64,
    "mobilenet_v3_large": 64,
    "squeezenet1_0": 64,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_torchvision_are_unfolded_so_that_they_can_be_read(name: str) -> None:
    size = NETWORKS[name]
    options = {"image_size": size} if name.startswith("vit") else {}
    model = getattr(torchvision.models, name)(weights=None, **options).eval()
    found = limelight.walkthrough(model, noise(3, size, size), beside=[], target=0)
    assert 4 <= len(found.steps) <= 40
    is_split(found)


@pytest.mark.parametrize(
    ("layer", "number"),
    [("stem", 0), ("stem.0", 0), ("block1", 0), ("block1.conv2", 0), ("block2.relu#1", 1)],
)
def test_the_layer_at_which_it_is_cut_is_always_shown(layer: str, number: int) -> None:
    found = limelight.walkthrough(
        ready(networks.ResidualCNN()),
        noise(3, 16, 16, dtype=double),
        layer=layer,
        beside=[],
        target=0,
    )
    assert found.explanation.layer == layer
    assert found.explanation.reason == "named"
    is_split(found)
    assert "it was asked for" in read(found.html()).seen


def test_a_cut_at_the_input_has_no_body() -> None:
    found = case("chelsea, input-x-gradient").found
    assert set(sides(found)) == {"head"}
    tree = read(page("chelsea, input-x-gradient"))
    lines = list(tree.all("tr", "cutline"))
    assert [line.text for line in lines] == ["✂ cut: A is the image"]
    named = limelight.walkthrough(
        case("cam").model, case("cam").image, layer=limelight.INPUT, beside=[]
    )
    assert set(sides(named)) == {"head"}


# A network and a photo


def test_a_network_and_a_photo_are_all_that_is_needed() -> None:
    network, photo, _ = embedded()
    found = limelight.walkthrough(network, photo, beside=["layercam"])
    spelled = case("chelsea, gradcam").found
    assert found.name == network.name
    assert found.preprocess is network.preprocess
    assert found.photo == network.preprocess.view(photo)
    assert found.explanation.photos == (found.photo,)
    assert found.beside[0].explanation.photos == (found.photo,)
    assert found.answers == spelled.answers
    assert torch.equal(found.contributions, spelled.contributions)


def test_a_network_and_a_photo_make_the_same_page_as_their_parts() -> None:
    network, photo, images = embedded()
    parts = limelight.walkthrough(
        network.model,
        torch.cat([images]),  # laid out in memory as it is there, or rounding differs
        classes=network.classes,
        photo=network.preprocess.view(photo),
        preprocess=network.preprocess,
        name=network.name,
        beside=[],
    )
    assert limelight.walkthrough(network, photo, beside=[]).html() == parts.html()


def test_what_is_passed_goes_before_what_the_network_brings() -> None:
    network, photo, images = embedded()
    other = Image.new("RGB", (40, 40))
    plain = limelight.Preprocess()
    found = limelight.walkthrough(
        network, photo, photo=other, preprocess=plain, name="mine", classes=["a"] * 1000, beside=[]
    )
    assert (found.photo, found.preprocess, found.name) == (other, plain, "mine")
    assert found.explanation.label == ("a",)
    of_tensor = limelight.walkthrough(network, images, beside=[])  # prepared in what way?
    assert (of_tensor.photo, of_tensor.preprocess, of_tensor.name) == (None, None, network.name)


def test_photos_need_a_network_and_only_one_is_walked_through() -> None:
    network, photo, _ = embedded()
    with pytest.raises(InputError, match=r"A photo was given, .* Pass a Network"):
        limelight.walkthrough(network.model, photo)
    with pytest.raises(InputError, match="There are 2 images; one was expected"):
        limelight.walkthrough(network, [photo, photo])


def test_the_inputs_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read_once = ModelInputs.of
    counted = list[object]()

    def counting(inputs: Any, picture: int | None = None) -> ModelInputs:
        counted.append(inputs)
        return read_once(inputs, picture)

    monkeypatch.setattr(ModelInputs, "of", counting)
    limelight.walkthrough(ready(networks.PoolLinear(), torch.float32), noise(3, 8, 8), beside=[])
    assert len(counted) == 1
