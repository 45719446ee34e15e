"""Scripts as users of grad-cam write them, run with their import changed alone.

What each computes is compared with plain hooks, numpy and OpenCV. Where grad-cam 1.5.7 gives
something else, the right value is the one here: `docs/migrate.md` says why.
"""

from __future__ import annotations

import functools
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate
from torchvision.ops import box_iou

from helpers import drop_in
from helpers.drop_in import at_layer, first_component, gradcam, heatmap, of_class
from oracles import faithfulness, pointwise, spectral, weighted

Array = npt.NDArray[Any]

Run = Callable[[str], dict[str, Any]]

SIZE = (64, 96)

TABBY = 281


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run each script once, in a folder with the photo that it reads."""
    folder = tmp_path_factory.mktemp("scripts")
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    photo = np.random.default_rng(0).integers(0, 60, (*SIZE, 3), dtype=np.uint8)
    photo[(y - 24) ** 2 + (x - 30) ** 2 < 200] = (220, 120, 40)
    photo[35:58, 55:85] = (40, 90, 210)
    Image.fromarray(photo).save(folder / "photo.png")

    @functools.cache
    def once(name: str) -> dict[str, Any]:
        return drop_in.run_script(f"grad_cam/{name}.py", "pytorch_grad_cam", drop_in.PACKAGE)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["script.py"])
        yield once


def assert_is(heat: Array, truth: Array, atol: float = 1e-5) -> None:
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert heat.max() <= 1
    assert truth.max() > 0.9
    np.testing.assert_allclose(heat, truth, atol=atol)


def saved(path: str) -> Array:
    """Return a picture that a script saved, BGR."""
    return np.asarray(cv2.imread(path))


def test_classification(run: Run) -> None:
    done = run("classification")
    model, images, photo = (done[name] for name in ("model", "input_tensor", "rgb_img"))
    evidence = at_layer(model, model.layer4[-1], images, of_class(TABBY))
    truth = heatmap(gradcam(*evidence), SIZE)
    assert_is(done["grayscale_cam"], truth)
    apart = drop_in.levels_apart(done["visualization"], drop_in.overlay(photo, truth))
    assert apart.max() <= 1
    np.testing.assert_array_equal(saved("cam.png")[..., ::-1], done["visualization"])
    with torch.no_grad():
        torch.testing.assert_close(done["model_outputs"], model(images))

    smooth = []
    for flip in (False, True):
        for factor in (0.9, 1.0, 1.1):
            seen = (images.flip(-1) if flip else images) * factor
            raw = gradcam(*at_layer(model, model.layer4[-1], seen, of_class(TABBY)))
            heat = heatmap(raw, SIZE)
            smooth.append(heat[:, ::-1] if flip else heat)
    np.testing.assert_allclose(done["smooth"], np.mean(smooth, axis=0), atol=1e-5)

    activations, gradients = evidence
    contributions = gradients.mean(axis=(2, 3), keepdims=True) * activations
    assert_is(done["first_component"], heatmap(first_component(contributions), SIZE))

    earlier = at_layer(model, model.layer3[-1], images, of_class(TABBY))
    both = [gradcam(*earlier)[0], gradcam(*evidence)[0]]
    assert_is(done["two_layers"], heatmap(both, SIZE))


def test_the_predicted_class_of_each_image(run: Run) -> None:
    done = run("classification")
    model, batch = done["model"], done["batch"]
    for image, heat in zip(batch, done["predicted"], strict=True):
        raw = gradcam(*at_layer(model, model.layer4, image[None], lambda y: y.amax(1)))
        assert_is(heat, heatmap(raw, SIZE))
    assert len(done["predicted"]) == 2


def test_score_cam(run: Run) -> None:
    done = run("classification")
    model, images = done["model"], done["input_tensor"]
    activations, _ = at_layer(model, model.layer1[-1], images, of_class(TABBY))
    masks = [drop_in.scaled(cv2.resize(channel, SIZE[::-1])) for channel in activations[0]]
    seen = images * torch.from_numpy(np.stack(masks))[:, None]
    with torch.no_grad():
        scores = torch.cat([model(each)[:, TABBY] for each in seen.split(16)])
    weights = scores.softmax(0).numpy()
    raw = np.einsum("k,khw->hw", weights, activations[0])
    assert_is(done["scorecam"], heatmap([raw], SIZE))


def test_guided_gradcam(run: Run) -> None:
    done = run("classification")
    gradient = drop_in.guided_gradient(done["model"], done["input_tensor"], TABBY)
    assert done["gb"].shape == (*SIZE, 3)
    np.testing.assert_allclose(done["gb"], gradient, atol=1e-5 * np.abs(gradient).max())
    product = done["grayscale_cam"][..., None] * gradient
    for picture, values in (("gb_picture", gradient), ("cam_gb", product)):
        apart = drop_in.levels_apart(done[picture], drop_in.deprocessed(values))
        assert apart.max() <= 1
    np.testing.assert_array_equal(saved("cam_gb.png"), done["cam_gb"])


def test_every_method_by_name(run: Run) -> None:
    done = run("cam")
    model, images = done["model"], done["input_tensor"]
    evidence = at_layer(model, model[4], images, of_class(2))
    activations, gradients = (torch.from_numpy(values).double() for values in evidence)
    ablated = without_each_channel(done, model[4], evidence[0], category=2, axis=-3)
    raws = {
        "gradcam": weighted.gradcam(activations, gradients),
        "hirescam": pointwise.hirescam(activations, gradients),
        "gradcam++": weighted.gradcam_plus_plus(activations, gradients),
        "ablationcam": torch.from_numpy(ablated),
        "xgradcam": weighted.xgradcam(activations, gradients),
        "eigencam": spectral.eigencam(activations, centred=True),
        "eigengradcam": spectral.eigengradcam(activations, gradients, centred=True),
        "layercam": pointwise.layercam(activations, gradients),
        "fem": weighted.fem(activations),
        "gradcamelementwise": pointwise.gradcam_elementwise(activations, gradients),
    }
    others = {"scorecam", "fullgrad", "kpcacam", "shapleycam", "randomcam"}
    assert done["maps"].keys() == raws.keys() | others
    for name, raw in raws.items():
        assert_is(done["maps"][name], heatmap(raw.numpy(), SIZE), atol=1e-4)
    for name in others - {"randomcam"}:
        assert done["maps"][name].max() == pytest.approx(1)
        assert saved(f"{name}_cam.jpg").shape == (*SIZE, 3)


def test_vit(run: Run) -> None:
    done = run("vit")
    model, layer, images = done["model"], done["model"].blocks[-1].norm1, done["input_tensor"]
    grid = drop_in.tokens(4, 6, prefix=1)
    activations, gradients = at_layer(model, layer, images, of_class(0), grid)
    raws = {
        "gradcam": gradcam(activations, gradients),
        "layercam": (np.maximum(gradients, 0) * activations).sum(axis=1),
        "eigengradcam": first_component(gradients * activations),
        "ablationcam": without_each_channel(done, layer, activations, category=0, axis=-1),
    }
    assert done["maps"].keys() == raws.keys()
    for name, raw in raws.items():
        assert_is(done["maps"][name], heatmap(raw, SIZE), atol=5e-5)


def without_each_channel(
    done: dict[str, Any], layer: Any, activations: Array, *, category: int, axis: int
) -> Array:
    """Return Ablation-CAM `[1, h, w]`: a hook sets a channel, an index of an axis, to zero."""

    def score() -> float:
        with torch.no_grad():
            return float(done["model"](done["input_tensor"])[0, category])

    whole, weights = score(), []
    for channel in range(activations.shape[1]):
        kept = torch.ones(activations.shape[1]).index_fill(0, torch.tensor([channel]), 0)
        kept = kept.reshape(-1, *[1] * (-1 - axis))
        handle = layer.register_forward_hook(lambda _m, _i, output, kept=kept: output * kept)
        weights.append((whole - score()) / abs(whole))
        handle.remove()
    return np.asarray(np.einsum("k,bkhw->bhw", weights, activations))


def test_swin(run: Run) -> None:
    done = run("swin")
    model, block, images = (done[name] for name in ("model", "block", "input_tensor"))
    in_a_row = at_layer(model, block.norm2, images, of_class(3), drop_in.tokens(4, 6))
    assert_is(done["in_a_row"], heatmap(gradcam(*in_a_row), SIZE))
    activations, gradients = at_layer(
        model, block.norm1, images, of_class(3), drop_in.channels_last
    )
    assert_is(done["on_a_grid"], heatmap(gradcam(activations, gradients), SIZE))
    # Grad-CAM++ as in its paper, without an epsilon that small gradients drown in.
    a, g = activations.astype(np.float64), gradients.astype(np.float64)
    alpha = g**2 / (2 * g**2 + a.sum(axis=(2, 3), keepdims=True) * g**3)
    weights = (alpha * np.maximum(g, 0)).sum(axis=(2, 3), keepdims=True)
    assert_is(done["plusplus"], heatmap((weights * a).sum(axis=1), SIZE), atol=1e-4)


def test_clip(run: Run) -> None:
    done = run("clip")
    model, images, (layer,) = (done[n] for n in ("model", "input_tensor", "target_layers"))
    grid = drop_in.tokens(4, 4, prefix=1)
    for caption, heat in enumerate(done["by_caption"]):
        raw = gradcam(*at_layer(model, layer, images, of_class(caption), grid))
        assert_is(heat, heatmap(raw, (64, 64)), atol=5e-5)
    with torch.no_grad():
        probabilities = model(images)
    torch.testing.assert_close(done["probabilities"], probabilities)
    np.testing.assert_array_equal(done["predicted"], done["by_caption"][probabilities[0].argmax()])


def test_huggingface(run: Run) -> None:
    done = run("huggingface")
    photo = np.asarray(done["image"])
    images = done["img_tensor"].expand(2, -1, -1, -1)
    swin, resnet = done["swin"], done["resnet"]
    layers = {
        "swin": (swin, swin.swin.layernorm, drop_in.tokens(4, 6)),
        "resnet": (resnet, resnet.resnet.encoder.stages[-1].layers[-1], lambda output: output),
    }
    for name, (model, layer, grid) in layers.items():
        # Class 1 of the first picture, and class 2 of the second.
        evidence = at_layer(model, layer, images, lambda y: y.logits.diagonal(1), grid)
        truths = [heatmap([raw], SIZE) for raw in gradcam(*evidence)]
        for heat, truth in zip(done[f"{name}_maps"], truths, strict=True):
            assert_is(heat, truth)
    drawn = [drop_in.overlay(photo.astype(np.float32) / 255, heat) for heat in done["swin_maps"]]
    assert drop_in.levels_apart(done["swin_picture"], np.hstack(drawn)).max() <= 1
    # The photo, its concepts in colour, and a legend.
    concepts = done["concepts_picture"]
    assert concepts.shape == (SIZE[0], 3 * SIZE[1], 3)
    np.testing.assert_array_equal(concepts[:, : SIZE[1]], photo)


def pyramid_at(done: dict[str, Any], images: Tensor) -> tuple[Array, dict[str, Tensor]]:
    """Return all levels of the detector's features on the grid of the coarsest, and themselves."""
    outputs: list[dict[str, Tensor]] = []
    backbone = done["model"].backbone
    handle = backbone.register_forward_hook(lambda _m, _i, output: outputs.append(output))
    with torch.no_grad():
        done["model"](images)
    handle.remove()
    size = outputs[0]["pool"].shape[-2:]
    levels = [interpolate(each.abs(), size, mode="bilinear") for each in outputs[0].values()]
    return torch.cat(levels, 1).numpy(), outputs[0]


def found_again(detections: dict[str, Tensor], boxes: Array, labels: Sequence[int]) -> float:
    """Return the sum of overlap and score of boxes that were found with the same label."""
    total = 0.0
    for box, label in zip(boxes, labels, strict=True):
        overlaps = box_iou(torch.tensor(box)[None].float(), detections["boxes"])[0]
        best = int(overlaps.argmax())
        if overlaps[best] > 0.5 and detections["labels"][best] == label:
            total += float(overlaps[best] + detections["scores"][best])
    return total


def test_faster_rcnn(run: Run) -> None:
    done = run("faster_rcnn")
    images, boxes, labels = (done[name] for name in ("input_tensor", "boxes", "labels"))
    assert len(boxes) == 3
    activations, levels = pyramid_at(done, images)
    truth = heatmap(first_component(activations), SIZE)
    assert_is(done["eigencam"], truth, atol=1e-4)
    apart = drop_in.levels_apart(
        done["cam_image"], drop_in.overlay(done["image_float_np"], done["eigencam"])
    )
    assert apart.max() <= 1
    x1, y1, x2, y2 = np.clip(boxes[-1], 0, None)
    np.testing.assert_allclose(
        done["renormalized"][y1:y2, x1:x2], drop_in.scaled(done["eigencam"][y1:y2, x1:x2])
    )

    backbone, names = done["model"].backbone, list(levels)

    def score_without(channel: int | None) -> float:
        def hook(_module: Any, _inputs: Any, output: dict[str, Tensor]) -> dict[str, Tensor]:
            changed = {name: level.clone() for name, level in output.items()}
            if channel is not None:
                changed[names[channel // 256]][:, channel % 256] = 0
            return changed

        handle = backbone.register_forward_hook(hook)
        with torch.no_grad():
            (detections,) = done["model"](images)
        handle.remove()
        return found_again(detections, boxes, labels)

    whole, raw = score_without(None), np.zeros(activations.shape[2:])
    chosen = most_inside(activations[0], int(0.02 * activations.shape[1]))
    for channel in chosen:
        raw += (whole - score_without(channel)) / whole * activations[0, channel]
    assert_is(done["ablationcam"], heatmap([raw], SIZE), atol=1e-4)


def most_inside(activations: Array, count: int) -> Array:
    """Return the channels `[K, h, w]` with most of their mass where the first component is."""
    component = drop_in.scaled(np.abs(first_component(activations[None])[0]))
    mass = activations - activations.min(axis=(1, 2), keepdims=True)
    share = mass[:, component > 0.01].sum(axis=1) / mass.sum(axis=(1, 2))
    return np.argsort(-share, kind="stable")[:count]


def test_a_detector_explained_without_a_target(run: Run) -> None:
    done = run("yolo")
    activations, _ = at_layer(
        done["model"], done["model"].backbone[-2], done["tensor"], lambda boxes: boxes.sum((1, 2))
    )
    truth = heatmap(first_component(activations), SIZE)
    assert_is(done["grayscale_cam"], truth)
    assert_is(done["no_targets"], truth)
    gray = done["smooth"]
    assert gray.shape == SIZE
    assert np.corrcoef(gray.ravel(), truth.ravel())[0, 1] > 0.5
    boxes = done["model"](done["tensor"])

    def confidence(boxes: Tensor) -> Tensor:
        return boxes[:, :, 4].amax(1)

    assert boxes.shape == (1, 24, 7)
    evidence = at_layer(done["model"], done["model"].backbone[-2], done["tensor"], confidence)
    assert_is(done["confident"], heatmap(gradcam(*evidence), SIZE))


def test_segmentation(run: Run) -> None:
    done = run("segmentation")
    model, images, mask = (done[name] for name in ("model", "input_tensor", "mask_float"))
    assert 0 < mask.mean() < 1

    def score(scores: Tensor) -> Tensor:
        return (scores[:, done["category"]] * torch.from_numpy(mask)).sum((1, 2))

    (layer,) = done["target_layers"]
    truth = heatmap(gradcam(*at_layer(model, layer, images, score)), SIZE)
    assert_is(done["grayscale_cam"], truth, atol=5e-5)
    apart = drop_in.levels_apart(done["cam_image"], drop_in.overlay(done["rgb_img"], truth))
    assert np.quantile(apart, 0.999) <= 1


def test_embeddings(run: Run) -> None:
    done = run("embeddings")
    model, images, concept = (done[n] for n in ("model", "input_tensor", "concept_features"))
    (layer,) = done["target_layers"]

    def similarity(features: Tensor) -> Tensor:
        return cosine_similarity(features, concept.detach()[None])

    activations, gradients = at_layer(
        model.feature_extractor, layer, images, lambda y: similarity(y[..., 0, 0])
    )
    assert_is(done["similar"], heatmap(gradcam(activations, gradients), SIZE), atol=5e-5)
    assert_is(done["different"], heatmap(gradcam(activations, -gradients), SIZE), atol=5e-5)


def test_metrics(run: Run) -> None:
    done = run("metrics")
    model, image, (heat,) = (done[n] for n in ("model", "input_tensor", "grayscale_cams"))

    def probability(images: Tensor) -> float:
        with torch.no_grad():
            return float(model(images).softmax(1)[0, 3])

    whole, cam = probability(image), torch.from_numpy(heat)
    assert done["score"] == pytest.approx(probability(image * (1 - cam)) - whole, abs=1e-6)
    torch.testing.assert_close(done["visualizations"], image * (1 - cam))
    expected = drop_in.deprocessed((image * (1 - cam))[0].permute(1, 2, 0).numpy())
    assert drop_in.levels_apart(done["visualization"], expected).max() <= 1
    change = probability(image * cam) - whole
    assert done["drop"] == pytest.approx(max(0, -change), abs=1e-6)
    assert done["increase"] == (change > 0)
    assert abs(change) > 1e-3


def test_road(run: Run) -> None:
    done = run("metrics")
    model, image, (heat,) = (done[n] for n in ("model", "input_tensor", "grayscale_cams"))
    generator = torch.Generator().manual_seed(0)
    noise = 0.01 * torch.randn(image.shape, generator=generator, dtype=torch.float64).numpy()[0]

    def without(percentile: float, relevance: Array) -> Tensor:
        """Return the image whose pixels at or above a percentile are imputed, with noise."""
        stay = math.ceil(percentile / 100 * (relevance.size - 1))
        gone = np.zeros(relevance.size, dtype=bool)
        gone[np.argsort(-relevance.ravel(), kind="stable")[: relevance.size - stay]] = True
        removed = gone.reshape(relevance.shape)
        filled = faithfulness.imputed(image[0].numpy().astype(np.float64), removed)
        return torch.from_numpy(filled + noise * removed).float()[None]

    def changes(pictures: Sequence[Tensor]) -> Array:
        with torch.no_grad():
            before, *after = model(torch.cat([image, *pictures])).softmax(1)[:, 3].numpy()
        return np.asarray(np.array(after) - before)

    torch.testing.assert_close(done["road_pictures"], without(75, heat), rtol=0, atol=1e-4)
    assert done["road_scores"] == pytest.approx(changes([without(75, heat)]), abs=1e-5)
    percentiles = (20, 40, 60, 80)
    most, least = (changes([without(each, way * heat) for each in percentiles]) for way in (1, -1))
    assert done["road_average"] == pytest.approx(most.mean(), abs=1e-5)
    assert done["road_least"] == pytest.approx(least[0], abs=1e-5)
    combined = (least.mean() - most.mean()) / 2
    assert abs(combined) > 1e-3
    assert done["road_combined"]["GradCAM"] == pytest.approx(combined, abs=1e-5)


def test_arcc(run: Run) -> None:
    done = run("metrics")
    model, image, (heat,) = (done[n] for n in ("model", "input_tensor", "grayscale_cams"))
    masked = image * torch.from_numpy(heat)

    def probability(output: Tensor) -> Tensor:
        return output.softmax(1)[:, 3]

    again = heatmap(gradcam(*at_layer(model, model.layer2, masked, probability)), heat.shape)
    coherency = (np.corrcoef(heat.ravel(), again.ravel())[0, 1] + 1) / 2
    road = float(np.clip(2 * done["road_combined"]["GradCAM"], 0, 1))
    assert road > 0
    truth = 3 / (1 / coherency + 1 / (1 - heat.mean()) + 1 / road)
    assert done["arcc"] == pytest.approx(truth, abs=1e-5)


def test_a_method_of_ones_own(run: Run) -> None:
    done = run("own_method")
    model, images, (layer,) = (done[n] for n in ("model", "input_tensor", "target_layers"))
    activations, gradients = at_layer(model, layer, images, of_class(TABBY))
    largest = gradients.max(axis=(2, 3), keepdims=True)
    assert_is(done["largest"], heatmap((largest * activations).sum(axis=1), SIZE))
    assert_is(done["positive"], heatmap(gradcam(activations, np.maximum(gradients, 0)), SIZE))
    assert_is(done["norm"], heatmap(np.sqrt((activations**2).sum(axis=1)), SIZE))
    assert done["grads_seen"] is None
    margin = at_layer(model, layer, images, lambda y: y[:, TABBY] - y[:, 254])
    assert_is(done["margin"], heatmap(gradcam(*margin), SIZE))


def test_old_forms_say_how_to_write_them_today(run: Run) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = run("old_forms")
    model, images = done["model"], done["input_tensor"]
    for name, category in (("grayscale_cam", TABBY), ("one_layer", 285)):
        raw = gradcam(*at_layer(model, model.layer4[-1], images, of_class(category)))
        assert_is(done[name], heatmap(raw, SIZE))
    assert {warning.category for warning in caught} == {DeprecationWarning}
    lines = (drop_in.SCRIPTS / "grad_cam" / "old_forms.py").read_text().splitlines()
    for warning in caught:
        assert warning.filename.endswith("old_forms.py")
        old, new = str(warning.message).split(" is the form of an earlier version; write ")
        assert old.split("=")[0] in lines[warning.lineno - 1]
        assert new == NEW_LINES[old]
    assert len(caught) == 5


#: What each old form is called today.
NEW_LINES = {
    "use_cuda=False": "model.to(device) before, and no use_cuda.",
    "target_layer=layer": "target_layers=[layer].",
    "target_category=281": "targets=[ClassifierOutputTarget(281)].",
    "target_category=[285]": "targets=[ClassifierOutputTarget(285)].",
}
