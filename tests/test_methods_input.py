"""The methods of the input and of attention equal their oracles, and doctored ones do not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import limelight
from helpers import networks
from helpers.attention_studies import (
    ATTENTION_ORACLES,
    METHODS_OF_ATTENTION,
    ORACLES,
    TRANSFORMERS,
    attend,
    read,
)
from helpers.input_studies import (
    CASES,
    ROWS,
    TRIED,
    VIT,
    VIT_LAYER,
    Case,
    Studied,
    as_grid,
    biases,
    coarse,
    covers,
    expected,
    guided,
    images_of,
    masks,
    name,
    noise,
    parts,
    raw,
    rule,
    study,
    what_cancels,
)
from helpers.model_state import untouched
from helpers.networks import CHOSEN, ready
from helpers.tolerances import assert_agrees
from limelight.errors import MethodError
from oracles import attention, evidence, perturbed, pixels
from oracles.evidence import classes


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
    return evidence.slopes(lambda x: classes(CHOSEN)(model(x)), studied.images)


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
    return pixels.saliency(guided(studied)) * large / large.amax((1, 2), keepdim=True)


def biases_of_another(studied: Studied) -> list[Tensor]:
    """Batch norms without what their running mean adds."""
    twin = with_activation(studied.model, nn.ReLU)
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.zero_()
    found = pixels.bias_gradients(twin, studied.images, classes(CHOSEN), as_grid)
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
    ("smoothgrad", "a deviation that is no share of the range"): lambda s: pixels.smoothgrad(
        s.score, s.activations, noise(s) / (s.activations.max() - s.activations.min()), 0.3
    ),
    ("smoothgrad", "the mean of sizes"): lambda s: torch.stack(
        [pixels.smoothgrad(s.score, s.activations, one[None], 0.3) for one in noise(s)]
    ).mean(0),
    ("smoothgrad", "another seed"): lambda s: pixels.smoothgrad(
        s.score, s.activations, noise(s, seed=4), 0.3
    ),
    ("integrated-gradients", "the right sum"): lambda s: pixels.integrated_gradients(
        s.score, s.activations, [((k + 1) / 40, 1 / 40) for k in range(40)], 0.2
    ),
    ("integrated-gradients", "no way"): lambda s: pixels.integrated_gradients(
        s.score, s.activations, [(1.0, 1.0)], 0.2
    ),
    ("integrated-gradients", "another baseline"): lambda s: pixels.integrated_gradients(
        s.score, s.activations, rule(s), 0.0
    ),
    ("integrated-gradients", "weights of [-1, 1]"): lambda s: pixels.integrated_gradients(
        s.score, s.activations, [(t, 2 * w) for t, w in rule(s)], 0.2
    ),
    ("guided-backprop", "the gradient"): lambda s: pixels.saliency(s.gradients),
    ("guided-backprop", "the gradient, where positive"): lambda s: pixels.saliency(
        s.gradients.clamp(min=0)
    ),
    ("guided-backprop", "deconvolution"): lambda s: pixels.saliency(deconvolved(s)),
    ("guided-backprop", "the sum over channels"): lambda s: guided(s).sum(1),
    ("guided-backprop", "twice"): lambda s: 2 * pixels.saliency(guided(s)),
    ("guided-gradcam", "no relu"): lambda s: (
        pixels.saliency(guided(s))
        * torch.stack([evidence.upsampled(c, (12, 16)) for c in coarse(s)])
    ),
    ("guided-gradcam", "nearest neighbours"): nearest,
    ("guided-gradcam", "no Grad-CAM"): lambda s: pixels.saliency(guided(s)),
    ("fullgrad", "each channel scaled by itself"): lambda s: pixels.fullgrad(
        s.images, s.gradients, each_channel(biases(s))
    ),
    ("fullgrad", "no biases"): lambda s: pixels.fullgrad(s.images, s.gradients, []),
    ("fullgrad", "one layer less"): lambda s: pixels.fullgrad(s.images, s.gradients, biases(s)[1:]),
    ("fullgrad", "biases in another order"): lambda s: pixels.fullgrad(
        s.images, s.gradients, biases_of_another(s)
    ),
    ("occlusion", "what is left"): lambda s: (
        s.score(s.activations)[:, None, None] - expected("occlusion", s.case)
    ),
    ("occlusion", "a zero cover"): lambda s: perturbed.occlusion(
        s.score, s.activations, *covers(s)
    ),
    ("occlusion", "covers side by side"): lambda s: perturbed.occlusion(
        s.score, s.activations, covers(s)[0], covers(s)[0], 0.2
    ),
    ("rise", "not divided by p"): lambda s: 0.4 * expected("rise", s.case),
    ("rise", "the mean score left in"): lambda s: (
        expected("rise", s.case)
        + torch.stack([s.score(s.activations * m) for m in masks(s)]).mean(0)[:, None, None]
        * masks(s).mean(0)
        / 0.4
    ),
    ("rise", "hard masks"): lambda s: perturbed.rise(s.score, s.activations, masks(s).round(), 0.4),
    ("rise", "scores of the next mask"): shifted_rise,
    ("kernelshap", "leave one out"): leave_one_out,
    ("kernelshap", "shared among pixels"): shared_out,
    ("kernelshap", "another baseline"): lambda s: perturbed.shapley(
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
        pixels.integrated_gradients(studied.score, studied.activations, one)
        for one in (pixels.three_points(60), pixels.gauss_legendre(40))
    ]
    assert_agrees(found[0], found[1])


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
        key, attention.rollout(attend(key).weights[::-1])
    ),
    ("rollout", "the strongest head"): lambda key: read(
        key, attention.rollout([a.amax(1, keepdim=True) for a in attend(key).weights])
    ),
    ("rollout", "the mean over all rows"): lambda key: attention.rows_read(
        attention.rollout(attend(key).weights), range(15), 3, (3, 4)
    ),
    ("rollout", "a register's row"): lambda key: attention.rows_read(
        attention.rollout(attend(key).weights), [1], 3, (3, 4)
    ),
    ("rollout", "columns instead of rows"): lambda key: read(
        key, attention.rollout(attend(key).weights).transpose(1, 2)
    ),
    ("attention-x-gradient", "the gradient alone"): lambda key: read(
        key,
        attention.attention_x_gradient(
            [torch.ones_like(a) for a in attend(key).weights], attend(key).gradients
        ),
    ),
    ("attention-x-gradient", "sizes"): lambda key: read(
        key,
        attention.attention_x_gradient(
            attend(key).weights, [g.abs() for g in attend(key).gradients]
        ),
    ),
    ("attention-x-gradient", "heads averaged first"): lambda key: read(
        key,
        attention.attention_x_gradient(
            [a.mean(1, keepdim=True) for a in attend(key).weights],
            [g.mean(1, keepdim=True) for g in attend(key).gradients],
        ),
    ),
    ("attention-x-gradient", "later layers to the right"): lambda key: read(
        key,
        attention.attention_x_gradient(attend(key).weights[::-1], attend(key).gradients[::-1]),
    ),
    ("legrad", "the score of the network"): lambda key: attention.legrad(
        attend(key).gradients, 3, (3, 4)
    ),
    ("legrad", "sizes"): lambda key: attention.legrad(
        [g.abs() for g in attend(key).own], 3, (3, 4)
    ),
    ("legrad", "times the attention"): lambda key: attention.legrad(
        [a * g for a, g in zip(attend(key).weights, attend(key).own, strict=True)], 3, (3, 4)
    ),
    ("legrad", "the last layer"): lambda key: attention.legrad(attend(key).own[-1:], 3, (3, 4)),
    ("legrad", "the class token's query"): lambda key: attention.legrad(
        [g[:, :, :1] for g in attend(key).own], 3, (3, 4)
    ),
    ("legrad", "keys for queries"): lambda key: attention.legrad(
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


def test_every_method_has_a_doctored_one() -> None:
    doctored = {method for method, _ in (*DOCTORED, *DOCTORED_ATTENTION)}
    assert doctored == set(ORACLES) - {"random"}  # whose own are in test_methods_input_by_hand.py
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
