"""The methods of the input, of attention, and the controls: their oracles, and their laws."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import limelight
import networks
from limelight.errors import MethodError
from limelight.methods.perturbed import RiseMasks, superpixels
from networks import ready
from oracles import methods as oracles
from oracles.methods import Quadrature, ScoreOf, channels_first, classes, probe
from test_cut import untouched
from tolerances import assert_agrees, assert_differs, of_heatmaps

CHOSEN = [1, 0, 2]  # one class per image
PICTURE = (3, 12, 16)


class Case(NamedTuple):
    """A network, and where a method that can be applied at the input or at a layer is applied."""

    network: Callable[[], nn.Module]
    layer: str = "<input>"
    prefix: int | None = None  # how many tokens come before the grid, where there are tokens

    @property
    def named(self) -> str | None:
        return None if self.layer == "<input>" else self.layer


class Studied(NamedTuple):
    """A case, and what oracles read of it."""

    case: Case
    model: nn.Module
    images: Tensor
    activations: Tensor
    gradients: Tensor
    score: ScoreOf


CNN = Case(networks.ResidualCNN)
CNN_LAYER = Case(networks.ResidualCNN, "block1")
VIT = Case(networks.TinyViT)
VIT_LAYER = Case(networks.TinyViT, "blocks.0", networks.TinyViT.prefix)
CHANNELS_LAST = Case(networks.ChannelsLast)
CASES = [CNN, CNN_LAYER, VIT, VIT_LAYER]


def name(case: Case) -> str:
    return f"{case.network.__name__}-{case.layer}"


def images_of(batch: int = 3, size: Sequence[int] = PICTURE) -> Tensor:
    return torch.randn(batch, *size, dtype=torch.float64)


@functools.cache
def study(case: Case, seed: int = 9) -> Studied:
    torch.manual_seed(seed)
    model, images = ready(case.network()), images_of()
    grid = channels_first if case.prefix is None else oracles.tokens(case.prefix, (3, 4))
    if case.named is None:
        found = probe(
            nn.Sequential(nn.Identity(), model),
            "0",
            images.clone().requires_grad_(),
            classes(CHOSEN),
            channels_first,
        )
    else:
        found = probe(model, case.layer, images, classes(CHOSEN), grid)
    raw_of = (
        channels_first if case.prefix is None else oracles.tokens_with(found.raw[:, : case.prefix])
    )
    score = oracles.score_behind(model, case.layer, images, classes(CHOSEN), raw_of)
    return Studied(case, model, images, found.activations, found.gradients, score)


def raw(studied: Studied, method: str) -> Tensor:
    return limelight.explain(
        studied.model, studied.images, target=CHOSEN, method=method, layer=studied.case.named
    ).raw


# Each method against its oracle: options that are not the defaults, and what the oracle says.


def noise(studied: Studied, samples: int = 6, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (samples, *studied.activations.shape[1:])
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def rule(studied: Studied) -> Quadrature:
    """Exact to rounding where the network is smooth; else the method's own, as found otherwise."""
    # At a layer norm the baseline, the same in all channels, is where nothing is smooth.
    smooth = studied.case == VIT
    return oracles.three_points(60) if smooth else oracles.gauss_legendre(40)


#: Covers a fourth of a side wide, and 0.13 of it apart.
COVERS = {(12, 16): ((3, 4), (2, 2)), (6, 8): ((2, 2), (1, 1)), (3, 4): ((1, 1), (1, 1))}


def covers(studied: Studied) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return COVERS[cast("tuple[int, int]", tuple(studied.activations.shape[2:]))]


def masks(studied: Studied) -> Tensor:
    drawn = RiseMasks(studied.activations.shape[2:], 20, cells=3, keep=0.4, seed=3)
    return drawn(torch.arange(20)).double()


def parts(studied: Studied, count: int = 5) -> list[Tensor]:
    return [superpixels(one, count) for one in studied.activations]


def guided(studied: Studied) -> Tensor:
    return oracles.guided_backprop(studied.model, studied.images, classes(CHOSEN))


def coarse(studied: Studied) -> Tensor:
    found = probe(studied.model, "block1", studied.images, classes(CHOSEN), channels_first)
    return oracles.gradcam(found.activations, found.gradients)


def as_grid(output: Tensor, last: bool) -> Tensor | None:
    """Return a grid of what a layer puts out: a picture, or all tokens."""
    if output.ndim == 4:
        return oracles.channels_last(output) if last else output
    tokens = oracles.tokens(networks.TinyViT.prefix, (3, 4))
    return tokens(output) if output.ndim == 3 else None


def biases(studied: Studied) -> list[Tensor]:
    found = oracles.bias_gradients(studied.model, studied.images, classes(CHOSEN), as_grid)
    return [one for one in found if one.ndim == 4]


#: What limits comparisons with what is drawn by chance.
SAMPLE = "a sample is off by so much, not rounding"

#: What to explain with, and the oracle; methods of attention are below.
ROWS: dict[str, tuple[str, Callable[[Studied], Tensor]]] = {
    "saliency": ("saliency", lambda s: oracles.saliency(s.gradients)),
    "input-x-gradient": (
        "input-x-gradient",
        lambda s: oracles.input_x_gradient(s.activations, s.gradients),
    ),
    "smoothgrad": (
        "smoothgrad:samples=6,noise=0.3,seed=3",
        lambda s: oracles.smoothgrad(s.score, s.activations, noise(s), 0.3),
    ),
    "integrated-gradients": (
        "integrated-gradients:steps=40,baseline=0.2",
        lambda s: oracles.integrated_gradients(s.score, s.activations, rule(s), 0.2),
    ),
    "guided-backprop": ("guided-backprop", lambda s: oracles.saliency(guided(s))),
    "guided-gradcam": ("guided-gradcam", lambda s: oracles.guided_gradcam(guided(s), coarse(s))),
    "fullgrad": ("fullgrad", lambda s: oracles.fullgrad(s.images, s.gradients, biases(s))),
    "occlusion": (
        "occlusion:patch=0.25,stride=0.13,baseline=0.2",
        lambda s: oracles.occlusion(s.score, s.activations, *covers(s), 0.2),
    ),
    "rise": (
        "rise:masks=20,cells=3,keep=0.4,seed=3",
        lambda s: oracles.rise(s.score, s.activations, masks(s), 0.4),
    ),
    "kernelshap": (
        "kernelshap:segments=5,baseline=0.2",
        lambda s: oracles.shapley(s.score, s.activations, parts(s), 0.2),
    ),
    "centre": (
        "centre:width=0.3",
        lambda s: oracles.centre(s.activations.shape[2:], 0.3).expand(3, -1, -1),
    ),
}
#: Where each is tried: everywhere, unless a method has no choice.
TRIED: dict[str, list[Case]] = {
    "guided-backprop": [CNN],
    "guided-gradcam": [CNN_LAYER],
    "fullgrad": [CNN, VIT, CHANNELS_LAST],
    "centre": [CNN_LAYER, VIT_LAYER],
}


def what_cancels(studied: Studied, method: str) -> float | None:
    """The size of what is added in a map: products, or scores of which differences are taken."""
    name = method.partition(":")[0]
    if name in ("input-x-gradient", "integrated-gradients"):
        return float((studied.activations * studied.gradients).abs().sum(1).max())
    if name in ("occlusion", "rise", "kernelshap"):
        return float(studied.score(studied.activations).detach().abs().max())
    return None


@functools.cache
def expected(method: str, case: Case) -> Tensor:
    return ROWS[method][1](study(case))


@pytest.mark.parametrize(
    ("method", "case"),
    [(method, case) for method in ROWS for case in TRIED.get(method, CASES)],
    ids=lambda value: name(value) if isinstance(value, Case) else value,
)
def test_a_method_equals_its_oracle(method: str, case: Case) -> None:
    scale, condition = what_cancels(study(case), method), 1.0
    if (method, case) == ("integrated-gradients", VIT_LAYER):
        # A layer norm divides by how far the channels are apart: t of it, near the baseline.
        condition = 1 / min(t for t, _ in rule(study(case)))
    found = raw(study(case), ROWS[method][0])
    assert_agrees(found, expected(method, case), scale=scale, condition=condition)


def leave_one_out(studied: Studied) -> Tensor:
    found = torch.zeros_like(studied.activations[:, 0])
    whole = studied.score(studied.activations)
    for b, part in enumerate(parts(studied)):
        for i in range(int(part.max()) + 1):
            without = torch.where(part == i, 0.2, studied.activations)
            found[b][part == i] = (whole - studied.score(without))[b].item()
    return found


def deconvolved(studied: Studied) -> Tensor:
    """Zeiler and Fergus's backward: it looks at the gradient alone, not at the activations."""

    class Deconv(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx: Any, *above: Tensor) -> Tensor:
            return above[0].clamp(min=0)

    class ReLU(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return cast("Tensor", Deconv.apply(x))

    model = with_activation(studied.model, ReLU)
    return oracles.slopes(lambda x: classes(CHOSEN)(model(x)), studied.images)


def with_activation(model: nn.Module, new: Callable[[], nn.Module]) -> nn.Module:
    twin = ready(type(model)())
    twin.load_state_dict(model.state_dict())
    for parent in list(twin.modules()):
        for child, module in list(parent.named_children()):
            if isinstance(module, nn.ReLU):
                setattr(parent, child, new())
    return twin.eval()


def each_channel(layers: Sequence[Tensor]) -> list[Tensor]:
    """Make every channel a layer of its own, so that it is scaled by itself."""
    return [channel[:, None] for layer in layers for channel in layer.unbind(1) if channel.any()]


def nearest(studied: Studied) -> Tensor:
    positive = coarse(studied).clamp(min=0)
    large = F.interpolate(positive[:, None], studied.images.shape[2:])[:, 0]
    return oracles.saliency(guided(studied)) * large / large.amax((1, 2), keepdim=True)


def biases_of_another(studied: Studied) -> list[Tensor]:
    """Batch norms without what their running mean adds."""
    twin = with_activation(studied.model, nn.ReLU)
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.zero_()
    found = oracles.bias_gradients(twin, studied.images, classes(CHOSEN), as_grid)
    return [one for one in found if one.ndim == 4]


def shifted_rise(studied: Studied) -> Tensor:
    drawn = masks(studied)
    total = torch.zeros_like(studied.activations[:, 0])
    for mask, other in zip(drawn, drawn.roll(1, 0), strict=True):
        total += studied.score(studied.activations * mask)[:, None, None].detach() * other
    return total / (0.4 * len(drawn))


def shared_out(studied: Studied) -> Tensor:
    found = expected("kernelshap", studied.case)
    return found / torch.stack([part.flatten().bincount()[part] for part in parts(studied)])


#: Plausible mistakes.
DOCTORED: dict[tuple[str, str], Callable[[Studied], Tensor]] = {
    ("saliency", "the mean over channels"): lambda s: s.gradients.abs().mean(1),
    ("saliency", "the sum over channels"): lambda s: s.gradients.abs().sum(1),
    ("saliency", "the size of the sum"): lambda s: s.gradients.sum(1).abs(),
    ("saliency", "the largest, signed"): lambda s: s.gradients.amax(1),
    ("saliency", "the next image's"): lambda s: s.gradients.abs().amax(1).roll(1, 0),
    ("input-x-gradient", "no image"): lambda s: s.gradients.sum(1),
    ("input-x-gradient", "no sign"): lambda s: (s.activations * s.gradients).abs().sum(1),
    ("input-x-gradient", "the mean"): lambda s: (s.activations * s.gradients).mean(1),
    ("smoothgrad", "no noise"): lambda s: s.gradients.abs().amax(1),
    ("smoothgrad", "a deviation that is no share of the range"): lambda s: oracles.smoothgrad(
        s.score, s.activations, noise(s) / (s.activations.max() - s.activations.min()), 0.3
    ),
    ("smoothgrad", "the mean of sizes"): lambda s: torch.stack(
        [oracles.smoothgrad(s.score, s.activations, one[None], 0.3) for one in noise(s)]
    ).mean(0),
    ("smoothgrad", "another seed"): lambda s: oracles.smoothgrad(
        s.score, s.activations, noise(s, seed=4), 0.3
    ),
    ("integrated-gradients", "the right sum"): lambda s: oracles.integrated_gradients(
        s.score, s.activations, [((k + 1) / 40, 1 / 40) for k in range(40)], 0.2
    ),
    ("integrated-gradients", "no way"): lambda s: oracles.integrated_gradients(
        s.score, s.activations, [(1.0, 1.0)], 0.2
    ),
    ("integrated-gradients", "another baseline"): lambda s: oracles.integrated_gradients(
        s.score, s.activations, rule(s), 0.0
    ),
    ("integrated-gradients", "weights of [-1, 1]"): lambda s: oracles.integrated_gradients(
        s.score, s.activations, [(t, 2 * w) for t, w in rule(s)], 0.2
    ),
    ("guided-backprop", "the gradient"): lambda s: oracles.saliency(s.gradients),
    ("guided-backprop", "the gradient, where positive"): lambda s: oracles.saliency(
        s.gradients.clamp(min=0)
    ),
    ("guided-backprop", "deconvolution"): lambda s: oracles.saliency(deconvolved(s)),
    ("guided-backprop", "the sum over channels"): lambda s: guided(s).sum(1),
    ("guided-backprop", "twice"): lambda s: 2 * oracles.saliency(guided(s)),
    ("guided-gradcam", "no relu"): lambda s: (
        oracles.saliency(guided(s))
        * torch.stack([oracles.upsampled(c, (12, 16)) for c in coarse(s)])
    ),
    ("guided-gradcam", "nearest neighbours"): nearest,
    ("guided-gradcam", "no Grad-CAM"): lambda s: oracles.saliency(guided(s)),
    ("fullgrad", "each channel scaled by itself"): lambda s: oracles.fullgrad(
        s.images, s.gradients, each_channel(biases(s))
    ),
    ("fullgrad", "no biases"): lambda s: oracles.fullgrad(s.images, s.gradients, []),
    ("fullgrad", "one layer less"): lambda s: oracles.fullgrad(
        s.images, s.gradients, biases(s)[1:]
    ),
    ("fullgrad", "biases in another order"): lambda s: oracles.fullgrad(
        s.images, s.gradients, biases_of_another(s)
    ),
    ("occlusion", "what is left"): lambda s: (
        s.score(s.activations)[:, None, None] - expected("occlusion", s.case)
    ),
    ("occlusion", "a zero cover"): lambda s: oracles.occlusion(s.score, s.activations, *covers(s)),
    ("occlusion", "covers side by side"): lambda s: oracles.occlusion(
        s.score, s.activations, covers(s)[0], covers(s)[0], 0.2
    ),
    ("rise", "not divided by p"): lambda s: 0.4 * expected("rise", s.case),
    ("rise", "the mean score left in"): lambda s: (
        expected("rise", s.case)
        + torch.stack([s.score(s.activations * m) for m in masks(s)]).mean(0)[:, None, None]
        * masks(s).mean(0)
        / 0.4
    ),
    ("rise", "hard masks"): lambda s: oracles.rise(s.score, s.activations, masks(s).round(), 0.4),
    ("rise", "scores of the next mask"): shifted_rise,
    ("kernelshap", "leave one out"): leave_one_out,
    ("kernelshap", "shared among pixels"): shared_out,
    ("kernelshap", "another baseline"): lambda s: oracles.shapley(
        s.score, s.activations, parts(s), 0.0
    ),
    ("centre", "half a cell away"): lambda s: expected("centre", s.case).roll(1, 1),
    ("centre", "not squared"): lambda s: expected("centre", s.case).sqrt(),
}


@pytest.mark.parametrize(("method", "how"), list(DOCTORED))
def test_a_doctored_method_fails_its_oracle(method: str, how: str) -> None:
    case = TRIED.get(method, CASES)[0]
    doctored = DOCTORED[method, how](study(case)).detach()
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(doctored, expected(method, case))


def test_there_are_superpixels_to_share_among() -> None:
    for case in CASES:
        assert all(4 <= int(part.max()) + 1 <= 8 for part in parts(study(case)))


def test_two_quadratures_agree_where_the_network_is_smooth() -> None:
    studied = study(VIT)
    found = [
        oracles.integrated_gradients(studied.score, studied.activations, one)
        for one in (oracles.three_points(60), oracles.gauss_legendre(40))
    ]
    assert_agrees(found[0], found[1])


# Transformers


class Transformer(NamedTuple):
    """A network with attention; what is read of it is told, not found."""

    build: Callable[[], nn.Module]
    size: tuple[int, ...]
    grid: tuple[int, int]
    prefix: int
    blocks: str  # the paths of its blocks, but for their numbers, of which there are `layers`
    attention: str  # the path of the attention in a block
    layers: int
    readers: list[int]  # the tokens that the head reads


def torchvision_vit() -> nn.Module:
    model = torchvision.models.VisionTransformer(
        image_size=32,
        patch_size=8,
        num_layers=3,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=32,
        num_classes=5,
    )
    nn.init.normal_(model.heads.head.weight)  # a fresh one is zero
    return cast("nn.Module", model)


def timm_vit(**options: Any) -> nn.Module:
    model = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=64,
        embed_dim=16,
        num_heads=2,
        depth=3,
        num_classes=5,
        **options,
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    return cast("nn.Module", model)


def timm_vit_written_out() -> nn.Module:
    model = timm_vit()
    for block in cast("Any", model).blocks:
        assert block.attn.fused_attn
        block.attn.fused_attn = False
    return model


def of_timm(build: Callable[[], nn.Module], prefix: int, readers: list[int]) -> Transformer:
    return Transformer(build, (3, 64, 64), (4, 4), prefix, "blocks", "attn", 3, readers)


TRANSFORMERS = {
    "our own": Transformer(
        networks.TinyViT, PICTURE, (3, 4), networks.TinyViT.prefix, "blocks", "attention", 2, [0]
    ),
    "torch's encoder": Transformer(
        networks.Encoder, PICTURE, (3, 4), 0, "encoder.layers", "self_attn", 2, list(range(12))
    ),
    "torchvision's": Transformer(
        torchvision_vit,
        (3, 32, 32),
        (4, 4),
        1,
        "encoder.layers.encoder_layer",
        "self_attention",
        3,
        [0],
    ),
    "timm's": of_timm(timm_vit, 1, [0]),
    "timm's, written out": of_timm(timm_vit_written_out, 1, [0]),
    "timm's with registers": of_timm(functools.partial(timm_vit, reg_tokens=3), 4, [0]),
    "timm's with an average pool": of_timm(
        functools.partial(timm_vit, global_pool="avg"), 1, list(range(1, 17))
    ),
    "timm's without a class token": of_timm(
        functools.partial(timm_vit, global_pool="avg", class_token=False), 0, list(range(16))
    ),
}
METHODS_OF_ATTENTION = ["rollout", "attention-x-gradient", "legrad"]


class Attention(NamedTuple):
    """What the oracle found of a transformer's attention."""

    model: nn.Module
    images: Tensor
    weights: list[Tensor]
    gradients: list[Tensor]
    own: list[Tensor]  # of each layer, the gradient of its own score


@functools.cache
def attend(key: str) -> Attention:
    torch.manual_seed(0)
    told = TRANSFORMERS[key]
    model, images = ready(told.build()), images_of(3, told.size)
    joint = "" if told.blocks.endswith("layer") else "."  # torchvision's are called ..._0
    blocks = [f"{told.blocks}{joint or '_'}{number}" for number in range(told.layers)]
    paths = [f"{block}.{told.attention}" for block in blocks]
    found = oracles.attended(model, paths, images, classes(CHOSEN))
    assert_agrees(found.output, model(images).detach())
    own = [
        oracles.attended(
            model, paths[: n + 1], images, classes(CHOSEN), without=blocks[n + 1 :]
        ).gradients[n]
        for n in range(told.layers)
    ]
    return Attention(model, images, found.weights, found.gradients, own)


def read(key: str, relevance: Tensor) -> Tensor:
    told = TRANSFORMERS[key]
    return oracles.rows_read(relevance, told.readers, told.prefix, told.grid)


ATTENTION_ORACLES: dict[str, Callable[[str], Tensor]] = {
    "rollout": lambda key: read(key, oracles.rollout(attend(key).weights)),
    "attention-x-gradient": lambda key: read(
        key, oracles.attention_x_gradient(attend(key).weights, attend(key).gradients)
    ),
    "legrad": lambda key: oracles.legrad(
        attend(key).own, TRANSFORMERS[key].prefix, TRANSFORMERS[key].grid
    ),
}


@pytest.mark.parametrize("key", list(TRANSFORMERS))
@pytest.mark.parametrize("method", list(ATTENTION_ORACLES))
def test_a_method_of_attention_equals_its_oracle(method: str, key: str) -> None:
    model, images = attend(key).model, attend(key).images
    with untouched(model):
        found = limelight.explain(model, images, target=CHOSEN, method=method).raw
    assert_agrees(found, ATTENTION_ORACLES[method](key))


DOCTORED_ATTENTION: dict[tuple[str, str], Callable[[str], Tensor]] = {
    ("rollout", "no residual"): lambda key: read(
        key,
        functools.reduce(lambda r, a: a.mean(1) @ r, attend(key).weights, torch.eye(15).double()),
    ),
    ("rollout", "later layers to the right"): lambda key: read(
        key, oracles.rollout(attend(key).weights[::-1])
    ),
    ("rollout", "the strongest head"): lambda key: read(
        key, oracles.rollout([a.amax(1, keepdim=True) for a in attend(key).weights])
    ),
    ("rollout", "the mean over all rows"): lambda key: oracles.rows_read(
        oracles.rollout(attend(key).weights), range(15), 3, (3, 4)
    ),
    ("rollout", "a register's row"): lambda key: oracles.rows_read(
        oracles.rollout(attend(key).weights), [1], 3, (3, 4)
    ),
    ("rollout", "columns instead of rows"): lambda key: read(
        key, oracles.rollout(attend(key).weights).transpose(1, 2)
    ),
    ("attention-x-gradient", "the gradient alone"): lambda key: read(
        key,
        oracles.attention_x_gradient(
            [torch.ones_like(a) for a in attend(key).weights], attend(key).gradients
        ),
    ),
    ("attention-x-gradient", "sizes"): lambda key: read(
        key,
        oracles.attention_x_gradient(attend(key).weights, [g.abs() for g in attend(key).gradients]),
    ),
    ("attention-x-gradient", "heads averaged first"): lambda key: read(
        key,
        oracles.attention_x_gradient(
            [a.mean(1, keepdim=True) for a in attend(key).weights],
            [g.mean(1, keepdim=True) for g in attend(key).gradients],
        ),
    ),
    ("attention-x-gradient", "later layers to the right"): lambda key: read(
        key,
        oracles.attention_x_gradient(attend(key).weights[::-1], attend(key).gradients[::-1]),
    ),
    ("legrad", "the score of the network"): lambda key: oracles.legrad(
        attend(key).gradients, 3, (3, 4)
    ),
    ("legrad", "sizes"): lambda key: oracles.legrad([g.abs() for g in attend(key).own], 3, (3, 4)),
    ("legrad", "times the attention"): lambda key: oracles.legrad(
        [a * g for a, g in zip(attend(key).weights, attend(key).own, strict=True)], 3, (3, 4)
    ),
    ("legrad", "the last layer"): lambda key: oracles.legrad(attend(key).own[-1:], 3, (3, 4)),
    ("legrad", "the class token's query"): lambda key: oracles.legrad(
        [g[:, :, :1] for g in attend(key).own], 3, (3, 4)
    ),
    ("legrad", "keys for queries"): lambda key: oracles.legrad(
        [g.transpose(2, 3) for g in attend(key).own], 3, (3, 4)
    ),
}


@pytest.mark.parametrize(("method", "how"), list(DOCTORED_ATTENTION))
def test_a_doctored_method_of_attention_fails_its_oracle(method: str, how: str) -> None:
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(
            DOCTORED_ATTENTION[method, how]("our own"), ATTENTION_ORACLES[method]("our own")
        )


@pytest.mark.parametrize("key", list(TRANSFORMERS))
def test_attention_x_gradient_of_a_small_score_is_that_of_its_first_order(key: str) -> None:
    model, images = attend(key).model, attend(key).images

    def heatmap(scale: float) -> Tensor:
        def target(output: Tensor) -> Tensor:
            return output[range(len(output)), CHOSEN] * scale

        return limelight.explain(
            model, images, target=target, method="attention-x-gradient"
        ).heatmap

    # The second order is smaller than the first by the scale: below rounding.
    assert_agrees(heatmap(1e-20), heatmap(1e-17))


@pytest.mark.parametrize("key", list(TRANSFORMERS))
def test_rows_of_attention_and_of_rollout_sum_to_one(key: str) -> None:
    model, images = attend(key).model, attend(key).images
    found = limelight.cut(model, images, "<input>").attention(CHOSEN)
    ones = torch.ones_like(found.weights[0][..., 0])
    for weights in found.weights:
        assert_agrees(weights.sum(-1), ones)
    share = limelight.explain(model, images, target=CHOSEN, method="rollout").raw.sum((1, 2))
    if TRANSFORMERS[key].prefix:
        assert (share > 0).all()
        assert (share < 1).all()
    else:
        assert_agrees(share, torch.ones_like(share))


#: Every method of this file, with its oracle.
ORACLES: dict[str, Callable[..., Tensor]] = {
    **{method: oracle for method, (_, oracle) in ROWS.items()},
    **ATTENTION_ORACLES,
    "random": oracles.uniform_ranks,
}


def test_every_method_has_a_doctored_one() -> None:
    doctored = {method for method, _ in (*DOCTORED, *DOCTORED_ATTENTION)}
    assert doctored == set(ORACLES) - {"random"}  # whose own are below
    families = {"pixels", "attention", "control"}
    several = {"occlusion", "rise", "kernelshap"}
    rows = {row.name for row in limelight.METHODS.values() if row.family in families}
    assert rows | several == set(ORACLES)


# Where methods cannot work


def only_gelu() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(560, 5))


@pytest.mark.parametrize("build", [networks.TinyViT, only_gelu])
@pytest.mark.parametrize("method", ["guided-backprop", "guided-gradcam"])
def test_guided_backprop_needs_a_relu(build: Callable[[], nn.Module], method: str) -> None:
    model, images = ready(build()), images_of()
    message = r"ReLUs, and this network runs none .*Use 'input-x-gradient'"
    with untouched(model), pytest.raises(MethodError, match=message):
        limelight.explain(model, images, method=method)


def windows() -> nn.Module:
    return cast(
        "nn.Module",
        timm.create_model(
            "swin_tiny_patch4_window7_224",
            img_size=32,
            window_size=4,
            embed_dim=8,
            depths=(2, 2),
            num_heads=(2, 2),
            num_classes=5,
        ),
    )


@pytest.mark.parametrize("method", METHODS_OF_ATTENTION)
@pytest.mark.parametrize(
    ("build", "has"),
    [
        (networks.ResidualCNN, "has none"),
        (windows, r"within windows or on several grids"),
    ],
)
def test_attention_has_to_be_there_and_among_all_tokens(
    method: str, build: Callable[[], nn.Module], has: str
) -> None:
    model, images = ready(build()), images_of(2, (3, 32, 32))
    with (
        untouched(model),
        pytest.raises(MethodError, match=rf"among all tokens .*{has}.* Use 'gradcam'"),
    ):
        limelight.explain(model, images, method=method)


class Reduced(networks.Attention):
    """Attends to every other token only, as pyramid transformers do to have less to compute."""

    fused = True

    def forward(self, x: Tensor) -> Tensor:
        b, n, width = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        k, v = k[:, :, ::2], v[:, :, ::2]
        if self.fused:
            found = F.scaled_dot_product_attention(q, k, v)
        else:
            found = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1) @ v
        return cast("Tensor", self.proj(found.transpose(1, 2).reshape(b, n, width)))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("method", METHODS_OF_ATTENTION)
def test_a_layer_that_attends_to_some_tokens_only_is_not_left_out(method: str, fused: bool) -> None:
    model, images, reduced = ready(networks.TinyViT()), images_of(), Reduced(8, 2)
    reduced.fused = fused
    cast("Any", model).blocks[0].attention = reduced.double().eval()
    with pytest.raises(MethodError, match="among all tokens"):
        limelight.explain(model, images, method=method)


@pytest.mark.parametrize("method", ["guided-backprop", "fullgrad", "rollout"])
def test_a_method_of_the_whole_network_takes_no_layer(method: str) -> None:
    model, images = study(VIT).model, study(VIT).images
    with pytest.raises(MethodError, match=r"reads the whole network.* Leave layer out"):
        limelight.explain(model, images, method=method, layer="blocks.0")


# Guided backpropagation: by hand, and however a ReLU is written


def test_guided_backprop_by_hand() -> None:
    torch.manual_seed(0)
    conv, linear = nn.Conv2d(2, 3, 3).double(), nn.Linear(3 * 4 * 5, 4).double()
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), linear, nn.ReLU(inplace=True))
    images = images_of(3, (2, 6, 7))
    with torch.no_grad():
        linear.bias.add_(3)  # so that the last ReLU lets everything through
        before = conv(images)
        above = linear.weight[CHOSEN].reshape(before.shape)
        passed = torch.where((before > 0) & (above > 0), above, 0)
        guided = F.conv_transpose2d(passed, conv.weight)
        assert (model[:4](images) > 0).all()
    found = limelight.explain(model, images, target=CHOSEN, method="guided-backprop").raw
    assert_agrees(found, guided.abs().amax(1))


class Activated(nn.Module):
    """Two convolutions, each with an activation behind it that is a module or a function."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(8, 8, 3)
        self.fc = nn.Linear(8, 5)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.conv1(x) * 9)  # which reaches beyond 6
        return cast("Tensor", self.fc(self.activation(self.conv2(x)).mean((2, 3))))


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        F.relu,
        lambda x: F.relu(x, True),
        lambda x: F.relu(x, inplace=True),
        lambda x: F.relu(input=x),
        F.relu_,
        torch.relu,
        torch.relu_,
        lambda x: x.relu(),
        lambda x: x.relu_(),
    ],
)
def test_a_relu_is_guided_however_it_is_written(activation: Callable[[Tensor], Tensor]) -> None:
    assert_guided(activation, nn.ReLU())


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU6(),
        nn.ReLU6(inplace=True),
        F.relu6,
        lambda x: F.relu6(x, True),
        nn.Hardtanh(0.0, 6.0),
        nn.Hardtanh(0, 6, inplace=True),
        lambda x: F.hardtanh(x, 0.0, 6.0),
        lambda x: F.hardtanh_(x, 0.0, 6.0),
    ],
)
def test_a_relu6_is_guided_however_it_is_written(activation: Callable[[Tensor], Tensor]) -> None:
    assert_guided(activation, nn.ReLU6())


def assert_guided(activation: Callable[[Tensor], Tensor], as_module: nn.Module) -> None:
    torch.manual_seed(0)
    model, twin = ready(Activated(activation)), ready(Activated(as_module))
    twin.load_state_dict(model.state_dict())
    images = images_of()
    with untouched(model):
        found = limelight.explain(model, images, target=CHOSEN, method="guided-backprop").raw
    for one in found:
        assert one.any()
    guided = oracles.guided_backprop(twin, images, classes(CHOSEN))
    assert_agrees(found, oracles.saliency(guided))
    plain = oracles.slopes(lambda x: classes(CHOSEN)(twin(x)), images)
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(found, oracles.saliency(plain))


# Integrated gradients


def test_integrated_gradients_are_complete_where_the_network_is_smooth() -> None:
    for build in (networks.PoolLinear, networks.TinyViT):
        model, images = ready(build()), images_of()
        for baseline in (0.0, 0.3):
            found = limelight.explain(
                model, images, target=CHOSEN, method=f"integrated-gradients:baseline={baseline}"
            )
            gained = found.score - gain_over(model, images, baseline)
            assert_agrees(found.raw.sum((1, 2)), gained)
            assert found.completeness_gap is not None
            assert found.completeness_gap.shape == (3,)
            # A share of what each image gained, which cancels to what it is.
            cancels = (found.score.abs() + gained.abs()).max() / gained.abs().min()
            assert_agrees(
                found.completeness_gap, torch.zeros_like(found.completeness_gap), scale=cancels
            )


def gain_over(model: nn.Module, images: Tensor, baseline: float) -> Tensor:
    with torch.no_grad():
        return classes(CHOSEN)(model(torch.full_like(images, baseline)))


def test_the_gap_of_integrated_gradients_is_what_is_missing() -> None:
    studied = study(CNN)
    for steps in (2, 50):
        found = limelight.explain(
            studied.model,
            studied.images,
            target=CHOSEN,
            method=f"integrated-gradients:steps={steps},baseline=0.3",
        )
        gained = found.score - gain_over(studied.model, studied.images, 0.3)
        missing = (found.raw.sum((1, 2)) - gained).abs() / gained.abs()
        assert found.completeness_gap is not None
        assert (missing > 1e-6).all()
        assert_agrees(found.completeness_gap, missing)


def test_the_gap_is_zero_of_an_image_that_is_the_baseline() -> None:
    images = torch.zeros(2, *PICTURE, dtype=torch.float64)
    found = limelight.explain(study(CNN).model, images, target=1, method="integrated-gradients")
    assert found.completeness_gap is not None
    assert found.completeness_gap.tolist() == [0, 0]


def test_only_a_method_that_promises_a_sum_has_a_gap() -> None:
    studied = study(CNN)
    for method in ("saliency", "input-x-gradient", "centre"):
        assert (
            limelight.explain(studied.model, studied.images, method=method).completeness_gap is None
        )


def test_input_x_gradient_is_integrated_gradients_of_a_linear_model() -> None:
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(576, 5)).double(), images_of()
    product, integral = (
        limelight.explain(model, images, target=CHOSEN, method=method).raw
        for method in ("input-x-gradient", "integrated-gradients:steps=3")
    )
    assert_agrees(product, integral)
    weight = cast("Tensor", model[1].weight).detach()[CHOSEN].reshape(images.shape)
    assert_agrees(product, (images * weight).sum(1))


# FullGrad


class Relus(nn.Module):
    """Piecewise linear, with layers whose bias or whose place is not the usual one."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Conv2d(6, 6, 3, padding=1)  # registered first, runs after the others
        self.plain = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4, affine=False)
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2)
        self.norm2 = nn.BatchNorm2d(6)
        self.act = nn.LeakyReLU(0.1, inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm2(self.up(self.act(self.norm(self.plain(x))))), inplace=True)
        x = self.late(x)
        x = x + self.late(x).relu_()  # which runs twice
        return cast("Tensor", self.fc(self.pool(x).mean((2, 3))))


@pytest.mark.parametrize("build", [networks.ResidualCNN, Relus])
def test_gradients_at_the_input_and_at_all_biases_make_up_the_score(
    build: type[nn.Module],
) -> None:
    torch.manual_seed(9)
    model, images = ready(build()), images_of()
    cut = limelight.cut(model, images, "<input>")
    with untouched(model):
        found = cut.bias_gradients(CHOSEN)
    told = oracles.bias_gradients(model, images, classes(CHOSEN), as_grid)
    flat = [one for one in told if one.ndim == 2]  # of linear layers
    assert_same_terms(found, told)
    terms = [cut.activations * cut.gradients(CHOSEN), *found, *flat]
    total = torch.stack([term.flatten(1).sum(1) for term in terms]).sum(0)
    assert_agrees(total, cut.score(CHOSEN).values.detach())


def assert_same_terms(found: Sequence[Tensor], told: Sequence[Tensor]) -> None:
    for one, other in zip(found, [one for one in told if one.ndim == 4], strict=True):
        assert_agrees(one, other)


class Norms(nn.Module):
    """A layer of each kind that has a bias, and no batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.group = nn.GroupNorm(2, 6)
        self.instance = nn.InstanceNorm2d(6, affine=True)
        self.layer = nn.LayerNorm(6)
        self.mix = nn.Linear(6, 7)
        self.fc = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.instance(self.group(self.conv(x)).tanh()).tanh().permute(0, 2, 3, 1)
        return cast("Tensor", self.fc(self.mix(self.layer(x)).tanh().mean((1, 2))))


def test_every_kind_of_layer_with_a_bias_takes_part() -> None:
    torch.manual_seed(0)
    model, images = ready(Norms()), images_of()
    for parameter in model.parameters():
        nn.init.normal_(parameter)  # norms begin with a bias of zero
    found = limelight.cut(model, images, "<input>").bias_gradients(CHOSEN)
    assert_same_terms(found, oracles.bias_gradients(model, images, classes(CHOSEN), as_grid))


# Occlusion, by hand


def test_occlusion_of_a_linear_model_by_hand() -> None:
    weight, signal = [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, -1.0, 2.0, 0.5, 3.0]
    fc = nn.Linear(5, 1).double()
    fc.weight.data = torch.tensor([weight], dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), fc)
    images = torch.tensor([[signal]], dtype=torch.float64)
    shares = [w * x for w, x in zip(weight, signal, strict=True)]  # 1, -2, 6, 2, 15
    pairs = [a + b for a, b in itertools.pairwise(shares)]  # -1, 4, 8, 17

    def occluded(options: str) -> list[float]:
        method = f"occlusion:{options}"
        found = limelight.explain(model, images, target=0, method=method).raw
        return cast("list[float]", found[0].tolist())

    assert_agrees(occluded("patch=0.2,stride=0.2"), shares)
    middle = [(a + b) / 2 for a, b in itertools.pairwise(pairs)]
    assert_agrees(occluded("patch=0.4,stride=0.2"), [pairs[0], *middle, pairs[-1]])
    # Covers at 0, 2 and, so that the end is covered, 3.
    expected = [pairs[0], pairs[0], pairs[2], (pairs[2] + pairs[3]) / 2, pairs[3]]
    assert_agrees(occluded("patch=0.4,stride=0.4"), expected)
    assert_agrees(occluded("patch=1,stride=1"), [sum(shares)] * 5)
    less = [w * (x - 2) for w, x in zip(weight, signal, strict=True)]
    assert_agrees(occluded("patch=0.2,stride=0.2,baseline=2.0"), less)


# RISE's masks


@pytest.mark.parametrize("size", [(12, 16), (7,), (30, 31), (5, 6, 4), (2, 9)], ids=str)
@pytest.mark.parametrize("keep", [0.2, 0.5])
def test_masks_are_between_zero_and_one_and_keep_a_share(
    size: tuple[int, ...], keep: float
) -> None:
    drawn = RiseMasks(size, 2000, cells=4, keep=keep, seed=0)
    made = drawn(torch.arange(2000))
    assert made.shape == (2000, *size)
    assert made.min() == 0
    assert made.max() == 1
    # Two cells at least are drawn on their own; the mean over many draws is p in every pixel.
    deviation = math.sqrt(keep * (1 - keep) / 2000)
    assert (made.mean(0) - keep).abs().max() < 5 * deviation
    assert abs(made.mean() - keep) < 2.5 * deviation


def test_masks_are_the_grids_interpolated_and_shifted() -> None:
    size, cells = (12, 17), (4, 4)
    drawn = RiseMasks(size, 6, cells=4, keep=0.5, seed=1)
    assert drawn.grids.shape == (6, *(n + 1 for n in cells))
    assert set(drawn.grids.flatten().tolist()) == {0, 1}
    cell = [math.ceil(length / n) for length, n in zip(size, cells, strict=True)]
    made = drawn(torch.tensor([5, 0, 3]))
    for mask, number in zip(made, (5, 0, 3), strict=True):
        shift = [int(one) for one in drawn.shifts[number]]
        assert all(0 <= one < c for one, c in zip(shift, cell, strict=True))
        assert_agrees(mask, oracles.rise_mask(drawn.grids[number], shift, cell, size))


def test_shifts_take_every_value_less_than_a_cell() -> None:
    shifts = RiseMasks((12, 20), 500, cells=4, keep=0.5, seed=0).shifts
    assert set(shifts[:, 0].tolist()) == set(range(3))
    assert set(shifts[:, 1].tolist()) == set(range(5))


def test_more_cells_than_pixels_are_as_many_as_pixels() -> None:
    made = RiseMasks((3, 4), 50, cells=7, keep=0.5, seed=0)(torch.arange(50))
    assert made.shape == (50, 3, 4)
    assert set(made.flatten().tolist()) == {0, 1}


# Models that turn grad off


@pytest.mark.parametrize(
    "method",
    ["saliency", "input-x-gradient", "smoothgrad:samples=3", "integrated-gradients", "fullgrad"],
)
def test_a_backbone_under_no_grad_has_the_same_map(method: str) -> None:
    frozen, plain = ready(networks.OwnNoGrad()), ready(networks.Chain())
    plain.load_state_dict(frozen.state_dict())
    images = images_of()
    maps = [
        limelight.explain(model, images, target=CHOSEN, method=method).raw
        for model in (frozen, plain)
    ]
    assert_agrees(maps[0], maps[1])


# Shapley values: of signals, whose parts are blocks


class Sums(nn.Module):
    """Sums over the first 8 of 12 positions; the others are not read."""

    def forward(self, x: Tensor) -> Tensor:
        read = x[:, 0, :8]
        total = read.sum(1)
        return torch.stack([total**2 + (read**3).sum(1), total, (2 * total).sin()], dim=1)


def test_blocks_of_a_signal_have_the_same_length() -> None:
    assert superpixels(torch.zeros(1, 12), 6).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_shapley_values_share_the_score_out_fairly() -> None:
    signal = torch.tensor([[[1.0, 2, 2, 1, -1, 1, 0, 3, 5, 6, 7, 8]]], dtype=torch.float64)
    for samples in (1000, 24):  # all coalitions, and some
        values = limelight.explain(
            Sums(), signal, target=0, method=f"kernelshap:segments=6,samples={samples}"
        ).raw[0, ::2]
        assert_agrees(values.sum(), 9**2 + 45)
        if samples == 1000:
            assert_agrees(values[0], values[1])
            assert_agrees(values[4:], torch.zeros(2).double(), scale=values.abs().max())
            # The square shares the products of two parts between them; the cubes are additive.
            sums, cubes = [3.0, 3.0, 0.0, 3.0], [9.0, 9.0, 0.0, 27.0]
            by_hand = [s * 9 + c for s, c in zip(sums, cubes, strict=True)]
            assert_agrees(values[:4].tolist(), by_hand)


def test_a_few_coalitions_suffice_for_an_additive_score() -> None:
    signal = torch.randn(2, 1, 12, dtype=torch.float64)
    found = limelight.explain(
        Sums(), signal, target=1, method="kernelshap:segments=12,samples=60,seed=5"
    ).raw
    expected = torch.where(torch.arange(12) < 8, signal[:, 0], 0)
    assert_agrees(found, expected)


def test_more_coalitions_come_nearer_to_the_shapley_values() -> None:
    signal = torch.randn(1, 1, 12, dtype=torch.float64)
    parts_ = [superpixels(signal[0], 12)]
    exact = oracles.shapley(lambda x: Sums()(x)[:, 2], signal, parts_)

    def gap(samples: int) -> float:
        gaps = [
            limelight.explain(
                Sums(),
                signal,
                target=2,
                method=f"kernelshap:segments=12,samples={samples},seed={seed}",
            ).raw
            - exact
            for seed in range(8)
        ]
        return torch.stack(gaps).square().mean().sqrt().item()

    few, many = gap(100), gap(1600)
    assert many < few / 2.5  # a fourth, were they drawn independently
    assert many < 0.5 * exact.abs().max().item()


class AllOfFour(nn.Module):
    """Scores when the first four positions are all there."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, :4].prod(1, keepdim=True)


def test_coalitions_are_drawn_by_their_weight() -> None:
    signal = torch.ones(1, 1, 12, dtype=torch.float64)
    method = "kernelshap:segments=12,samples=4000,seed={}"
    found = [
        limelight.explain(AllOfFour(), signal, target=0, method=method.format(seed), chunk=4001).raw
        for seed in range(32)
    ]
    # Four share 1, and eight have nothing; sizes drawn evenly would tend to 0.215 and 0.018.
    expected = torch.tensor([0.25] * 4 + [0.0] * 8, dtype=torch.float64)
    assert_agrees(torch.stack(found).mean(0)[0], expected, truncation=0.03 * 0.25, limit=SAMPLE)


def test_one_superpixel_has_the_whole_score() -> None:
    studied = study(CNN)
    found = limelight.explain(
        studied.model, studied.images, target=CHOSEN, method="kernelshap:segments=1"
    )
    gained = found.score - gain_over(studied.model, studied.images, 0.0)
    assert_agrees(found.raw, gained[:, None, None].expand(3, 12, 16))


# Controls


def test_random_is_uniform() -> None:
    model, images = ready(networks.ResidualCNN()), images_of(4, (3, 48, 64))
    found = limelight.explain(model, images, method="random", layer="stem").raw
    assert found.shape == (4, 48, 64)
    ranks, tolerance = oracles.uniform_ranks(found.numel()), 1.6 / math.sqrt(found.numel())
    assert_agrees(found.flatten().sort().values, ranks, truncation=tolerance, limit=SAMPLE)
    doctored = {
        "normal": torch.randn(found.numel(), dtype=torch.float64),
        "between -1 and 1": 2 * found.flatten() - 1,
        "squared": found.flatten() ** 2,
        "the same twice": found[:, :24].flatten().repeat(2) * 1.02,
    }
    for values in doctored.values():
        with pytest.raises(AssertionError, match="apart by"):
            assert_agrees(values.sort().values, ranks, truncation=tolerance, limit=SAMPLE)


def test_neighbours_and_images_of_a_random_map_have_nothing_in_common() -> None:
    model, images = ready(networks.ResidualCNN()), images_of(4, (3, 48, 64))
    found = limelight.explain(model, images, method="random", layer="stem").raw
    pairs = [
        (found[0], found[1]),
        (found[:, :-1], found[:, 1:]),
        (found[..., :-1], found[..., 1:]),
    ]
    for one, other in pairs:
        both = torch.stack([one.flatten(), other.flatten()])
        assert both.corrcoef()[0, 1].abs() < 4 / math.sqrt(one.numel())


def test_controls_know_nothing_of_the_class_or_of_the_weights() -> None:
    images = images_of()
    for method in ("random", "centre"):
        maps = [
            limelight.explain(
                ready(networks.ResidualCNN()), images, target=target, method=method, layer="block1"
            ).raw
            for target in (0, 1)
        ]
        assert torch.equal(maps[0], maps[1])


def test_centre_is_symmetric_and_the_same_for_all_images() -> None:
    found = limelight.explain(study(CNN).model, images_of(), method="centre", layer="block1").raw
    assert found.shape == (3, 6, 8)
    assert torch.equal(found[0], found[1])
    for axis in (1, 2):
        assert_agrees(found, found.flip(axis))
    assert found.argmax() == 2 * 8 + 3  # beside the middle


# Laws


class Law(NamedTuple):
    method: str
    case: Case


FEW = {
    "smoothgrad": "samples=3",
    "integrated-gradients": "steps=4",
    "occlusion": "patch=0.5,stride=0.25",
    "rise": "masks=9,cells=3",
    "kernelshap": "segments=6,samples=30",
}
LAWS = [
    Law(f"{method}:{FEW[method]}" if method in FEW else method, case)
    for method in ORACLES
    for case in (CNN, VIT)
    if not (method.startswith("guided") and case == VIT)
    and not (method in METHODS_OF_ATTENTION and case == CNN)
]
every_law = pytest.mark.parametrize(
    "law", LAWS, ids=lambda law: f"{law.method.partition(':')[0]}-{law.case.network.__name__}"
)


def explained(
    law: Law, images: Tensor | None = None, target: Any = CHOSEN, **options: Any
) -> limelight.Explanation:
    studied = study(law.case)
    images = studied.images if images is None else images
    return limelight.explain(studied.model, images, target=target, method=law.method, **options)


def size(law: Law, raw: Tensor) -> float:
    """The size of what is added in a map: that of the map, or of what cancels in it."""
    return max(what_cancels(study(law.case), law.method) or 0.0, float(raw.abs().max()))


def of_heatmap(law: Law, found: limelight.Explanation) -> float:
    return of_heatmaps(found.raw, what_cancels(study(law.case), law.method))


@every_law
def test_permuting_the_batch_permutes_the_maps(law: Law) -> None:
    order = [2, 0, 1]
    permuted = explained(law, study(law.case).images[order], [CHOSEN[i] for i in order])
    found = explained(law)
    assert_agrees(permuted.raw, found.raw[order], scale=size(law, found.raw))
    assert_agrees(permuted.heatmap, found.heatmap[order])


@every_law
def test_the_maps_of_a_batch_are_the_batch_of_the_maps(law: Law) -> None:
    images = study(law.case).images
    alone = torch.cat([explained(law, images[b : b + 1], CHOSEN[b]).raw for b in range(3)])
    assert_agrees(explained(law).raw, alone, scale=size(law, alone))


@pytest.mark.parametrize("scale", [3.0, 1e-5])
@every_law
def test_the_scale_of_the_score_does_not_matter_to_the_heatmap(law: Law, scale: float) -> None:
    if law.method == "attention-x-gradient":
        pytest.skip("its layers' products are of different degrees in the score")

    def times(output: Tensor) -> Tensor:
        return output[range(len(output)), CHOSEN] * scale

    plain, scaled = explained(law), explained(law, target=times)
    assert_agrees(scaled.heatmap, plain.heatmap, condition=of_heatmap(law, plain))


@every_law
def test_single_precision_is_near_double_precision(law: Law) -> None:
    studied = study(law.case)
    images = studied.images.float()
    single = limelight.explain(
        copy_of(studied, torch.float32), images, target=CHOSEN, method=law.method
    )
    assert single.raw.dtype == single.heatmap.dtype == torch.float32
    double = explained(law, images.double())
    condition = of_heatmap(law, double)
    assert_agrees(single.heatmap, double.heatmap, dtype=torch.float32, condition=condition)


def copy_of(studied: Studied, dtype: torch.dtype = torch.float64) -> nn.Module:
    return copy.deepcopy(studied.model).to(dtype)


@every_law
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_caller_s_grad_mode_does_not_matter(law: Law, mode: Callable[[], Any]) -> None:
    found = explained(law)
    with mode():
        inside = explained(law)
    assert torch.equal(inside.raw, found.raw)
    assert not inside.raw.requires_grad
    assert not inside.heatmap.requires_grad


@every_law
@pytest.mark.parametrize("training", [False, True])
def test_the_model_and_the_images_stay_as_they_were(law: Law, training: bool) -> None:
    model = copy_of(study(law.case))
    images = study(law.case).images.clone().requires_grad_()
    first = next(iter(model.parameters()))
    first.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    model.train(training)
    version, before = images._version, explained(law).raw
    with untouched(model):
        found = limelight.explain(model, images, target=CHOSEN, method=law.method).raw
    assert images._version == version
    assert images.grad is None
    assert images.requires_grad
    assert_agrees(found, before)


@every_law
def test_the_model_is_untouched_when_the_target_raises_midway(law: Law) -> None:
    model, images = copy_of(study(law.case)), study(law.case).images

    def run(raise_at: int) -> int:
        calls = 0

        def target(output: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            if calls == raise_at:
                raise RuntimeError("raised midway")
            return output[:, 0]

        limelight.explain(model, images, target=target, method=law.method)
        return calls

    for at in {1, run(0)}:
        with untouched(model), pytest.raises(RuntimeError, match="raised midway"):
            run(at)
    again = limelight.explain(model, images, target=CHOSEN, method=law.method).raw
    assert_agrees(again, explained(law).raw)


@every_law
def test_several_targets_at_once_have_the_maps_that_each_has_alone(law: Law) -> None:
    studied = study(law.case)
    targets: list[Any] = [CHOSEN, [0, 1, 2], 3]
    together = limelight.explain_each(studied.model, studied.images, targets, method=law.method)
    for one, target in zip(together, targets, strict=True):
        alone = explained(law, target=target).raw
        assert_agrees(one.raw, alone, scale=size(law, alone) or 1.0)


@every_law
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_model_in_half_precision_has_a_map_in_single(law: Law, dtype: torch.dtype) -> None:
    studied = study(law.case)
    model, images = copy_of(studied, dtype), studied.images.to(dtype)
    found = limelight.explain(model, images, target=CHOSEN, method=law.method)
    assert found.raw.dtype == found.heatmap.dtype == torch.float32
    assert found.raw.isfinite().all()
    assert found.raw.shape == explained(law).raw.shape


RERUN = [law for law in LAWS if law.method.partition(":")[0] in FEW]
every_rerun = pytest.mark.parametrize(
    "law", RERUN, ids=lambda law: f"{law.method.partition(':')[0]}-{law.case.network.__name__}"
)


@every_rerun
@pytest.mark.parametrize("layer", [None, "a layer"])
def test_chunking_does_not_matter(law: Law, layer: str | None) -> None:
    named = layer and {"ResidualCNN": "block1", "TinyViT": "blocks.0"}[law.case.network.__name__]
    found = explained(law, layer=named).raw
    for chunk in (1, 2, 7, 1000):
        assert_agrees(explained(law, layer=named, chunk=chunk).raw, found, scale=size(law, found))


@every_rerun
def test_progress_is_told_to_the_end(law: Law) -> None:
    told: list[tuple[int, int]] = []
    explained(law, chunk=2, progress=lambda _doing, done, count: told.append((done, count)))
    assert len(told) > 3
    assert told[-1][0] == told[-1][1]
    for done, count in told:
        assert 0 < done <= count
    begun = [done for done, _ in told if done <= 2]
    assert len(begun) <= 3, "it began again more often than there are images"


@every_rerun
@pytest.mark.parametrize("at", [1, 3])
def test_an_interrupt_leaves_the_model_untouched(law: Law, at: int) -> None:
    calls = 0

    def interrupt(_doing: str, _done: int, _count: int) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt

    model = study(law.case).model
    with untouched(model), pytest.raises(KeyboardInterrupt):
        explained(law, chunk=2, progress=interrupt)
    assert calls == at


@pytest.mark.parametrize(
    "method", ["smoothgrad:samples=3", "rise:masks=9", "kernelshap:segments=8,samples=20", "random"]
)
def test_a_seed_decides_the_map(method: str) -> None:
    def seeded(seed: int | None) -> Tensor:
        option = "" if seed is None else f"{',' if ':' in method else ':'}seed={seed}"
        return explained(Law(method + option, CNN)).raw

    state = torch.get_rng_state()
    first = seeded(3)
    torch.manual_seed(17)
    assert torch.equal(seeded(3), first)
    assert torch.equal(seeded(None), seeded(0))
    assert_differs(seeded(2**31), first)
    assert_differs(seeded(4), first)
    assert not torch.equal(torch.get_rng_state(), state)
    torch.set_rng_state(state)


@pytest.mark.parametrize(
    "method",
    [
        "smoothgrad:samples=1,noise=0",
        "integrated-gradients:steps=1",
        "occlusion:patch=1e-6,stride=1e-6",
        "rise:masks=1,cells=1",
        "kernelshap:segments=5,samples=1",
        "kernelshap:segments=1,samples=1",
    ],
)
def test_the_least_that_options_allow_gives_a_map(method: str) -> None:
    found = explained(Law(method, CNN)).raw
    assert found.shape == (3, 12, 16)
    assert found.isfinite().all()


# Networks of the transformers library


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_attention_of_transformers_is_what_it_returns_itself(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        num_labels=5,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification._from_config(config, attn_implementation=kind)
    written_out = transformers.ViTForImageClassification._from_config(
        config, attn_implementation="eager"
    )
    written_out.load_state_dict(model.state_dict())
    model, written_out = model.double().eval(), written_out.double().eval()
    images = images_of(2, (3, 32, 32))
    output = written_out(images, output_attentions=True)
    gradients = torch.autograd.grad(output.logits[:, 3].sum(), output.attentions)
    with untouched(model):
        found = limelight.cut(model, images, "<input>").attention(3)
    assert (found.prefix, found.grid) == (1, (4, 4))
    for one, other in zip(found.weights, output.attentions, strict=True):
        # Written out, that library takes the softmax in single precision.
        assert_agrees(one, other, dtype=torch.float32)
    for one, other in zip(found.gradients, gradients, strict=True):
        assert_agrees(one, other, dtype=torch.float32)
    for method in METHODS_OF_ATTENTION:
        assert limelight.explain(model, images, method=method).status[0].ok
