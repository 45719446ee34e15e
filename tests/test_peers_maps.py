"""What people do with maps, and must simply work: the list of `test_peers_models.py` goes on.

Each line is something at which users of other libraries were hurt; where a wrong number was seen
there, the test shows that it would be noticed here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import limelight
from helpers import networks
from helpers.model_state import hooks, live, untouched
from helpers.networks import ready
from helpers.plain_hooks import CLASS, PICTURE, by_hand, correlation, pictures
from helpers.plain_network import compiled, process_group
from helpers.tolerances import assert_agrees, assert_is_slope
from oracles.evidence import classes, probe

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
    slope = assert_is_slope(weight.grad, loss, weight, at=(2, 1, 0, 2), step=1e-6)
    assert abs(slope) > 1e-5
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
