"""The library: torch's defaults, threads, interrupts, training meanwhile, thousands of runs.

Each try is a function in a process of its own; it prints what deviates, as `expected; seen`."""

from __future__ import annotations

import gc
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import limelight
from hostile_tries import photos, running, tiny
from hostile_tries.tries import Try

#: Methods that draw at random, with few draws; and some that do not.
DRAWN = (
    "rise:masks=32", "kernelshap:segments=20,samples=64", "smoothgrad:samples=4", "random",
    "sscam:samples=2",
)  # fmt: skip
EXACT = (
    "gradcam", "gradcam++", "layercam", "saliency", "integrated-gradients:steps=4", "occlusion",
    "scorecam", "ablationcam", "guided-backprop", "eigencam", "fullgrad", "centre",
    "shapleycam", "xgradcam", "kpcacam",
)  # fmt: skip
METRICS = (
    "insertion:steps=3", "deletion:steps=3", "road:steps=2", "average-drop", "adcc",
    "infidelity:samples=8", "occlusion-correlation:cells=4", "max-sensitivity:samples=3",
    "parameter-randomisation:steps=2",
)  # fmt: skip
VIEWS: dict[str, Callable[[], Any]] = {
    "flips": limelight.flips,
    "noise": partial(limelight.noise, 4),
    "scales": partial(limelight.scales, 2),
}


def tries(work: Path) -> Iterator[Try]:
    """Yield them."""
    good = photos.good(work / "good")
    for name, default in DEFAULTS.items():
        for method in (*DRAWN, *EXACT):
            yield _call(f"default {name}: {method}", _same_map, default, method)
        for metric in METRICS:
            yield _call(f"default {name}: {metric}", _same_metric, default, metric)
        for view in VIEWS:
            yield _call(f"default {name}: views {view}", _same_views, default, view)
        yield _call(f"default {name}: photos and networks", _same_photo, default, good)
        yield _call(f"default {name}: walkthrough, trace, factorize", _same_others, default)
    for seed in range(6):
        yield _call(f"interrupts {seed}", _interrupts, seed)
    yield _call("interrupt inside the forward", _interrupt_inside)
    yield _call("threads", _threads)
    yield _call("threads with methods", _thread_methods)
    yield _call("training in another thread", _training)
    yield _call("300 explains", _flat, megabytes=2000)
    yield _call("100 models", _flat_models)
    yield _call("no grad, inference mode, autocast", _modes)
    for name, value in PHOTOS.items():
        yield _call(f"load_photo of {name}", _refuses, limelight.load_photo, value)
    for name, images in IMAGES.items():
        yield _call(f"explain of {name}", _refuses, _explain, images)
    for name in ("", ":", "::", "net:", "no.such:net", "../x:y", "hf:", "sys:exit", "a\nb"):
        yield _call(f"load_model of {name!a}", _refuses, limelight.load_model, name)
    for weights in ("", "nowhere.pth", "/", "/dev/null", "w" * 300 + ".pth"):
        load = partial(limelight.load_model, weights=weights)
        yield _call(f"load_model with weights {weights[:20]!a}", _refuses, load, tiny.MODEL[1])


def _call(name: str, function: Callable[..., object], *given: Any, megabytes: float = 2000) -> Try:
    return Try(name, call=partial(function, *given), megabytes=megabytes, seconds=120)


def _images(count: int = 2) -> torch.Tensor:
    made = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 32, 32, generator=made, dtype=torch.float32, device="cpu")


def _same(name: str, one: torch.Tensor, other: torch.Tensor) -> None:
    if other.dtype != one.dtype or other.device != one.device:
        print(f"{name} as without the default; {other.dtype} on {other.device}")
    elif not torch.allclose(one, other, rtol=1e-5, atol=1e-6, equal_nan=True):
        far = (one.double() - other.double()).abs().max() / one.double().abs().max()
        print(f"the same {name}; one {far:.2g} of its largest value away")


#: What a notebook may have set.
DEFAULTS: dict[str, Callable[[], object]] = {
    "float64": partial(torch.set_default_dtype, torch.float64),
    "float16": partial(torch.set_default_dtype, torch.float16),
    "device meta": partial(torch.set_default_device, "meta"),
}


def _same_map(default: Callable[[], object], method: str) -> None:
    model, images = tiny.network(), _images()
    explain = partial(limelight.explain, model, images, target=2, method=method)
    before = explain()
    default()
    after = explain()
    _same("map", before.raw, after.raw)
    _same("heatmap", before.heatmap, after.heatmap)
    _same("score", before.score, after.score)
    fresh = limelight.explain(_copy(model), images, target=2, method=method)
    _same("map of a network not seen before", before.raw, fresh.raw)


def _copy(model: nn.Module) -> nn.Module:
    import copy

    return copy.deepcopy(model)


def _same_metric(default: Callable[[], object], metric: str) -> None:
    model, images = tiny.network(), _images()

    def value() -> torch.Tensor:
        result = limelight.explain(model, images, target=2)
        measured = limelight.measure(model, images, result, metrics=[metric])
        rows = [measured.estimate("gradcam", metric.split(":", maxsplit=1)[0])]
        return torch.tensor(
            [[row.own.value, row.random.value, row.centre.value] for row in rows],
            dtype=torch.float64,
            device="cpu",
        )

    before = value()
    default()
    _same("estimate", before, value())


def _same_views(default: Callable[[], object], view: str) -> None:
    model, images = tiny.network(), _images(1)
    explain = partial(limelight.explain, model, images, target=2)
    before = explain(views=VIEWS[view]())
    default()
    _same("map", before.raw, explain(views=VIEWS[view]()).raw)


def _same_photo(default: Callable[[], object], good: str) -> None:
    network = tiny.build()
    photo = limelight.load_photo(good)
    before = network.images(photo)
    embedded = limelight.load_model()
    seen = embedded.images(photo)
    score = limelight.explain(embedded.model, seen).score
    default()
    again = network.images(limelight.load_photo(good))
    _same("images", before, again)
    network.preprocess.picture(again[0])
    network.preprocess.view(photo)
    _same("input", before[0], limelight.Preprocess(size=(32, 32), resize=36)(photo))
    fresh = limelight.load_model()
    _same("score of the embedded network", score, limelight.explain(fresh.model, seen).score)
    torchvision = limelight.load_model("mobilenet_v3_small", weights="none")
    if {str(one.device) for one in torchvision.model.parameters()} != {"cpu"}:
        print("a torchvision network on the CPU; elsewhere")


def _same_others(default: Callable[[], object]) -> None:
    model, images = tiny.network(), _images()
    before = limelight.walkthrough(model, images[:1])
    default()
    after = limelight.walkthrough(model, images[:1])
    _same("walkthrough's map", before.explanation.raw, after.explanation.raw)
    limelight.trace(model, images, ["0", "2"])
    limelight.factorize(model, images, concepts=2)
    limelight.compare(model, images, methods=["gradcam", "saliency"], targets=[1, 2])
    limelight.record(model, images)


def _state(model: nn.Module) -> tuple[Any, ...]:
    """What must be as it was, whatever happens."""
    hooks = [
        len(one._forward_hooks) + len(one._forward_pre_hooks) + len(one._backward_hooks)
        for one in model.modules()
    ]
    values = [value.detach().clone() for value in model.state_dict().values()]
    modes = [one.training for one in model.modules()]
    asked = [one.requires_grad for one in model.parameters()]
    kept = [one.grad is None for one in model.parameters()]
    return hooks, modes, asked, kept, values, torch.is_grad_enabled()


def _unchanged(before: tuple[Any, ...], model: nn.Module, when: str) -> None:
    after = _state(model)
    names = ("hooks", "modes", "requires_grad", "grad", "values", "grad mode")
    for name, old, new in zip(names, before, after, strict=True):
        same = all(map(torch.equal, old, new)) if name == "values" else old == new
        if not same:
            print(f"{name} as before {when}; others")


def _normed() -> nn.Module:
    """A network in training mode, whose buffers a forward would write."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 4),
        ).train()


def _interrupts(seed: int) -> None:
    """A Ctrl-C at random moments; then the model and the next map are as before."""
    model, images, dice = _normed(), _images(), random.Random(seed)
    methods = ("gradcam", "scorecam", "rise:masks=64", "smoothgrad:samples=8", "fullgrad")
    explain = partial(limelight.explain, model, images, target=2)
    maps = {method: explain(method=method).raw for method in methods}
    before = _state(model)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    for _ in range(20):
        method = dice.choice(methods)
        with suppress(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.0005, 0.03))
            explain(method=method)
            signal.setitimer(signal.ITIMER_REAL, 0)
        _unchanged(before, model, f"a Ctrl-C in {method}")
    signal.setitimer(signal.ITIMER_REAL, 0)
    for method, raw in maps.items():
        _same(f"map by {method} after interrupts", raw, explain(method=method).raw)


class _Counting(nn.Module):
    """Raises a Ctrl-C at one of its forwards."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.left = [0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the network, if it is not yet time."""
        self.left[0] -= 1
        if self.left[0] == 0:
            raise KeyboardInterrupt
        return self.inner(x)  # type: ignore[no-any-return]


def _interrupt_inside() -> None:
    model, images = _Counting(_normed()), _images()
    for method in ("gradcam", "rise:masks=32", "occlusion", "sscam:samples=2"):
        raw = limelight.explain(model, images, target=2, method=method).raw
        before = _state(model)
        for at in (1, 2, 3, 5):
            model.left[0] = at
            with suppress(KeyboardInterrupt):
                limelight.explain(model, images, target=2, method=method)
            model.left[0] = 0
            _unchanged(before, model, f"a Ctrl-C in {method}, forward {at}")
        _same(
            f"map by {method}", raw, limelight.explain(model, images, target=2, method=method).raw
        )


def _threads() -> None:
    model, images = _normed(), _images(4)
    before = _state(model)
    maps = [limelight.explain(model, images, target=target).raw for target in range(4)]
    fresh = _copy(model)  # nothing is known of this one
    with ThreadPoolExecutor(8) as pool:
        for network in (model, fresh):
            work = [
                (n % 4, pool.submit(limelight.explain, network, images, target=n % 4))
                for n in range(48)
            ]
            for target, result in work:
                if not torch.equal(result.result().raw, maps[target]):
                    print(f"the same map of class {target} in a thread; another")
    _unchanged(before, model, "threads")


def _thread_methods() -> None:
    model, images = _normed(), _images()
    methods = (*DRAWN, *EXACT)
    explain = partial(limelight.explain, model, images, target=2)
    maps = {method: explain(method=method).raw for method in methods}
    with ThreadPoolExecutor(8) as pool:
        work = {method: pool.submit(explain, method=method) for method in methods}
        for method, result in work.items():
            _same(f"map by {method} in a thread", maps[method], result.result().raw)


def _training() -> None:
    """Steps of an optimiser meanwhile: they are as ever; where explaining fails, it says why."""
    model, images, stop = _normed(), _images(8), threading.Event()
    steps = [0]

    def train() -> None:
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)
        while not stop.is_set():
            optimiser.zero_grad()
            model(images).square().mean().backward()
            optimiser.step()
            steps[0] += 1

    trainer = threading.Thread(target=train)
    trainer.start()
    texts: set[str] = set()
    try:
        for _ in range(60):
            try:
                limelight.explain(model, images, target=1)
            except Exception as error:  # any is looked at below
                told = " ".join([str(error), *getattr(error, "__notes__", [])])
                if not any(word in told for word in ("train", "thread", "meanwhile")):
                    texts.add(f"{type(error).__name__}: {told[:120]}")
    finally:
        stop.set()
        trainer.join()
    for text in texts:
        print(f"a hint that the weights changed meanwhile; {text!r}")
    batches = model.state_dict()["1.num_batches_tracked"].item()
    if batches != steps[0] or not all(one.training for one in model.modules()):
        print(f"training untouched; {steps[0]} steps, {batches} updates")


def _flat() -> None:
    model, images = _normed(), _images()
    for _ in range(60):
        limelight.explain(model, images)
    gc.collect()
    before, objects = running.peak("self"), len(gc.get_objects())
    for _ in range(300):
        limelight.explain(model, images)
    gc.collect()
    grown, more = running.peak("self") - before, len(gc.get_objects()) - objects
    if grown > 30:
        print(f"flat in memory over 300 explains; {grown:.0f} MB more")
    if more > 3000:
        print(f"as many objects after 300 explains; {more} more")


def _flat_models() -> None:
    images = _images()
    for _ in range(20):
        limelight.explain(_normed(), images)
    gc.collect()
    before, objects = running.peak("self"), len(gc.get_objects())
    for _ in range(100):
        limelight.explain(_normed(), images)
    gc.collect()
    grown, more = running.peak("self") - before, len(gc.get_objects()) - objects
    if grown > 30 or more > 5000:
        print(f"flat over 100 models; {grown:.0f} MB and {more} objects more")


def _modes() -> None:
    model, images = _normed(), _images()
    explain = partial(limelight.explain, model, images, target=2)
    raw, before = explain().raw, _state(model)
    modes: dict[str, AbstractContextManager[Any]] = {
        "no_grad": torch.no_grad(),
        "inference_mode": torch.inference_mode(),
        "anomaly detection": torch.autograd.set_detect_anomaly(True),
    }
    for name, mode in modes.items():
        with mode:
            _same(f"map under {name}", raw, explain().raw.clone())
    _unchanged(before, model, "other modes")


#: What is no photo.
PHOTOS: dict[str, Any] = {
    "an empty name": "", "an empty path": Path(), "a folder": "/", "no file": "nowhere.jpg",
    "a NUL": "a\0b.jpg", "a long name": "x" * 300, "a device": "/dev/null", "no end": "/dev/zero",
    "a newline": "a\nb.jpg",
    "a memory file": "/proc/self/mem", "a file of /proc": "/proc/self/maps",
}  # fmt: skip
#: What is no batch of images.
IMAGES: dict[str, Callable[[], Any]] = {
    "NaN": lambda: torch.full((1, 3, 32, 32), float("nan")),
    "inf": lambda: torch.full((1, 3, 32, 32), float("inf")),
    "no images": lambda: torch.zeros(0, 3, 32, 32),
    "no pixels": lambda: torch.zeros(1, 3, 0, 32),
    "a number": lambda: 5,
    "None": lambda: None,
    "a text": lambda: "cat.jpg",
    "an empty list": list,
    "an empty dict": dict,
}


def _explain(images: Callable[[], Any]) -> None:
    limelight.explain(tiny.network(), images())


def _refuses(function: Callable[[Any], object], given: Any) -> None:
    """Print what is raised where it is no LimelightError."""
    try:
        function(given)
    except limelight.LimelightError as error:
        if not str(error).strip():
            print("an error with a text; none")
    except BaseException as error:
        print(f"a LimelightError; {type(error).__name__}: {str(error)[:160]!r}")
    else:
        print("a LimelightError; none")
