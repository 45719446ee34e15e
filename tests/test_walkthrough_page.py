"""A walkthrough's page: its languages, what goes wrong and is said, and its errors."""

from __future__ import annotations

import copy
import html
import math
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import limelight
import limelight.render
from helpers import networks
from helpers.model_state import state
from helpers.networks import ready
from helpers.page_cases import CASES, case, double, noise, page, single
from helpers.pages import packed_in, path_of, read, rows_of, told, unpacked
from helpers.texts import flat
from helpers.tolerances import assert_agrees
from limelight.errors import (
    InputError,
    LayerError,
    LimelightError,
    MethodError,
    OutputError,
    TargetError,
    UnknownNameError,
)
from limelight.methods import METHODS
from limelight.steps.formulas import MINUS, NONE
from limelight.translations.languages import Language
from limelight.translations.library import in_language

# The page


LANGUAGES: tuple[Language, ...] = ("en", "zh")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CASES)
def test_a_page_asks_for_nothing_and_leaves_nothing_open(name: str, language: Language) -> None:
    text = page(name, language)
    tree = read(text)
    assert len(text.encode()) < 3e6
    bare = re.sub(r"data:image/\w+;base64,[\w+/=]+", "", text)
    bare = bare.replace(tree.one("script", id="maps").text, "")
    assert not re.search(r"https?:|//\w+\.|@import|url\(|fetch|XMLHttp", bare)
    assert tree.one("html").attributes["lang"] == language
    for node in tree.all():
        for attribute in ("src", "href", "srcset", "data", "action", "poster", "srcdoc"):
            assert node.attributes.get(attribute, "data:").startswith("data:")
        assert node.tag not in ("iframe", "object", "embed", "form", "base")
    policy = tree.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    ids = [node.attributes["id"] for node in tree.all() if "id" in node.attributes]
    assert len(set(ids)) == len(ids)
    for image in tree.all("img"):
        assert image.attributes["alt"].strip()
    seen = "\n".join([tree.seen, *(i.attributes["alt"] for i in tree.all("img"))])
    assert not re.search(r"[$]|THING|WEIGHT|\bNone\b|Undefined|\{\w*\}", seen)


def test_a_page_of_the_whole_input_is_no_larger_than_can_be_mailed() -> None:
    found = case("chelsea, input-x-gradient").found
    assert len(found.html().encode()) < 3e6
    assert found.activations.shape == (3, 224, 224)


def test_both_languages_say_the_same() -> None:
    english, chinese = (flat(told(language)) for language in LANGUAGES)
    assert set(english) == set(chinese)
    for key, text in english.items():
        other = chinese[key]
        for pattern in (r"\{\w+\}", r"\$[^$]+\$", r"</?\w+>", r"WEIGHT"):
            assert sorted(re.findall(pattern, text)) == sorted(re.findall(pattern, other)), key
        assert ("THING" in text) <= ("THING" in other or "photo" in key), key


@pytest.mark.parametrize("name", ["chelsea, gradcam", "chelsea, input-x-gradient"])
def test_the_chinese_page_says_what_each_method_is_for_in_chinese(name: str) -> None:
    shown = [
        METHODS[case(name).found.explanation.method],
        *(b.method for b in case(name).found.beside),
    ]
    english, chinese = (read(page(name, language)).seen for language in LANGUAGES)
    for method in shown:
        assert method.use in english
        assert method.use not in chinese
        assert in_language(method.use, "zh") in chinese


def test_the_chinese_page_gives_the_reason_for_the_layer_in_chinese() -> None:
    reason = case("chelsea, gradcam").found.explanation.reason
    tree = read(page("chelsea, gradcam", "zh"))
    assert reason not in tree.seen
    assert in_language(reason, "zh") in tree.seen
    assert reason in read(page("chelsea, gradcam")).seen
    sentences = re.findall(r"(?:\b[A-Za-z]{2,}\b[ ,]+){5,}", tree.one("main").seen)
    assert [one for one in sentences if "import" not in one and "=" not in one] == []


EVIL = "<b>&\"'{score} $x$ </script>"


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_with_html_in_them_are_only_text(language: Language) -> None:
    model, image = case("cam").model, case("cam").image
    found = limelight.walkthrough(
        model,
        image,
        target=2,
        classes=[f"{EVIL}{number}" for number in range(5)],
        name=f"{EVIL}net",
        language=language,
    )
    text = found.html()
    tree = read(text)
    assert EVIL not in text
    for where in (tree.one("title"), tree.one("p", "lead"), tree.one("main")):
        assert f"{EVIL}2" in where.text
    assert f"{EVIL}net" in tree.one("dl").text
    assert sum(f"{EVIL}{number} {number}" in tree.text for number in range(5)) == 5
    assert not [b for b in tree.all("b") if EVIL[3:] in b.text and b.text[:3] != "<b>"]


def test_names_of_layers_with_html_in_them_are_only_text() -> None:
    model = nn.Sequential(OrderedDict([("<i>&", nn.Conv2d(3, 4, 3)), ("head", Pooled(4, 3))]))
    found = limelight.walkthrough(model, noise(3, 9, 9), layer="<i>&", beside=[])
    tree = read(found.html())
    assert "<i>&" not in found.html().replace("&lt;i&gt;&amp;", "")
    assert path_of(rows_of(tree)[0]) == "<i>&"


class Pooled(nn.Sequential):
    """An average pool and a linear layer."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def test_a_notebook_shows_the_very_page() -> None:
    found = case("cam").found
    shown = found._repr_html_()
    assert read(shown).one("iframe").attributes["srcdoc"] == page("cam")
    assert html.unescape(shown.split('"')[1]) == page("cam")


def test_the_page_is_written_as_it_is(tmp_path: Path) -> None:
    found = case("cam").found
    for name in ("deep/er/page.html", "page.HTM"):
        path = found.save(tmp_path / name)
        assert path.read_bytes() == found.html().encode()
    chinese = found.save(tmp_path / "zh.html", language="zh")
    assert read(chinese.read_text(encoding="utf-8")).one("html").attributes["lang"] == "zh"
    assert repr(found).startswith("Walkthrough(PoolLinear; Explanation(class 0;")


def test_two_runs_give_the_same_page() -> None:
    model, image = case("cam").model, case("cam").image
    one, other = (limelight.walkthrough(model, image, target=0).html() for _ in range(2))
    assert one == other


def test_the_code_on_the_page_gives_the_numbers_on_it() -> None:
    for name in ("chelsea, gradcam", "a volume", "a ViT, hirescam", "a signal, gradcam++"):
        one = case(name)
        code = read(page(name)).one("pre").text
        space = dict[str, Any](model=one.model, images=one.image)
        exec(code, space)
        raw = space["raw"] if "raw" in space else space["result"].raw
        assert_agrees(raw, one.found.explanation.raw)


def test_the_code_on_the_page_does_not_explain_something_else() -> None:
    model, image = case("cam").model, case("cam").image
    for target in (limelight.Contrast(0, 1), limelight.Counterfactual(0), lambda y: y[:, 2]):
        found = limelight.walkthrough(model, image, layer="features", target=target, beside=[])
        code = read(found.html()).one("pre").text
        space: dict[str, Any] = {"model": model, "images": image, "target": target}
        exec(code, space)
        raw = space["raw"] if "raw" in space else space["result"].raw
        assert_agrees(raw, found.explanation.raw)


# What goes wrong, and is said


class Dead(nn.Module):
    """Convolutions whose score is `sign` times their mean."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.conv, self.sign = nn.Conv2d(3, 4, 3), sign

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.sign * self.conv(x).relu().mean((2, 3)))


def disconnected() -> limelight.Walkthrough:
    return limelight.walkthrough(
        ready(networks.TinyViT()), noise(3, 12, 16, dtype=double), layer="norm"
    )


def flat_map() -> limelight.Walkthrough:
    model = ready(Dead(1), single)
    nn.init.constant_(cast("Tensor", model.conv.bias), 1.0)
    return limelight.walkthrough(model, torch.zeros(1, 3, 8, 8), layer="conv")


def not_finite() -> limelight.Walkthrough:
    model = ready(networks.PoolLinear(), single)
    nn.init.constant_(model.fc.weight, math.nan)
    return limelight.walkthrough(model, noise(3, 8, 8), target=0, layer="features")


def overflowing() -> limelight.Walkthrough:
    model = ready(networks.PoolLinear(), single)
    nn.init.constant_(model.fc.weight, math.inf)
    return limelight.walkthrough(
        model, noise(3, 8, 8), target=0, layer="features", method="layercam"
    )


def against_all() -> limelight.Walkthrough:
    model = ready(Dead(-1), single)
    nn.init.constant_(cast("Tensor", model.conv.bias), 5.0)
    return limelight.walkthrough(model, noise(3, 8, 8), layer="conv", target=1)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("make", "status"),
    [
        (disconnected, "disconnected"),
        (flat_map, "flat"),
        (not_finite, "not-finite"),
        (overflowing, "not-finite"),
        (against_all, "no-positive-evidence"),
    ],
)
def test_a_map_that_is_worth_nothing_says_so(
    make: Callable[[], limelight.Walkthrough], status: str, language: Language
) -> None:
    found = make()
    assert found.explanation.status[0].name == status
    text = found.html(language)
    tree, words = read(text), told(language)
    assert tree.one("dd", "bad").text == words["status"][status]
    warnings = [one.text for one in tree.all("p", "warning")]
    assert in_language(found.explanation.status[0].message, language) in warnings
    assert words["resize"]["worthless"] in warnings
    assert not unpacked(packed_in(tree)["maps"]["heatmap"]).any()
    for one in tree.all("data"):
        value = float(one.attributes["value"])
        shown = one.text.replace(MINUS, "-")
        assert shown != "-0"
        if not math.isfinite(value) and one.attributes["data-as"] not in ("share", "probability"):
            assert shown == (NONE if math.isnan(value) else f"{value:g}")


def test_methods_that_cannot_be_done_are_shown_with_the_reason() -> None:
    found = case("a ViT, hirescam").found
    assert [one.method for one in found.skipped] == ["cam"]
    tree = read(page("a ViT, hirescam"))
    (card,) = (one for one in tree.all("article", "method") if one.one("h4").text == "cam")
    assert "not possible here: CAM needs a head that is an average pool" in card.text
    assert found.skipped[0].reason in card.text


def test_beside_may_be_none_and_may_be_any_method_of_the_layer() -> None:
    model, image = case("cam").model, case("cam").image
    alone = limelight.walkthrough(model, image, beside=[], layer="features")
    tree = read(alone.html())
    assert alone.beside == ()
    others = limelight.walkthrough(
        model,
        image,
        beside=["eigencam", "saliency", "occlusion:patch=0.5", "random", "fem:deviations=1"],
        layer="features",
    )
    shown = [str(one.method) for one in others.beside]
    assert shown[2:] == ["occlusion:patch=0.5", "random", "fem:deviations=1"]
    assert [one.weights is None for one in others.beside] == [True, True, True, True, False]
    tree = read(others.html())
    names = [one.one("h4").text for one in tree.all("article", "method")]
    assert names == ["gradcam", *shown]


# The model is left alone


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model, image = ready(networks.ResidualCNN(), single).train(training), noise(3, 16, 16)
    before, weights = state(model), copy.deepcopy(model.state_dict())
    kept = image.clone()
    limelight.walkthrough(model, image).html()
    for wrong in ({"target": 99}, {"layer": "drop"}, {"method": "cam"}, {"chunk": 0}):
        with pytest.raises(LimelightError):
            limelight.walkthrough(model, image, **wrong)
    assert state(model) == before
    assert torch.equal(image, kept)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_a_model_that_raises_is_left_as_it_was() -> None:
    model = ready(networks.RaisesLate(), single)
    before = state(model)
    with pytest.raises(RuntimeError, match="in the middle of the model"):
        limelight.walkthrough(model, noise(3, 12, 12), layer="second")
    assert state(model) == before


# Errors


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"method": "eigencam"},
            MethodError,
            "'eigencam' is not a sum over channels of one layer, so there are",
        ),
        ({"method": "eigencam"}, MethodError, "'eigencam' can be shown beside it"),
        ({"method": "saliency"}, MethodError, "Take one of cam, gradcam, gradcam"),
        ({"method": "gardcam"}, UnknownNameError, "Did you mean 'gradcam'"),
        ({"method": "fem:deviation=1"}, UnknownNameError, "Did you mean 'deviations'"),
        (
            {"beside": ["rollout"]},
            MethodError,
            "'rollout' reads the whole network, so it cannot be",
        ),
        ({"beside": ["gradcan"]}, UnknownNameError, "Did you mean 'gradcam'"),
        ({"language": "de"}, UnknownNameError, "no language named 'de'. There are en and zh"),
        ({"layer": "featurs"}, UnknownNameError, "Did you mean 'features'"),
        ({"layer": "fc"}, LayerError, "fc"),
        ({"target": 5}, TargetError, "an index from 0 to 4 was expected"),
        ({"target": "cat"}, TargetError, "the names of the model's 5 classes are not known"),
        (
            {"target": "elf", "classes": ["ant", "bee", "cat", "dog", "elk"]},
            UnknownNameError,
            "Did you mean 'elk'",
        ),
    ],
)
def test_what_is_wrong_is_said(
    options: dict[str, Any], error: type[LimelightError], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        limelight.walkthrough(case("cam").model, case("cam").image, **options)


def test_a_method_of_the_whole_network_is_not_offered_beside() -> None:
    with pytest.raises(MethodError, match="not a sum over channels") as said:
        limelight.walkthrough(case("cam").model, case("cam").image, method="rollout")
    assert "can be shown beside" not in str(said.value)


def test_one_image_was_expected() -> None:
    with pytest.raises(InputError, match=r"There are 2 images; one was expected\. Pass images"):
        limelight.walkthrough(case("cam").model, torch.cat([case("cam").image] * 2))


def test_a_page_in_no_known_language() -> None:
    with pytest.raises(UnknownNameError, match=r"no language named 'fr'"):
        case("cam").found.html("fr")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["page.pdf", "page", "page.html.gz"])
def test_a_page_is_written_as_html_alone(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="its suffix should be one of html, htm"):
        case("cam").found.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Cannot write"):
        case("cam").found.save(tmp_path / "file" / "page.html")
    with pytest.raises(UnknownNameError):
        case("cam").found.save(tmp_path / "page.html", language="fr")  # type: ignore[arg-type]
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
