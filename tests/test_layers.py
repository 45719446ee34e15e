from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, cast

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

import limelight
from helpers import networks
from helpers.networks import PICTURE, ready
from helpers.tolerances import assert_agrees, rounding
from limelight.errors import LayerError, MethodError, UnknownNameError
from limelight.evidence import Evidence
from limelight.finish import AxisSpan
from limelight.layers import Layout, candidates, choose_layer, resolve
from limelight.layers.guesses import guess_layout, mismatch
from limelight.methods import METHODS
from limelight.runtime.cut import Cut, cut
from limelight.runtime.record import record
from oracles.evidence import Grid, Probe, channels_first, channels_last, classes, probe, tokens
from oracles.weighted import cam, gradcam

CLASS = 7


# The article's networks, with random weights


class Network(NamedTuple):
    build: Callable[[], nn.Module]
    chosen: str  # without help
    named: str  # in the article
    grid: Grid = channels_first
    linear: str | None = None  # the linear layer, where it is all that follows an average pool

    def __call__(self) -> nn.Module:
        torch.manual_seed(0)
        return self.build().eval()


def torchvision_vit() -> nn.Module:
    model: nn.Module = models.vit_b_16(weights=None)
    head = cast("nn.Linear", model.get_submodule("heads.head"))
    nn.init.normal_(head.weight, 0, 0.02)  # as it comes it is zero, and with it every map
    return model


def of_timm(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model: nn.Module = timm.create_model(name, pretrained=False)
        return model

    return build


PATCHES = tokens(1, (14, 14))
NETWORKS = {
    "mobilenet_v3_large": Network(
        lambda: models.mobilenet_v3_large(weights=None), "features", "features[-1]"
    ),
    "vgg16": Network(lambda: models.vgg16(weights=None), "features", "features"),
    "resnet34": Network(
        lambda: models.resnet34(weights=None), "layer4", "layer4", channels_first, "fc"
    ),
    "regnet_y_800mf": Network(
        lambda: models.regnet_y_800mf(weights=None),
        "trunk_output",
        "trunk_output",
        channels_first,
        "fc",
    ),
    "efficientnet_b0": Network(
        lambda: models.efficientnet_b0(weights=None),
        "features",
        "features",
        channels_first,
        "classifier.1",
    ),
    "vit_b_16": Network(
        torchvision_vit,
        "encoder.layers.encoder_layer_11.ln_1",
        "encoder.layers[-1].ln_1",
        PATCHES,
    ),
    "swin_b": Network(lambda: models.swin_b(weights=None), "norm", "norm", channels_last, "head"),
    "timm vit_base_patch16_224": Network(
        of_timm("vit_base_patch16_224"), "blocks.11.norm1", "blocks[-1].norm1", PATCHES
    ),
    "timm swin_base_patch4_window7_224": Network(
        of_timm("swin_base_patch4_window7_224"), "norm", "norm", channels_last, "head.fc"
    ),
    "timm tf_efficientnet_lite0": Network(
        of_timm("tf_efficientnet_lite0"), "bn2", "bn2", channels_first, "classifier"
    ),
}


class Studied(NamedTuple):
    """One of the networks, cut without help, and what the oracle finds at the same place."""

    network: Network
    model: nn.Module
    image: Tensor
    cut: Cut
    probe: Probe


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda name: name.replace(" ", "-"))
def studied(request: pytest.FixtureRequest) -> Studied:
    network = NETWORKS[request.param]
    model = network()
    image = torch.randn(1, 3, 224, 224)
    expected = probe(model, network.chosen, image, classes([CLASS]), network.grid)
    return Studied(network, model, image, cut(model, image, None), expected)


def raw_gradcam(found: Cut) -> Tensor:
    gradients = found.gradients(CLASS)
    return METHODS["gradcam"].raw(
        Evidence(
            activations=found.activations,
            image=found.image,
            score=found.score(CLASS).values.detach(),
            found={"gradients": gradients},
        )
    )


def test_the_layer_is_chosen_without_help(studied: Studied) -> None:
    assert studied.cut.layer == studied.network.chosen
    assert studied.cut.reason == "the last layer with a grid on which gradient of the score arrives"


def test_the_raw_map_equals_the_oracle_s(studied: Studied) -> None:
    assert_agrees(studied.cut.activations, studied.probe.activations)
    assert_agrees(studied.cut.gradients(CLASS), studied.probe.gradients)
    expected = gradcam(studied.probe.activations, studied.probe.gradients)
    assert_agrees(raw_gradcam(studied.cut), expected)


def test_the_layer_that_the_article_names_gives_the_same_map(studied: Studied) -> None:
    found = cut(studied.model, studied.image, studied.network.named)
    assert found.reason == "named"
    expected = gradcam(studied.probe.activations, studied.probe.gradients)
    assert_agrees(raw_gradcam(found), expected)


def test_cam_is_gradcam_up_to_scale_behind_a_pool_and_one_linear_layer(studied: Studied) -> None:
    if studied.network.linear is None:
        with pytest.raises(MethodError, match="average pool and one linear layer"):
            studied.cut.class_weights(CLASS)
        return
    weight = cast("Tensor", studied.model.get_submodule(studied.network.linear).weight)
    expected = cam(studied.probe.activations, weight, [CLASS])
    weights = studied.cut.class_weights(CLASS)
    raw = METHODS["cam"].function(
        Evidence(
            activations=studied.cut.activations,
            image=studied.cut.image,
            score=studied.cut.score(CLASS).values.detach(),
            found={"class weights": weights},
        )
    )
    assert_agrees(raw, expected)
    # y = w . mean(A) + b, so that dy/dA is w over the number of cells.
    cells = math.prod(studied.cut.layout.grid)
    assert_agrees(raw_gradcam(studied.cut) * cells, raw)


@pytest.mark.parametrize(
    ("name", "last", "instead"),
    [
        ("vit_b_16", "encoder.layers.encoder_layer_11", "encoder.layers.encoder_layer_11.ln_1"),
        ("timm vit_base_patch16_224", "blocks.11", "blocks.11.norm1"),
    ],
)
def test_behind_the_last_attention_no_gradient_arrives_at_the_patches(
    name: str, last: str, instead: str
) -> None:
    # Fewer blocks would do, but the names would not be those that people type.
    model, image = NETWORKS[name](), torch.randn(1, 3, 224, 224)
    found = cut(model, image, last)
    assert found.layout == Layout("tokens", (14, 14), 1)
    assert found.activations.any()
    assert not found.gradients(CLASS).any()
    calls = record(model, image)
    (seen,) = [call for call in calls if call.path == last]
    assert seen.cells == 0
    ranked = candidates(calls)
    assert ranked[0].path == instead
    # A module around the block puts out the very same tensor, and stands for it.
    (standing,) = [one for one in ranked if one.call.result == seen.result]
    assert last.startswith(standing.path)
    assert not standing.possible
    assert standing.objection == "no gradient of the score arrives on its grid"


# Naming a layer


class Tree(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3)), nn.ReLU()
        )
        self.heads = nn.ModuleDict({"cat": nn.Linear(4, 2), "dog": nn.Linear(4, 2)})
        self.twin = self.heads["dog"]


@pytest.mark.parametrize(
    ("layer", "path"),
    [
        ("features", "features"),
        ("features.1.1", "features.1.1"),
        ("features[1][1]", "features.1.1"),
        ("features[-2].1", "features.1.1"),
        ("features[1].0", "features.1.0"),
        ("features[-1]", "features.2"),
        ("features[-3]", "features.0"),
        ("heads.cat", "heads.cat"),
        ("heads[-1]", "heads.dog"),
        ("twin", "twin"),
    ],
)
def test_a_path_may_be_dotted_or_indexed(layer: str, path: str) -> None:
    tree = Tree()
    site = resolve(tree, layer)
    assert site.path == site.name == path
    assert site.module is tree.get_submodule(path)
    assert site.call is None


@pytest.mark.parametrize(
    ("layer", "name", "call"),
    [("features.2#1", "features.2#1", 1), ("features[-1]#12", "features.2#12", 12)],
)
def test_a_call_may_be_chosen(layer: str, name: str, call: int) -> None:
    site = resolve(Tree(), layer)
    assert site.name == name
    assert site.path == "features.2"
    assert site.call == call


def test_a_module_is_found_by_its_first_path() -> None:
    tree = Tree()
    assert resolve(tree, tree.features[1]).path == "features.1"
    assert resolve(tree, tree.twin).path == "heads.dog"


@pytest.mark.parametrize(
    ("layer", "error", "text"),
    [
        ("feature", UnknownNameError, r"no layer named 'feature'\. Did you mean 'features'"),
        ("FEATURES", UnknownNameError, r"no layer named 'FEATURES'\. Did you mean 'features'"),
        ("features.7", UnknownNameError, r"no layer named 'features\.7'\. Did you mean 'features"),
        ("features[3]", UnknownNameError, r"no layer 'features\[3\]': 'features' has 3 modules"),
        ("features[-4]", UnknownNameError, r"no layer 'features\[-4\]': 'features' has 3 modules"),
        (
            "layer4",
            UnknownNameError,
            r"'layer4'\. Inside 'Tree' there is 'features', 'heads', 't",
        ),
        ("twin.zzzzzz", UnknownNameError, r"no layer named 'twin\.zzzzzz'\. .*there is nothing"),
        ("", LayerError, r"Cannot read the layer ''. A dotted path"),
        ("conv#", LayerError, r"Cannot read the layer"),
        ("features[1", LayerError, r"Cannot read the layer"),
        ("#1", LayerError, r"Cannot read the layer '#1'"),
        ("features#0", LayerError, r"'features#0'.*after '#' .* from 1"),
        ("features#-1", LayerError, r"Cannot read the layer 'features#-1'"),
        ("features#two", LayerError, r"Cannot read the layer 'features#two'"),
        (nn.ReLU(), LayerError, r"is a ReLU outside the model; a layer inside Tree was expected"),
    ],
    ids=str,
)
def test_a_name_that_is_no_layer_says_what_there_is(
    layer: str | nn.Module, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        resolve(Tree(), layer)


def test_the_whole_model_is_no_layer() -> None:
    tree = Tree()
    with pytest.raises(LayerError, match="is the whole model; a layer inside Tree was expected"):
        resolve(tree, tree)
    with pytest.raises(LayerError, match="The layer given is -2; a dotted path or a module inside"):
        resolve(tree, -2)  # type: ignore[arg-type]


# Layouts


LAYOUTS = [
    (Layout("channels first", (5,)), (2, 3, 5)),
    (Layout("channels first", (5, 4)), (2, 3, 5, 4)),
    (Layout("channels first", (5, 4, 2)), (2, 3, 5, 4, 2)),
    (Layout("channels last", (5,)), (2, 5, 3)),
    (Layout("channels last", (5, 4)), (2, 5, 4, 3)),
    (Layout("channels last", (5, 4, 2)), (2, 5, 4, 2, 3)),
    (Layout("tokens", (5, 4)), (2, 20, 3)),
    (Layout("tokens", (5, 4), 4), (2, 24, 3)),
    (Layout("tokens", (5, 4, 2), 1), (2, 41, 3)),
]


@pytest.mark.parametrize(("layout", "shape"), LAYOUTS, ids=str)
def test_to_grid_and_from_grid_undo_each_other(layout: Layout, shape: tuple[int, ...]) -> None:
    output = torch.randn(shape)
    activations = layout.to_grid(output)
    assert activations.shape == (2, 3, *layout.grid)
    assert torch.equal(layout.from_grid(activations, output), output)
    other = torch.randn_like(activations)
    put_out = layout.from_grid(other, output)
    assert put_out.shape == output.shape
    assert torch.equal(layout.to_grid(put_out), other)


@pytest.mark.parametrize("prefix", [0, 1, 4])
def test_tokens_become_a_grid_row_by_row_and_keep_what_stands_before_it(prefix: int) -> None:
    layout = Layout("tokens", (2, 3), prefix)
    output = torch.arange(prefix + 6.0)[None, :, None] + torch.tensor([0.0, 100.0])
    expected = torch.arange(6.0).reshape(2, 3) + prefix
    assert torch.equal(layout.to_grid(output), torch.stack([expected, expected + 100])[None])
    put_out = layout.from_grid(torch.zeros(1, 2, 2, 3), output)
    assert torch.equal(put_out[:, :prefix], output[:, :prefix])
    assert not put_out[:, prefix:].any()


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (Layout("channels first", (7, 7)), "channels first"),
        (Layout("channels last", (7, 7)), "channels last"),
        (Layout("tokens", (14, 14)), "tokens"),
        (Layout("tokens", (14, 14), 5), "tokens, 5 prefix"),
    ],
)
def test_a_layout_reads_as_words(layout: Layout, words: str) -> None:
    assert str(layout) == words


@pytest.mark.parametrize(
    ("shape", "image", "layout"),
    [
        ((1, 512, 7, 7), (224, 224), Layout("channels first", (7, 7))),
        ((1, 7, 7, 512), (224, 224), Layout("channels last", (7, 7))),
        ((1, 7, 7, 7), (224, 224), Layout("channels first", (7, 7))),
        ((1, 96, 14, 7), (448, 224), Layout("channels first", (14, 7))),
        ((1, 14, 7, 96), (448, 224), Layout("channels last", (14, 7))),
        ((1, 8, 15, 20), (480, 640), Layout("channels first", (15, 20))),
        ((1, 15, 20, 300), (480, 640), Layout("channels last", (15, 20))),
        ((1, 3, 224, 224), (224, 224), Layout("channels first", (224, 224))),
        ((1, 2048, 1, 1), (224, 224), Layout("channels first", (1, 1))),
        ((1, 196, 8), (224, 224), Layout("tokens", (14, 14))),
        ((1, 197, 8), (224, 224), Layout("tokens", (14, 14), 1)),
        ((1, 198, 8), (224, 224), Layout("tokens", (14, 14), 2)),
        ((1, 261, 8), (224, 224), Layout("tokens", (16, 16), 5)),
        ((1, 99, 8), (224, 112), Layout("tokens", (14, 7), 1)),
        ((1, 99, 8), (112, 224), Layout("tokens", (7, 14), 1)),
        ((1, 301, 8), (480, 640), Layout("tokens", (15, 20), 1)),
        ((1, 64, 100), (8000,), Layout("channels first", (100,))),
        ((1, 16, 4, 6, 6), (16, 96, 96), Layout("channels first", (4, 6, 6))),
        ((1, 4, 6, 6, 16), (16, 96, 96), Layout("channels last", (4, 6, 6))),
        ((1, 1000), (224, 224), None),
        ((1, 2, 3, 4, 5), (224, 224), None),
        ((1, 8, 300, 300), (224, 224), None),
        ((1, 10, 8), (), None),
        ((1, 10, 8), (16, 96, 96), None),
    ],
    ids=str,
)
def test_a_layout_is_read_off_the_shape(
    shape: tuple[int, ...], image: tuple[int, ...], layout: Layout | None
) -> None:
    assert guess_layout(shape, image) == layout


@pytest.mark.parametrize(
    ("shape", "image", "grids", "layout"),
    [
        ((1, 201, 8), (224, 224), [(14, 14)], Layout("tokens", (14, 14), 5)),
        ((1, 50, 8), (224, 224), [(14, 14), (7, 7)], Layout("tokens", (7, 7), 1)),
        ((1, 256, 8), (250, 250), [(15, 17)], Layout("tokens", (15, 17), 1)),  # not the square
        ((1, 97, 8), (16, 96, 96), [(4, 4, 6)], Layout("tokens", (4, 4, 6), 1)),
        ((1, 49, 8), (224, 224), [(14, 14)], Layout("tokens", (7, 7))),  # patches were merged
        ((1, 35, 8), (144, 208), [(9, 13)], Layout("tokens", (5, 7))),  # the same, with padding
        ((1, 16, 8), (64, 64), [(4, 4), (1, 1)], Layout("tokens", (4, 4))),  # a pooled branch
        ((1, 15, 8), (32, 32), [(16, 16)], None),  # columns read one by one, not patches
        ((1, 64, 16), (64, 128), [(32, 64)], None),
        ((1, 1, 8), (32, 32), [(2, 2)], None),
        ((1, 48, 40), (480,), [(48,)], Layout("tokens", (48,))),  # a signal's patches
        ((1, 40, 48), (480,), [(48,)], Layout("channels first", (48,))),
    ],
    ids=str,
)
def test_tokens_follow_a_grid_that_the_network_made_itself(
    shape: tuple[int, ...],
    image: tuple[int, ...],
    grids: list[tuple[int, ...]],
    layout: Layout | None,
) -> None:
    assert guess_layout(shape, image, grids) == layout


def test_mismatch_is_zero_for_the_image_s_proportions_and_does_not_depend_on_scale() -> None:
    assert_agrees(mismatch((7, 7), (224, 224)), 0, scale=1)
    assert_agrees(mismatch((15, 20), (480, 640)), 0, scale=1)
    assert_agrees(mismatch((4, 6, 6), (16, 24, 24)), 0, scale=1)
    assert_agrees(mismatch((9,), (100,)), 0, scale=1)
    assert_agrees(mismatch((10, 20), (100, 100)), mismatch((10, 20), (300, 300)))
    assert_agrees(mismatch((10, 20), (100, 100)), math.log(2) / 2)
    assert_agrees(mismatch((10, 20), (100, 100)), mismatch((20, 10), (100, 100)))


@pytest.mark.parametrize("grid", [(8, 9), (9, 8), (0, 8), (8, 0)])
def test_a_grid_finer_than_the_image_or_without_cells_does_not_match(grid: tuple[int, int]) -> None:
    assert mismatch(grid, (8, 8)) == math.inf


@pytest.mark.parametrize(
    ("network", "layer", "size", "layout"),
    [
        (networks.ResidualCNN, "block2", PICTURE, Layout("channels first", (3, 4))),
        (networks.ChannelsLast, "norm", PICTURE, Layout("channels last", (3, 4))),
        (networks.TinyViT, "blocks.0", PICTURE, Layout("tokens", (3, 4), 3)),
        (lambda: networks.TinyViT((4, 2)), "blocks.0", (3, 16, 8), Layout("tokens", (4, 2), 3)),
        # 18 pixels in patches of 4 leave a rest, so that the grid is not quite like the image.
        (
            lambda: networks.TinyViT((2, 4)),
            "blocks.0",
            (3, 9, 18),
            Layout("tokens", (2, 4), 3, span=(AxisSpan(0.0, 8 / 9), AxisSpan(0.0, 16 / 18))),
        ),
        (networks.Encoder, "encoder.layers.1", PICTURE, Layout("tokens", (3, 4))),
        (networks.Signal, "conv", (2, 23), Layout("channels first", (12,))),
        (networks.Volume, "conv", (1, 7, 8, 9), Layout("channels first", (4, 4, 5))),
        # Windows of 5 and 3 without padding: the outermost cells begin 3.5 pixels from the border.
        (
            lambda: nn.Sequential(nn.Conv1d(2, 5, 5, stride=2), nn.Tanh(), nn.Conv1d(5, 6, 3)),
            "2",
            (2, 23),
            Layout("channels first", (8,), span=(AxisSpan(3.5 / 23, 19.5 / 23),)),
        ),
        (
            lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.Tanh(), nn.Conv3d(4, 5, 3, stride=2)),
            "2",
            (1, 7, 8, 9),
            Layout(
                "channels first",
                (2, 2, 3),
                span=(AxisSpan(1 / 7, 6 / 7), AxisSpan(1 / 8, 7 / 8), AxisSpan(1 / 9, 8 / 9)),
            ),
        ),
    ],
)
def test_the_layout_of_a_cut_is_found(
    network: Callable[[], nn.Module], layer: str, size: tuple[int, ...], layout: Layout
) -> None:
    found = cut(ready(network()), torch.randn(2, *size, dtype=torch.float64), layer)
    assert replace(found.layout, span=()) == replace(layout, span=())
    assert len(found.layout.span) == len(layout.span)
    for along, expected in zip(found.layout.span, layout.span, strict=True):
        assert along == pytest.approx(expected, rel=rounding(terms=3))
    assert found.activations.shape[2:] == layout.grid


# Choosing a layer


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("network", "size", "layer"),
    [
        (networks.ResidualCNN, PICTURE, "block2"),
        (networks.PoolLinear, PICTURE, "features"),
        (networks.TinyViT, PICTURE, "blocks.1.norm1"),
        (networks.ChannelsLast, PICTURE, "norm"),
        (networks.Encoder, PICTURE, "encoder"),
        (networks.Signal, (2, 23), "conv"),
        (networks.Volume, (1, 7, 8, 9), "conv"),
        (networks.CalledTwice, PICTURE, "listed.0"),
        (networks.KeepsAList, PICTURE, "third"),
        (networks.Skips, PICTURE, "third"),
        (networks.TwoInputs, PICTURE, "conv"),
    ],
)
def test_the_choice_does_not_depend_on_the_weights(
    network: Callable[[], nn.Module], size: tuple[int, ...], layer: str, seed: int
) -> None:
    torch.manual_seed(seed)
    model = ready(network())
    image = torch.randn(1, *size, dtype=torch.float64)
    inputs = (image, torch.randn(1, 2).double()) if network is networks.TwoInputs else image
    assert cut(model, inputs, None).layer == layer


@pytest.mark.parametrize("network", [networks.PoolLinear, networks.TinyViT])
def test_a_head_whose_weights_are_all_zero_does_not_hide_the_layer(
    network: type[nn.Module],
) -> None:
    model, image = ready(network()), torch.randn(1, *PICTURE, dtype=torch.float64)
    expected = choose_layer(record(model, image)).layer
    fresh = ready(network())
    for head in fresh.modules():
        if isinstance(head, nn.Linear) and head.out_features == 5:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
    assert choose_layer(record(fresh, image)).layer == expected


def test_the_choice_is_the_same_for_any_batch() -> None:
    model, images = ready(networks.TinyViT()), torch.randn(4, *PICTURE, dtype=torch.float64)
    assert {cut(model, images[:count], None).layer for count in (1, 2, 4)} == {"blocks.1.norm1"}


def test_what_speaks_against_a_layer_is_said() -> None:
    model, image = ready(networks.CalledTwice()), torch.randn(1, *PICTURE, dtype=torch.float64)
    ranked = {candidate.path: candidate for candidate in candidates(record(model, image))}
    assert next(iter(ranked)) == "listed.0"
    assert ranked["listed.0"].objection == ""
    assert ranked["conv"].objection == "it runs 2 times"
    assert not ranked["conv"].possible
    assert "fc" not in ranked  # it has no grid


def test_branches_that_read_the_same_tensor_are_no_first_choice() -> None:
    class Branches(networks.Chain):
        def __init__(self) -> None:
            super().__init__()
            self.beside = nn.Conv2d(6, 6, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.second(self.first(x))
            pooled = (self.third(x) + self.beside(x)).tanh().mean((2, 3))
            return cast("Tensor", self.fc(pooled))

    model, image = ready(Branches()), torch.randn(1, *PICTURE, dtype=torch.float64)
    ranked = {candidate.path: candidate for candidate in candidates(record(model, image))}
    assert next(iter(ranked)) == "second"
    assert ranked["third"].objection == "it is one of several branches, beside beside"
    assert ranked["beside"].objection == "it is one of several branches, beside third"
    assert ranked["third"].possible


def test_a_layer_that_the_score_reads_only_in_part_is_no_first_choice() -> None:
    model, image = ready(networks.TinyViT()), torch.randn(1, *PICTURE, dtype=torch.float64)
    ranked = {candidate.path: candidate for candidate in candidates(record(model, image))}
    qkv = ranked["blocks.1.attention.qkv"]
    assert qkv.objection == "the score skips 33% of its channels in a row"  # the queries
    assert qkv.possible
    assert next(iter(ranked)) == "blocks.1.norm1"


def test_a_trace_tells_of_every_call_in_order() -> None:
    model, image = ready(networks.CalledTwice()), torch.randn(2, *PICTURE, dtype=torch.float64)
    calls = record(model, image)
    assert [call.path for call in calls] == ["stem", "conv", "conv", "listed.0", "fc", ""]
    assert [call.calls for call in calls] == [1, 2, 2, 1, 1, 1]
    assert calls[0].shape == (1, 6, 12, 16)  # over the first image
    assert calls[0].layout == Layout("channels first", (12, 16))
    assert calls[4].layout is None
    assert [call.learned for call in calls] == [True] * 6
    assert calls[0].cells == 1
    assert calls[0].unread == 0


def test_a_trace_is_remembered_until_the_model_or_the_shape_of_the_images_changes() -> None:
    model = ready(networks.Chain())
    ran: list[int] = []
    model.fc.register_forward_hook(lambda *_: ran.append(1))
    image = torch.randn(2, *PICTURE, dtype=torch.float64)
    for _ in range(3):
        record(model, image)
    record(model, image[:1])
    assert len(ran) == 1
    record(model, image[:, :, :8])
    assert len(ran) == 2
    model.third = nn.Conv2d(6, 6, 1).double()
    record(model, image[:, :, :8])
    assert len(ran) == 3


def test_a_network_without_a_grid_says_so() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(LayerError, match=r"No layer to cut at was found.*Name one with layer="):
        cut(model, torch.randn(1, 3, 8, 8), None)


def test_a_network_whose_only_grids_cannot_be_cut_at_names_them_with_their_reasons() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return cast("Tensor", self.conv(self.conv(x)).mean((2, 3)))

    with pytest.raises(LayerError, match=r"No layer to cut at was found.*\(conv: it runs 2 times"):
        cut(Twice(), torch.randn(1, 3, 8, 8), None)


class Pooler(nn.Module):
    """Returns its features and what it made of them; only the latter is read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.norm(self.conv(x)).tanh()
        return features, features.mean((2, 3))


def test_what_is_returned_beside_what_was_made_of_it_is_not_cut_at() -> None:
    """As the models of transformers do, with their pooler_output."""

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.fc = Pooler(), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return cast("Tensor", self.fc(self.body(x)[1]))

    model, images = ready(Classifier()), torch.randn(2, *PICTURE, dtype=torch.float64)
    found = limelight.explain(model, images)
    assert found.layer == "body.norm"
    assert all(status.name != "disconnected" for status in found.status)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (models.resnet18, ["layer1", "layer2", "layer3", "layer4"]),
        (models.vgg11, ["features.8", "features.13", "features.18", "features"]),
    ],
    ids=["resnet18", "vgg11"],
)
def test_the_stages_of_a_network_are_found(
    build: Callable[[], nn.Module], expected: list[str]
) -> None:
    calls = record(build(), torch.randn(1, 3, 64, 64))
    assert limelight.stages(calls)[-4:] == expected
    assert limelight.stages(calls, 2) == expected[-2:]


def test_the_stages_of_a_transformer_are_blocks_evenly_apart() -> None:
    calls = record(models.vit_b_32(image_size=64), torch.randn(1, 3, 64, 64))
    found = limelight.stages(calls, 4)
    assert found[-1] == choose_layer(calls).layer
    numbers = [int(path.rpartition("_")[2]) for path in found[:-1]]
    assert numbers == [1, 5, 9]
