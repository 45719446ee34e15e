"""Cut a network at a layer: `A = body(x)`, `y = head(A)`.

This is the only file that runs, hooks or differentiates a model, and it does so on a shadow
(`limelight.shadow`), never on the model itself.

One pass does it: the body runs without a graph; the layer's output becomes a leaf that requires
grad, and from there on a graph is recorded. `torch.autograd.grad(score, A)` then differentiates
the head alone, and no gradient of a parameter is ever computed.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limelight import layers as layers_
from limelight.errors import LayerError, LimelightError, MethodError
from limelight.head import Enter, Head, Leave
from limelight.inputs import Given, Inputs, detached, substitute_first, tensors
from limelight.layers import Call, Layout, Site
from limelight.shadow import fill_zeros, fingerprint, shadow, unwrap
from limelight.targets import Scores, Target, class_logits, find_logits, score
from limelight.watch import KeepGrad, Watch

Layer = str | nn.Module


def cut(
    model: nn.Module,
    layer: Layer | None,
    inputs: Inputs,
    *,
    classes: Sequence[str] | None = None,
) -> Cut:
    """Run a model once and cut it at a layer.

    With `A` the activations and `y_c` a class score, Grad-CAM is then its paper (Selvaraju et al.
    2017, eq. 1 and 2): `alpha_k = mean_ij dy_c/dA_k`, `L = relu(sum_k alpha_k A_k)`:

        cut = limelight.cut(model, "layer4", images)
        alpha = cut.gradients(target=281).mean((-2, -1), keepdim=True)
        L = (alpha * cut.activations).sum(1).relu()

    The model is used as in evaluation mode, whatever mode it is in, and is left untouched.

    Args:
        model: Any eager `nn.Module`; wrappers (DataParallel, DDP, `torch.compile`) are looked
            through.
        layer: A dotted path, the module itself, or None to have it chosen.
        inputs: Images `[B, C, *image]`, or a tuple or dict of what the model takes.
        classes: The names of the classes, for targets given by name.

    Raises:
        UnknownNameError: The model has no such layer.
        LayerError: The layer did not run, ran several times, or put out no grid.
        ModelError: The model is scripted, has uninitialised parameters, or is no `nn.Module`.
        InputError: The images are empty, or not finite.
    """
    (only,) = cuts(model, [layer], inputs, classes=classes)
    return only


def cuts(
    model: nn.Module,
    layers: Sequence[Layer | None],
    inputs: Inputs,
    *,
    classes: Sequence[str] | None = None,
) -> list[Cut]:
    """Run a model once and cut it at several layers; as `cut`, one result per layer, in order."""
    model = unwrap(model)
    given = Given.of(inputs)
    sites, reasons = list[Site](), list[str]()
    for layer in layers:
        choice = layers_.Choice(layer, "named") if layer is not None else _choose(model, given)
        sites.append(layers_.resolve(model, choice.layer))
        reasons.append(choice.reason)
    watch = Watch(sites)
    with _no_grad():
        root, copies = shadow(model, lambda module: id(module) in watch.wanted)
        handles = [copies[key].register_forward_hook(watch.hook(key)) for key in watch.wanted]
        try:
            output = root(*given.args, **given.kwargs)
        except Exception as error:
            given.annotate(error, model)
            raise
        finally:
            watch.stop()
            for handle in handles:  # or they, and A, would wait for the garbage collector
                handle.remove()
    run = _Run(model, given, output, classes)
    return [
        Cut(
            layer=site.name,
            reason=reason,
            layout=_layout(watch.raw(site), site, run),
            _raw=watch.raw(site),
            _site=site,
            _run=run,
        )
        for site, reason in zip(sites, reasons, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Run:
    """One pass: what went in and what came out (with the head's graph)."""

    model: nn.Module
    given: Given
    output: Any
    classes: Sequence[str] | None


@dataclass(frozen=True, eq=False)
class Cut:
    """A network cut at a layer: `A = body(x)`, `y = head(A)`.

    Attributes:
        layer: The layer's dotted path.
        reason: Why this layer: "named", or what spoke for it.
        layout: How the layer's output becomes a grid.
    """

    layer: str
    reason: str
    layout: Layout
    _raw: Tensor = field(repr=False)
    _site: Site = field(repr=False)
    _run: _Run = field(repr=False)

    @property
    def activations(self) -> Tensor:
        """The activations A of the layer, `[B, K, *grid]`."""
        return self.layout.to_grid(self._raw.detach())

    @property
    def output(self) -> Any:
        """What the model returned, without a graph."""
        return detached(self._run.output)

    @property
    def image(self) -> Tensor:
        """The images `[B, C, *image]`: the first tensor of the inputs that looks like some."""
        return self._run.given.image

    def score(self, target: Target = None) -> Scores:
        """Return the score of each image, `[B]`; the target defaults to the predicted class.

        The values carry the graph of the head.
        """
        with torch.inference_mode(False), torch.enable_grad():
            return score(self._run.output, target, self._run.given.batch, self._run.classes)

    def gradients(self, target: Target | Scores = None) -> Tensor:
        """Return the gradient of the score with respect to A, `d score_b / d A_b`.

        Shape `[B, K, *grid]`; zero where the score does not depend on A. What `score` returned may
        stand for the target.

        Raises:
            UnknownNameError, TargetError: The target gives no score per image.
        """
        with torch.inference_mode(False), torch.enable_grad():
            (gradient,) = _differentiate(self._scores(target).values.sum(), [self._raw])
        return self.layout.to_grid(gradient)

    def head(self, activations: Tensor, *, rows: Tensor | Sequence[int] | None = None) -> Any:
        """Run the rest of the network on other activations and return its output.

        Only what comes after the layer is computed; what ran before it is replayed. The first call
        records one more pass over the whole network. Differentiable with respect to `activations`
        in the caller's grad mode.

        Args:
            activations: `[M, K, *grid]`.
            rows: `[M]` integers, the image (0 to B - 1) that each row of activations belongs to.
                Not needed when M = B (row m belongs to image m) or when B = 1.

        Raises:
            InputError: The activations do not fit the layer, or `rows` is needed or wrong.
        """
        return self._head(activations, None if rows is None else torch.as_tensor(rows))

    @cached_property
    def _head(self) -> Head:
        run = self._run

        def observe(given: Given, enter: Enter, leave: Leave) -> Any:
            with _no_grad():
                root, copies = shadow(run.model, lambda _module: True)
                return _observe(root, copies, given, enter, leave)

        with _no_grad():
            return Head(run.model, self._site, run.given, self.layout, observe)

    def class_weights(self, target: Target | Scores = None) -> Tensor:
        """Return the weights `w^c` of the linear layer for the explained class, `[B, K]`.

        They exist when the head is an average pool and one linear layer, `y = W mean_ij(A) + b`
        (Zhou et al. 2016, eq. 1), which is checked on the numbers of this pass. For a target that
        is not a class, `w = (d score / d y) W`.

        Raises:
            MethodError: The head is something else.
        """
        logits = class_logits(self._run.output)
        pooled = self.activations.flatten(2).mean(2)
        weight = self._linear_weight(logits.detach(), pooled)
        with torch.inference_mode(False), torch.enable_grad():
            scores = self._scores(target)
            if scores.indices is not None:
                return weight[scores.indices]
            (slope,) = _differentiate(scores.values.sum(), [logits])
        return slope @ weight

    def suggested_layer(self) -> str:
        """Return the path of the layer that is chosen when none is named; "" when none can be."""
        try:
            return str(_choose(self._run.model, self._run.given).layer)
        except LayerError:
            return ""

    def _linear_weight(self, logits: Tensor, pooled: Tensor) -> Tensor:
        precise = torch.promote_types(logits.dtype, torch.float32)
        coarsest = max(torch.finfo(t.dtype).eps for t in (logits, pooled))
        for module in self._run.model.modules():
            if not isinstance(module, nn.Linear | nn.Conv2d):
                continue
            weight = module.weight.detach().flatten(1).to(precise)
            if weight.shape != (logits.shape[-1], pooled.shape[1]):
                continue
            bias = 0 if module.bias is None else module.bias.detach()
            gap = (pooled.to(precise) @ weight.T + bias - logits).abs().max()
            # Room for the coarsest precision on the way, as a share of the logits' size.
            if gap <= 64 * coarsest * logits.abs().max():
                return weight
        raise MethodError(
            "CAM needs a head that is an average pool and one linear layer, y = W mean(A) + b; "
            f"after {self.layer!r} this network computes something else. Use method='gradcam', "
            "which equals CAM where CAM exists, or name the layer that the pool reads."
        )

    def _scores(self, target: Target | Scores) -> Scores:
        return target if isinstance(target, Scores) else self.score(target)


def trace(model: nn.Module, inputs: Inputs) -> tuple[Call, ...]:
    """Record one pass over the first image: every module call, its shape, and where gradient flows.

    The score whose gradient is followed is the highest logit. A trace is remembered for as long as
    the model lives with the same modules, for inputs of the same shape.

    Raises:
        ModelError, InputError: As `cut`.
    """
    return _known(unwrap(model), Given.of(inputs)).calls


class _Known(NamedTuple):
    """A remembered trace, and what was chosen from it."""

    calls: tuple[Call, ...]
    choice: layers_.Choice | LayerError


#: By model: the modules it was built of, and what is known by the signature of the inputs.
_remembered: weakref.WeakKeyDictionary[nn.Module, tuple[object, dict[object, _Known]]]
_remembered = weakref.WeakKeyDictionary()
_remembered_lock = threading.Lock()


def _known(model: nn.Module, given: Given) -> _Known:
    modules, signature = fingerprint(model), given.signature
    with _remembered_lock:
        built_of, by_signature = _remembered.get(model, (None, {}))
        if built_of != modules or len(by_signature) > 32:
            _remembered[model] = modules, (by_signature := {})
        known = by_signature.get(signature)
    if known is None:
        calls = _trace_or_say_why(model, given)
        try:
            choice: layers_.Choice | LayerError = layers_.choose(calls)
        except LayerError as error:
            choice = LayerError(str(error))  # without the traceback, which holds on to this pass
        known = by_signature[signature] = _Known(calls, choice)
    return known


def _trace_or_say_why(model: nn.Module, given: Given) -> tuple[Call, ...]:
    try:
        return _trace(model, given.first(1))
    except LimelightError:
        raise
    except Exception as error:
        with _no_grad():  # if the model itself raises, that is what the user should see
            root, _ = shadow(model, lambda _module: False)
            try:
                root(*given.args, **given.kwargs)
            except Exception as own:
                given.annotate(own, model)
                raise own from None
        raise LayerError(
            f"The model runs, but a pass with gradients to look for layers does not "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}). Name a layer with "
            "layer=..., one after what stops them."
        ) from error


def _trace(model: nn.Module, given: Given) -> tuple[Call, ...]:
    paths = {id(module): path for path, module in model.named_modules()}
    learned = {id(m): any(True for _ in m.parameters()) for m in model.modules()}
    results = dict[int, int]()  # id of a tensor -> the number of the result it is
    leaves = list[Tensor]()  # by that number
    alive = list[object]()  # so that no id is used twice
    seen = list[layers_.Seen]()

    recording = True  # a backward may run modules again

    def leave(key: int, arguments: object, output: Any) -> Any:
        def follow(tensor: Tensor) -> Tensor:
            if not recording or not tensor.is_floating_point() or tensor.is_inference():
                return tensor
            handed = tensor
            if id(tensor) not in results:
                leaves.append(tensor if tensor.requires_grad else tensor.detach().requires_grad_())
                handed = leaves[-1].clone()
                results[id(tensor)] = results[id(handed)] = len(leaves) - 1
                alive.extend((tensor, handed))
            given_to = tensors(arguments)
            alive.extend(given_to)
            source = max(given_to, key=lambda t: results.get(id(t), -1), default=None)
            seen.append(
                layers_.Seen(
                    path=paths[key],
                    shape=tuple(tensor.shape),
                    source=None if source is None else id(source),
                    result=results[id(tensor)],
                    learned=learned[key],
                )
            )
            return handed

        return substitute_first(output, follow)

    with torch.inference_mode(False), torch.enable_grad():
        root, copies = shadow(model, lambda _module: True)
        for copy in copies.values():
            fill_zeros(copy)
        with KeepGrad():
            output = _observe(root, copies, given, lambda _key: None, leave)
        recording = False
        outputs = [t for t in tensors([output]) if t.is_floating_point()]
        logits = outputs[0] if len(outputs) == 1 else find_logits(output)
        highest = logits.reshape(len(logits), -1).amax(1) if logits.ndim else logits
        gradients = _differentiate(highest.sum(), leaves, retain=False)
    return layers_.read(seen, gradients, tuple(given.image.shape[2:]))


def _choose(model: nn.Module, given: Given) -> layers_.Choice:
    choice = _known(model, given).choice
    if isinstance(choice, LayerError):
        raise LayerError(str(choice))
    return choice


@contextmanager
def _no_grad() -> Iterator[None]:
    """Run without grad and outside inference mode, whatever the caller is in."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def _differentiate(
    total: Tensor, sources: Sequence[Tensor], *, retain: bool = True
) -> list[Tensor]:
    """Return the gradient of `total` with respect to each source, zero where there is none."""
    if not total.requires_grad:
        return [torch.zeros_like(source) for source in sources]
    found = torch.autograd.grad(total, sources, retain_graph=retain, allow_unused=True)
    return [
        torch.zeros_like(source) if gradient is None else gradient
        for source, gradient in zip(sources, found, strict=True)
    ]


def _observe(
    root: nn.Module,
    copies: Mapping[int, nn.Module],
    given: Given,
    enter: Enter,
    leave: Leave,
) -> Any:
    """Run a shadow in the current grad mode, telling of every call of a copied module.

    `enter(key)` is called before and `leave(key, arguments, output)` after each; what `leave`
    returns takes the place of the output. The key is the id of the original module.
    """
    for key, copy in copies.items():

        def before(_module: nn.Module, _args: object, key: int = key) -> None:
            enter(key)

        def after(
            _module: nn.Module, args: object, kwargs: object, output: Any, key: int = key
        ) -> Any:
            return leave(key, (args, kwargs), output)

        copy.register_forward_pre_hook(before)
        copy.register_forward_hook(after, with_kwargs=True)
    return root(*given.args, **given.kwargs)


def _layout(raw: Tensor, site: Site, run: _Run) -> Layout:
    """Find the layout of a layer's output."""
    image = run.given.image.shape[2:]
    kind = type(site.module).__name__
    if raw.shape[0] != run.given.batch:
        raise LayerError(
            f"The layer {site.path!r} ({kind}) put out {list(raw.shape)} for {run.given.batch} "
            "images, so its first axis is not the batch. If one image was passed, add the batch "
            "axis, image[None]; inside windowed attention, take the block around the layer."
        )
    if raw.ndim == 3:  # perhaps tokens: the trace knows the grid of the patches
        path = next(path for path, m in run.model.named_modules() if m is site.module)
        calls = [call for call in _known(run.model, run.given).calls if call.path == path]
        layout = calls[(site.call or 1) - 1].layout
    else:
        layout = layers_.layout_of(raw.shape, image)
    if layout is None:
        raise LayerError(
            f"The layer {site.path!r} ({kind}) put out {list(raw.shape)} for images "
            f"{list(run.given.image.shape)}, and no reading of that is a grid over the image: "
            "channels first [B, K, *grid], channels last [B, *grid, K], tokens [B, P + h*w, K]. "
            "`limelight layers` lists the layers with a grid."
        )
    return layout
