"""What people bring, and what must then simply work: a test per line, in the order of the list.

Each line is something at which users of other libraries were hurt; where a wrong number was seen
there, the test shows that it would be noticed here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import ImageClassifierOutput

import limelight
import networks
from limelight.errors import LayerError, ModelError, TargetError
from limelight.layers import candidates
from networks import ready
from oracles.methods import (
    Grid,
    channels_first,
    channels_last,
    classes,
    gradcam,
    probe,
    tokens,
)
from test_cut import live, untouched
from test_states import compiled, hooks, process_group
from tolerances import assert_agrees, of_differences

PICTURE = (3, 32, 48)
CLASS = 1


def pictures(count: int = 2, size: Sequence[int] = PICTURE) -> Tensor:
    return torch.randn(count, *size, dtype=torch.float64)


def by_hand(
    model: nn.Module,
    layer: str,
    inputs: Any,
    score: Callable[[Any], Tensor] = lambda y: y[:, CLASS],
    grid: Grid = channels_first,
    call: int = 1,
) -> Tensor:
    """Grad-CAM's raw map from plain hooks and a full backward."""
    found = probe(model, layer, inputs, score, grid, call=call)
    return gradcam(found.activations, found.gradients)


def correlation(one: Tensor, other: Tensor) -> float:
    pair = torch.stack([one.detach().flatten().double(), other.detach().flatten().double()])
    return torch.corrcoef(pair)[0, 1].item()


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


# ---- training --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gradcam", "guided-backprop", "ablationcam", "fullgrad"])
def test_train_with_it_in_the_loop(method: str) -> None:
    """Gradients, training mode, requires_grad, hooks and buffers are as they were."""
    model, images = ready(networks.ResidualCNN()).train(), pictures(4)
    labels, parameters = torch.tensor([0, 1, 2, 3]), list(model.parameters())
    model.block1.requires_grad_(False)
    model.classifier.register_forward_hook(lambda *_: None)
    with untouched(model):
        limelight.explain(model, images, target=CLASS, method=method)
    assert model.training
    assert [p.grad for p in parameters] == [None] * len(parameters)

    def step(*, explained: bool) -> list[Tensor | None]:
        twin = copy.deepcopy(model)
        torch.manual_seed(1)  # it has a dropout
        loss = F.cross_entropy(twin(images), labels)
        if explained:
            limelight.explain(twin, images, target=CLASS, method=method)
        loss.backward()  # type: ignore[no-untyped-call]
        if explained:
            with untouched(twin):
                limelight.explain(twin, images, target=CLASS, method=method)
        return [p.grad for p in twin.parameters()]

    for plain, found in zip(step(explained=False), step(explained=True), strict=True):
        if plain is None or found is None:
            assert plain is found
        else:
            assert torch.equal(plain, found)


def test_train_with_it_in_the_loop_on_the_map_itself() -> None:
    """The map can be differentiated: the gradient of a parameter is that of finite differences."""
    model, images = ready(networks.PoolLinear()).train(), pictures(2, (3, 8, 10))
    outside = torch.linspace(0, 1, 80, dtype=torch.float64).reshape(8, 10)
    weight = cast("Tensor", model.get_parameter("features.0.weight"))

    def loss() -> Tensor:
        found = limelight.explain(model, images, target=CLASS, differentiable=True)
        return (found.heatmap * outside).mean()

    loss().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    ends = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            weight[2, 1, 0, 2] += step
            ends.append(loss().item())
            weight[2, 1, 0, 2] -= step
    slope = (ends[0] - ends[1]) / 2e-6
    assert abs(slope) > 1e-5
    truncation = of_differences(slope, ends, 1e-6)
    assert_agrees(weight.grad[2, 1, 0, 2], slope, truncation=truncation)
    assert model.training


def test_call_it_ten_thousand_times() -> None:
    """No tensor and no hook is left by any call."""
    model, images = ready(networks.ResidualCNN()).train(), pictures(1)
    before = hooks(model)

    def work(times: int) -> None:
        for _ in range(times):
            limelight.explain(model, images)
            limelight.explain_each(model, images, limelight.top(2), method="hirescam")
        limelight.explain(model, images, method="ablationcam")

    work(1)
    count = live()
    work(100)
    assert live() == count
    assert hooks(model) == before == 0


# ---- precision -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gradcam", "layercam", "ablationcam", "saliency", "eigencam"])
@pytest.mark.parametrize(
    "precision",
    ["float16", "bfloat16", "float64", "autocast float16", "autocast bfloat16"],
)
def test_use_float16_bfloat16_float64_autocast(precision: str, method: str) -> None:
    """The map is of the same picture."""
    model, images = ready(networks.ResidualCNN(), torch.float32), pictures().float()
    plain = limelight.explain(model, images, target=CLASS, method=method)
    dtype = getattr(torch, precision.removeprefix("autocast "))
    with ExitStack() as stack:
        if precision.startswith("autocast"):
            stack.enter_context(torch.autocast("cpu", dtype))
        else:
            model, images = model.to(dtype), images.to(dtype)
        found = limelight.explain(model, images, target=CLASS, method=method)
    assert plain.status[0].ok
    assert found.layer == plain.layer
    assert [status.name for status in found.status] == [status.name for status in plain.status]
    assert found.heatmap.isfinite().all()
    least = 0.98 if method == "saliency" and "bfloat16" in precision else 0.99  # 8 bits per pixel
    for one, other in zip(found.heatmap, plain.heatmap, strict=True):
        assert correlation(one, other) > least


# ---- wrappers --------------------------------------------------------------------------------


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": compiled,
    "DataParallel": nn.DataParallel,
    "DDP": nn.parallel.DistributedDataParallel,
    "DDP of compiled": lambda model: nn.parallel.DistributedDataParallel(compiled(model)),
    "compiled DDP": lambda model: compiled(nn.parallel.DistributedDataParallel(model)),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "saliency"])
def test_compile_the_model_wrap_it_in_dataparallel_or_ddp(
    wrapper: str, method: str, tmp_path: Path
) -> None:
    """It is unwrapped: the map and the layer's name are those of the model inside."""
    model, images = ready(networks.ResidualCNN()), pictures()
    plain = limelight.explain(model, images, target=CLASS, method=method)
    if method == "gradcam":
        assert_agrees(plain.raw, by_hand(model, "block2", images))
    with process_group(tmp_path) if "DDP" in wrapper else nullcontext():
        wrapped = WRAPPERS[wrapper](model)
        wrapped(images)  # now it is compiled, and looks at no hook
        with untouched(wrapped):
            found = limelight.explain(wrapped, images, target=CLASS, method=method)
            if method != "saliency":
                named = limelight.explain(
                    wrapped, images, target=CLASS, method=method, layer=model.block1.conv2
                )
                assert named.layer == "block1.conv2"
    assert found.layer == plain.layer
    assert_agrees(found.raw, plain.raw)


# ---- other shapes ----------------------------------------------------------------------------


class Of(nn.Module):
    """A convolution over any number of axes, and a head that puts out what is asked for."""

    def __init__(self, axes: int, channels: int, outputs: int, last: Callable[[Tensor], Any]):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        self.conv = conv(channels, 6, 3, padding=1, stride=2)
        self.fc, self.last = nn.Linear(6, outputs), last

    def forward(self, x: Tensor) -> Any:
        return self.last(self.fc(self.conv(x).relu().flatten(2).mean(2)))


def same(y: Tensor) -> Tensor:
    return y


@pytest.mark.parametrize(
    ("axes", "channels", "size", "outputs", "last", "score"),
    [
        (2, 1, (16, 12), 5, same, None),
        (2, 4, (16, 12), 5, same, None),
        (1, 2, (40,), 5, same, None),
        (3, 1, (8, 12, 10), 5, same, None),
        (3, 3, (4, 16, 12), 5, same, None),
        (2, 3, (16, 12), 1, same, lambda y: y[:, 0]),
        (2, 3, (16, 12), 1, lambda y: y[:, 0], lambda y: y),
        (2, 3, (16, 12), 4, same, None),
        (2, 3, (16, 12), 4, torch.sigmoid, None),
    ],
    ids=[
        "1 channel",
        "4 channels",
        "signal",
        "volume",
        "video",
        "single output",
        "a number per image",
        "regression",
        "multi-label",
    ],
)
def test_have_1_or_4_input_channels_signals_volumes_video_a_single_output_regression_multi_label(
    axes: int,
    channels: int,
    size: tuple[int, ...],
    outputs: int,
    last: Callable[[Tensor], Any],
    score: Callable[[Any], Tensor] | None,
) -> None:
    """The same call."""
    model, images = ready(Of(axes, channels, outputs, last)), pictures(2, (channels, *size))
    target = 0 if score else CLASS
    found = limelight.explain(model, images, target=target)
    assert_agrees(found.raw, by_hand(model, "conv", images, score or (lambda y: y[:, CLASS])))
    assert found.raw.shape == (2, *(math.ceil(s / 2) for s in size))
    assert found.heatmap.shape == (2, *size)
    assert_agrees(limelight.explain(model, images, target=[target] * 2).raw, found.raw)
    if score:
        assert_agrees(limelight.explain(model, images).raw, found.raw)


class Frames(nn.Module):
    """Reads a video frame by frame, `[B, T, C, H, W]`, the frames folded into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Conv2d(3, 6, 4, stride=4)
        self.rnn, self.fc = nn.GRU(6, 7, batch_first=True), nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Any:
        each = self.cnn(x.flatten(0, 1)).tanh().mean((2, 3))
        return self.fc(self.rnn(each.reshape(*x.shape[:2], -1))[0][:, -1])


@pytest.mark.parametrize("method", ["gradcam", "saliency"])
def test_have_video_as_frames(method: str) -> None:
    """A map for each frame, `[B, T, H, W]`: time is an axis of the picture, and colours are not."""
    model, video = ready(Frames()), pictures(2, (4, 3, 16, 24))
    found = limelight.explain(model, video, target=CLASS, method=method)
    assert found.heatmap.shape == (2, 4, 16, 24)
    if method == "gradcam":
        seen = probe(model, "cnn", video, lambda y: y[:, CLASS].repeat_interleave(4), same)
        a, g = (t.reshape(2, 4, 6, 4, 6).movedim(1, 2) for t in (seen.activations, seen.gradients))
        assert_agrees(found.raw, (g.mean((2, 3, 4), keepdim=True) * a).sum(1))


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
        ),
    ],
)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_have_recurrent_layers_on_cudnn_in_eval(kind: Any, training: bool, device: str) -> None:
    """A gradient arrives, in training and in evaluation mode."""
    model = networks.Recurrent()
    model.rnn = kind(6 * 4, 7, batch_first=True)
    model, images = ready(model), pictures(3, (3, 12, 16))
    expected = by_hand(model, "conv", images)  # on the CPU
    found = limelight.explain(model.to(device).train(training), images.to(device), target=CLASS)
    assert found.layer == "conv"
    assert_agrees(found.raw.cpu(), expected)


# ---- what the map is worth -------------------------------------------------------------------


class Judged(nn.Module):
    """A convolution of one weight, a pool and a line, so that signs are chosen by hand."""

    def __init__(self, weight: float = 1.0, last: Callable[[Tensor], Tensor] = same) -> None:
        super().__init__()
        self.conv, self.fc, self.last = nn.Conv2d(3, 4, 1, bias=False), nn.Linear(4, 2), last
        nn.init.constant_(self.conv.weight, 1.0)
        nn.init.constant_(self.fc.weight, weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.fc(self.conv(x).relu().mean((2, 3))))


RAMP = torch.linspace(0.1, 1, 64).reshape(1, 1, 8, 8).expand(1, 3, 8, 8)


@pytest.mark.parametrize(
    ("weight", "image", "name", "advice"),
    [
        (1.0, RAMP, "ok", ""),
        (-1.0, RAMP, "no-positive-evidence", "signed raw map"),
        (1.0, torch.ones_like(RAMP), "flat", "."),
        (1.0, -RAMP, "disconnected", "."),
        (0.0, RAMP, "disconnected", "weights are zero"),
        (math.nan, RAMP, "not-finite", "."),
        (math.inf, RAMP, "not-finite", "."),
    ],
)
@pytest.mark.parametrize("method", ["gradcam", "layercam", "hirescam", "ablationcam", "eigencam"])
def test_see_an_all_blue_or_all_red_map(
    weight: float, image: Tensor, name: str, advice: str, method: str
) -> None:
    """The status says why, and what to do; the heatmap is never NaN."""
    model = ready(Judged(weight), torch.float32)
    found = limelight.explain(model, image, target=0, layer="conv", method=method)
    assert found.heatmap.isfinite().all()
    assert found.heatmap.min() == 0
    assert bool(found.heatmap.any()) is found.status[0].ok
    assert found.heatmap.max() == (1 if found.status[0].ok else 0)
    if method == "gradcam":
        assert found.status[0].name == name
        assert advice in found.status[0].message
    if not found.status[0].ok:
        assert len(found.status[0].message) > 20


@pytest.mark.parametrize(
    ("last", "scale"),
    [
        (lambda y: (y - 100).relu(), 100),
        (lambda y: (y * 1000).sigmoid(), 1e-4),
        (lambda y: (y * 9).clamp(0, 1), 1e-3),
    ],
    ids=["relu", "sigmoid", "clamp"],
)
def test_see_an_all_blue_map_because_the_score_is_at_its_limit(
    last: Callable[[Tensor], Tensor], scale: float
) -> None:
    """It is a status, not an error; and the next image, whose score is not, has its map."""
    model, free = ready(Judged(last=last), torch.float32), RAMP * scale
    assert model(RAMP)[0, 0] in (0, 1)
    limit = limelight.explain(model, RAMP, target=0)
    assert limit.layer == "conv"
    assert limit.status[0].name == "disconnected"
    found = limelight.explain(model, free, target=0)
    assert found.status[0].ok
    assert_agrees(found.raw, by_hand(model, "conv", free, lambda y: y[:, 0]))


@pytest.mark.parametrize(
    "method",
    [
        "gradcam",
        "xgradcam",
        "hirescam",
        "layercam",
        "gradcam-elementwise",
        "eigengradcam",
        "ablationcam",
        "scorecam",
        "saliency",
        "input-x-gradient",
        "guided-backprop",
        "guided-gradcam",
        "fullgrad",
        "integrated-gradients:steps=8",
    ],
)
def test_scale_the_logits_by_1e_5(method: str) -> None:
    """The heatmap is the same: no absolute epsilon decides what a small gradient looks like."""
    model, images = ready(networks.ResidualCNN(), torch.float32), pictures().float()
    targets = range(5)
    plain = limelight.explain_each(model, images, targets, method=method)
    with torch.no_grad():
        for parameter in model.classifier[2].parameters():
            parameter.mul_(1e-5)
    scaled = limelight.explain_each(model, images, targets, method=method)
    assert sum(status.ok for one in plain for status in one.status) > 3
    for one, other in zip(scaled, plain, strict=True):
        assert one.score.abs().max() < 1e-4
        assert one.layer == other.layer
        assert [status.name for status in one.status] == [status.name for status in other.status]
        assert_agrees(one.heatmap, other.heatmap, scale=1.0)


# ---- numbers and pictures --------------------------------------------------------------------


def test_want_the_raw_numbers(tmp_path: Path) -> None:
    """The raw map is there: signed, unscaled, at the layer's resolution; and in the file."""
    model, images = ready(networks.ResidualCNN()), pictures()
    found = limelight.explain(model, images, target=CLASS)
    assert_agrees(found.raw, by_hand(model, "block2", images))
    assert found.raw.shape == (2, 8, 12)
    assert found.raw.min() < 0 < found.raw.max()
    resized = F.interpolate(found.raw.relu()[:, None], size=PICTURE[1:], mode="bilinear")[:, 0]
    low, high = resized.amin((1, 2), keepdim=True), resized.amax((1, 2), keepdim=True)
    assert_agrees(found.heatmap, (resized - low) / (high - low))
    found.save(tmp_path / "map.npz")
    assert np.array_equal(np.load(tmp_path / "map.npz")["raw"], found.raw.numpy())


def test_open_the_picture(tmp_path: Path) -> None:
    """The right colours: a red photo is red in the file, and heat is red in jet, cold is blue."""
    model = ready(Judged(), torch.float32)
    found = limelight.explain(model, RAMP, target=0)  # hottest at the lower right
    red = Image.new("RGB", (8, 8), (200, 30, 10))
    (photo,) = found.overlay([red], alpha=0)
    assert photo.getpixel((3, 3)) == (200, 30, 10)
    (heat,) = found.overlay([red], alpha=1, colormap="jet")
    for pixel, channel in (((7, 7), 0), ((0, 0), 2)):
        colour = cast("tuple[int, int, int]", heat.getpixel(pixel))
        assert colour[channel] > 100
        assert colour[2 - channel] == 0
    found.save(tmp_path / "overlay.png", photos=[red], picture="overlay")
    written = np.asarray(Image.open(tmp_path / "overlay.png").convert("RGB")).astype(int)
    coldest = written[0, 0]  # black in the default colours, so that the photo shows
    assert coldest[0] > 3 * coldest[1] > 0
    assert coldest[0] > 3 * coldest[2] > 0
    assert written[-1, -1].sum() > coldest.sum()


# ---- exceptions ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [IndexError, StopIteration, KeyboardInterrupt, KeyError])
@pytest.mark.parametrize("place", ["target", "forward", "hook", "progress"])
@pytest.mark.parametrize("layer", [None, "block1"])
def test_catch_an_exception_inside_with(
    kind: type[BaseException], place: str, layer: str | None
) -> None:
    """It is their own exception, and the model is clean."""
    mine, armed = kind("mine"), False

    def fails(*_: Any) -> Any:
        if armed:
            raise mine

    class Raises(networks.ResidualCNN):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            if place == "forward":
                fails()
            return y

    def target(y: Tensor) -> Tensor:
        if place == "target":
            fails()
        return y[:, CLASS]

    model, images = ready(Raises()).train(), pictures()
    if place == "hook":
        model.block2.register_forward_hook(fails)

    def explain() -> Tensor:
        with torch.no_grad():
            return limelight.explain(
                model,
                images,
                target=target,
                layer=layer,
                method="ablationcam",
                progress=fails if place == "progress" else None,
            ).raw

    before = explain()
    armed = True
    with untouched(model), pytest.raises(kind) as caught:
        explain()
    assert caught.value is mine
    armed = False
    assert_agrees(explain(), before)


# ---- many classes ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gradcam", "layercam", "cam", "saliency"])
def test_ask_for_five_classes(method: str) -> None:
    """One forward, five maps."""
    model, images = ready(networks.PoolLinear(classes=7)), pictures()
    limelight.explain(model, images, method=method)  # the layer is found
    forwards: list[int] = []
    handle = model.fc.register_forward_hook(lambda *_: forwards.append(1))
    asked = [4, 0, 6, 1, 2]
    found = limelight.explain_each(model, images, asked, method=method)
    assert len(forwards) == 1
    handle.remove()
    for index, one in zip(asked, found, strict=True):
        alone = limelight.explain(model, images, target=index, method=method)
        assert_agrees(one.raw, alone.raw)
        assert_agrees(one.score, model(images)[:, index].detach())
        if method == "gradcam":
            assert_agrees(one.raw, by_hand(model, "features", images, classes([index] * 2)))
    assert correlation(found[0].raw, found[1].raw) < 0.99
