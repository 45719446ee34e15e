"""The rest of a network after a layer, run again on other activations: `y = head(A)`.

One recorded pass notes the order of module calls. Modules that finish before the layer starts, and
do not run again after it, are *frozen*: in a head run they return what was recorded, for the images
that are asked for. Only the outermost frozen modules are replaced, by copies in a shadow that have
another `forward`; the layer's copy returns the activations that are given. What happens between
modules (additions, concatenations, views) simply runs again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limelight.errors import InputError
from limelight.inputs import ModelInputs, substitute_first, tensors
from limelight.layers import Layout, Site
from limelight.runtime.autograd import no_grad
from limelight.runtime.detectors import call
from limelight.runtime.execution import observe
from limelight.runtime.shadow import clear_hooks, shadow, twin

#: By the id of a module, for each call, the batch axis of each tensor that it put out.
Axes = dict[int, list[list[int | None]]]


class Head:
    """The head of a network cut at `site`. One thread at a time may call it."""

    def __init__(self, model: nn.Module, site: Site, given: ModelInputs, layout: Layout) -> None:
        """Record one pass over the given inputs and prepare the shadow. Call it without grad."""
        self._original, self._given = given, given.fresh()
        self._model, self._site = model, site
        self._spread = True  # one image's record serves all rows of that image, without a copy
        self._known_to_spread = False
        self._within = {id(m): {id(d) for d in m.modules()} for m in model.modules()}
        self._replay = _Replay(self._record(given), given.batch, site, layout)
        recorded = self._replay.recorded
        self._root, self._copies = shadow(model, recorded)
        self._buffers = [(copy, copy._buffers) for copy in self._copies.values() if copy._buffers]
        for key in recorded:
            _replace(self._copies[key], key, self._replay, is_layer=key == id(site.module))

    def __call__(
        self, activations: Tensor, rows: Tensor | None = None, *, spent: bool = False
    ) -> Any:
        """Return the network's output for activations `[M, K, *grid]` of the images `rows` `[M]`.

        With `spent` nobody reads the activations again, so that the network may write on them.

        Raises:
            InputError: The activations do not fit the layer, or `rows` is needed or wrong.
        """
        rows = self._checked(activations, rows)
        if rows is not None and self._replay.axes is None:
            self._replay.axes = self._first_axes() or self._batch_axes()
        if rows is not None and self._spread and len(rows) > 1 and bool((rows == rows[0]).all()):
            if spent and self._known_to_spread:
                return self._run(activations, rows, spread=True)
            before = self._versions()
            with suppress(RuntimeError):
                output = self._run(activations.clone(), rows, spread=True)
                if self._versions() == before:
                    self._known_to_spread = True
                    return output
            # The network writes on, or reshapes, what was recorded: from now on it gets copies.
            self._spread, self._given = False, self._original.fresh()
            self._replay.recorded = self._record(self._original)
        return self._run(activations if spent else activations.clone(), rows, spread=False)

    def _versions(self) -> list[int]:
        """Return how often each tensor that rows share has been written on."""
        shared = (self._replay.recorded, self._given.args, self._given.kwargs)
        return [tensor._version for tensor in tensors(shared)]

    def _run(self, activations: Tensor, rows: Tensor | None, *, spread: bool) -> Any:
        """Run the head; the network may write on the activations."""
        given = self._given.fresh() if rows is None else self._given.take(rows, spread=spread)
        for copy, buffers in self._buffers:  # a run may write on them, and the next must not see it
            copy.__dict__["_buffers"] = _clone(buffers)
        self._replay.start(activations, rows, spread=spread)
        try:
            return call(self._model, self._root, self._copies, given)
        finally:
            self._replay.start(None, None)

    def _checked(self, activations: Tensor, rows: Tensor | None) -> Tensor | None:
        batch, raw = self._given.batch, self._replay.at_layer
        expected = self._replay.layout.to_grid(raw)
        if activations.shape[1:] != expected.shape[1:]:
            raise InputError(
                f"The activations have shape {list(activations.shape)}; [M, "
                f"{', '.join(map(str, expected.shape[1:]))}] was expected at {self._site.name!r}."
            )
        if (activations.dtype, activations.device) != (raw.dtype, raw.device):
            raise InputError(
                f"The activations are {activations.dtype} on {activations.device}; at "
                f"{self._site.name!r} they are {raw.dtype} on {raw.device}. Use .to(...)."
            )
        return checked_rows(rows, len(activations), batch, activations.device)

    def _record(self, given: ModelInputs) -> dict[int, list[Any]]:
        """Return what each frozen module put out, call by call, and the layer at its call."""
        layer, wanted = id(self._site.module), self._site.call or 1
        running, again = list[int](), set[int]()
        outputs, at_layer = dict[int, list[Any]](), list[Any]()
        around = {key for key, inside in self._within.items() if layer in inside and key != layer}
        calls = 0

        def enter(key: int) -> None:
            nonlocal calls
            running.append(key)
            calls += key == layer
            if calls >= wanted:
                again.update(running)

        def leave(key: int, _arguments: object, output: Any) -> Any:
            running.pop()
            if key == layer and calls == wanted:
                at_layer.append(_clone(output))
            elif calls < wanted and around.issuperset(running):  # no other stands for it
                if _is_plain(output):
                    outputs.setdefault(key, []).append(_clone(output))
                else:
                    again.update(self._within[key])
            return output

        with no_grad():
            root, copies = shadow(self._model)
            observe(self._model, root, copies, given, enter, leave)
        frozen = {key: kept for key, kept in outputs.items() if key not in again}
        return {**frozen, layer: at_layer}

    def _first_axes(self) -> Axes | None:
        """Take the first axis of every recorded tensor for the batch, if that turns out right.

        So it is in most networks. Of one image it can be put to the test without another pass over
        the body: two rows of its own activations have to give its own output twice.
        """
        recorded = self._replay.recorded
        if self._given.batch > 1 or any(tensor.shape[:1] != (1,) for tensor in tensors(recorded)):
            return None
        activations = self._replay.layout.to_grid(self._replay.at_layer)
        once = self._run(activations.clone(), None, spread=False)
        axes: Axes = {
            key: [[0] * len(tensors(one)) for one in calls] for key, calls in recorded.items()
        }
        self._replay.axes = axes
        twice: Any = None
        with suppress(Exception):
            pair = activations.repeat(2, *[1] * (activations.ndim - 1))
            twice = self._run(pair, torch.zeros(2, dtype=torch.long, device="cpu"), spread=False)
        self._replay.axes = None
        return axes if _is_twice(twice, once) else None

    def _batch_axes(self) -> Axes:
        """Find the batch axis of every recorded tensor: the one that grows with the batch.

        A second pass, over one image (or two, when there is one), is compared with the first, so
        that a position table of 12 rows is not taken for a batch of 12.
        """
        batch = self._given.batch
        count = 2 if batch == 1 else 1
        other = self._record(self._given.first(count))

        def axis(one: Tensor, two: Tensor) -> int | None:
            sizes = enumerate(zip(one.shape, two.shape, strict=True))
            return next((i for i, (p, q) in sizes if p != q and p * count == q * batch), None)

        def per_call(one: Sequence[Any], two: Sequence[Any]) -> list[list[int | None]]:
            return [
                [axis(p, q) for p, q in zip(tensors(a), tensors(b), strict=True)]
                for a, b in zip(one, two, strict=True)
            ]

        return {
            key: per_call(outputs, other[key]) for key, outputs in self._replay.recorded.items()
        }


def checked_rows(
    rows: Tensor | None, count: int, batch: int, device: torch.device
) -> Tensor | None:
    """Return the image that each of `count` rows belongs to; None when it is row by row.

    Raises:
        InputError: `rows` is needed or wrong.
    """
    if rows is None and count == batch:
        return None
    if rows is None and batch == 1:
        return torch.zeros(count, dtype=torch.long, device=device)
    if rows is None:
        raise InputError(
            f"There are {count} activations for {batch} images. Pass rows=..., the image that "
            "each of them belongs to."
        )
    whole = rows.dtype in (torch.long, torch.int)
    if not whole or rows.shape != (count,) or bool(((rows < 0) | (rows >= batch)).any()):
        raise InputError(
            f"rows is {rows.tolist()}; {count} integers from 0 to {batch - 1} were expected, "
            "the image that each row of activations belongs to."
        )
    return rows


def _is_twice(twice: Any, once: Any) -> bool:
    """Say whether every tensor of an output of two rows is that of one row, twice."""
    pairs = tensors(list(zip_longest(tensors(twice), tensors(once))))
    if len(pairs) != 2 * len(tensors(once)) or not pairs:
        return False
    for two, one in zip(pairs[::2], pairs[1::2], strict=True):
        if one.shape[:1] != (1,) or two.shape != (2, *one.shape[1:]):
            return False
        room = 256 * torch.finfo(one.dtype).eps if one.is_floating_point() else 0
        if not bool(((two - one).abs() <= room * one.abs().max()).all()):
            return False
    return True


class _Replay:
    """What the replaced modules of one head return.

    It does not know the shadow that they live in: it would then be a ring, and the activations
    would wait for the garbage collector.
    """

    def __init__(
        self, recorded: dict[int, list[Any]], batch: int, site: Site, layout: Layout
    ) -> None:
        self.recorded, self.batch, self.layout = recorded, batch, layout
        self.layer, self.call = id(site.module), site.call or 1
        self.axes: Axes | None = None
        self.start(None, None)

    def start(
        self, activations: Tensor | None, rows: Tensor | None, *, spread: bool = False
    ) -> None:
        """Begin a run with these activations; the calls are counted anew.

        With `spread`, all rows are of one image, and share its record.
        """
        self.activations, self.rows, self.spread = activations, rows, spread
        self.calls = dict.fromkeys(self.recorded, 0)

    @property
    def at_layer(self) -> Tensor:
        """What the layer put out in the recorded pass."""
        return tensors(self.recorded[self.layer])[0]

    def next(self, key: int) -> int:
        """Count a call of a module, from 0."""
        self.calls[key] += 1
        return self.calls[key] - 1

    def output(self, key: int, call: int) -> Any:
        """Return what a module put out at a call, for the images asked for."""
        kept = self.recorded[key][call]
        if self.rows is None or self.axes is None:
            return _clone(kept)
        axes = iter(self.axes[key][call])
        return pytree.tree_map_only(Tensor, lambda tensor: self._pick(tensor, next(axes)), kept)

    def given(self) -> Any:
        """Return what the layer puts out now: the activations, in its own layout."""
        assert self.activations is not None
        activations = self.activations
        return substitute_first(
            self.output(self.layer, 0),
            lambda raw: self.layout.from_grid(activations, raw),
        )

    def _pick(self, tensor: Tensor, axis: int | None) -> Tensor:
        """Take the images' share of a recorded tensor along its batch axis (of B, or B windows)."""
        if axis is None or self.rows is None:
            return tensor.clone()
        if self.spread and tensor.shape[axis] == self.batch:
            one = tensor.narrow(axis, int(self.rows[0]), 1)
            return one.expand(*tensor.shape[:axis], len(self.rows), *tensor.shape[axis + 1 :])
        sizes = tensor.shape
        apart = tensor.reshape(*sizes[:axis], self.batch, -1, *sizes[axis + 1 :])
        return apart.index_select(axis, self.rows.to(tensor.device)).flatten(axis, axis + 1)


def _replace(copy: nn.Module, key: int, replay: _Replay, *, is_layer: bool) -> None:
    """Let a copy return what was recorded; the layer's copy, A at the call that is meant."""
    original = twin(copy)
    clear_hooks(copy)  # they have had their say in the record
    # With a hook of its own a module is not passed by in the fused path of a transformer.
    copy.register_forward_pre_hook(lambda _module, _args: None)

    def frozen(*_args: Any, **_kwargs: Any) -> Any:
        return replay.output(key, replay.next(key))

    def layer(*args: Any, **kwargs: Any) -> Any:
        meant = replay.next(key) == replay.call - 1
        return replay.given() if meant else original(*args, **kwargs)

    copy.__dict__["forward"] = layer if is_layer else frozen


def _clone(output: Any) -> Any:
    return pytree.tree_map_only(Tensor, Tensor.clone, output)


def _is_plain(output: Any) -> bool:
    """Say whether an output holds nothing but tensors and constants, so that it can be replayed."""
    plain = (Tensor, type(None), bool, int, float, str)
    return all(isinstance(leaf, plain) for leaf in pytree.tree_leaves(output))
