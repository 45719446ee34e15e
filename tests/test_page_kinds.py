"""Networks of every kind on the page: what they answer, and maps of it; texts, and questions."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from starlette.testclient import TestClient
from torch import nn

import limelight
from helpers.asking import asked
from helpers.page_kinds import PHOTO, SIDE, SQUARE, Letters, compares_texts, networks
from limelight.errors import ModelError
from limelight.inputs import ModelInputs
from limelight.models.network import Network
from limelight.models.prompted import Prompted, takes_texts, with_texts
from limelight.runtime.stages import stage_calls
from limelight.targets.outputs import OutputSpec
from limelight.web.application import build_application
from limelight.web.serving.page_state import PageState
from limelight.web.settings import PageSettings
from limelight.web.subjects.answers import first_answers, has_several_labels
from limelight.web.subjects.networks import ServedNetwork, ServedNetworks

CHAT = "llava"
CAPTIONER = "blip"


@pytest.fixture(scope="module")
def served() -> ServedNetworks:
    spoken = {name: asked(name) for name in (CHAT, CAPTIONER)}
    return ServedNetworks({**networks(), **spoken})


@pytest.fixture(scope="module")
def client(served: ServedNetworks) -> Iterator[TestClient]:
    state = PageState.begin(PageSettings(), served)
    with TestClient(build_application(state), base_url="http://localhost") as client:
        yield client


@pytest.fixture(scope="module")
def photo_id(client: TestClient) -> str:
    buffer = BytesIO()
    _photo().save(buffer, "PNG")
    sent = client.post("/api/photos", files={"photo": ("square.png", buffer.getvalue())})
    photo_id: str = sent.json()["id"]
    return photo_id


def _photo() -> Image.Image:
    """A dark photo with a white square."""
    photo = Image.new("RGB", PHOTO, (20, 20, 20))
    left, top, right, bottom = SQUARE
    ImageDraw.Draw(photo).rectangle((left, top, right - 1, bottom - 1), fill="white")
    return photo


def _network(served: ServedNetworks, name: str) -> Network:
    return served.get(name).network


def _output(network: Network) -> Any:
    with torch.no_grad():
        return network.model(network.images(_photo()))


def _look(client: TestClient, photo_id: str, name: str, lang: str = "en", **body: Any) -> Any:
    url = f"/api/photos/{photo_id}/look?lang={lang}"
    answer = client.post(url, json={"network": name, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _lines(client: TestClient, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.post(path, json=body).text.splitlines()]


def _map(client: TestClient, photo_id: str, lang: str = "en", **one: Any) -> dict[str, Any]:
    """Return a map, or the error in its place."""
    lines = _lines(client, f"/api/photos/{photo_id}/maps?lang={lang}", {"maps": [one]})
    assert lines[-1] == {"done": 1}
    found = next(line for line in lines if "number" in line)
    made: dict[str, Any] = found.get("map", found)
    return made


def _heat(made: dict[str, Any]) -> np.ndarray:
    values = np.frombuffer(b64decode(made["heatmap"]), "<u2") / 65535
    return values.reshape(made["rows"], made["columns"])


# Classes


def test_a_classifier_answers_with_probabilities_and_scores(
    client: TestClient, photo_id: str, served: ServedNetworks
) -> None:
    found = _look(client, photo_id, "classifier")
    logits = _output(_network(served, "classifier"))[0]
    assert (found["kind"], found["measure"]) == ("classifier", "probability")
    assert "objects" not in found
    assert found["box"] == [16, 0, 80, 64]
    order = logits.argsort(descending=True).tolist()
    names = ("cat", "dog", "cup", "car", "sky")
    assert [each["index"] for each in found["answers"]] == order
    assert [each["name"] for each in found["answers"]] == [names[index] for index in order]
    for each in found["answers"]:
        assert each["score"] == pytest.approx(float(logits[each["index"]]), rel=1e-4)
        assert each["probability"] == pytest.approx(float(logits.softmax(0)[each["index"]]), 1e-4)


def test_classes_without_names_are_numbered_in_the_language_of_the_reader(
    client: TestClient, photo_id: str
) -> None:
    first = _look(client, photo_id, "nameless")["answers"][0]
    assert first["name"] == f"class {first['index']}"
    chinese = _look(client, photo_id, "nameless", "zh")["answers"][0]
    assert chinese["name"] == f"类别 {first['index']}"
    assert _map(client, photo_id, network="nameless")["label"] == first["name"]
    assert _map(client, photo_id, "zh", network="nameless")["label"] == chinese["name"]


def test_a_network_of_one_number_answers_with_a_score_and_no_probability(
    client: TestClient, photo_id: str, served: ServedNetworks
) -> None:
    found = _look(client, photo_id, "number")
    (answer,) = found["answers"]
    value = float(_output(_network(served, "number"))[0, 0])
    assert found["measure"] == "score"
    assert answer["probability"] is None
    assert answer["score"] == pytest.approx(value, rel=1e-4)
    assert answer["name"] == "the output"
    assert _map(client, photo_id, network="number")["score"] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(("method", "code"), [("shapleycam", "method-error"), ("rise", "internal")])
def test_a_map_that_fails_in_the_network_leaves_the_others(
    client: TestClient, photo_id: str, method: str, code: str
) -> None:
    asked_for = [{"network": "smooth", "method": name} for name in (method, "gradcam")]
    lines = _lines(client, f"/api/photos/{photo_id}/maps?lang=zh", {"maps": asked_for})
    failed, made = (line for line in lines if "number" in line)
    assert failed["error"]["code"] == code
    assert ("hardsigmoid" in failed["error"]["message"]) == (code == "method-error")
    assert "one at a time" not in failed["error"]["message"]  # it may be none of the reader's
    assert made["map"]["label"] in "abc"
    assert lines[-1] == {"done": 2}


def test_a_network_of_one_channel_is_shown_grey(client: TestClient, photo_id: str) -> None:
    found = _look(client, photo_id, "grey")
    assert found["input"] == [SIDE, SIDE]
    assert _map(client, photo_id, network="grey")["label"] == found["answers"][0]["name"]


def test_a_network_of_any_size_sees_the_whole_photo(client: TestClient, photo_id: str) -> None:
    found = _look(client, photo_id, "any-size")
    assert found["box"] == [0, 0, *PHOTO]
    assert found["input"] == [PHOTO[1], PHOTO[0]]
    made = _map(client, photo_id, network="any-size")
    assert made["columns"] / made["rows"] == PHOTO[0] / PHOTO[1]
    assert client.get("/api/networks/any-size").json()["input"] is None


def test_classes_that_do_not_exclude_each_other_have_probabilities_of_their_own() -> None:
    several = networks()["several"]
    inputs = ModelInputs.of(several.images(_photo()))
    output = _output(several)
    found = first_answers(output, several, inputs, "probability", 5)
    assert {each["index"]: each["probability"] for each in found} == pytest.approx(
        dict(enumerate(output[0].sigmoid().tolist())), rel=1e-4
    )


def test_what_is_probed_checked_and_sent_has_the_probability_of_the_answers(
    client: TestClient, photo_id: str, served: ServedNetworks
) -> None:
    assert has_several_labels(_network(served, "several"))
    score = _output(_network(served, "several"))[0, 1]
    body = {"network": "several", "target": {"class": 1}}
    strokes = {"strokes": "AA==", "raster": [1, 1]}
    probed = client.post(f"/api/photos/{photo_id}/probe", json={**body, **strokes}).json()
    for part in ("before", "after"):
        assert probed[part]["probability"] == pytest.approx(float(score.sigmoid()), rel=1e-4)
    checked = client.post(f"/api/photos/{photo_id}/check", json=body).json()
    assert (checked["measured"], checked["before"]) == ("score", pytest.approx(float(score)))
    buffer = BytesIO()
    _photo().save(buffer, "PNG")
    sent = client.post(
        "/api/explain", files={"photo": buffer.getvalue()}, data={"network": "several", "target": 1}
    )
    likely = sent.json()["photos"][0]["probability"]
    assert likely == pytest.approx(float(score.sigmoid()), rel=1e-4)


def test_what_is_probed_or_checked_is_named_without_a_place_in_the_input(
    client: TestClient, photo_id: str
) -> None:
    body = {"network": "detector", "target": {"box": SQUARE, "class": 0}}
    strokes = {"strokes": "AA==", "raster": [1, 1]}
    probed = client.post(f"/api/photos/{photo_id}/probe", json={**body, **strokes}).json()
    checked = client.post(f"/api/photos/{photo_id}/check", json=body).json()
    assert (probed["label"], checked["label"]) == ("square", "square")


# Segmenters and detectors


def test_a_segmenter_answers_with_the_classes_that_are_present_and_their_shares(
    client: TestClient, photo_id: str, served: ServedNetworks
) -> None:
    found = _look(client, photo_id, "segmenter")
    predicted = _output(_network(served, "segmenter"))["out"][0].argmax(0)
    assert (found["kind"], found["measure"]) == ("segmenter", "share")
    shares = {each["index"]: each["probability"] for each in found["answers"]}
    assert shares == pytest.approx({n: float((predicted == n).float().mean()) for n in (0, 1)})
    assert {each["score"] for each in found["answers"]} == {None}


def test_a_segmenter_is_asked_about_a_pixel_and_about_a_box_of_the_photo(
    client: TestClient, photo_id: str
) -> None:
    inside = (SQUARE[0] + 8, SQUARE[1] + 8)
    at_pixel = _map(client, photo_id, network="segmenter", target={"pixel": inside})
    assert at_pixel["label"] == "bright"  # where it is stands beside it, in pixels of the photo
    in_box = _map(client, photo_id, network="segmenter", target={"box": SQUARE, "class": "bright"})
    assert in_box["label"] == "bright"
    elsewhere = _map(client, photo_id, network="segmenter", target={"pixel": (20, 50)})
    assert elsewhere["label"] == "dark"
    assert in_box["region"] is None


def test_a_box_that_reaches_past_what_was_seen_is_the_part_that_was(
    client: TestClient, photo_id: str
) -> None:
    left, _, right, _ = _look(client, photo_id, "segmenter")["box"]
    boxes = [(0, 10, right, 60), (left, 10, right, 60)]
    reaching, seen = (
        _map(client, photo_id, network="segmenter", target={"box": box, "class": "dark"})
        for box in boxes
    )
    assert left > 0
    assert reaching["score"] == seen["score"]
    assert reaching["heatmap"] == seen["heatmap"]


@pytest.mark.parametrize("target", [{"pixel": (3, 20)}, {"box": (1, 10, 5, 30)}])
@pytest.mark.parametrize("network", ["segmenter", "detector"])
def test_a_place_that_was_cropped_away_is_refused(
    client: TestClient, photo_id: str, network: str, target: dict[str, Any]
) -> None:
    found = _map(client, photo_id, network=network, target=target)
    assert found["error"]["code"] == "not-seen"
    assert "3, 20" in found["error"]["message"]


def test_a_detector_lists_its_objects_with_boxes_in_pixels_of_the_photo(
    client: TestClient, photo_id: str, served: ServedNetworks
) -> None:
    found = _look(client, photo_id, "detector")
    logits = _output(_network(served, "detector")).logits[0]
    (square,) = found["objects"]  # nothing else is probable
    assert square["box"] == pytest.approx(SQUARE)
    assert (square["index"], square["name"]) == (0, "square")
    assert square["probability"] == pytest.approx(float(logits.sigmoid().max()), rel=1e-4)
    assert square["probability"] > 0.8


def test_an_object_that_is_chosen_is_explained_in_its_box(
    client: TestClient, photo_id: str
) -> None:
    (square,) = _look(client, photo_id, "detector")["objects"]
    target = {"box": square["box"], "class": square["index"]}
    made = _map(client, photo_id, network="detector", target=target, layer="body")
    assert made["label"] == "square"  # the box is told in pixels of the photo, beside it
    assert made["region"] == pytest.approx(SQUARE)
    heat = _heat(made)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    x = 16 + (column + 0.5) * 64 / heat.shape[1]
    y = (row + 0.5) * 64 / heat.shape[0]
    assert SQUARE[0] <= x <= SQUARE[2]
    assert SQUARE[1] <= y <= SQUARE[3]


def test_without_a_choice_the_most_probable_object_is_explained(
    client: TestClient, photo_id: str
) -> None:
    made = _map(client, photo_id, network="detector", layer="body")
    assert made["label"] == "square"
    assert made["region"] == pytest.approx(SQUARE)


def test_a_box_in_which_nothing_was_proposed_is_told_in_both_languages(
    client: TestClient, photo_id: str
) -> None:
    target = {"box": [17, 1, 20, 4]}
    english = _map(client, photo_id, network="detector", target=target)["error"]
    chinese = _map(client, photo_id, "zh", network="detector", target=target)["error"]
    assert english["code"] == chinese["code"] == "target-error"
    assert "No box that the detector proposed" in english["message"]
    assert "检测器" in chinese["message"]
    assert "detector" not in chinese["message"]


def test_a_class_of_a_box_is_refused_by_a_classifier_in_chinese(
    client: TestClient, photo_id: str
) -> None:
    made = _map(client, photo_id, "zh", network="classifier", target={"box": SQUARE})
    assert made["error"]["message"].startswith("'classifier' 对整张照片给出一个分数")


# Pictures and texts


def test_a_network_of_texts_says_that_it_takes_texts(client: TestClient) -> None:
    facts = client.get("/api/networks/clip").json()
    assert facts["takes_texts"] is True
    assert facts["classes"] == ["a cat", "a dog"]
    assert client.get("/api/networks/classifier").json()["takes_texts"] is False


def test_texts_of_a_request_are_compared_with_the_photo(
    client: TestClient, photo_id: str, served: ServedNetworks
) -> None:
    texts = [f"text {letter}" for letter in "abcdefg"]
    found = _look(client, photo_id, "clip", texts=texts)
    expected = compares_texts(texts)
    weights = dict(_network(served, "clip").model.named_parameters())
    with torch.no_grad():
        for name, parameter in expected.model.named_parameters():
            parameter.copy_(weights[name])
    logits = _output(expected)[0]
    assert {each["name"]: each["score"] for each in found["answers"]} == pytest.approx(
        dict(zip(texts, logits.tolist(), strict=True)), rel=1e-3
    )
    made = _map(client, photo_id, network="clip", texts=texts, target={"class": "text c"})
    assert made["label"] == "text c"
    assert made["score"] == pytest.approx(float(logits[2]), rel=1e-3)


def test_networks_with_other_texts_share_the_weights_and_are_bounded(
    served: ServedNetworks,
) -> None:
    own = served.get("clip")
    made = [served.get("clip", (f"text {number}",)) for number in range(20)]
    assert all(each.network.model.model is own.network.model.model for each in made)
    assert served.get("clip", ("text 19",)) is made[-1]
    assert served.get("clip", ("text 0",)) is not made[0]  # others took its place
    assert served.get("clip") is own
    assert [each.path for each in made[0].offered] == [each.path for each in own.offered]


def test_texts_are_refused_by_a_network_of_classes(client: TestClient, photo_id: str) -> None:
    answer = client.post(
        f"/api/photos/{photo_id}/look?lang=zh", json={"network": "classifier", "texts": ["a"]}
    )
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "no-texts"
    assert "文本" in answer.json()["error"]["message"]
    many = {"network": "clip", "texts": ["a"] * 65}
    assert client.post(f"/api/photos/{photo_id}/look", json=many).status_code == 422


def test_other_texts_are_filled_into_the_same_model() -> None:
    network = compares_texts(["a cat", "a dog"])
    other = with_texts(network, ["a dog", "sky", "a cat"])
    assert other.classes == ("a dog", "sky", "a cat")
    assert not other.model.training
    first, second = _output(network)[0], _output(other)[0]
    torch.testing.assert_close(second[[2, 0]], first)
    assert takes_texts(other)
    with pytest.raises(ModelError, match="compares pictures with no texts"):
        with_texts(networks()["classifier"], ["a"])
    tokens = {"text": torch.ones((1, 1), dtype=torch.long)}
    fixed = Prompted(nn.Identity(), tokens, Letters(), lambda *_: torch.ones(1, 1))
    with pytest.raises(ModelError, match="is not known"):
        fixed.with_texts(["a"])


# Questions


def test_a_model_that_answers_questions_is_offered_as_such(
    client: TestClient, photo_id: str
) -> None:
    facts = client.get(f"/api/networks/{CHAT}").json()
    assert facts["kind"] == "vision-language"
    assert (facts["layers"], facts["classes"]) == ([], [])
    found = _look(client, photo_id, CHAT)
    assert (found["kind"], found["answers"]) == ("vision-language", [])
    assert found["box"] == [0, 0, *PHOTO]


def test_every_word_of_an_answer_has_a_probability_and_a_map(
    client: TestClient, photo_id: str, served: ServedNetworks
) -> None:
    body = {"network": CHAT, "question": "what is this ?", "answer": "a red disc"}
    *progress, answer = _lines(client, f"/api/photos/{photo_id}/ask", body)
    assert all("progress" in line for line in progress)
    expected = limelight.ask(
        _photo(), "what is this ?", model=served.vision_language(CHAT), answer="a red disc"
    )
    assert answer["answer"] == expected.text
    assert answer["given"] is True
    assert [word["text"] for word in answer["words"]] == [word.text for word in expected.words]
    assert "".join(word["before"] + word["text"] for word in answer["words"]) == expected.text
    for word, own in zip(answer["words"], expected.words, strict=True):
        assert own.without_picture is not None
        assert word["probability"] == pytest.approx(math.exp(own.log_probability), rel=1e-3)
        assert word["without_picture"] == pytest.approx(math.exp(own.without_picture), rel=1e-3)
        assert word["needs_picture"] == own.needs_picture
        made = word["map"]
        assert made["columns"] / made["rows"] == pytest.approx(PHOTO[0] / PHOTO[1], rel=0.05)
        if own.status is not None and own.status.ok:
            assert _heat(made).max() == pytest.approx(own.heatmaps[0].max(), abs=0.15)
        assert made["raw"]["highest"] == pytest.approx(float(own.signed[0].max()), rel=1e-3)


def test_the_answer_is_a_document_of_its_own(client: TestClient, photo_id: str) -> None:
    body = {"network": CHAT, "question": "what is this ?", "answer": "a red disc"}
    *_, answer = _lines(client, f"/api/photos/{photo_id}/ask?lang=zh", body)
    page = client.get(answer["document"])
    assert page.status_code == 200
    assert "sandbox" in page.headers["content-security-policy"]
    assert "square.png" in page.text
    assert 'lang="zh"' in page.text
    assert "limelight-" not in page.text  # the name of no file of the server's


def test_a_captioner_describes_the_photo_unasked(client: TestClient, photo_id: str) -> None:
    *_, answer = _lines(
        client, f"/api/photos/{photo_id}/ask", {"network": CAPTIONER, "most_tokens": 4}
    )
    assert answer["question"] == ""
    assert answer["given"] is False
    assert answer["words"]


def test_networks_that_answer_otherwise_are_told_apart(client: TestClient, photo_id: str) -> None:
    asked_a_classifier = {"network": "classifier", "question": "what is this ?"}
    (error,) = _lines(client, f"/api/photos/{photo_id}/ask", asked_a_classifier)
    assert error["error"]["code"] == "answers-no-questions"
    made = _map(client, photo_id, network=CHAT)
    assert made["error"]["code"] == "answers-questions"
    none = ServedNetworks(networks())
    with pytest.raises(limelight.LimelightError, match="answers no questions"):
        none.vision_language()


def test_errors_about_an_answer_are_told_in_chinese(client: TestClient, photo_id: str) -> None:
    body = {"network": CHAT, "question": "what is this ?", "answer": "a purple disc"}
    *_, line = _lines(client, f"/api/photos/{photo_id}/ask?lang=zh", body)
    assert line["error"]["message"].startswith("模型的分词器不认识 'purple'")


# What is told of a network


def test_nobody_is_told_where_a_file_of_weights_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "mine.pth").touch()
    told = {
        str(tmp_path / "mine.pth"): "mine.pth",
        "beside/mine.pth": "mine.pth",
        "embedded, ImageNet": "embedded, ImageNet",
    }
    for weights, expected in told.items():
        network = replace(networks()["classifier"], weights=weights)
        facts = ServedNetworks({"own": network}).facts("own", "en", layers=False)
        assert facts["weights"] == expected


# The stages of a network


@pytest.mark.parametrize("name", ["classifier", "segmenter", "clip"])
def test_the_layers_that_are_offered_are_those_found_by_measuring_all(name: str) -> None:
    from limelight.layers.choice import stages
    from limelight.runtime.record import cached_record

    network = networks()[name]
    images = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    inputs, spec = ModelInputs.of(images), OutputSpec()
    paths, calls = stage_calls(network.model, inputs, spec)
    measured = cached_record(network.model, inputs, spec)
    assert paths == stages(measured)
    layouts = {call.path: call.layout for call in measured}
    assert {c.path: c.layout for c in calls if c.path in paths} == {
        path: layouts[path] for path in paths
    }


def test_a_network_that_returns_a_list_of_tensors_is_no_detector() -> None:
    class InAList(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = networks()["classifier"].model

        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return [self.inner(images)]

    network = Network("listed", InAList().eval(), networks()["classifier"].preprocess)
    assert ServedNetwork.of(network).kind == "classifier"
