"""Laws of the methods of the input, of attention, and of the controls."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import limelight
from helpers.attention_studies import METHODS_OF_ATTENTION, ORACLES
from helpers.input_studies import CNN, VIT, Case, Studied, study, what_cancels
from helpers.model_state import untouched
from helpers.networks import CHOSEN
from helpers.tolerances import assert_agrees, assert_differs, of_heatmaps


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
