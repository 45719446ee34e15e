"""The methods of the input and of attention equal their oracles, and doctored ones do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import limelight
from helpers import method_scenes, networks
from helpers.attention_studies import (
    ATTENTION_ORACLES,
    DOCTORED_ATTENTION,
    METHODS_OF_ATTENTION,
    ORACLES,
    TRANSFORMERS,
    attend,
)
from helpers.input_studies import (
    CASES,
    DOCTORED,
    ROWS,
    TRIED,
    VIT,
    VIT_LAYER,
    Case,
    expected,
    images_of,
    name,
    raw,
    study,
    what_cancels,
)
from helpers.model_state import untouched
from helpers.networks import CHOSEN, ready
from helpers.tolerances import assert_agrees
from limelight.errors import MethodError
from oracles import pixels


@pytest.mark.parametrize(
    ("method", "case"),
    [(method, case) for method in ROWS for case in TRIED.get(method, CASES)],
    ids=lambda value: name(value) if isinstance(value, Case) else value,
)
def test_a_method_equals_its_oracle(method: str, case: Case) -> None:
    scale, condition = what_cancels(study(case), method), 1.0
    if (method, case) == ("integrated-gradients", VIT_LAYER):
        # A layer norm divides by how far the channels are apart: t of it, near the baseline.
        condition = 1 / min(t for t, _ in pixels.rule(study(case)))
    found = raw(study(case), ROWS[method][0])
    assert_agrees(found, expected(method, case), scale=scale, condition=condition)


@pytest.mark.parametrize(("method", "how"), list(DOCTORED))
def test_a_doctored_method_fails_its_oracle(method: str, how: str) -> None:
    case = TRIED.get(method, CASES)[0]
    doctored = DOCTORED[method, how](study(case)).detach()
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(doctored, expected(method, case))


def test_there_are_superpixels_to_share_among() -> None:
    for case in CASES:
        assert all(4 <= int(part.max()) + 1 <= 8 for part in study(case).superpixels())


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
    assert_agrees(found, ATTENTION_ORACLES[method](attend(key)))


@pytest.mark.parametrize(("method", "how"), list(DOCTORED_ATTENTION))
def test_a_doctored_method_of_attention_fails_its_oracle(method: str, how: str) -> None:
    with pytest.raises(AssertionError, match="apart by"):
        assert_agrees(
            DOCTORED_ATTENTION[method, how](attend("our own")),
            ATTENTION_ORACLES[method](attend("our own")),
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
    at_a_layer = {how.partition(":")[0] for how in method_scenes.ORACLES}
    of_words = {"tam"}  # in test_token_activation.py
    assert set(limelight.METHODS) - at_a_layer - of_words == set(ORACLES)


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


@pytest.mark.parametrize("method", METHODS_OF_ATTENTION)
def test_attention_has_to_be_there(method: str) -> None:
    model, images = ready(networks.ResidualCNN()), images_of(2, (3, 32, 32))
    with (
        untouched(model),
        pytest.raises(MethodError, match=r"among all tokens .*has none\. Use 'gradcam'"),
    ):
        limelight.explain(model, images, method=method)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("method", METHODS_OF_ATTENTION)
def test_a_layer_that_attends_to_some_tokens_only_is_not_left_out(method: str, fused: bool) -> None:
    model, images, reduced = ready(networks.TinyViT()), images_of(), Reduced(8, 2)
    reduced.fused = fused
    cast("Any", model).blocks[0].attention = reduced.double().eval()
    found = r"among all tokens .* has attention matrices \[15, 15\], \[15, 8\] in 'blocks': of some"
    with pytest.raises(MethodError, match=found):
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
    assert (found.layout.prefix, found.layout.grid) == (1, (4, 4))
    for one, other in zip(found.weights, output.attentions, strict=True):
        # Written out, that library takes the softmax in single precision.
        assert_agrees(one, other, dtype=torch.float32)
    for one, other in zip(found.gradients, gradients, strict=True):
        assert_agrees(one, other, dtype=torch.float32)
    for method in METHODS_OF_ATTENTION:
        assert limelight.explain(model, images, method=method).status[0].ok
