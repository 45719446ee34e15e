"""What has to be known to make a map again, and the map made again from it alone."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.commands import Runner, folder, run, save_photo
from limelight.digests import tensor_digest, weights_digest
from limelight.explanation import Explanation
from limelight.methods import METHODS

__all__ = ["folder", "run"]  # fixtures


@pytest.fixture
def model() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
    ).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def through_json(explanation: Explanation, *given: Any) -> dict[str, Any]:
    """Return a manifest as it comes back from a file."""
    manifest = explanation.manifest(*given)
    text = json.dumps(manifest, allow_nan=False)
    assert json.loads(text) == manifest
    return dict(json.loads(text))


def test_it_says_what_made_the_maps(model: nn.Module, images: Tensor) -> None:
    result = limelight.explain(model, images, target=[3, 1], method="rise:masks=20")
    manifest = through_json(result, model)
    assert manifest["versions"]["limelight"] == limelight.__version__
    assert manifest["versions"]["torch"] == torch.__version__
    assert manifest["network"] == {
        "name": "",
        "class": "torch.nn.modules.container.Sequential",
        "parameters": sum(each.numel() for each in model.parameters()),
        "weights": "",
        "preprocess": None,
        "classes": None,
        "weights_digest": weights_digest(model),
    }
    assert (manifest["layer"], manifest["method"]) == (result.layer, "rise:masks=20")
    assert manifest["reason"] == result.reason
    assert manifest["arguments"]["target"] == [3, 1]
    assert manifest["arguments"]["method"] == "rise:masks=20"
    assert manifest["not_kept"] == []
    assert manifest["input"] == {"shape": [2, 3, 32, 32], "dtype": "float32", "device": "cpu"}
    assert [each["index"] for each in manifest["images"]] == [3, 1]
    assert manifest["images"][0]["score"] == float(result.score[0])
    assert manifest["images"][0]["status"] == result.status[0].name
    assert manifest["images"][0]["photo"] is None
    assert manifest["images"][1]["input_digest"] == tensor_digest(images[1])


def test_the_weights_are_hashed_only_when_the_model_is_given(
    model: nn.Module, images: Tensor
) -> None:
    result = limelight.explain(model, images)
    assert "weights_digest" not in result.manifest()["network"]
    digest = result.manifest(model)["network"]["weights_digest"]
    assert result.manifest(limelight.Network("mine", model))["network"]["weights_digest"] == digest
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    assert result.manifest(model)["network"]["weights_digest"] != digest


def test_digests_are_of_type_shape_and_numbers() -> None:
    ones = torch.ones(2, 3)
    expected = hashlib.sha256(b" torch.float32 [2, 3]\n" + ones.numpy().tobytes()).hexdigest()
    assert tensor_digest(ones) == expected
    assert tensor_digest(torch.ones(3, 2).T) == expected  # the order in memory does not count
    others = (torch.ones(3, 2), torch.ones(2, 3, dtype=torch.int32), ones.bfloat16(), ones * 2)
    assert len({tensor_digest(each) for each in (ones, *others)}) == 5
    assert tensor_digest(torch.tensor(1.0))


CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "name": {"target": 2, "layer": "0"},
    "layers": {"layer": ["0", "2"], "fuse": "product"},
    "rank": {"target": limelight.Rank(2), "method": "layercam", "eigen": True},
    "contrast": {"target": limelight.Contrast(1, 2, weight=0.5)},
    "any": {"target": limelight.AnyOf([1, 2])},
    "counterfactual": {"target": limelight.Counterfactual(torch.tensor([1, 2]))},
    "flips": {"views": limelight.flips(-1, -2)},
    "noise": {"views": limelight.noise(3, 0.1, seed=4), "method": "gradcam++"},
    "scales": {"views": limelight.scales(2)},
    "tiles": {"views": limelight.tiles(20, 0.5), "target": 1},
    "tiles of two sides": {"views": limelight.tiles((20, 24)), "target": 1},
    "tiles against a class": {
        "views": limelight.tiles(20),
        "target": limelight.Counterfactual([1, 2]),
    },
    "tiles by eigen smoothing": {"views": limelight.tiles(20), "eigen": True},
    "tiles at layers": {"views": limelight.tiles(20), "layer": ["0", "2"], "fuse": "max"},
    "options": {"method": "smoothgrad:samples=3,seed=2"},
    "classes": {"classes": ["a", "b", "c", "d", "e"], "target": "d"},
    "network": {"method": "fullgrad"},
    "output": {"output": "0"},
}


class Returning(nn.Module):
    """A model that returns a dict."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"0": self.model(images)}


@pytest.mark.parametrize("name", CASES)
def test_the_map_is_made_again(name: str, model: nn.Module, images: Tensor) -> None:
    used = Returning(model) if name == "output" else model
    result = limelight.explain(used, images, **CASES[name])
    manifest = through_json(result, used)
    assert manifest["not_kept"] == []
    again = limelight.explain_again(manifest, used, images)
    assert torch.equal(again.raw, result.raw)
    assert again.label == result.label
    assert again.method == result.method
    assert [each["map_digest"] for each in again.manifest()["images"]] == [
        each["map_digest"] for each in manifest["images"]
    ]


def test_maps_by_tiles_are_made_again_each_by_itself(model: nn.Module, images: Tensor) -> None:
    target = limelight.Contrast([1, 2], 3)
    result = limelight.explain(model, images, target=target, views=limelight.tiles(20))
    for number in (0, 1):
        manifest = through_json(result[number])
        again = limelight.explain_again(manifest, model, images[number : number + 1])
        assert torch.allclose(again.raw, result[number].raw, rtol=1e-4, atol=1e-6)
        assert again.label == result[number].label


def test_a_region_a_box_and_words_stay_what_they_are(images: Tensor) -> None:
    segmenter = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    mask = torch.zeros(32, 32)
    mask[4:9, 3:20] = 1
    for where in (mask, (5, 6), None):
        result = limelight.explain(segmenter, images, target=limelight.Region(1, where=where))
        again = limelight.explain_again(through_json(result), segmenter, images)
        assert torch.equal(again.raw, result.raw)

    large = nn.Sequential(nn.Upsample((200, 200)), *segmenter)
    where = torch.zeros(2, 200, 200, dtype=torch.bool)
    where[0, 30:90, 20:130] = where[1, 5:9] = True
    result = limelight.explain(large, images, target=limelight.Region(1, where=where))
    manifest = through_json(result)
    assert manifest["not_kept"] == []
    assert len(json.dumps(manifest)) < 10_000
    again = limelight.explain_again(manifest, large, images)
    assert torch.equal(again.raw, result.raw)
    described = limelight.targets.plain_targets
    kept = described.target_from_plain(described.target_as_plain(limelight.Region(1, where=where)))
    assert torch.equal(kept.where, where)
    with pytest.raises(limelight.LimelightError, match="and masks can"):
        described.target_as_plain(limelight.Region(1, where=torch.rand(80, 80)))
    for target in (
        limelight.Box([1, 2, 3, 4.5], "dog", iou=0.3),
        limelight.Edge("left", None, 3),
        limelight.Mask((4, 5), 2),
        limelight.Keypoint("nose"),
        limelight.Words([1, 2, 3], at=1, text="a b c"),
        limelight.Similarity(torch.tensor([0.5, 1.5])),
        limelight.Pair(),
    ):
        plain = json.loads(json.dumps(described.target_as_plain(target)))
        back = described.target_from_plain(plain)
        assert type(back) is type(target)
        assert described.target_as_plain(back) == plain


def test_what_text_cannot_hold_is_named_and_can_be_passed(model: nn.Module, images: Tensor) -> None:
    def score(output: Tensor) -> Tensor:
        return output[:, 1] - output[:, 2]

    own = limelight.Method(**{**vars_of(METHODS["gradcam"]), "name": "mine"})
    result = limelight.explain(model, images, target=score, method=own)
    manifest = through_json(result)
    assert manifest["not_kept"] == ["method", "target"]
    assert manifest["images"][0]["target"] == "score"
    with pytest.raises(limelight.LimelightError, match="does not hold method, target"):
        limelight.explain_again(manifest, model, images)
    again = limelight.explain_again(manifest, model, images, target=score, method=own)
    assert torch.equal(again.raw, result.raw)


def test_what_only_seems_to_be_known_is_named_too(model: nn.Module, images: Tensor) -> None:
    method = replace(METHODS["gradcam"], function=lambda evidence: evidence.activations.sum(1))
    views = replace(limelight.flips(), join=lambda maps, _scores: maps.amax(0))
    result = limelight.explain(model, images, method=method, views=views)
    assert through_json(result)["not_kept"] == ["method", "views"]


def test_maps_that_were_fused_by_hand_are_made_again_if_only_their_layers_differ(
    model: nn.Module, images: Tensor
) -> None:
    def at(layer: str, method: str = "gradcam") -> Explanation:
        return limelight.explain(model, images, target=[1, 2], layer=layer, method=method)

    alike = limelight.fuse([at("0"), at("2")], "max")
    again = limelight.explain_again(through_json(alike), model, images)
    assert torch.equal(again.raw, alike.raw)
    manifest = through_json(limelight.fuse([at("0"), at("2", "layercam")]))
    with pytest.raises(limelight.LimelightError, match="fused from maps by several methods"):
        limelight.explain_again(manifest, model, images)


def vars_of(method: limelight.Method) -> dict[str, Any]:
    return {name: getattr(method, name) for name in method.__dataclass_fields__}


def test_other_weights_and_other_pictures_are_warned_of(model: nn.Module, images: Tensor) -> None:
    manifest = through_json(limelight.explain(model, images), model)
    with pytest.warns(UserWarning, match="What the network was given differs"):
        limelight.explain_again(manifest, model, images * 0.5)
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    with pytest.warns(UserWarning, match="The weights of the network are others"):
        limelight.explain_again(manifest, model, images)


def test_a_figure_is_made_again_from_its_manifest_alone(folder: Path) -> None:
    save_photo(folder / "a.jpg", 1)
    network = limelight.load_model()
    result = limelight.explain(network, folder / "a.jpg", target="tabby", views=limelight.flips())
    result.save("first.png")
    (folder / "a.json").write_text(json.dumps(result.manifest(network)))
    del result, network

    manifest = json.loads((folder / "a.json").read_text())
    photo = manifest["images"][0]["photo"]
    assert photo["file"] == str(folder / "a.jpg")
    assert photo["file_digest"] == hashlib.sha256((folder / "a.jpg").read_bytes()).hexdigest()
    assert photo["size"] == [90, 60]
    assert len(photo["box"]) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = limelight.explain_again(manifest)
    again.save("again.png")
    assert (folder / "again.png").read_bytes() == (folder / "first.png").read_bytes()


def test_classes_type_and_weights_of_a_network_are_taken_up(folder: Path) -> None:
    save_photo(folder / "a.jpg", 1)
    names = ["cat", "dog", "cow"]
    network = limelight.load_model("resnet18", weights="none", classes=names)
    torch.save(network.model.state_dict(), "mine.pth")
    options: dict[str, Any] = {"weights": "mine.pth", "classes": names, "dtype": torch.float64}
    network = limelight.load_model("resnet18", **options)
    result = limelight.explain(network, "a.jpg", target="cow")
    manifest = through_json(result, network)
    assert manifest["network"]["classes"] == names
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = limelight.explain_again(manifest)
        given = limelight.explain_again(manifest, network.model)
    assert torch.equal(again.raw, result.raw)
    assert again.label == given.label == ("cow",)


def test_a_photo_by_tiles_is_found_again(folder: Path) -> None:
    save_photo(folder / "a.jpg", 1)
    options: dict[str, Any] = {"views": limelight.tiles(60), "layer": "blocks.3"}
    network = limelight.load_model()
    (photo,) = limelight.explain_photos(network, ["a.jpg"], **options)
    for result in (photo.explanations[0], limelight.explain(network, "a.jpg", **options)):
        manifest = through_json(result)
        assert manifest["images"][0]["photo"]["file"] == "a.jpg"
        assert torch.equal(limelight.explain_again(manifest).raw, result.raw)


def test_a_model_or_photos_that_are_not_known_are_asked_for(
    model: nn.Module, images: Tensor
) -> None:
    manifest = through_json(limelight.explain(model, images))
    with pytest.raises(limelight.LimelightError, match="a model without a name"):
        limelight.explain_again(manifest)
    with pytest.raises(limelight.LimelightError, match="names no photo files"):
        limelight.explain_again(manifest, model)
    with pytest.raises(limelight.LimelightError, match="1 photos for 2 images"):
        limelight.explain(model, images).manifest(photos=["a.jpg"])


def test_arrays_bring_their_manifest(model: nn.Module, images: Tensor, tmp_path: Path) -> None:
    result = limelight.explain(model, images)
    result.save(tmp_path / "maps.npz")
    with np.load(tmp_path / "maps.npz") as arrays:
        assert json.loads(str(arrays["names"]))["manifest"] == through_json(result)


def test_arrays_do_not_tell_in_which_folder_the_photo_was(folder: Path) -> None:
    photo = save_photo(folder / "private" / "a.jpg", 1)
    limelight.explain(limelight.load_model(), photo).save("maps.npz")
    with np.load("maps.npz") as arrays:
        names = str(arrays["names"])
    assert "private" not in names
    (image,) = json.loads(names)["manifest"]["images"]
    assert image["photo"]["file"] == "a.jpg"
    assert image["photo"]["file_digest"] == hashlib.sha256(photo.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "make",
    [
        lambda model, images: limelight.explain_each(model, images, [1, 2])[1],
        lambda model, images: limelight.compare(model, images, methods="gradcam").explanations[0],
        lambda model, images: limelight.explain(model, images)[1],
    ],
)
def test_all_that_explains_knows_its_network(
    make: Callable[[nn.Module, Tensor], Explanation], model: nn.Module, images: Tensor
) -> None:
    assert through_json(make(model, images))["network"]["class"].endswith("Sequential")


# limelight explain --manifest


def test_the_command_writes_the_manifests_of_its_maps(run: Runner, folder: Path) -> None:
    save_photo(folder / "photos" / "a.jpg", 1)
    save_photo(folder / "photos" / "b.jpg", 2)
    line = ("explain", "photos", "--topk", 2, "--out", "maps", "--manifest", "made.json")
    code, _, err = run(*line)
    assert (code, err) == (0, "")
    made = json.loads((folder / "made.json").read_text())
    assert made["command"] == "limelight explain photos --topk 2 --out maps --manifest made.json"
    assert len(made["maps"]) == 4
    first = made["maps"][0]
    assert first["images"][0]["photo"]["file"] == "photos/a.jpg"
    assert first["network"]["name"] == "efficientnet-lite0"
    again = limelight.explain_again(first)
    assert again.label == (first["images"][0]["target"],)
    assert again.manifest()["images"][0]["input_digest"] == first["images"][0]["input_digest"]
