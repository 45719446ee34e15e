"""What people pass in: whole numbers, tensors of derived classes, weights that are elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.tolerances import assert_agrees
from limelight.errors import InputError, LayerError, MethodError, TargetError
from limelight.metrics import METRICS


class Net(nn.Module):
    """Two convolutions; the second is the layer that a careful person takes."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.conv = nn.Conv2d(6, 8, 3, padding=1)
        self.fc = nn.Linear(8, classes)

    def features(self, x: Tensor) -> Tensor:
        activations: Tensor = self.conv(self.stem(x).relu())
        return activations

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.features(x).relu().mean((2, 3)))


def made(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 16, 20, generator=torch.Generator().manual_seed(1))


def by_hand(model: nn.Module, score: Callable[[Any], Tensor], *inputs: Any) -> Tensor:
    """Grad-CAM at `conv`, by a hook and autograd: `[B, H, W]`."""
    kept: list[Tensor] = []

    def keep(_module: object, _args: object, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    hook = model.conv.register_forward_hook(keep)  # type: ignore[union-attr]
    total = score(model(*inputs)).sum()
    hook.remove()
    gradients = torch.autograd.grad(total, kept)
    terms = [
        (g.mean((2, 3), keepdim=True) * a).sum(1) for g, a in zip(gradients, kept, strict=True)
    ]
    return torch.cat(terms).detach()


# ---- tensors of derived classes ----------------------------------------------------------------


class TensorImage(Tensor):
    """As fastai's: hands its attributes on to what is computed from it."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = super().__torch_function__(  # type: ignore[no-untyped-call]
            func, types, args, kwargs or {}
        )
        first = next((arg for arg in args if isinstance(arg, TensorImage)), None)
        if isinstance(result, TensorImage) and first is not None:
            result.__dict__.update(first.__dict__)
        return result


class MetaTensor(TensorImage):
    """As MONAI's: with metadata."""

    meta: dict[str, str]

    @staticmethod
    def of(tensor: Tensor) -> MetaTensor:
        derived = tensor.as_subclass(MetaTensor)
        derived.meta = {"file": "scan.nii"}
        return derived


METHODS = ["gradcam", "shapleycam", "ablationcam", "scorecam", "saliency", "rise", "fullgrad"]

DERIVED = {"fastai": lambda t: t.as_subclass(TensorImage), "monai": MetaTensor.of}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", DERIVED)
@pytest.mark.parametrize("given", ["tensor", "tuple", "list", "in the network"])
def test_a_tensor_of_a_derived_class(kind: str, method: str, given: str) -> None:
    """It is read as the plain tensor that it is, and everything that comes back is plain."""
    derive, images = DERIVED[kind], made()

    class Derives(Net):
        def forward(self, x: Tensor) -> Any:
            assert (kind == "monai") == hasattr(derive(x), "meta")
            return {"logits": super().forward(derive(x))}

    class Listed(Net):
        def forward(self, x: Any) -> Any:
            return super().forward(torch.stack(x))

    inputs: Any = derive(images)
    model = {"list": Listed, "in the network": Derives}.get(given, Net)()
    if given == "tuple":
        inputs = (inputs,)
    elif given == "list":
        inputs = list(inputs)
    elif given == "in the network":
        inputs = images
    options = {"masks": 50} if method == "rise" else {}
    chosen = limelight.METHODS[method].set(**options)
    found = limelight.explain(model, inputs, target=1, method=chosen)
    plain = limelight.explain(Net(), images, target=1, method=chosen)
    assert_agrees(found.raw, plain.raw)
    assert found.layer == plain.layer
    for tensor in (found.raw, found.heatmap, found.score, found.image):
        assert type(tensor) is Tensor
    if method == "gradcam":
        assert_agrees(found.raw, by_hand(Net(), lambda y: y[:, 1], images))


def test_a_network_that_reads_metadata() -> None:
    """It has none to read, and the error says why."""

    class Reads(Net):
        def forward(self, x: Any) -> Any:
            return super().forward(x) if x.meta else None

    with pytest.raises(AttributeError) as raised:
        limelight.explain(Reads(), MetaTensor.of(made()))
    assert "derived classes are passed on as plain ones" in " ".join(raised.value.__notes__)


# ---- weights that are elsewhere ----------------------------------------------------------------


def offloaded(model: nn.Module) -> nn.Module:
    """Keep the weights elsewhere, as accelerate does: hooks load each module's when it runs."""
    for module in model.modules():
        kept = dict(module.named_parameters(recurse=False))
        if not kept:
            continue
        module._parameters.update({n: nn.Parameter(p.to("meta")) for n, p in kept.items()})

        def forward(
            *args: Any,
            module: Any = module,
            kept: Any = kept,
            old: Any = module.forward,
            **kwargs: Any,
        ) -> Any:
            empty = dict(module._parameters)
            module._parameters.update(kept)
            try:
                return old(*args, **kwargs)
            finally:
                module._parameters.update(empty)

        module.forward = forward
    return model


@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "saliency", "scorecam"])
def test_weights_that_a_hook_loads(method: str) -> None:
    """The map is that of the network, and the weights are elsewhere again."""
    model = offloaded(Net())
    found = limelight.explain(model, made(), target=1, method=method)
    assert_agrees(found.raw, limelight.explain(Net(), made(), target=1, method=method).raw)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_weights_that_nothing_loads() -> None:
    with pytest.raises(RuntimeError, match="meta") as raised:
        limelight.explain(Net().to("meta"), made())
    assert "whose weights hold no numbers: load them first" in " ".join(raised.value.__notes__)


# ---- whole numbers -----------------------------------------------------------------------------


class Bytes(Net):
    """Takes pictures as bytes, or the same numbers in floating point."""

    def forward(self, x: Tensor) -> Any:
        return 40 * super().forward(x.float() / 255)


def as_bytes(dtype: torch.dtype = torch.uint8) -> Tensor:
    return (255 * made()).to(dtype)


CHANGED = ["scorecam", "iscam", "sscam:deviation=0.2", "occlusion", "rise:masks=200"]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64], ids=str)
@pytest.mark.parametrize("method", [*CHANGED, "kernelshap:samples=50", "gradcam", "ablationcam"])
def test_pictures_of_whole_numbers(method: str, dtype: torch.dtype) -> None:
    """The map is that of the same numbers in floating point, but for the rounding of pixels."""
    images = as_bytes(dtype)
    found = limelight.explain(Bytes(), images, target=1, method=method)
    floats = limelight.explain(Bytes(), images.float(), target=1, method=method)
    pair = torch.stack([found.raw.flatten(), floats.raw.flatten()])
    assert pair.corrcoef()[0, 1] > 0.99, method
    assert found.layer == floats.layer
    assert found.image.dtype == dtype
    if method == "gradcam":
        assert_agrees(found.raw, by_hand(Bytes(), lambda y: y[:, 1], images))


@pytest.mark.parametrize("views", [limelight.noise(4, 0.05), limelight.flips(), limelight.scales()])
def test_views_of_whole_numbers(views: Any) -> None:
    found = limelight.explain(Bytes(), as_bytes(), target=1, views=views)
    floats = limelight.explain(Bytes(), as_bytes().float(), target=1, views=views)
    pair = torch.stack([found.raw.flatten(), floats.raw.flatten()])
    assert pair.corrcoef()[0, 1] > 0.99


@pytest.mark.parametrize(
    "method", ["saliency", "integrated-gradients", "smoothgrad", "guided-gradcam", "fullgrad"]
)
def test_no_gradient_by_whole_numbers(method: str) -> None:
    with pytest.raises(MethodError, match=r"uint8 .*Pass images\.float\(\).*'occlusion'"):
        limelight.explain(Bytes(), as_bytes(), method=method)


def test_comparing_on_whole_numbers() -> None:
    """Those methods have a map that need no gradient by the pixels; the others say why not."""
    names = ["gradcam", "occlusion", "saliency"]
    found = limelight.compare(Bytes(), as_bytes(), methods=names, targets=1, metrics=["deletion"])
    assert [each.method for each in found.explanations] == names[:2]
    (skipped,) = found.skipped
    assert skipped.method == "saliency"
    assert "Pass images.float()" in skipped.reason
    floats = limelight.compare(
        Bytes(), as_bytes().float(), methods=names, targets=1, metrics=["deletion"]
    )
    assert found.measured is not None
    assert floats.measured is not None


@pytest.mark.parametrize("metric", METRICS)
def test_measuring_on_whole_numbers(metric: str) -> None:
    """Every metric reads what it reads of the same numbers, but for the rounding of pixels."""
    where = torch.zeros(2, 16, 20, dtype=torch.bool)
    where[:, 3:9, 4:12] = True
    options = {"infidelity": ":samples=30", "max-sensitivity": ":samples=4"}.get(metric, "")
    values = []
    for images in (as_bytes(), as_bytes().float()):
        found = limelight.explain(Bytes(), images, target=1)
        measured = limelight.measure(
            Bytes(), images, found, metrics=[metric + options], objects=where
        )
        assert not measured.unmeasured
        values.append([estimate.own.value for estimate in measured.estimates()])
    if metric != "max-sensitivity":  # its noise is less than the pixels are rounded by
        assert values[0] == pytest.approx(values[1], rel=0.05, abs=0.02), values


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64], ids=str)
@pytest.mark.parametrize("method", ["gradcam", "scorecam"])
def test_a_walkthrough_of_whole_numbers(dtype: torch.dtype, method: str) -> None:
    image = as_bytes(dtype)[:1]
    walked, floats = (
        limelight.walkthrough(Bytes(), images, target=1, method=method)
        for images in (image, image.float())
    )
    assert_agrees(walked.activations, floats.activations)
    red = f"{float(image[0, 0].float().mean()):.4g}"
    assert re.search(rf'data-of="image/0" data-as="mean">{re.escape(red)}<', walked.html())


# ---- one number per place ----------------------------------------------------------------------


class Depth(Net):
    """A map without channels, at half the picture's size: as a depth network, or CLIPSeg."""

    def forward(self, x: Tensor, words: Tensor | None = None) -> Any:
        return nn.functional.avg_pool2d(self.features(x).relu().mean(1, keepdim=True), 2)[:, 0]


@pytest.mark.parametrize("words", [False, True])
def test_a_map_without_channels(words: bool) -> None:
    """It is a segmenter of one class, with words beside the picture too: depth at a place."""
    images = made()
    inputs: Any = (images, torch.tensor([[1, 5, 2], [1, 7, 2]])) if words else images
    region = limelight.Region(0, where=(4, 6))
    found = limelight.explain(Depth(), inputs, target=region, layer="conv")
    assert_agrees(found.raw, by_hand(Depth(), lambda y: y[:, 2, 3], images))
    for target in (None, limelight.Region(), 0):
        whole = limelight.explain(Depth(), inputs, target=target, layer="conv")
        assert_agrees(whole.raw, by_hand(Depth(), lambda y: y.mean((1, 2)), images))


def test_the_hint_fits_the_axes() -> None:
    class Tokens(Net):
        def forward(self, x: Tensor) -> Any:
            return self.features(x).flatten(2).transpose(1, 2)

    with pytest.raises(TargetError, match=r"output\[:, 15\]\.mean\(1\)\.$"):
        limelight.explain(Tokens(), made(), layer="conv")


# ---- pictures and prompts, as open_clip returns them -------------------------------------------


class Pair(Net):
    """Returns normalised embeddings of the pictures and of the texts, and a scale."""

    def __init__(self, kind: str = "tuple") -> None:
        super().__init__(classes=8)
        self.kind, self.words = kind, nn.Embedding(20, 8)

    def logits(self, x: Tensor, texts: Tensor) -> Tensor:
        image, text, scale, *bias = Pair.forward(
            self, x, texts, "bias" if self.kind == "bias" else ""
        )
        logits: Tensor = scale * image @ text.T + (bias[0] if bias else 0)
        return logits

    def forward(  # type: ignore[override]
        self, x: Tensor, texts: Tensor, kind: str | None = None
    ) -> Any:
        kind = self.kind if kind is None else kind
        image = nn.functional.normalize(super().forward(x), dim=1)
        text = nn.functional.normalize(self.words(texts).mean(1), dim=1)
        scale, bias = torch.tensor(14.0), torch.tensor(-10.0)
        if kind == "dict":
            return {"image_features": image, "text_features": text, "logit_scale": scale}
        return (image, text, scale, bias) if kind == "bias" else (image, text, scale)


PROMPTS = ["a dog", "a cat", "a bird"]


@pytest.mark.parametrize("kind", ["tuple", "dict", "bias"])
@pytest.mark.parametrize("target", [None, 2, "a cat"])
@pytest.mark.parametrize("method", ["gradcam", "ablationcam"])
def test_pictures_and_prompts(kind: str, target: Any, method: str) -> None:
    """A class is a prompt, and its score the scaled similarity."""
    images, texts = made(), torch.tensor([[1, 3], [1, 4], [1, 5]])
    model = Pair(kind)
    logits = model.logits(images, texts).detach()
    wanted = logits.argmax(1) if target is None else torch.full((2,), 2 if target == 2 else 1)
    found = limelight.explain(
        model, (images, texts), target=target, classes=PROMPTS, layer="conv", method=method
    )
    assert_agrees(found.score, logits.gather(1, wanted[:, None])[:, 0])
    assert found.label == tuple(PROMPTS[index] for index in wanted.tolist())
    if method == "gradcam":
        expected = by_hand(
            model,
            lambda y: (
                14 * y[0] @ y[1].T
                if kind != "dict"
                else 14 * y["image_features"] @ y["text_features"].T
            ).gather(1, wanted[:, None]),
            images,
            texts,
        )
        assert_agrees(found.raw, expected)


# ---- packed patches ----------------------------------------------------------------------------


class Packed(nn.Module):
    """Patches `[B, N, values]` that were cut before, as NaFlex networks take them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(12, 8)
        self.mix = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, patches: Tensor, shape: Tensor | None = None) -> Any:
        return self.head(self.mix(self.embed(patches)).mean(1))


@pytest.mark.parametrize(
    ("count", "advice"),
    [
        (40, "40 patches may be 5 x 8, 8 x 5, 4 x 10: grid=(5, 8)."),
        (41, "grid=(rows, columns)."),
    ],
)
def test_packed_patches_say_which_grids_they_may_be(count: int, advice: str) -> None:
    inputs = (torch.rand(1, count, 12),)
    for layer in (None, "mix"):
        with pytest.raises(LayerError) as raised:
            limelight.explain(Packed().eval(), inputs, target=1, layer=layer)
        assert str(raised.value).endswith(advice)
        assert f"{count - 1} would do" not in str(raised.value)
    found = limelight.explain(Packed().eval(), inputs, target=1, grid=(5, 8))
    assert found.raw.shape == (1, 5, 8)


def test_the_grid_that_is_said_goes_before_the_shapes_among_the_inputs() -> None:
    inputs = torch.rand(1, 40, 12), torch.tensor([[4, 10]])
    assert limelight.explain(Packed().eval(), inputs, target=1).raw.shape == (1, 4, 10)
    assert limelight.explain(Packed().eval(), inputs, target=1, grid=(5, 8)).raw.shape == (1, 5, 8)


# ---- a bag as the batch ------------------------------------------------------------------------


class Bag(Net):
    """One score for all pictures of the batch."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x).mean(0, keepdim=True)


class Attention(Net):
    """Attention over the pictures of a bag."""

    def forward(self, x: Tensor) -> Any:
        features = self.features(x).relu().mean((2, 3))
        weights = features[:, :1].softmax(0)
        return self.fc((weights * features).sum(0, keepdim=True))


class Joined(Net):
    """A linear layer over the features of all six pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.joint = nn.Linear(6 * self.fc.in_features, 3)

    def forward(self, x: Tensor) -> Any:
        return self.joint(self.features(x).relu().mean((2, 3)).reshape(1, -1))


class Bags(nn.Module):
    """What the error and the docs say: bags `[B, N, 3, H, W]`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, bags: Tensor) -> Tensor:
        return torch.cat([self.model(bag) for bag in bags])


ADVICE = (
    "If the 6 images are one bag or clip with one score, pass it as one sample, images[None], to "
    "a wrapper of the model whose forward(self, bags) returns torch.cat([self.model(bag) for bag "
    "in bags]); each image then has its own map."
)
every_bag = pytest.mark.parametrize("kind", [Bag, Attention, Joined])


@every_bag
@pytest.mark.parametrize("target", [None, 1, lambda y: y[:, 1]])
@pytest.mark.parametrize("layer", [None, "conv"])
def test_a_bag_as_the_batch_says_how_to_pass_it(
    kind: type[Net], target: Any, layer: str | None
) -> None:
    with pytest.raises((TargetError, LayerError)) as raised:
        limelight.explain(kind(), made(6), target=target, layer=layer)
    assert ADVICE in str(raised.value)


@every_bag
def test_a_bag_has_a_map_on_each_picture(kind: type[Net]) -> None:
    bag, model = made(6), kind()
    kept = model.features(bag)
    hook = model.conv.register_forward_hook(lambda *_: kept)
    (gradient,) = torch.autograd.grad(model(bag)[0, 1], kept)
    hook.remove()
    found = limelight.explain(Bags(model), bag[None], target=1, layer="model.conv")
    assert_agrees(found.score, model(bag)[:, 1])
    # One score has one weight for each channel, over all pictures.
    weights = gradient.mean((0, 2, 3), keepdim=True)
    assert_agrees(found.raw[0], (weights * kept).sum(1))
    by_cell = limelight.explain(
        Bags(model), bag[None], target=1, layer="model.conv", method="hirescam"
    )
    assert_agrees(by_cell.raw[0], (gradient * kept).sum(1))
    assert by_cell.heatmap.shape == (1, 6, *bag.shape[2:])
    chosen = limelight.explain(Bags(model), bag[None], target=1)
    assert chosen.layer.startswith("model.")
    assert chosen.raw.shape[:2] == (1, 6)


def test_methods_that_run_a_bag_again() -> None:
    """Variants of a bag run one after the other, and never as one bag."""
    model, bag = Attention(), made(6)
    bags, method = Bags(model), "occlusion:patch=0.5,stride=0.5"
    together = limelight.explain(bags, bag[None], target=1, method=method)
    alone = limelight.explain(bags, bag[None], target=1, method=method, chunk=1)
    assert together.raw.shape[:2] == (1, 6)
    assert_agrees(together.raw, alone.raw, scale=float(alone.score.abs().max()))
    refused = r"'model.\w+' anew for each image, as in a loop.*chunk=1\."
    for layer in ("model.stem", "model.conv"):  # with nothing before the layer, and with a part
        with pytest.raises(MethodError, match=refused):
            limelight.explain(bags, bag[None], target=1, method="ablationcam", layer=layer)
    found = limelight.explain(
        bags, bag[None], target=1, method="ablationcam", layer="model.conv", chunk=1
    )
    kept, drops = model.features(bag), []
    for channel in range(kept.shape[1]):
        without = kept.clone()
        without[:, channel] = 0
        hook = model.conv.register_forward_hook(lambda *_, without=without: without)
        drops.append(model(bag)[0, 1])
        hook.remove()
    weights = (model(bag)[0, 1] - torch.stack(drops))[:, None, None]
    assert_agrees(found.raw[0], (weights * kept).sum(1), scale=float(found.score.abs().max()))


class Answerer(Net):
    """Answers a question with the words of another module; beside them, what it knows of places."""

    def forward(self, x: Tensor, input_ids: Any = None) -> Any:
        at = self.features(x).flatten(2).transpose(1, 2)
        return {"image_embeds": at, "words": input_ids}


def test_embeddings_of_places_are_not_words() -> None:
    inputs = {"x": made(1), "input_ids": torch.tensor([[1, 7, 3]])}
    with pytest.raises(TargetError, match=r"needs logits \[B, C\]"):
        limelight.explain(Answerer().eval(), inputs, layer="conv")


def test_pictures_of_bools_are_refused() -> None:
    pictures = torch.rand(2, 3, 12, 12) > 0.5
    with pytest.raises(InputError, match=r"\[2, 3, 12, 12\] are torch.bool.*pass images.float"):
        limelight.explain(Net(), pictures)
