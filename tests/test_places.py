"""Where each cell of a layer lies on the picture, in networks of which no shape tells it.

Maps, activations and heatmaps are compared with those that are laid by hand, from a plain hook and
autograd on a copy of the network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.place_networks import (
    BATCHED_WINDOWS,
    CENTRE,
    CLASSES,
    GRID,
    LINES,
    SCENES,
    STEPS,
    TOKENS,
    WINDOWS,
    Crops,
    Masked,
    Packed,
    Patched,
    Queries,
    Scene,
    lay_tokens,
    shuffle,
)
from helpers.tolerances import assert_agrees, of_heatmaps
from limelight.errors import LayerError
from oracles.evidence import Grid, run
from oracles.places import Part, heat, lay_out
from oracles.weighted import gradcam

any_scene = pytest.mark.parametrize("name", SCENES)


# By hand


class ByHand(NamedTuple):
    """What a plain hook and autograd find at a layer, for one class."""

    target: int
    activations: Tensor  # [B, K, *grid]
    raw: Tensor  # [B, *grid]
    heatmap: Tensor  # [B, *picture]


def watch(
    model: nn.Module, layer: str, inputs: Any, score: Callable[[Any], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return what a layer puts out, and the gradient of the scores there, as they come."""
    path, _, call = layer.partition("#")
    twin, outputs = copy.deepcopy(model).eval(), list[Tensor]()

    def keep(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        outputs.append(output.clone())
        return outputs[-1]

    twin.get_submodule(path).register_forward_hook(keep)
    with torch.enable_grad():
        total = score(run(twin, inputs)).sum()
        (gradient,) = torch.autograd.grad(total, outputs[int(call or 1) - 1])
    return outputs[int(call or 1) - 1].detach(), gradient


def by_hand(model: nn.Module, layer: str, inputs: Any, lay: Grid, part: Part = ()) -> ByHand:
    """Make the map of the first class for which some of it is positive, and some of it is not."""
    picture = next(iter(inputs.values())) if isinstance(inputs, dict) else inputs
    picture = picture[0] if isinstance(picture, tuple) else picture
    for target in range(CLASSES):
        output, gradient = watch(model, layer, inputs, lambda y: y[:, target])  # noqa: B023
        raw = gradcam(lay(output), lay(gradient))
        heatmap = heat(raw, size_of(picture), part)
        seen = lay_out(torch.ones_like(raw), size_of(picture), part) if part else heatmap + 1
        cold = [bool((h[s > 0] == 0).any()) for h, s in zip(heatmap, seen, strict=True)]
        if bool((raw.flatten(1).amax(1) > 0).all()) and all(cold):
            return ByHand(target, lay(output), raw, heatmap)
    raise AssertionError(
        f"at {layer!r} no class has places that speak for it, and others that do not"
    )


def size_of(picture: Tensor) -> tuple[int, ...]:
    return tuple(picture.shape[2:])


def check(scene: Scene, inputs: Any, layer: str | None) -> None:
    """Compare an explanation, at a layer or at the one that is chosen, with that by hand."""
    model = scene.model()
    named = scene.layer
    if layer is None:
        named = limelight.explain(model, inputs, target=0).layer
    due = by_hand(model, named, inputs, scene.lay, scene.part)
    found = limelight.explain(model, inputs, target=due.target, layer=layer)
    assert found.layer == named
    assert found.status[0].name == "ok"
    compare(found, due, dropped=scene.drops)


def compare(found: limelight.Explanation, due: ByHand, *, dropped: bool = False) -> None:
    """Compare the raw map, and the heatmap.

    Where patches are dropped, the mean of a gradient may be one over all cells or over those that
    are left: the maps are the same but for that factor.
    """
    assert found.raw.shape == due.raw.shape
    raw, expected = found.raw, due.raw
    if dropped:
        raw, expected = raw / raw.abs().max(), expected / expected.abs().max()
    assert_agrees(raw, expected)
    assert found.heatmap.shape == due.heatmap.shape
    assert not found.heatmap[due.heatmap == 0].gt(FAINT).any()
    # Where a padded picture lies is measured, not known: the heat may be off by a hair.
    assert (found.heatmap - due.heatmap).abs().mean() < 2 * FAINT
    assert np.corrcoef(found.heatmap.flatten(), due.heatmap.flatten())[0, 1] > 0.98


#: Heat that is as good as none, of 1.
FAINT = 0.02


# Each network


@any_scene
def test_the_activations_are_laid_as_by_hand(name: str) -> None:
    scene = SCENES[name]
    model, inputs = scene.model(), scene.inputs()
    cut = limelight.cut(model, inputs, scene.layer)
    output, _ = watch(model, scene.layer, inputs, lambda y: y[:, 0])
    due = scene.lay(output)
    assert cut.layout.grid == tuple(due.shape[2:])
    assert_agrees(cut.activations, due)


@any_scene
def test_the_gradients_are_laid_as_by_hand(name: str) -> None:
    scene = SCENES[name]
    model, inputs = scene.model(), scene.inputs()
    _, gradient = watch(model, scene.layer, inputs, lambda y: y[:, 3])
    found = limelight.cut(model, inputs, scene.layer).gradients(target=3)
    assert_agrees(found, scene.lay(gradient))


@any_scene
def test_the_map_is_laid_as_by_hand(name: str) -> None:
    check(SCENES[name], SCENES[name].inputs(), SCENES[name].layer)


@any_scene
def test_the_map_at_the_layer_that_is_chosen_is_laid_as_by_hand(name: str) -> None:
    check(SCENES[name], SCENES[name].inputs(), None)


@pytest.mark.parametrize("name", [*LINES, *STEPS, *WINDOWS, *list(TOKENS)[2:]])
def test_the_maps_of_a_batch_are_laid_as_by_hand(name: str) -> None:
    scene = SCENES[name]
    others = scene.others()
    inputs = scene.inputs(batch=2)
    if others:
        inputs = (inputs[0], *(other.expand(2, -1) for other in others))
    model = scene.model()
    output, gradient = watch(model, scene.layer, inputs, lambda y: y[:, 3])
    cut = limelight.cut(model, inputs, scene.layer)
    assert_agrees(cut.activations, scene.lay(output))
    assert_agrees(cut.gradients(target=3), scene.lay(gradient))


@pytest.mark.parametrize("name", ["a line of text, 256 channels", *STEPS, "windows", "from below"])
def test_the_head_takes_what_is_laid(name: str) -> None:
    scene = SCENES[name]
    model, inputs = scene.model(), scene.inputs()
    cut = limelight.cut(model, inputs, scene.layer)
    assert_agrees(cut.head(cut.activations), run(model, inputs))


def test_the_network_is_cut_as_convolutions_are() -> None:
    for scene in (SCENES["strides in time alone"], *STEPS.values()):
        assert limelight.cut(scene.model(), scene.inputs(), scene.layer).layout.kind == (
            "channels first"
        )


# What lies outside of what the network sees


def outside(name: str) -> tuple[Tensor, Tensor]:
    """Return the heatmap of a scene, and where the network does not see the picture."""
    scene = SCENES[name]
    model, inputs = scene.model(), scene.inputs()
    due = by_hand(model, scene.layer, inputs, scene.lay, scene.part)
    picture = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(picture).sum(), picture)
    found = limelight.explain(model, inputs, target=due.target, layer=scene.layer)
    return found.heatmap[0], gradient[0].abs().sum(0) == 0


@pytest.mark.parametrize("name", [name for name in STEPS if "middle" in name or "part" in name])
def test_there_is_no_heat_where_the_network_does_not_see(name: str) -> None:
    heatmap, unseen = outside(name)
    assert unseen.float().mean() > 0.3
    assert not heatmap[unseen].any()
    assert heatmap[~unseen].max() == 1


def test_the_heat_of_a_crop_is_found_at_another_size() -> None:
    scene = SCENES["a slice of the middle, oblong"]
    model, inputs = scene.model(), scene.inputs()
    due = by_hand(model, scene.layer, inputs, scene.lay, scene.part)
    found = limelight.explain(model, inputs, target=due.target, layer=scene.layer)
    doubled = heat(due.raw, (128, 384), ((0, 128), (128, 256)))
    assert (found.heatmap_at((128, 384)) - doubled).abs().max() < FAINT


def test_a_crop_that_hangs_on_the_size_is_measured_at_each_size() -> None:
    scene = SCENES["a slice of the middle, oblong"]
    model = scene.model()
    for width, left in ((192, 64), (96, 16), (64, 0), (160, 48)):
        picture = torch.randn(1, 3, 64, width, dtype=torch.float64)
        part = ((0.0, 64.0), (float(left), left + 64.0))
        due = by_hand(model, scene.layer, picture, scene.lay, part)
        found = limelight.explain(model, picture, target=due.target, layer=scene.layer)
        compare(found, due)


# Tokens without a fixed place


def test_tokens_that_move_at_random_are_refused() -> None:
    torch.manual_seed(0)
    model = Patched(GRID, shuffle).eval()
    for layer in ("blocks.1", None):
        with pytest.raises(LayerError, match="move"):
            limelight.explain(model, torch.randn(1, 3, 32, 48), target=3, layer=layer)


def test_two_pictures_whose_patches_are_shuffled_otherwise_are_not_laid_as_one() -> None:
    """Each is laid by its own order, or the network is refused."""
    scene = TOKENS["shuffled by noise, three quarters dropped"]
    assert scene.build is not None
    torch.manual_seed(0)
    model = Masked(GRID, shuffle).double().eval()
    picture = torch.randn(2, 3, 32, 48, dtype=torch.float64)
    noise = torch.rand(2, 2 * CENTRE)
    output, _ = watch(model, "blocks.1", (picture, noise), lambda y: y[:, 0])
    try:
        found = limelight.cut(model, (picture, noise), "blocks.1").activations
    except LayerError:
        return
    for b, order in enumerate(noise.argsort(1)):
        lay = lay_tokens(GRID, order[: CENTRE // 2].tolist())
        assert_agrees(found[b : b + 1], lay(output[b : b + 1]))


QUERIES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "16 object queries, over 8 x 8 patches": (lambda: Queries(16), 64),
    "as many latents as patches": (lambda: Queries(64), 64),
    "latents, one more than patches": (lambda: Queries(65), 64),
    "25 queries, over 10 x 10 patches": (lambda: Queries(25), 80),
}


@pytest.mark.parametrize("name", QUERIES)
def test_queries_and_latents_have_no_place(name: str) -> None:
    build, side = QUERIES[name]
    torch.manual_seed(0)
    model, picture = build().eval(), torch.randn(1, 3, side, side)
    with pytest.raises(LayerError, match="place"):
        limelight.explain(model, picture, target=3, layer="decoder")
    assert not limelight.cut(model, picture).layer.startswith("decoder")


def test_the_prompts_of_a_mask_decoder_have_no_place() -> None:
    torch.manual_seed(0)
    model = Queries(4, prompts=True).eval()
    inputs = (torch.randn(1, 3, 64, 64), torch.rand(1, 2, 2))
    with pytest.raises(LayerError, match="place"):
        limelight.explain(model, inputs, target=3, layer="decoder")
    assert not limelight.cut(model, inputs).layer.startswith("decoder")


def test_the_picture_s_tokens_before_the_queries_are_laid() -> None:
    torch.manual_seed(0)
    model, picture = Queries(16).double().eval(), torch.randn(1, 3, 48, 64, dtype=torch.float64)
    due = by_hand(model, "encoder", picture, lay_tokens((6, 8)))
    found = limelight.explain(model, picture, target=due.target, layer="encoder")
    compare(found, due)


@pytest.mark.parametrize("name", BATCHED_WINDOWS)
def test_windows_in_the_batch_axis_are_laid_or_refused(name: str) -> None:
    scene = BATCHED_WINDOWS[name]
    try:
        limelight.cut(scene.model(), scene.inputs(), scene.layer)
    except LayerError as error:
        assert "not the batch" in str(error)  # noqa: PT017
        return
    check(scene, scene.inputs(), scene.layer)


@pytest.mark.parametrize("name", BATCHED_WINDOWS)
def test_the_layer_chosen_around_windows_is_laid(name: str) -> None:
    check(BATCHED_WINDOWS[name], BATCHED_WINDOWS[name].inputs(), None)


# Patches, and crops, as the input


PACKED = {"pixel_values": (1, 24, 3 * 8 * 8), "grid": GRID}


def packed(batch: int = 1) -> tuple[nn.Module, dict[str, Tensor]]:
    torch.manual_seed(0)
    patches = torch.randn(batch, 24, 3 * 8 * 8, dtype=torch.float64)
    return Packed().double().eval(), {
        "pixel_values": patches,
        "spatial_shapes": torch.tensor([GRID] * batch),
    }


@pytest.mark.parametrize("batch", [1, 2])
def test_packed_patches_are_laid_on_the_grid_that_is_said(batch: int) -> None:
    model, inputs = packed(batch)
    lay = lay_tokens(GRID)
    for target in range(CLASSES):
        output, gradient = watch(model, "blocks.0", inputs, lambda y: y[:, target])  # noqa: B023
        due = gradcam(lay(output), lay(gradient))
        if due.flatten(1).amax(1).gt(0).all():
            break
    cut = limelight.cut(model, inputs, "blocks.0", grid=GRID)
    assert cut.layout.grid == GRID
    assert_agrees(cut.activations, lay(output))
    found = limelight.explain(model, inputs, target=target, layer="blocks.0", grid=GRID)
    assert_agrees(found.raw, due)
    positive = due.clamp(min=0)
    low, high = (each[:, None, None] for each in positive.flatten(1).aminmax(dim=1))
    assert found.heatmap.shape == (batch, *GRID)
    expected = (positive - low) / (high - low)
    assert_agrees(found.heatmap, expected, condition=of_heatmaps(due))


def test_packed_patches_are_no_signal() -> None:
    model, inputs = packed()
    inputs["spatial_shapes"] = torch.ones(1, 2)
    for layer in ("blocks.0", None):
        with pytest.raises(LayerError, match=r"grid="):
            limelight.explain(model, inputs, target=3, layer=layer)


def test_the_shapes_beside_packed_patches_say_their_grid() -> None:
    model, inputs = packed()
    found = limelight.explain(model, inputs, target=3, layer="blocks.0")
    said = limelight.explain(model, inputs, target=3, layer="blocks.0", grid=GRID)
    assert found.raw.shape == (1, *GRID)
    assert_agrees(found.raw, said.raw)


def test_crops_are_no_frames_of_a_video() -> None:
    """Each crop is laid on its own, or they are refused: no map runs through all of them."""
    torch.manual_seed(0)
    model = Crops(GRID).double().eval()
    inputs = {"pixel_values": torch.randn(1, 5, 3, 32, 48, dtype=torch.float64)}
    output, _ = watch(model, "tower.blocks.1", inputs, lambda y: y[:, 3])
    due = lay_tokens(GRID, front=1)(output)  # [crops, K, h, w]
    try:
        found = limelight.cut(model, inputs, "tower.blocks.1").activations
    except LayerError:
        return
    assert_agrees(found, due.transpose(0, 1)[None])
