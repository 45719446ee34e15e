"""The rest of a network after a layer, run again on other activations: `y = head(A)`.

One recorded pass notes the order of module calls. Modules that finish before the layer starts, and
do not run again after it, are *frozen*: in a run of the head they return their recorded outputs,
for the images that are asked for. Only the outermost frozen modules are replaced, by copies in a
shadow that have another `forward`; the layer's copy returns the given activations. What happens
between modules (additions, concatenations, views) runs again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from limelight.errors import InputError, MethodError
from limelight.inputs import ModelInputs, substitute_first, tensors
from limelight.layers import Layout, ResolvedLayer
from limelight.runtime.autograd import no_grad
from limelight.runtime.execution import call_shadow, observe
from limelight.runtime.shadow import copy_module, keep_observers, shadow

#: By the id of a module, for each of its calls: the batch axis of each tensor that it returned.
BatchAxes = dict[int, list[list[int | None]]]


class Head:
    """The head of a network cut at `layer`. Two threads must not call it at the same time."""

    def __init__(
        self, model: nn.Module, layer: ResolvedLayer, inputs: ModelInputs, layout: Layout
    ) -> None:
        """Record one pass over the inputs and prepare the shadow. Call this without grad."""
        self._original, self._inputs = inputs, inputs.clone()
        self._model, self._layer = model, layer
        self._may_share = (
            True  # rows of one image may share its record, until the network writes on it
        )
        self._known_to_share = False  # a run that shared the record has left it as it was
        self._within = {id(m): {id(d) for d in m.modules()} for m in model.modules()}
        recorded, self._layer_calls = self._record(inputs)
        self._replay = _Replay(recorded, inputs.batch, layer, layout)
        self._root, self._copies = shadow(model, recorded)
        self._buffers = [(copy, copy._buffers) for copy in self._copies.values() if copy._buffers]
        for key in recorded:
            _replace(self._copies[key], key, self._replay, is_layer=key == id(layer.module))

    def __call__(
        self, activations: Tensor, rows: Tensor | None = None, *, may_overwrite: bool = False
    ) -> Any:
        """Return the network's output for activations `[M, K, *grid]` of the images `rows` `[M]`.

        With `may_overwrite` the network may write on the activations.

        Raises:
            InputError: The activations do not fit the layer, or `rows` is needed or wrong.
        """
        rows = self._checked_rows(activations, rows)
        if rows is not None and self._replay.axes is None:
            self._replay.axes = self._first_axes() or self._batch_axes()
            self._replay.join_tokens()
        if rows is not None and self._may_share and len(rows) > 1 and bool((rows == rows[0]).all()):
            if may_overwrite and self._known_to_share:
                return self._run(activations, rows, same_image=True)
            before = self._versions()
            with suppress(RuntimeError):
                output = self._run(activations.clone(), rows, same_image=True)
                if self._versions() == before:
                    self._known_to_share = True
                    return output
            # The network writes on the record, or reshapes it: from now on each run gets copies.
            self._may_share, self._inputs = False, self._original.clone()
            self._replay.recorded, _ = self._record(self._original)
        return self._run(
            activations if may_overwrite else activations.clone(), rows, same_image=False
        )

    def _versions(self) -> list[int]:
        """Return how often each tensor that rows share was written on."""
        shared = (self._replay.recorded, self._inputs.args, self._inputs.kwargs)
        return [tensor._version for tensor in tensors(shared)]

    def _run(self, activations: Tensor, rows: Tensor | None, *, same_image: bool) -> Any:
        """Run the head; the network may write on the activations."""
        inputs = (
            self._inputs.clone() if rows is None else self._inputs.take(rows, same_image=same_image)
        )
        for copy, buffers in self._buffers:  # so that a run's writes do not reach the next run
            copy.__dict__["_buffers"] = _clone(buffers)
        self._replay.start(activations, rows, same_image=same_image)
        try:
            output = call_shadow(self._model, self._root, self._copies, inputs)
            self._check_calls(self._replay.calls[id(self._layer.module)])
            return output
        finally:
            self._replay.start(None, None)

    def _check_calls(self, calls: int) -> None:
        """Check that the layer ran as often for several rows as it did in the recorded pass.

        Raises:
            MethodError: It did not: only its first run would have had the given activations.
        """
        if calls != self._layer_calls:
            raise MethodError(
                f"The network runs {self._layer.name!r} anew for each image, as in a loop over the "
                "batch, so what comes after it cannot run on several variants together. Pass "
                "chunk=1."
            )

    def _checked_rows(self, activations: Tensor, rows: Tensor | None) -> Tensor | None:
        batch, raw = self._inputs.batch, self._replay.at_layer
        expected = self._replay.layout.to_grid(raw)
        if activations.shape[1:] != expected.shape[1:]:
            raise InputError(
                f"The activations have shape {list(activations.shape)}; [M, "
                f"{', '.join(map(str, expected.shape[1:]))}] was expected at {self._layer.name!r}."
            )
        if (activations.dtype, activations.device) != (raw.dtype, raw.device):
            raise InputError(
                f"The activations are {activations.dtype} on {activations.device}; at "
                f"{self._layer.name!r} they are {raw.dtype} on {raw.device}. Use .to(...)."
            )
        rows = checked_rows(rows, len(activations), batch, activations.device)
        return None if batch == len(activations) == 1 else rows

    def _record(self, inputs: ModelInputs) -> tuple[dict[int, list[Any]], int]:
        """Return the outputs of each frozen module, by call, and the layer's at its call.

        The number is how often the layer ran.
        """
        layer, wanted_call = id(self._layer.module), self._layer.call or 1
        running, runs_later = list[int](), set[int]()
        outputs, at_layer = dict[int, list[Any]](), list[Any]()
        containers = {
            key for key, inside in self._within.items() if layer in inside and key != layer
        }
        calls = 0

        def enter(key: int, _arguments: object) -> None:
            nonlocal calls
            running.append(key)
            calls += key == layer
            if calls >= wanted_call:
                runs_later.update(running)

        def leave(key: int, _arguments: object, output: Any) -> Any:
            running.pop()
            if key == layer and calls == wanted_call:
                at_layer.append(_clone(output))
            # Only outermost modules are kept: what is inside a frozen one does not run in the head.
            elif calls < wanted_call and containers.issuperset(running):
                if _is_plain(output):
                    outputs.setdefault(key, []).append(_clone(output))
                else:
                    runs_later.update(self._within[key])
            return output

        with no_grad():
            root, copies = shadow(self._model)
            observe(self._model, root, copies, inputs, enter, leave, after_hooks=True)
        frozen = {key: kept for key, kept in outputs.items() if key not in runs_later}
        return {**frozen, layer: at_layer}, calls

    def _first_axes(self) -> BatchAxes | None:
        """Take the first axis of every recorded tensor as the batch axis, if a test confirms it.

        This holds in most networks. For a single image it can be tested without another pass over
        the body: the head run on the image's own activations twice has to return its output twice.
        """
        recorded = self._replay.recorded
        if self._inputs.batch > 1 or any(tensor.shape[:1] != (1,) for tensor in tensors(recorded)):
            return None
        activations = self._replay.layout.to_grid(self._replay.at_layer)
        once = self._run(activations.clone(), None, same_image=False)
        axes: BatchAxes = {
            key: [[0] * len(tensors(output)) for output in outputs]
            for key, outputs in recorded.items()
        }
        self._replay.axes = axes
        twice: Any = None
        with suppress(Exception):
            pair = activations.repeat(2, *[1] * (activations.ndim - 1))
            twice = self._run(
                pair, torch.zeros(2, dtype=torch.long, device="cpu"), same_image=False
            )
        self._replay.axes = None
        return axes if _is_twice(twice, once) else None

    def _batch_axes(self) -> BatchAxes:
        """Find the batch axis of every recorded tensor: the one whose size grows with the batch.

        The record is compared with that of a second pass, over one image (or two, if there is one),
        so that a position table of 12 rows is not mistaken for a batch of 12.
        """
        batch = self._inputs.batch
        count = 2 if batch == 1 else 1
        second, calls = self._record(self._inputs.first(count))
        self._check_calls(calls)

        def axis(tensor: Tensor, other: Tensor) -> int | None:
            sizes = enumerate(zip(tensor.shape, other.shape, strict=True))
            return next((i for i, (p, q) in sizes if p != q and p * count == q * batch), None)

        def per_call(outputs: Sequence[Any], others: Sequence[Any]) -> list[list[int | None]]:
            return [
                [axis(t, o) for t, o in zip(tensors(output), tensors(other), strict=True)]
                for output, other in zip(outputs, others, strict=True)
            ]

        return {
            key: per_call(outputs, second[key]) for key, outputs in self._replay.recorded.items()
        }


def checked_rows(
    rows: Tensor | None, count: int, batch: int, device: torch.device
) -> Tensor | None:
    """Return the image that each of `count` rows belongs to; None if row b belongs to image b.

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
    are_integers = rows.dtype in (torch.long, torch.int)
    if not are_integers or rows.shape != (count,) or bool(((rows < 0) | (rows >= batch)).any()):
        raise InputError(
            f"rows is {rows.tolist()}; {count} integers from 0 to {batch - 1} were expected, "
            "the image that each row of activations belongs to."
        )
    return rows


def _is_twice(twice: Any, once: Any) -> bool:
    """Return whether every tensor in an output of two rows holds the one row of `once` twice."""
    pairs = tensors(list(zip_longest(tensors(twice), tensors(once))))
    if len(pairs) != 2 * len(tensors(once)) or not pairs:
        return False
    for pair, single in zip(pairs[::2], pairs[1::2], strict=True):
        if single.shape[:1] != (1,) or pair.shape != (2, *single.shape[1:]):
            return False
        tolerance = 256 * torch.finfo(single.dtype).eps if single.is_floating_point() else 0
        if not bool(((pair - single).abs() <= tolerance * single.abs().max()).all()):
            return False
    return True


class _Replay:
    """What the replaced modules of one head return.

    It holds no reference to the shadow that they live in: that would be a cycle, and the
    activations would wait for the garbage collector.
    """

    def __init__(
        self, recorded: dict[int, list[Any]], batch: int, layer: ResolvedLayer, layout: Layout
    ) -> None:
        self.recorded, self.batch, self.layout = recorded, batch, layout
        self.layer_id, self.call = id(layer.module), layer.call or 1
        self.axes: BatchAxes | None = None
        self.start(None, None)

    def start(
        self, activations: Tensor | None, rows: Tensor | None, *, same_image: bool = False
    ) -> None:
        """Begin a run with these activations, and reset the counts of calls.

        With `same_image` all rows are of one image, and share its record.
        """
        self.activations, self.rows, self.same_image = activations, rows, same_image
        self.calls = dict.fromkeys(self.recorded, 0)

    @property
    def at_layer(self) -> Tensor:
        """The layer's output in the recorded pass."""
        return tensors(self.recorded[self.layer_id])[0]

    def join_tokens(self) -> None:
        """Let the tokens of several rows follow one another, if those of several images would.

        A single image does not show that: its output is `[1, N, K]` either way.
        """
        axis = None if self.axes is None else self.axes[self.layer_id][0][0]
        if axis == 1 and self.batch == self.at_layer.shape[0] == 1 and not self.layout.joined:
            self.layout = replace(self.layout, joined=self.at_layer.shape[1])

    def next(self, key: int) -> int:
        """Return the number of this call of a module, from 0, and count it."""
        self.calls[key] += 1
        return self.calls[key] - 1

    def output(self, key: int, call: int) -> Any:
        """Return the recorded output of a module at a call, for the images asked for."""
        recorded = self.recorded[key][call]
        if self.rows is None or self.axes is None:
            return _clone(recorded)
        axes = iter(self.axes[key][call])
        return pytree.tree_map_only(Tensor, lambda tensor: self._pick(tensor, next(axes)), recorded)

    def layer_output(self) -> Any:
        """Return the activations of this run, in the layer's own layout."""
        assert self.activations is not None
        activations = self.activations
        return substitute_first(
            self.output(self.layer_id, 0),
            lambda raw: self.layout.from_grid(activations, raw),
        )

    def _pick(self, tensor: Tensor, axis: int | None) -> Tensor:
        """Select the rows' images along the batch axis of a recorded tensor (B, or B windows)."""
        if axis is None or self.rows is None:
            return tensor.clone()
        if self.same_image and tensor.shape[axis] == self.batch:
            image = tensor.narrow(axis, int(self.rows[0]), 1)
            return image.expand(*tensor.shape[:axis], len(self.rows), *tensor.shape[axis + 1 :])
        sizes = tensor.shape
        by_image = tensor.reshape(*sizes[:axis], self.batch, -1, *sizes[axis + 1 :])
        return by_image.index_select(axis, self.rows.to(tensor.device)).flatten(axis, axis + 1)


def _replace(copy: nn.Module, key: int, replay: _Replay, *, is_layer: bool) -> None:
    """Let a copy return its recorded outputs; the layer's copy returns A at the chosen call."""
    original = copy_module(copy)  # keeps the hooks
    keep_observers(copy)  # the record already holds what they changed
    # A module with a hook is called even where a transformer would take its fused path.
    copy.register_forward_pre_hook(lambda _module, _args: None)

    def frozen(*_args: Any, **_kwargs: Any) -> Any:
        return replay.output(key, replay.next(key))

    def layer(*args: Any, **kwargs: Any) -> Any:
        is_chosen_call = replay.next(key) == replay.call - 1
        return replay.layer_output() if is_chosen_call else original(*args, **kwargs)

    copy.__dict__["forward"] = layer if is_layer else frozen


def _clone(output: Any) -> Any:
    return pytree.tree_map_only(Tensor, Tensor.clone, output)


def _is_plain(output: Any) -> bool:
    """Return whether an output holds only tensors and constants, so that it can be replayed."""
    plain = (Tensor, type(None), bool, int, float, str)
    return all(isinstance(leaf, plain) for leaf in pytree.tree_leaves(output))
