"""Probes and trust on the server: brush, cell, quick check, faithfulness, what to do instead."""

from __future__ import annotations

import asyncio
import json
import math
from base64 import b64decode, b64encode
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from scipy import ndimage
from starlette.testclient import TestClient
from torch import Tensor

import limelight
from helpers.probed_networks import (
    HEIGHT,
    MODELS,
    PREPROCESS,
    SIZE,
    WIDTH,
    Tiny,
    networks,
    photo,
)
from limelight.metrics import METRICS
from limelight.web.answers.checks import RANDOM_MAPS, SHARE, check_verdict
from limelight.web.answers.probes import BLUR, EDGE
from limelight.web.application import build_application
from limelight.web.serving.page_state import PageState
from limelight.web.serving.refusals import Refusal
from limelight.web.serving.turns import Turns, result_in_turns
from limelight.web.serving.work_queue import Job, WorkQueue
from limelight.web.settings import Limits, PageSettings
from limelight.web.subjects.networks import ServedNetworks

#: Rows and columns of the rasters that are painted on.
_RASTER = 40, 61


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    served = {**networks(), "efficientnet-lite0": limelight.load_model()}
    state = PageState.begin(PageSettings(), ServedNetworks(served))
    with TestClient(build_application(state), base_url="http://localhost") as client:
        yield client


def _uploaded(client: TestClient, picture: Image.Image) -> str:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    sent = client.post("/api/photos", files={"photo": ("a.png", buffer.getvalue())})
    photo_id: str = sent.json()["id"]
    return photo_id


@pytest.fixture(scope="module")
def photo_id(client: TestClient) -> str:
    return _uploaded(client, photo(0))


def _post(client: TestClient, photo_id: str, what: str, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.post(f"/api/photos/{photo_id}/{what}", json=body).json()
    return answer


def _lines(client: TestClient, photo_id: str, what: str, **body: Any) -> list[dict[str, Any]]:
    text = client.post(f"/api/photos/{photo_id}/{what}", json=body).text
    return [json.loads(line) for line in text.splitlines()]


def _packed(strokes: npt.NDArray[np.bool_]) -> str:
    return b64encode(np.packbits(strokes, axis=1).tobytes()).decode()


def _strokes() -> npt.NDArray[np.bool_]:
    rows, columns = np.indices(_RASTER)
    return (rows - 18) ** 2 + (columns - 28) ** 2 < 81


def _probed(
    client: TestClient, photo_id: str, strokes: npt.NDArray[np.bool_], **body: Any
) -> dict[str, Any]:
    sent = {"network": "tiny", "strokes": _packed(strokes), "raster": list(strokes.shape), **body}
    return _post(client, photo_id, "probe", **sent)


def _in_photo() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Where the pixels of the input lie in the photo, which is resized to 60 x 40 and cropped."""
    inner = np.arange(SIZE) + 0.5
    return (inner + (40 - SIZE) / 2) * HEIGHT / 40, (inner + (60 - SIZE) / 2) * WIDTH / 60


def _painted_by_hand(fill: npt.NDArray[np.float64]) -> Tensor:
    """The input of the photo, painted over with a fill in the photo's colours, in 0..1."""
    seen = np.asarray(PREPROCESS(photo(0)).double())
    mean, std = (np.array(each)[:, None, None] for each in (PREPROCESS.mean, PREPROCESS.std))
    y, x = _in_photo()
    rows, columns = y / HEIGHT * _RASTER[0] - 0.5, x / WIDTH * _RASTER[1] - 0.5
    places = np.stack(np.meshgrid(rows, columns, indexing="ij"))
    laid = ndimage.map_coordinates(_strokes().astype(float), places, order=1, mode="nearest")
    soft = _blurred(laid, EDGE * SIZE)
    colours = (seen * std + mean) * (1 - soft) + fill * soft
    return torch.from_numpy((colours - mean) / std)[None].float()


def _blurred(values: npt.NDArray[np.float64], sigma: float) -> npt.NDArray[np.float64]:
    blurred: npt.NDArray[np.float64] = ndimage.gaussian_filter(
        values, sigma, mode="nearest", radius=math.ceil(3 * sigma)
    )
    return blurred


def _colours(photo: Image.Image) -> npt.NDArray[np.float64]:
    mean, std = (np.array(each)[:, None, None] for each in (PREPROCESS.mean, PREPROCESS.std))
    colours: npt.NDArray[np.float64] = np.asarray(PREPROCESS(photo).double()) * std + mean
    return colours


@pytest.mark.parametrize("fill", ["blurred", "grey", "photo"])
def test_the_score_of_a_painted_photo_is_the_networks_on_an_input_painted_by_hand(
    client: TestClient, photo_id: str, fill: str
) -> None:
    seen = _colours(photo(0))
    by_hand = {
        "blurred": np.stack([_blurred(channel, BLUR * SIZE) for channel in seen]),
        "grey": np.full_like(seen, 0.5),
        "photo": _colours(photo(1)),
    }[fill]
    other = _uploaded(client, photo(1))
    probed = _probed(client, photo_id, _strokes(), fill=fill, other=other, target={"class": 1})
    with torch.no_grad():
        before = MODELS["tiny"](PREPROCESS(photo(0))[None])[0]
        after = MODELS["tiny"](_painted_by_hand(by_hand))[0]
    assert probed["before"]["score"] == pytest.approx(float(before[1]), rel=1e-4)
    assert probed["after"]["score"] == pytest.approx(float(after[1]), rel=1e-3)
    assert abs(float(after[1] - before[1])) > 0.01 * abs(float(before[1]))  # it is worth a look
    likely = after.softmax(0)
    assert probed["after"]["probability"] == pytest.approx(float(likely[1]), rel=1e-3)
    rows = {row["index"]: row["after"] for row in probed["moved"]}
    assert rows == pytest.approx(dict(enumerate(likely.tolist())), rel=1e-3)


def test_the_picture_of_a_probe_is_what_the_network_sees(client: TestClient, photo_id: str) -> None:
    everything = np.ones(_RASTER, dtype=np.bool_)
    probed = _probed(client, photo_id, everything, fill="grey")
    with Image.open(BytesIO(b64decode(probed["picture"]))) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape == (SIZE, SIZE, 3)
    assert abs(pixels.astype(int) - 128).max() <= 2
    assert probed["share"] == pytest.approx(1)


def test_nothing_painted_changes_nothing_nor_does_paint_outside_of_what_was_seen(
    client: TestClient, photo_id: str
) -> None:
    nothing = np.zeros(_RASTER, dtype=np.bool_)
    outside = nothing.copy()
    outside[:, :8] = True  # of 120 columns the network saw 28 to 92
    for strokes in (nothing, outside):
        probed = _probed(client, photo_id, strokes)
        assert probed["share"] == 0
        assert probed["after"]["score"] == pytest.approx(probed["before"]["score"], rel=1e-5)


def test_strokes_that_do_not_fit_and_a_missing_photo_are_refused_with_a_sentence(
    client: TestClient, photo_id: str
) -> None:
    wrong = {"network": "tiny", "strokes": "AAAA", "raster": [9, 9]}
    error = _post(client, photo_id, "probe", **wrong)["error"]
    assert error == {
        "code": "strokes",
        "message": "The strokes are 3 bytes; 18 were expected: rows of bits, each filled up to "
        "whole bytes, as base64.",
    }
    error = _probed(client, photo_id, _strokes(), fill="photo")["error"]
    assert error["code"] == "no-other-photo"
    error = _probed(client, photo_id, _strokes(), fill="photo", other="unknown")["error"]
    assert error["code"] == "no-such-photo"


def _cell(client: TestClient, photo_id: str, **body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    *progress, first, last = _lines(client, photo_id, "cell", **body)
    assert all("progress" in line for line in progress)
    return first["cell"], last


def test_the_channels_of_a_cell_are_those_of_grad_cam_by_hand(
    client: TestClient, photo_id: str
) -> None:
    model = MODELS["tiny"]
    assert isinstance(model, Tiny)
    image = PREPROCESS(photo(0))[None]
    activations = model.second(model.first(image)).detach().requires_grad_()
    score = model.head(activations)[0, 1]
    (gradients,) = torch.autograd.grad(score, activations)
    layer, slopes = activations.detach()[0], gradients[0]
    weights = slopes.mean((1, 2))
    row, column = 5, 2
    # The input is 32 pixels of a photo of 60 x 40 that was enlarged to 120 x 80.
    at = [2 * (14 + column * 4 + 2), 2 * (4 + row * 4 + 2)]
    cell, _ = _cell(
        client, photo_id, network="tiny", layer="second", target={"class": 1}, at=at, channels=4
    )
    assert cell["cell"] == [row, column]
    box = [2 * (14 + column * 4), 2 * (4 + row * 4)]
    assert cell["box"] == pytest.approx([*box, box[0] + 8, box[1] + 8])
    adds = weights * layer[:, row, column]
    order = adds.abs().argsort(descending=True)[:4].tolist()
    assert [each["channel"] for each in cell["channels"]] == order
    for each in cell["channels"]:
        k = each["channel"]
        assert each["adds"] == pytest.approx(float(adds[k]), rel=1e-4)
        assert each["weight"] == pytest.approx(float(weights[k]), rel=1e-4)
        assert each["activation"] == pytest.approx(float(layer[k, row, column]), rel=1e-4)
        assert each["gradient"] == pytest.approx(float(slopes[k, row, column]), rel=1e-4)
    assert cell["value"] == pytest.approx(float(adds.sum()), rel=1e-4)
    assert cell["total"] == pytest.approx(cell["value"], rel=1e-5)
    shown = sum(each["adds"] for each in cell["channels"])
    assert shown + cell["rest"] == pytest.approx(cell["value"], rel=1e-4)


def test_a_cell_lies_where_its_grid_lies_on_the_photo(client: TestClient, photo_id: str) -> None:
    # The grid of 4 x 4 patches covers the middle half of the input, 8 to 24 of its 32 pixels.
    for column in range(4):
        at = [2 * (14 + 8 + column * 4 + 1), 2 * (4 + 8 + 3)]
        cell, _ = _cell(client, photo_id, network="middle", layer="patches", at=at)
        assert cell["grid"] == [4, 4]
        assert cell["cell"] == [0, column]
        left, top, right, bottom = cell["box"]
        assert left <= at[0] <= right
        assert top <= at[1] <= bottom
        assert right - left == pytest.approx(8, rel=0.1)


def test_where_a_cell_looks_is_the_patch_that_it_was_made_of(
    client: TestClient, photo_id: str
) -> None:
    at = [2 * (14 + 8 * 2 + 4), 2 * (4 + 8 + 4)]
    cell, last = _cell(client, photo_id, network="branches", layer="left", at=at)
    assert cell["cell"] == [1, 2]
    assert last["why"] is None
    left, top, right, bottom = cell["box"]
    x, y = last["looks"]["centre"]
    assert left < x < right
    assert top < y < bottom
    # A patch of 16 pixels whose weights are all alike would have a deviation of 16 / sqrt(12).
    for spread in last["looks"]["spread"]:
        assert 0.6 * 16 / math.sqrt(12) < spread < 1.4 * 16 / math.sqrt(12)


def test_a_map_on_no_layer_has_a_cell_without_channels(client: TestClient, photo_id: str) -> None:
    cell, last = _cell(
        client, photo_id, network="tiny", method="occlusion:patch=0.25,stride=0.25", at=[60, 40]
    )
    assert cell["channels"] == []
    assert not cell["sums"]
    assert last == {"looks": None, "why": "input"}


def test_a_point_that_the_network_did_not_see_has_no_cell(
    client: TestClient, photo_id: str
) -> None:
    (line,) = _lines(client, photo_id, "cell", network="tiny", at=[3, 40])
    assert line["error"]["code"] == "not-seen"


def _left_by_hand(heatmap: Tensor, target: int) -> float:
    """The probability when the highest pixels of a heatmap are blurred away."""
    seen = np.asarray(PREPROCESS(photo(0)).double())
    blurred = np.stack([_blurred(channel, BLUR * SIZE) for channel in seen])
    order = sorted(range(SIZE**2), key=lambda i: -float(heatmap.flatten()[i]))
    removed = np.zeros(SIZE**2, dtype=bool)
    removed[order[: round(SHARE * SIZE**2)]] = True
    changed = np.where(removed.reshape(SIZE, SIZE), blurred, seen)
    with torch.no_grad():
        logits = MODELS["tiny"](torch.from_numpy(changed)[None].float())[0]
    return float(logits.softmax(0)[target])


def test_the_quick_check_is_the_probability_left_beside_random_maps_and_the_centre(
    client: TestClient, photo_id: str
) -> None:
    image = PREPROCESS(photo(0))[None]
    checked = _post(client, photo_id, "check", network="tiny", layer="second", target={"class": 1})
    assert checked["measured"] == "probability"

    def left(method: str) -> float:
        model = MODELS["tiny"]
        made = limelight.explain(model, image, target=1, method=method, layer="second")
        return _left_by_hand(made.heatmap[0], 1)

    chance = [left(f"random:seed={seed}") for seed in range(RANDOM_MAPS)]
    assert checked["own"] == pytest.approx(left("gradcam"), rel=1e-3)
    assert checked["centre"] == pytest.approx(left("centre"), rel=1e-3)
    assert checked["chance"]["mean"] == pytest.approx(sum(chance) / len(chance), rel=1e-3)
    assert checked["chance"]["lowest"] == pytest.approx(min(chance), rel=1e-3)
    assert checked["verdict"] == _verdict_by_hand(checked)


def _verdict_by_hand(checked: dict[str, Any]) -> str:
    own, centre, chance = (checked[name] for name in ("own", "centre", "chance"))
    if min(own, centre, chance["lowest"]) > 0.95 * checked["before"]:
        return "no-loss"
    if own >= chance["mean"]:
        return "no-better"
    if own >= centre:
        return "behind-centre"
    return "ahead" if own < chance["lowest"] else "ahead-on-average"


@pytest.mark.parametrize(
    ("before", "own", "centre", "verdict"),
    [
        (0.9, 0.1, 0.3, "ahead"),
        (0.9, 0.3, 0.35, "ahead-on-average"),
        (0.9, 0.3, 0.25, "behind-centre"),
        (0.9, 0.6, 0.7, "no-better"),
        (0.21, 0.205, 0.22, "no-loss"),
        (-1.0, -3.0, -2.0, "ahead"),  # scores may be negative
    ],
)
def test_the_verdict_of_the_check_is_that_of_the_numbers(
    before: float, own: float, centre: float, verdict: str
) -> None:
    chance = [0.2 + 0.05 * i for i in range(RANDOM_MAPS)]
    assert check_verdict(before, own, chance, centre) == verdict


def test_a_map_that_shows_nothing_is_not_checked(client: TestClient, photo_id: str) -> None:
    checked = _post(client, photo_id, "check", network="tiny", layer="second", target={"class": 2})
    assert checked["status"] != "ok"
    assert checked["own"] is None


def test_the_rows_of_faithfulness_are_what_measure_says(client: TestClient, photo_id: str) -> None:
    names = ["deletion", "saco", "sparseness"]
    asked = {"network": "tiny", "layer": "second", "target": {"class": 1}, "metrics": names}
    *told, last = _lines(client, photo_id, "faithfulness", **asked)
    image = PREPROCESS(photo(0))[None]
    made = limelight.explain(MODELS["tiny"], image, target=1, layer="second")
    measured = limelight.measure(MODELS["tiny"], image, made, metrics=names)
    rows = last["done"]["rows"]
    assert [row["metric"] for row in rows] == names
    for row in rows:
        estimate = measured.estimate("gradcam", row["metric"])
        for source in ("own", "random", "centre"):
            assert row[source] == pytest.approx(getattr(estimate, source).value, rel=1e-4)
        assert row["better"] == METRICS[row["metric"]].better
        wins = estimate.over_random.value > 0, estimate.over_centre.value > 0
        verdicts = {(1, 1): "both", (1, 0): "random", (0, 1): "centre", (0, 0): "none"}
        expected = verdicts[wins] if estimate.judged else "not-judged"
        assert row["verdict"] == expected
    assert rows[2]["verdict"] == "not-judged"
    assert [line["row"] for line in told if "row" in line] == rows
    progress = [line["progress"] for line in told if "progress" in line]
    assert {(each["task"], each["number"], each["count"]) for each in progress} == {
        (name, number, 3) for number, name in enumerate(names)
    }


def test_a_metric_that_is_unknown_or_needs_marked_objects_is_refused(
    client: TestClient, photo_id: str
) -> None:
    for name in ("nothing", "pointing-game", "deletion:steps=100000"):
        error = _post(client, photo_id, "faithfulness", network="tiny", metrics=[name])["error"]
        assert error["code"] == "unknown-name-error"
        assert "insertion" in error["message"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_metric_that_is_offered_has_its_words(client: TestClient, language: str) -> None:
    offered = client.get(f"/api/metrics?lang={language}").json()["metrics"]
    expected = {name for name, metric in METRICS.items() if "objects" not in metric.needs}
    assert {metric["name"] for metric in offered} == expected
    for metric in offered:
        assert (metric["use"] == METRICS[metric["name"]].use) == (language == "en")
    assert [metric["name"] for metric in offered if metric["quick"]] == [
        "deletion",
        "insertion",
        "road",
    ]


def _followed(step: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """The request of a map that a step leads to."""
    match step["action"]:
        case "class":
            return {**asked, "target": {"class": step["index"]}}
        case "method":
            return {**{k: v for k, v in asked.items() if k != "layer"}, "method": step["method"]}
        case _:
            return {**asked, "layer": step["layer"]}


@pytest.mark.parametrize(
    ("network", "layer", "target", "status", "actions"),
    [
        ("tiny", "second", 2, "no-positive-evidence", {"signed", "class"}),
        ("branches", "left", 1, "disconnected", {"layer", "class"}),
    ],
)
def test_each_step_for_a_blank_map_leads_to_one_that_shows_something(
    client: TestClient,
    photo_id: str,
    network: str,
    layer: str,
    target: int,
    status: str,
    actions: set[str],
) -> None:
    asked = {"network": network, "layer": layer, "target": {"class": target}}
    answer = _post(client, photo_id, "instead", **asked)
    assert answer["status"]["name"] == status
    assert actions <= {step["action"] for step in answer["steps"]}
    for step in answer["steps"]:
        assert step["words"]
        if step["action"] != "signed":
            (line, _) = _lines(client, photo_id, "maps", maps=[_followed(step, asked)])
            assert line["map"]["status"]["name"] == "ok", step


def test_a_map_that_shows_something_has_no_steps(client: TestClient, photo_id: str) -> None:
    answer = _post(client, photo_id, "instead", network="tiny", layer="second")
    assert answer == {"status": {"name": "ok", "message": ""}, "steps": []}


def test_the_embedded_network_believes_less_in_a_cat_that_is_painted_over(
    client: TestClient,
) -> None:
    cat = client.post("/api/photos/sample/chelsea").json()
    everything = np.ones((cat["height"] // 8, cat["width"] // 8), dtype=np.bool_)
    sent = {"strokes": _packed(everything), "raster": list(everything.shape), "fill": "blurred"}
    probed = _post(client, cat["id"], "probe", network="efficientnet-lite0", **sent)
    assert probed["label"] == probed["before"]["answers"][0]["name"]
    assert probed["after"]["probability"] < 0.2 * probed["before"]["probability"]
    first = {each["index"] for each in (*probed["before"]["answers"], *probed["after"]["answers"])}
    assert {row["index"] for row in probed["moved"]} == first


def _in_queue(run: Any, limits: Limits) -> Any:
    async def main() -> Any:
        queue = WorkQueue(limits)
        try:
            return await run(queue)
        finally:
            queue.close()

    return asyncio.run(main())


def test_long_work_lets_others_have_their_turn_before_it_ends() -> None:
    limits, others = Limits(seconds=20), list[str]()

    def long_work(turns: Turns) -> dict[str, Any]:
        while not others:  # it never ends unless others have a turn meanwhile
            turns.check()
        return {"waited for": others[0]}

    def short_work(_job: Job[str]) -> str:
        others.append("another")
        return "done"

    async def run(queue: WorkQueue) -> tuple[Any, ...]:
        long = result_in_turns(queue, Turns(long_work, limits), "one", "long")
        return tuple(await asyncio.gather(long, queue.result(short_work, "two")))

    assert _in_queue(run, limits) == ({"waited for": "another"}, "done")


def test_long_work_ends_where_a_later_request_takes_its_place() -> None:
    limits, ended = Limits(seconds=20), list[str]()

    def endless(turns: Turns) -> dict[str, Any]:
        try:
            while True:
                turns.check()
        finally:
            ended.append("first")

    async def run(queue: WorkQueue) -> list[Any]:
        first = result_in_turns(queue, Turns(endless, limits), "one", "check")
        second = result_in_turns(queue, Turns(lambda _: {"second": 1}, limits), "one", "check")
        return list(await asyncio.gather(first, second, return_exceptions=True))

    stopped, result = _in_queue(run, limits)
    assert isinstance(stopped, Refusal)
    assert stopped.code == "stopped"
    assert result == {"second": 1}


def test_long_work_ends_when_its_time_is_over_and_its_error_is_told() -> None:
    def endless(turns: Turns) -> dict[str, Any]:
        while True:
            turns.check()

    def broken(_turns: Turns) -> dict[str, Any]:
        raise ValueError("broken")

    async def run(queue: WorkQueue) -> list[Any]:
        limits = Limits(seconds=0.1)
        works = [result_in_turns(queue, Turns(w, limits), "one", "") for w in (endless, broken)]
        return list(await asyncio.gather(*works, return_exceptions=True))

    late, error = _in_queue(run, Limits(seconds=20))
    assert isinstance(late, Refusal)
    assert late.code == "out-of-time"
    assert isinstance(error, ValueError)
