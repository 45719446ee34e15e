"""The attention of each tower of a network: within windows, of pictures, in a language model."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, cast

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import limelight
from helpers import networks
from helpers.input_studies import images_of
from helpers.model_state import untouched
from helpers.networks import ready
from helpers.tolerances import assert_agrees
from helpers.towers import FIRST, PATCHES, PICTURES, WORD, drawn, llava, sentence
from limelight.errors import MethodError, OptionError, UnknownNameError
from limelight.targets import Words
from oracles import windows
from oracles.windows import Windows

# Windows


def swin_of_timm() -> nn.Module:
    return cast(
        "nn.Module",
        timm.create_model(
            "swin_tiny_patch4_window7_224",
            img_size=64,
            window_size=4,
            embed_dim=8,
            depths=(2, 2),
            num_heads=(2, 2),
            num_classes=5,
        ),
    )


#: The layers of that network, on 16 x 16 and on 8 x 8 tokens.
SWIN = [Windows(grid, 4, shift) for grid in ((16, 16), (8, 8)) for shift in (0, 2)]


def swin_of_torchvision() -> nn.Module:
    model = torchvision.models.SwinTransformer(
        patch_size=[4, 4],
        embed_dim=8,
        depths=[2, 2],
        num_heads=[2, 2],
        window_size=[3, 3],
        num_classes=5,
    )
    return cast("nn.Module", model)


def swin_of_transformers() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.SwinConfig(
        image_size=32, patch_size=4, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4
    )
    return cast("nn.Module", transformers.SwinForImageClassification(config))


def softmax_in_windows(
    model: nn.Module, images: Tensor, target: int
) -> list[tuple[Tensor, Tensor, Windows]]:
    """Return what the softmax modules of timm's Swin put out, and the gradient by it."""
    found: list[Tensor] = []
    handles = []
    module: Any
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
            handles.append(
                module.softmax.register_forward_hook(lambda _m, _a, out: found.append(out))
            )
    score = model(images)[:, target].sum()
    for handle in handles:
        handle.remove()
    gradients = torch.autograd.grad(score, found)
    return [
        (windows.among_all(a.detach(), layer), windows.among_all(g, layer), layer)
        for a, g, layer in zip(found, gradients, SWIN, strict=True)
    ]


@pytest.mark.parametrize("method", ["rollout", "attention-x-gradient"])
def test_attention_in_windows_equals_one_matrix_of_all_tokens(method: str) -> None:
    model, images = drawn(swin_of_timm()), images_of(2, (3, 64, 64))
    with untouched(model):
        found = limelight.explain(model, images, target=1, method=method).raw
    layers = softmax_in_windows(model, images, 1)
    if method == "rollout":
        expected = windows.rollout([(a, layer) for a, _, layer in layers])
    else:
        expected = windows.attention_x_gradient(layers)
    assert_agrees(found, expected)


@pytest.mark.parametrize(
    ("build", "layers"),
    [
        (swin_of_torchvision, [Windows(grid, 3, s) for grid in ((8, 8), (4, 4)) for s in (0, 1)]),
        # Its second stage is one window, which it does not shift.
        (
            swin_of_transformers,
            [Windows((8, 8), 4, s) for s in (0, 2)] + [Windows((4, 4), 4, 0)] * 2,
        ),
    ],
)
def test_the_graph_tells_which_token_is_where_in_a_window(
    build: Callable[[], nn.Module], layers: list[Windows]
) -> None:
    model, images = drawn(build()), images_of(2, PICTURES)
    found = limelight.cut(model, images, "<input>").attention(1)
    assert [layer.layout.grid for layer in found.layers] == [layer.grid for layer in layers]
    for layer, told in zip(found.layers, layers, strict=True):
        assert layer.windows is not None
        by_cell = torch.arange(layer.count)[None].double()
        cells = layer.layout.positions_to_grid(by_cell).flatten().long().tolist()
        place = {position: cell for cell, position in enumerate(cells)}
        in_windows = [[place.get(n, -1) for n in window] for window in layer.windows.tolist()]
        assert sorted(in_windows) == sorted(told.tokens())


def test_rollout_through_windows_sums_to_one_if_no_window_is_padded() -> None:
    images = images_of(2, PICTURES)
    ones = torch.ones(2, dtype=torch.float64)
    for build, padded in ((swin_of_transformers, False), (swin_of_torchvision, True)):
        share = limelight.explain(drawn(build()), images, target=1, method="rollout").raw
        if padded:  # part of the attention is to the padding
            assert (share.sum((1, 2)) < ones).all()
        else:
            assert_agrees(share.sum((1, 2)), ones)


def test_windows_are_found_in_half_precision() -> None:
    model, images = drawn(swin_of_torchvision()), images_of(2, PICTURES)
    exact = limelight.explain(model, images, target=1, method="rollout").raw
    found = limelight.explain(model.bfloat16(), images.bfloat16(), target=1, method="rollout").raw
    # Matrices of 16 tokens, known to 8 bits each; windows laid anywhere else are far off.
    assert ((found.double() - exact).abs().amax() / exact.amax()) < 0.05
    assert (
        torch.corrcoef(torch.stack([found[0].flatten().double(), exact[0].flatten()]))[0, 1] > 0.9
    )


@pytest.mark.parametrize(
    ("method", "message"),
    [("legrad", "blocks are on several grids"), ("grad-eclip", "it is within windows")],
)
def test_methods_that_windows_leave_no_meaning_say_so(method: str, message: str) -> None:
    model, images = drawn(swin_of_torchvision()), images_of(2, PICTURES)
    with untouched(model), pytest.raises(MethodError, match=rf"{message}.*attention-x-gradient"):
        limelight.explain(model, images, target=1, method=method)


# Towers


@pytest.mark.parametrize("method", ["rollout", "legrad", "grad-eclip"])
def test_no_tensor_of_attention_waits_for_the_garbage_collector(method: str) -> None:
    model, images = ready(networks.TinyViT()), images_of()

    def count() -> int:
        return sum(issubclass(type(one), Tensor) for one in gc.get_objects())

    limelight.explain(model, images, target=1, method=method)
    gc.collect()
    gc.disable()
    try:
        before = count()
        for _ in range(3):
            limelight.explain(model, images, target=1, method=method)
        assert count() <= before
    finally:
        gc.enable()


def by_hand(matrices: list[Tensor], gradients: list[Tensor], method: str) -> Tensor:
    """Return the row of the word before the one that is explained, at the picture's positions."""
    maps = []
    for b in range(2):
        same = torch.eye(25, dtype=torch.float64)
        relevance = same
        for a, g in zip(matrices, gradients, strict=True):
            if method == "rollout":
                relevance = (a[b].double().mean(0) + same) @ relevance / 2
            else:
                relevance = relevance + (a[b] * g[b]).double().clamp(min=0).mean(0) @ relevance
        maps.append((relevance - (method != "rollout") * same)[WORD - 1, FIRST : FIRST + PATCHES])
    return torch.stack(maps).reshape(2, 4, 4)


@pytest.mark.parametrize("kind", ["eager", "sdpa"])
@pytest.mark.parametrize("method", ["rollout", "attention-x-gradient"])
def test_a_language_models_tower_shows_what_the_word_reads_of_the_picture(
    method: str, kind: str
) -> None:
    model, inputs = llava(kind), sentence()
    target = Words(inputs["input_ids"], WORD)
    with untouched(model):
        found = limelight.explain(
            model, inputs, target=target, method=f"{method}:tower=language_model"
        )
    written_out = llava()
    output = written_out(**inputs, output_attentions=True)
    wanted = inputs["input_ids"][:, WORD, None]
    score = output.logits[:, WORD - 1].log_softmax(-1).gather(1, wanted).sum()
    attentions = list(output.attentions)
    gradients = list(torch.autograd.grad(score, attentions))
    # That library takes the softmax in single precision where it is written out.
    assert_agrees(found.raw, by_hand(attentions, gradients, method), dtype=torch.float32)
    assert found.status[0].ok


def test_the_pictures_tower_ends_where_the_language_model_takes_its_tokens() -> None:
    model, inputs = llava("sdpa"), sentence()
    cut = limelight.cut(model, inputs, "<input>")
    found = cut.attention(Words(inputs["input_ids"], WORD))
    assert found.tower == "model.vision_tower.encoder.layers"
    assert len(found.layers) == 2  # it has three, and the language model reads behind the second
    read = torch.tensor([0.0] + [1 / PATCHES] * PATCHES, dtype=torch.float64)  # no class token
    assert_agrees(found.last.queries_read, read.expand(2, -1))
    for method in ("rollout", "attention-x-gradient", "legrad", "grad-eclip"):
        for tower in ("", "vision_tower", "language_model"):
            name = f"{method}:tower={tower}" if tower else method
            result = limelight.explain(
                model, inputs, target=Words(inputs["input_ids"], WORD), method=name
            )
            assert result.raw.shape == (2, 4, 4)
            assert result.status[0].ok or method == "grad-eclip"  # whose maps are signed
            assert result.method == name


def clip() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    size = {"hidden_size": 16, "intermediate_size": 32}
    size |= {"num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={
            **size,
            "vocab_size": 40,
            "max_position_embeddings": 20,
            "bos_token_id": 38,
            "eos_token_id": 39,
        },
        vision_config={**size, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    return drawn(transformers.CLIPModel(config))


def prompts(words: int = 17) -> dict[str, Tensor]:
    ids = torch.randint(1, 38, (4, words))
    ids[:, -1] = 39
    return {"input_ids": ids, "pixel_values": images_of(2, PICTURES)}


@pytest.mark.parametrize("words", [7, 17])
@pytest.mark.parametrize("method", ["rollout", "attention-x-gradient", "legrad", "grad-eclip"])
def test_the_pictures_tower_of_a_pair_is_found_beside_the_texts(method: str, words: int) -> None:
    # With 17 words the text has as many tokens as the picture.
    model, inputs = clip(), prompts(words)
    found = limelight.explain(model, inputs, target=1, method=method)
    alone = limelight.explain(
        cast("Any", model).vision_model,
        inputs["pixel_values"],
        target=lambda output: similarity(model, inputs, output),
        output="pooler_output",
        method=method,
    )
    assert_agrees(found.raw, alone.raw)


def similarity(model: Any, inputs: dict[str, Tensor], output: Any) -> Tensor:
    """Return the logits of prompt 1, from the output of the vision model."""
    pictures = nn.functional.normalize(model.visual_projection(output.pooler_output), dim=-1)
    with torch.no_grad():
        texts = model(**inputs).text_embeds
    return cast("Tensor", model.logit_scale.exp() * pictures @ texts[1])


def test_a_tower_is_asked_for_by_a_path_that_leads_to_it_alone() -> None:
    model, inputs = clip(), prompts()
    maps = [
        limelight.explain(model, inputs, target=1, method=f"rollout:tower={tower}").raw
        for tower in ("vision_model", "vision_model.encoder.layers", "vision_model.encoder")
    ]
    for other in maps:
        assert torch.equal(other, limelight.explain(model, inputs, target=1, method="rollout").raw)
    row = limelight.METHODS["rollout"].set(tower="vision_model")
    assert str(row) == "rollout:tower=vision_model"


@pytest.mark.parametrize(
    ("tower", "error", "message"),
    [
        ("pictures", UnknownNameError, r"no tower named 'pictures'.*'vision_model.encoder.layers'"),
        ("encoder", UnknownNameError, r"no tower named 'encoder'.*'text_model.encoder.layers'"),
        ("text_model", MethodError, r"Nothing in the tower 'text_model.*' depends on the picture"),
        ("3", OptionError, r"The option tower of rollout is 3; a name was expected"),
    ],
)
def test_a_tower_that_gives_no_map_is_refused_with_the_names(
    tower: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        limelight.explain(clip(), prompts(), target=1, method=f"rollout:tower={tower}")


def siglip() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    return drawn(transformers.SiglipVisionModel(config))


def test_a_head_that_pools_by_attention_ends_the_tower() -> None:
    model, images = siglip(), images_of(2, PICTURES)
    found = limelight.cut(model, images, "<input>").attention(
        lambda output: output.pooler_output[:, 3]
    )
    assert found.tower == "encoder.layers"
    assert found.pool is not None
    head = cast("Any", model).head
    _, pooled = head.attention(
        head.probe.expand(2, -1, -1),
        *[model(images).last_hidden_state] * 2,
        average_attn_weights=False,
    )
    assert_agrees(found.pool.weights, pooled.detach())


@pytest.mark.parametrize("method", ["rollout", "legrad"])
def test_a_pool_that_the_score_does_not_read_is_left_out(method: str) -> None:
    # As where a language model takes the tokens, and the head is there all the same.
    model, images = siglip(), images_of(2, PICTURES)

    def score(output: Any) -> Tensor:
        tokens: Tensor = output.last_hidden_state
        return tokens[:, :, 3].sum(1)

    assert limelight.cut(model, images, "<input>").attention(score).pool is None
    found = limelight.explain(model, images, target=score, method=method)
    cast("Any", model).head = nn.Identity()
    without = limelight.explain(
        model, images, target=score, output="last_hidden_state", method=method
    )
    assert_agrees(found.raw, without.raw)
    assert found.status[0].ok
