"""The gradient of a score at the words of the texts among the inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limelight.errors import InputError, LayerError
from limelight.inputs import ModelInputs, tensors
from limelight.layers.resolved import Layer
from limelight.options import Options
from limelight.runtime.autograd import differentiate, no_grad
from limelight.runtime.execution import call_shadow
from limelight.runtime.forward import LayerOutput, run_pass
from limelight.runtime.shadow import shadow
from limelight.runtime.unwrap import unwrap
from limelight.targets import Scores, ScoreTarget


class TextGradients(NamedTuple):
    """The activations of a layer at the tokens of P texts, and the gradients of B scores there.

    Attributes:
        layer: The layer's dotted path.
        reason: Why this layer.
        ids: The tokens, `[P, N]`.
        activations: `[P, N, K]`.
        gradients: `d score_b / d activations`, `[B, P, N, K]`.
        scores: The scores.
    """

    layer: str
    reason: str
    ids: Tensor
    activations: Tensor
    gradients: Tensor
    scores: Scores


class WordEmbeddings(NamedTuple):
    """The module that embeds the words among the inputs.

    Attributes:
        layer: Its path, with the number of the call if it ran several times.
        ids: The tokens that it was given, `[P, N]`.
    """

    layer: str
    ids: Tensor


def text_gradients(
    model: nn.Module,
    inputs: ModelInputs,
    layer: Layer | None,
    target: ScoreTarget,
    options: Options,
) -> TextGradients:
    """Run a model once, cut at its texts, and differentiate the score of each image there.

    Args:
        model: Any eager network.
        inputs: Its arguments, with texts as integers `[P, N]`.
        layer: A layer of the text tower, `[P, N, K]` or `[N, P, K]`; None for the embeddings of the
            words.
        target: What is explained.
        options: The options of the call.

    Raises:
        InputError: The inputs hold no texts, or the model does not embed them by an `nn.Embedding`.
        LayerError: The layer puts out no vector for each token.
        UnknownNameError, TargetError, ModelError: As `cut`.
    """
    model = unwrap(model)
    embeddings = _word_embeddings(model, inputs)
    at = embeddings.layer if layer is None else layer
    run, (output,) = run_pass(model, inputs, [at], options, asked=[target])
    as_texts = _reading_of(output, embeddings.ids)
    with torch.inference_mode(False), torch.enable_grad():
        scores = target.score(run.output, run.context)
        by_image = [differentiate(one, [output.tensor])[0] for one in scores.values]
    return TextGradients(
        layer=output.layer.name,
        reason="the embeddings of the words" if layer is None else output.reason,
        ids=embeddings.ids,
        activations=as_texts(output.tensor.detach())[0],
        gradients=torch.stack([as_texts(gradient).sum(0) for gradient in by_image]).detach(),
        scores=scores,
    )


def _reading_of(output: LayerOutput, ids: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what reads a layer's output as `[R, P, N, K]`: R times P texts.

    A network that reads pictures and texts together repeats the texts for each picture.

    Raises:
        LayerError: The output is neither `[R P, N, K]` nor `[N, P, K]`.
    """
    shape, (texts, count) = output.tensor.shape, ids.shape
    if len(shape) == 3 and shape[1] == count and not shape[0] % texts:
        return lambda tensor: tensor.reshape(-1, texts, *tensor.shape[1:])
    if len(shape) == 3 and shape[:2] == (count, texts):
        return lambda tensor: tensor.transpose(0, 1)[None]
    raise LayerError(
        f"The layer {output.layer.path!r} put out {list(shape)} for texts {[texts, count]}; a "
        f"vector for each token was expected, {[texts, count, 'K']}. Name a layer of the text "
        "tower, or none."
    )


def _word_embeddings(model: nn.Module, inputs: ModelInputs) -> WordEmbeddings:
    """Return the module that embeds the words of the inputs, from a run of the model.

    Of several modules that are given an input's integers (words, and kinds of words), it is the one
    with the most rows.

    Raises:
        InputError: The inputs hold no texts, or no `nn.Embedding` is given them.
    """
    texts = [t for t in tensors((inputs.args, inputs.kwargs)) if _may_be_words(t)]
    if not texts:
        raise InputError(
            "The inputs hold no texts; integers [P, N] were expected among them, the tokens of P "
            "texts. For a map of the picture call limelight.explain."
        )
    paths = {id(m): name for name, m in model.named_modules() if isinstance(m, nn.Embedding)}
    calls = list[tuple[int, str, int, Tensor]]()

    def note(module: nn.Module, args: tuple[Any, ...], path: str) -> None:
        number = 1 + sum(path == other for _, other, _, _ in calls)
        calls.append((len(module.weight), path, number, args[0].detach().clone()))  # type: ignore[arg-type]

    with no_grad():
        root, copies = shadow(model, paths)
        for key, path in paths.items():
            copies[key].register_forward_pre_hook(
                lambda module, args, path=path: note(module, args, path)
            )
        call_shadow(model, root, copies, inputs.clone())
    given = [
        (rows, path, number, text)
        for rows, path, number, read in calls
        for text in texts
        if _are_repeated(read, text)
    ]
    if not given:
        raise InputError(
            "No nn.Embedding of the model is given the texts among the inputs, so it is not known "
            "where their words enter."
        )
    _, path, number, ids = max(given, key=lambda call: call[0])  # the first of the largest
    several = sum(path == other for _, other, _, _ in calls) > 1
    return WordEmbeddings(f"{path}#{number}" if several else path, ids)


def _are_repeated(read: Tensor, texts: Tensor) -> bool:
    """Return whether a module was given the texts, once or several times over."""
    if read.numel() % texts.numel():
        return False
    several = read.reshape(-1, *texts.shape)
    return torch.equal(several, texts.to(several).expand_as(several))


def _may_be_words(tensor: Tensor) -> bool:
    return tensor.ndim == 2 and not tensor.is_floating_point() and tensor.dtype != torch.bool
