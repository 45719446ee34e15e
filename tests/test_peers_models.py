"""Models that people bring, and that must simply work: a test per line of a list, in its order.

Each line is something at which users of other libraries were hurt; where a wrong number was seen
there, the test shows that it would be noticed here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, cast

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from transformers.modeling_outputs import ImageClassifierOutput

import limelight
from helpers import networks
from helpers.networks import ready
from helpers.plain_hooks import CLASS, PICTURE, by_hand, correlation, pictures
from helpers.tolerances import assert_agrees
from limelight.errors import LayerError, ModelError, TargetError
from limelight.layers import candidates
from oracles.evidence import Grid, channels_first, channels_last, classes, probe, tokens
from oracles.weighted import gradcam

# ---- the layer -------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["layer4.1.conv2", "layer4[-1].conv2", "layer4[1].conv2"])
def test_dont_know_which_layer(layer: str) -> None:
    """The layer is chosen, with ranked candidates and the reason; dotted names are accepted."""
    model = ready(torchvision.models.resnet18(weights=None))
    images = pictures(1, (3, 64, 64))
    chosen = limelight.explain(model, images, target=CLASS)
    assert chosen.layer == "layer4"
    assert chosen.reason == "the last layer with a grid on which gradient of the score arrives"
    assert_agrees(chosen.raw, by_hand(model, "layer4", images))
    ranked = candidates(limelight.record(model, images))
    assert ranked[0].path == "layer4"
    assert ranked[0].objection == ""
    objections = {one.path: one.objection for one in ranked}
    assert objections["layer4.1.conv2"] == objections["layer3"] == ""
    assert objections["layer4.0.downsample"].startswith("it is one of several branches")
    assert objections["maxpool"] == "it has no parameters"
    assert list(objections.values()) == sorted(objections.values(), key=bool)
    named = limelight.explain(model, images, target=CLASS, layer=layer)
    assert (named.layer, named.reason) == ("layer4.1.conv2", "named")
    assert_agrees(named.raw, by_hand(model, "layer4.1.conv2", images))


def of_timm(name: str, **options: Any) -> nn.Module:
    return cast("nn.Module", timm.create_model(name, num_classes=5, **options))


WINDOWED = {
    "img_size": (64, 96),
    "depths": (1, 1, 1, 1),
    "embed_dim": 24,
    "num_heads": (1, 1, 2, 2),
    "window_size": 2,
}


@pytest.mark.parametrize(
    ("network", "size", "layer", "grid", "layout"),
    [
        (
            lambda: of_timm("vit_tiny_patch16_224", depth=2, img_size=(48, 80)),
            (48, 80),
            "blocks.1.norm1",
            tokens(1, (3, 5)),
            "tokens, 1 prefix",
        ),
        (
            lambda: of_timm("deit_tiny_distilled_patch16_224", depth=2, img_size=(48, 80)),
            (48, 80),
            "blocks.1.norm1",
            tokens(2, (3, 5)),
            "tokens, 2 prefix",
        ),
        (
            lambda: of_timm(
                "vit_small_patch14_reg4_dinov2",
                depth=2,
                img_size=(42, 70),
                embed_dim=64,
                num_heads=2,
            ),
            (42, 70),
            "blocks.1.norm1",
            tokens(5, (3, 5)),
            "tokens, 5 prefix",
        ),
        (
            lambda: of_timm("swin_tiny_patch4_window7_224", **WINDOWED),
            (64, 96),
            "norm",
            channels_last,
            "channels last",
        ),
        (
            lambda: of_timm("swinv2_tiny_window8_256", **WINDOWED),
            (64, 96),
            "norm",
            channels_last,
            "channels last",
        ),
        (
            lambda: of_timm("maxvit_pico_rw_256", img_size=(64, 96)),
            (64, 96),
            "norm",
            channels_first,
            "channels first",
        ),
        (
            lambda: torchvision.models.convnext_tiny(weights=None, num_classes=5),
            (64, 96),
            "features",
            channels_first,
            "channels first",
        ),
    ],
    ids=["vit", "deit", "dinov2", "swin", "swinv2", "maxvit", "convnext"],
)
def test_bring_a_vit_deit_dinov2_swin_swinv2_maxvit_or_non_square_input(
    network: Callable[[], nn.Module], size: tuple[int, int], layer: str, grid: Grid, layout: str
) -> None:
    """Prefix tokens are counted, channels seen where they are; nothing is reshaped by hand."""
    model, images = ready(network()), pictures(2, (3, *size))
    found = limelight.explain(model, images, target=CLASS)
    assert found.layer == layer
    assert str(limelight.cut(model, images, None).layout) == layout
    assert found.raw.shape[1] != found.raw.shape[2]
    assert found.heatmap.shape == (2, *size)
    assert_agrees(found.raw, by_hand(model, layer, images, grid=grid))


def test_take_the_last_block_of_a_vit() -> None:
    """The class token alone is read there: the status says so, and which layer to take."""
    model, images = ready(networks.TinyViT((3, 4))), pictures(2, (3, 12, 16))
    seen = probe(model, "blocks.1", images, classes([CLASS] * 2), tokens(3, (3, 4)))
    assert seen.activations.any()
    assert not seen.gradients.any()
    last = limelight.explain(model, images, target=CLASS, layer="blocks.1")
    assert [status.name for status in last.status] == ["disconnected"] * 2
    assert "layer='blocks.1.norm1'" in last.status[0].message
    assert not last.heatmap.any()
    taken = limelight.explain(model, images, target=CLASS, layer="blocks.1.norm1")
    assert_agrees(taken.raw, by_hand(model, "blocks.1.norm1", images, grid=tokens(3, (3, 4))))
    assert taken.raw.any()


# ---- the state of the model ------------------------------------------------------------------


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("frozen", ["nothing", "the backbone", "everything"])
@pytest.mark.parametrize("method", ["gradcam", "saliency", "ablationcam"])
def test_freeze_the_backbone_or_the_whole_model_call_under_no_grad_or_inference_mode(
    method: str, frozen: str, mode: Callable[[], AbstractContextManager[object]]
) -> None:
    """The map is that of the model with its gradients on."""
    model, images = ready(networks.ResidualCNN()), pictures()
    expected = limelight.explain(model, images, target=CLASS, method=method)
    if method == "gradcam":
        assert_agrees(expected.raw, by_hand(model, "block2", images))
    for path, parameter in model.named_parameters():
        on = {"nothing": True, "everything": False}.get(frozen, path.startswith("classifier"))
        parameter.requires_grad_(on)
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    with mode():
        found = limelight.explain(model, images, target=CLASS, method=method)
    assert found.layer == expected.layer
    assert_agrees(found.raw, expected.raw)
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted


def vgg() -> nn.Module:
    """The shape of VGG: every convolution is overwritten by its ReLU."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
    )


def densenet() -> nn.Module:
    return cast(
        "nn.Module",
        torchvision.models.DenseNet(
            growth_rate=4, block_config=(2, 2), num_init_features=8, num_classes=5
        ),
    )


@pytest.mark.parametrize(
    ("network", "layer", "before"),
    [
        (densenet, "features.norm5", lambda model, x: model.features(x)),
        (vgg, "3", lambda model, x: model[:4](x)),
        (
            networks.ResidualCNN,
            "block1.bn1",
            lambda model, x: model.block1.bn1(model.block1.conv1(model.stem(x))),
        ),
    ],
    ids=["densenet", "vgg", "resnet"],
)
def test_have_in_place_relus(
    network: Callable[[], nn.Module], layer: str, before: Callable[[Any, Tensor], Tensor]
) -> None:
    """The activations are those that were there, not what a later ReLU left of them."""
    model, images = ready(network()), pictures()
    found = limelight.cut(model, images, layer)
    with torch.no_grad():
        expected = before(model, images)
    assert_agrees(found.activations, expected)
    assert found.activations.min() < 0
    raw = limelight.explain(model, images, target=CLASS, layer=layer).raw
    assert_agrees(raw, by_hand(model, layer, images))
    # What the mistake would give is another map.
    overwritten = gradcam(found.activations.relu(), found.gradients(CLASS))
    assert correlation(raw, overwritten) < 0.97


def test_use_a_module_twice() -> None:
    """It is told, and a call is chosen with `#`."""
    model, images = ready(networks.CalledTwice()), pictures()
    with pytest.raises(LayerError, match=r"ran 2 times.*'conv#1' is the first, 'conv#2' the last"):
        limelight.explain(model, images, layer="conv")
    maps = [limelight.explain(model, images, target=CLASS, layer=f"conv#{k}").raw for k in (1, 2)]
    for call, raw in enumerate(maps, start=1):
        assert_agrees(raw, by_hand(model, "conv", images, call=call))
    assert correlation(*maps) < 0.9


# ---- what goes in and what comes out ---------------------------------------------------------


class Returning(networks.Chain):
    def __init__(self, wrap: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        hidden = self.second(self.first(x).tanh()).tanh()
        return self.wrap(self.finish(hidden), hidden)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits, hidden: logits,
        lambda logits, hidden: (logits, hidden),
        lambda logits, hidden: [logits, hidden],
        lambda logits, hidden: {"aux": hidden, "out": logits},
        lambda logits, hidden: {"hidden": hidden, "logits": logits},
        lambda logits, hidden: ImageClassifierOutput(logits=logits, hidden_states=(hidden,)),
        lambda logits, hidden: ImageClassifierOutput(loss=hidden.sum(), logits=logits),
        networks.Result,
    ],
    ids=["tensor", "tuple", "list", "out", "logits", "output", "output with loss", "object"],
)
def test_return_tuples_dicts_modeloutput_lists(wrap: Callable[[Tensor, Tensor], Any]) -> None:
    """Logits are found: `.logits`, `["out"]`, the first tensor."""
    model, images = ready(Returning(wrap)), pictures()
    plain = copy.deepcopy(model)
    plain.wrap = lambda logits, _hidden: logits
    for layer in (None, "third"):
        found = limelight.explain(model, images, target=CLASS, layer=layer)
        assert found.layer == "third"
        assert_agrees(found.raw, by_hand(plain, "third", images))
        assert_agrees(found.score, plain(images)[:, CLASS].detach())


class Closed:
    """An output that does not show what it holds."""

    __slots__ = ("read",)

    def __init__(self, logits: Tensor, _hidden: Tensor) -> None:
        self.read = lambda: logits


def test_return_what_holds_no_logits() -> None:
    """The error says how; a callable finds them wherever they are."""
    model, images = ready(Returning(Closed)), pictures()
    with pytest.raises(ModelError, match="Wrap the model so that it returns its logits"):
        limelight.explain(model, images, layer="third")
    plain = copy.deepcopy(model)
    plain.wrap = lambda logits, _hidden: logits
    found = limelight.explain(model, images, target=lambda y: y.read()[:, CLASS], layer="third")
    assert_agrees(found.raw, by_hand(plain, "third", images))


class Several(networks.TwoInputs):
    """Takes a mode as well, which is no tensor, and a mask."""

    def forward(
        self, image: Tensor, known: Tensor, mode: str = "plain", mask: Tensor | None = None
    ) -> Tensor:
        image = image if mask is None else image * mask
        return super().forward(image, known) * (2 if mode == "double" else 1)


def test_pass_several_inputs_or_keyword_arguments() -> None:
    """They are passed through, tensors and others."""
    model, image, known = ready(Several()), pictures(), torch.randn(2, 2).double()
    mask = (torch.rand(2, 1, *PICTURE[1:]) > 0.5).double()
    given: list[Any] = [
        (image, known),
        (image, known, "double"),
        {"image": image, "known": known},
        {"known": known, "image": image, "mode": "double", "mask": mask},
    ]
    maps = []
    for inputs in given:
        for method in ("gradcam", "ablationcam"):
            found = limelight.explain(model, inputs, target=CLASS, layer="conv", method=method)
            assert torch.equal(found.image, image)
            maps += [found.raw] if method == "gradcam" else []
        assert_agrees(maps[-1], by_hand(model, "conv", inputs))
    assert_agrees(maps[1], maps[0] * 2)
    assert correlation(maps[3], maps[1]) < 0.999


@pytest.mark.parametrize("target", [[CLASS], (CLASS,), torch.tensor([CLASS]), [CLASS] * 3], ids=str)
def test_give_one_target_for_two_images(target: Any) -> None:
    """One number is for all; a list of another length is a clear error, never a zero map."""
    model, images = ready(networks.ResidualCNN()), pictures()
    everyone: list[Any] = [CLASS, torch.tensor(CLASS), np.int64(CLASS), [CLASS] * 2]
    for one in everyone:
        found = limelight.explain(model, images, target=one)
        assert_agrees(found.raw, by_hand(model, "block2", images))
        assert found.raw[1].any()
    said = f"There are {len(target)} targets for 2 images. Pass one for all"
    with pytest.raises(TargetError, match=said):
        limelight.explain(model, images, target=target)
