from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.networks import CHOSEN, ready
from helpers.tolerances import assert_agrees, assert_is_slope
from limelight.errors import InputError, LayerError, MethodError, OptionError, UnknownNameError
from limelight.finish import normalise, relu, resize
from limelight.methods.fusing import fuse_maps
from limelight.methods.views import find_views


def pictures(*size: int) -> Tensor:
    return torch.randn(3, 3, *(size or (12, 16)), dtype=torch.float64)


class Segmenter(nn.Module):
    """Puts out a class map as large as the image."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 6, 3, padding=1)
        self.classify = nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.classify(self.features(x).tanh())}


# Views


@pytest.mark.parametrize("method", ["gradcam", "saliency", "ablationcam"])
def test_flips_average_the_map_and_the_mirrored_map_of_the_mirror_image(method: str) -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    layer = None if method == "saliency" else "block1"

    def raw(x: Tensor) -> Tensor:
        return limelight.explain(model, x, target=CHOSEN, method=method, layer=layer).raw

    found = limelight.explain(
        model, images, target=CHOSEN, method=method, layer=layer, views=limelight.flips()
    )
    assert_agrees(found.raw, (raw(images) + raw(images.flip(-1)).flip(-1)) / 2)
    assert found.method == f"{method}, 2 flips"


def test_flips_keep_the_class_that_was_predicted_on_the_images_themselves() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    plain = limelight.explain(model, images, layer="block1")
    found = limelight.explain(model, images, layer="block1", views=limelight.flips(-1, -2))
    named = limelight.explain(
        model, images, target=plain.index, layer="block1", views=limelight.flips(-1, -2)
    )
    assert found.label == plain.label
    assert torch.equal(found.score, plain.score)
    assert torch.equal(found.raw, named.raw)


def test_flips_turn_a_target_that_names_a_place() -> None:
    model, images = ready(Segmenter()), pictures()

    def left(output: dict[str, Tensor]) -> Tensor:
        return output["out"][:, 1, :, :4].mean((1, 2))

    def raw(x: Tensor, target: object) -> Tensor:
        return limelight.explain(model, x, target=target, method="hirescam", layer="features").raw  # type: ignore[arg-type]

    def right(output: dict[str, Tensor]) -> Tensor:
        return output["out"][:, 1, :, -4:].mean((1, 2))

    found = limelight.explain(
        model,
        images,
        target=left,
        method="hirescam",
        layer="features",
        views=limelight.flips(),
    )
    assert_agrees(found.raw, (raw(images, left) + raw(images.flip(-1), right).flip(-1)) / 2)
    assert not found.raw[:, :, 8:].any()


def test_noise_averages_the_maps_of_noisy_copies() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    generator = torch.Generator().manual_seed(5)
    drawn = torch.randn(4, 3, 12, 16, generator=generator, dtype=torch.float64)
    spread = images.flatten(1).amax(1) - images.flatten(1).amin(1)
    expected = torch.stack(
        [
            limelight.explain(
                model,
                images + 0.1 * spread[:, None, None, None] * one,
                target=CHOSEN,
                method="gradcam++",
                layer="block1",
            ).raw
            for one in drawn
        ]
    )
    found = limelight.explain(
        model,
        images,
        target=CHOSEN,
        method="gradcam++",
        layer="block1",
        views=limelight.noise(4, 0.1, seed=5),
    )
    assert_agrees(found.raw, expected.mean(0))


def test_noise_of_no_strength_changes_nothing() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    plain = limelight.explain(model, images, layer="block1").raw
    noisy = limelight.explain(model, images, layer="block1", views=limelight.noise(3, 0.0)).raw
    assert_agrees(noisy, plain)


def test_one_scale_is_the_heatmap_itself() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    plain = limelight.explain(model, images, layer="block1", method="layercam")
    found = limelight.explain(
        model, images, layer="block1", method="layercam", views=limelight.scales(1)
    )
    assert_agrees(found.raw, normalise(resize(relu(plain.raw), (12, 16))))


def test_the_maps_of_windows_are_put_where_the_windows_were() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(256, 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    images = torch.zeros(2, 1, 16, 16)
    images[0, 0, 4:6, 11:13] = 1
    images[1, 0, 13:15, 2:4] = 1
    found = limelight.explain(
        model, images, target=0, layer="0", method="hirescam", views=limelight.scales(3)
    )
    for map_, image in zip(found.raw, images[:, 0], strict=True):
        bright = map_ > 0.5 * map_.max()
        assert bright[image > 0].all()
        wide = nn.functional.max_pool2d(image[None], 3, 1, 1)[0]
        assert not bright[wide == 0].any()


def test_windows_whose_scores_are_negative_still_count() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    found = limelight.explain(
        model,
        images,
        target=lambda y: -y.exp().sum(1),
        layer="block1",
        method="eigencam",
        views=limelight.scales(2),
    )
    assert (found.score < 0).all()
    assert found.raw.flatten(1).any(1).all()


def test_progress_is_told_of_every_look() -> None:
    told: list[tuple[str, int, int]] = []
    limelight.explain(
        ready(networks.ResidualCNN()),
        pictures(),
        views=limelight.noise(3),
        progress=lambda *facts: told.append(facts),
    )
    assert told == [("gradcam", 1, 3), ("gradcam", 2, 3), ("gradcam", 3, 3)]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: limelight.flips(0), r"axes to flip are \(0,\).*-1 \(left and right\)"),
        (lambda: limelight.flips(-1, -1), "different ones"),
        (lambda: limelight.noise(0), "option samples of noise is 0; an integer of at least 1 was"),
        (
            lambda: limelight.noise(3, -1.0),
            "deviation of noise is -1.0; a number of at least 0",
        ),
        (lambda: limelight.scales(0), "count of scales is 0; an integer of at least 1 was"),
        (lambda: limelight.scales(2, growth=0), "growth of scales is 0; a number above 0 was"),
        (lambda: find_views("noise:samples=x"), "samples of noise is 'x'; an integer"),
        (lambda: find_views("noise:samples=true"), "samples of noise is True; an integer"),
        (lambda: find_views("noise:samples=none"), "samples of noise is None; an integer"),
        (lambda: find_views("noise:seed=1.5"), "seed of noise is 1.5; an integer of at least 0"),
        (lambda: find_views("noise:seed=-1"), "seed of noise is -1; .* at most"),
        (lambda: find_views("noise:deviation=inf"), "deviation of noise is inf"),
        (lambda: find_views("noise:deviation=nan"), "deviation of noise is nan"),
        (lambda: find_views("noise:deviation=true"), "deviation of noise is True; a number"),
        (lambda: find_views("scales:count=2.0"), "count of scales is 2.0; an integer"),
        (lambda: find_views("scales:growth=false"), "growth of scales is False; a number"),
        (lambda: find_views("noise:samples"), "Cannot read 'samples' in 'noise:samples'"),
        (lambda: limelight.noise(samples=True), "samples of noise is True; an integer"),
        (lambda: limelight.noise(seed=1.5), "seed of noise is 1.5"),  # type: ignore[arg-type]
        (lambda: limelight.scales(True), "count of scales is True"),
        (lambda: limelight.flips(True), r"axes to flip are \(True,\)"),
        (lambda: limelight.flips("-1"), "axes to flip are"),  # type: ignore[arg-type]
        (lambda: limelight.flips(-1.0), "axes to flip are"),  # type: ignore[arg-type]
        (lambda: limelight.noise(2.5), "samples of noise is 2.5; an integer"),  # type: ignore[arg-type]
    ],
)
def test_views_that_make_no_sense_are_refused(make: object, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        make()  # type: ignore[operator]


def test_an_axis_that_the_images_do_not_have_is_refused() -> None:
    with pytest.raises(OptionError, match="Axis -3 cannot be flipped"):
        limelight.explain(ready(networks.ResidualCNN()), pictures(), views=limelight.flips(-3))


def test_views_by_name() -> None:
    assert find_views("noise:samples=3").name == "3 noisy copies"
    assert find_views("scales").name == "4 scales"
    with pytest.raises(UnknownNameError, match="Did you mean 'flips'"):
        find_views("flip")
    with pytest.raises(UnknownNameError, match="no option of flips named 'axes'"):
        find_views("flips:axes=3")
    with pytest.raises(UnknownNameError, match="There are: samples, deviation, seed"):
        find_views("noise:count=3")


# Eigen smoothing


def test_eigen_smoothing_takes_the_first_component_of_the_contributions() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    found = limelight.explain(model, images, target=CHOSEN, layer="block1", eigen=True)
    at = limelight.cut(model, images, "block1")
    alpha = at.gradients(CHOSEN).mean((2, 3), keepdim=True)
    for map_, parts in zip(found.raw, (alpha * at.activations).flatten(2), strict=True):
        left, values, _ = torch.linalg.svd(parts.T)
        component = values[0] * left[:, 0]
        centred = component - component.mean()
        sign = (centred * (parts.mean(0) - parts.mean())).sum().sign()
        assert_agrees(map_.flatten(), sign * component)
    assert found.method == "gradcam, eigen"


def test_eigen_smoothing_needs_channels_to_sum_over() -> None:
    with pytest.raises(MethodError, match=r"that of 'saliency' is not\. It goes with cam, gradcam"):
        limelight.explain(ready(networks.ResidualCNN()), pictures(), method="saliency", eigen=True)


# Layers


@pytest.mark.parametrize("how", ["mean", "max", "product"])
def test_layers_are_fused_on_the_finest_grid(how: str) -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    layers = ["stem", "block1", "block2"]
    one_by_one = [
        normalise(
            resize(relu(limelight.explain(model, images, target=CHOSEN, layer=layer).raw), (12, 16))
        )
        for layer in layers
    ]
    stacked = torch.stack(one_by_one)
    expected = {"mean": stacked.mean(0), "max": stacked.amax(0), "product": stacked.prod(0)}[how]
    found = limelight.explain(model, images, target=CHOSEN, layer=layers, fuse=how)  # type: ignore[arg-type]
    assert_agrees(found.raw, expected)
    turned = limelight.explain(model, images, target=CHOSEN, layer=layers[::-1], fuse=how)  # type: ignore[arg-type]
    assert_agrees(turned.raw, expected)
    assert found.layer == "stem + block1 + block2"
    assert found.method == f"gradcam, {how}"


def test_a_single_layer_in_a_list_is_fused_with_nothing() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    found = limelight.explain(model, images, layer=["block1"])
    assert_agrees(found.heatmap, limelight.explain(model, images, layer="block1").heatmap)


def test_explanations_of_different_things_are_not_fused() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    one, other = limelight.explain_each(model, images, [1, 2], layer="block1")
    with pytest.raises(InputError, match="the same images and the same targets"):
        limelight.fuse([one, other])
    with pytest.raises(InputError, match="no explanations"):
        limelight.fuse([])
    with pytest.raises(LayerError, match="no layers in the list"):
        limelight.explain(model, images, layer=[])
    with pytest.raises(
        UnknownNameError, match=r"fusion named 'ooo'. There are mean, max, product\."
    ):
        fuse_maps([one.raw], "ooo")  # type: ignore[arg-type]


def test_different_methods_can_be_fused() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    maps = [
        limelight.explain(model, images, target=CHOSEN, layer="block1", method=method)
        for method in ("layercam", "eigencam")
    ]
    assert limelight.fuse(maps, "max").method == "layercam + eigencam, max"


# Targets


def test_a_contrast_is_the_score_less_a_share_of_those_of_the_nearest_classes() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    logits = limelight.cut(model, images, "block1").output
    near = [
        sorted((i for i in range(5) if i != c), key=lambda i: abs(row[i] - row[c]))[:2]
        for row, c in zip(logits.tolist(), CHOSEN, strict=True)
    ]
    rows = torch.arange(3)
    found = limelight.explain(
        model,
        images,
        target=limelight.Contrast(torch.tensor(CHOSEN), similar=2, weight=0.6),
        layer="block1",
    )
    apart = logits[rows[:, None], torch.tensor(near)].mean(1)
    assert_agrees(found.score, logits[rows, CHOSEN] - 0.6 * apart)

    def custom(output: Tensor) -> Tensor:
        return output[rows, CHOSEN] - 0.6 * output[rows[:, None], torch.tensor(near)].mean(1)

    assert_agrees(found.raw, limelight.explain(model, images, target=custom, layer="block1").raw)
    assert found.label[0] == f"class 1 rather than class {near[0][0]}, class {near[0][1]}"


def test_a_contrast_with_a_named_class() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    names = ["ant", "bee", "cat", "dog", "eel"]
    found = limelight.explain(
        model,
        images,
        target=limelight.Contrast("cat", "dog", weight=1.0),
        layer="block1",
        classes=names,
    )
    plain = limelight.explain(model, images, target=lambda y: y[:, 2] - y[:, 3], layer="block1")
    assert_agrees(found.raw, plain.raw)
    assert found.label == ("cat rather than dog",) * 3
    assert found.index is not None
    assert found.index.tolist() == [2, 2, 2]


@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "hirescam"])
def test_a_counterfactual_has_the_negated_map(method: str) -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    plain = limelight.explain(model, images, target=2, layer="block1", method=method)
    found = limelight.explain(
        model, images, target=limelight.Counterfactual(2), layer="block1", method=method
    )
    assert_agrees(found.raw, -plain.raw)
    assert_agrees(found.score, -plain.score)
    assert found.label == ("against class 2",) * 3


@pytest.mark.parametrize("method", ["ablationcam", "reciprocam", "occlusion:patch=0.5"])
def test_a_target_of_one_s_own_is_the_same_to_methods_that_run_the_network_again(
    method: str,
) -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    rows = torch.arange(3)
    layer = None if method.startswith("occlusion") else "block1"
    by_class = limelight.explain(model, images, target=CHOSEN, method=method, layer=layer)
    by_hand = limelight.explain(
        model, images, target=lambda y: y[rows, CHOSEN], method=method, layer=layer, chunk=7
    )
    assert_agrees(by_hand.raw, by_class.raw)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: limelight.Contrast(1, weight=1.5), "weight is 1.5"),
        (lambda: limelight.Contrast(1, similar=0), "similar is 0"),
        (lambda: limelight.Contrast(len), "takes a class, not a callable"),  # type: ignore[arg-type]
        (
            lambda: limelight.Contrast(1, against=limelight.Contrast(2)),
            "against is a Contrast; a class was expected",
        ),
        (
            lambda: limelight.Contrast(1, against=limelight.Counterfactual(2)),
            "against is a Counterfactual; a class was expected",
        ),
        (lambda: limelight.Counterfactual(9), "the model has 5 classes"),
    ],
)
def test_contrasts_that_make_no_sense_are_refused(make: object, says: str) -> None:
    with pytest.raises(limelight.LimelightError, match=says):
        limelight.explain(ready(networks.ResidualCNN()), pictures(), target=make())  # type: ignore[operator]


# Training on where the network looks


def test_a_differentiable_map_is_the_same_map() -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    plain = limelight.explain(model, images, target=CHOSEN, layer="block1")
    found = limelight.explain(model, images, target=CHOSEN, layer="block1", differentiable=True)
    assert_agrees(found.raw.detach(), plain.raw)
    assert_agrees(found.heatmap.detach(), plain.heatmap)
    assert found.raw.requires_grad
    assert found.heatmap.requires_grad
    assert found.score.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("network", [networks.ResidualCNN, networks.TinyViT])
def test_the_gradient_of_a_map_by_a_parameter_is_that_of_finite_differences(
    network: type[nn.Module],
) -> None:
    model, images = ready(network()), pictures()
    layer = "block1" if network is networks.ResidualCNN else "blocks.0"
    parameter = next(model.parameters())

    def loss() -> Tensor:
        found = limelight.explain(model, images, target=1, layer=layer, differentiable=True)
        return found.raw.square().sum()

    (gradient,) = torch.autograd.grad(loss(), [parameter])
    assert_is_slope(gradient, loss, parameter, at=(0,) * parameter.ndim, step=1e-6)


def test_right_for_the_right_reasons() -> None:
    """A network learns from a cue in the corner; a loss on the map makes it look at the tool."""
    torch.manual_seed(0)
    count = 64
    labels = torch.arange(count) % 2
    images = 0.1 * torch.randn(count, 1, 12, 12)
    sign = (2.0 * labels - 1)[:, None, None]
    images[:, 0, 8:11, 8:11] += 2 * sign  # the cue, strong
    images[:, 0, 1:4, 1:4] += 1 * sign  # the tool, weaker
    cue = torch.zeros(12, 12)
    cue[7:, 7:] = 1

    def train(right: float) -> tuple[nn.Module, float]:
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 144, 2)
        )
        optimiser = torch.optim.Adam(model.parameters(), 0.01)
        for _ in range(40):
            found = limelight.explain(
                model,
                images,
                target=lambda y: y[:, 1] - y[:, 0],
                layer="1",
                method="hirescam",
                differentiable=True,
            )
            # Of the evidence there is, as much as possible should lie off the cue.
            share = (found.raw.abs() * cue).sum((1, 2)) / found.raw.abs().sum((1, 2))
            loss = nn.functional.cross_entropy(model(images), labels) + right * share.mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            without = images.clone()
            without[:, 0, 7:, 7:] *= -1  # the cue now lies
            accuracy = (model(without).argmax(1) == labels).float().mean().item()
        return model, accuracy

    _, fooled = train(0.0)
    _, right = train(5.0)
    assert fooled < 0.5
    assert right > 0.95


@pytest.mark.parametrize("method", ["saliency", "shapleycam", "layercam", "fem"])
def test_other_maps_carry_a_graph_too(method: str) -> None:
    found = limelight.explain(
        ready(networks.TinyViT()), pictures(), method=method, differentiable=True
    )
    assert found.raw.requires_grad


@pytest.mark.parametrize("method", ["ablationcam", "rollout", "random", "occlusion", "eigencam"])
def test_a_map_without_a_graph_to_the_parameters_is_refused(method: str) -> None:
    model, images = ready(networks.TinyViT()), pictures()
    with pytest.raises(MethodError, match="differentiable=True goes with gradcam, "):
        limelight.explain(model, images, method=method, differentiable=True)


def test_a_map_with_a_graph_can_be_saved(tmp_path: object) -> None:
    model, images = ready(networks.ResidualCNN()), pictures()
    found = limelight.explain(model, images, layer="block1", differentiable=True)
    for name in ("map.png", "map.npz"):
        assert found.save(f"{tmp_path}/{name}").stat().st_size
