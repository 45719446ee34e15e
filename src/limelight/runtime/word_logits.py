"""The logits of a sentence's words, at the picture's positions and at each other's."""

from __future__ import annotations

import torch
from torch import Tensor

from limelight.errors import MethodError
from limelight.evidence import WordLogits, at_least_float32
from limelight.layers import Layout
from limelight.runtime.forward import Pass
from limelight.runtime.output_layout import ELSEWHERE, stands_elsewhere
from limelight.runtime.record import recording_of, token_layouts
from limelight.targets import Scores
from limelight.targets.outputs import find_logits


def word_logits(run: Pass, scores: Scores) -> WordLogits:
    """Return the logits of the words behind the picture, in a sentence that the picture stands in.

    Raises:
        MethodError: The score is not that of words; or the model has no logits at the picture's
            positions; or an explained word stands in front of the picture.
    """
    if scores.sentence is None:
        raise MethodError(
            "The token activation map explains words; pass target=limelight.Words(ids, at), or use "
            "'gradcam'."
        )
    logits = find_logits(run.output, run.spec.key).detach()
    layout = _layout_of_sentence(run, logits)
    count = logits.shape[1]
    ids, at = scores.sentence.ids.to(logits.device), scores.sentence.at
    first = count - ids.shape[1]  # a model may put the picture's tokens in front of the sentence
    numbers = torch.arange(count, device=logits.device)
    # Where there is no cell the grid has 0, so the numbers count from 1.
    cells = layout.positions_to_grid(numbers[None] + 1).flatten()
    after = int(cells.max()) - first
    after = max(after, 0)
    if min(at) < after:
        raise MethodError(
            f"The token {min(at)} stands in front of the last of the picture's, {after - 1}, so "
            "the picture says nothing about it. Explain one behind the picture."
        )
    words = ids[:, after:]
    at_picture = _of_words(logits[:, (cells - 1).clamp(min=0)], words) * (cells > 0)
    return WordLogits(
        at_picture.reshape(*words.shape, *layout.grid),
        _of_words(logits[:, first + after :], words),
        words,
        tuple(number - after for number in at),
        layout,
    )


def _of_words(logits: Tensor, words: Tensor) -> Tensor:
    """Return the logits of words `[B, T]` at each position, `[B, T, n]`, from `[B, n, V]`."""
    wanted = words[:, None].expand(-1, logits.shape[1], -1)
    return at_least_float32(logits.gather(2, wanted)).transpose(1, 2)


def _layout_of_sentence(run: Pass, logits: Tensor) -> Layout:
    """Return how the positions of a sentence become the picture's grid.

    Raises:
        MethodError: None of them has a place on the picture, or they differ among the sentences.
    """
    layout = None
    if logits.ndim == 3:
        calls = recording_of(run.model, run.inputs, run.spec).calls
        shape, width = (1, logits.shape[1]), logits.shape[2]
        inside = [
            call.path.rpartition(".")[0]
            for call in calls
            if len(call.shape) == 3 and call.shape[:2] == shape and call.shape[2] != width
        ]
        # The last such module is the language model's; in front of it the same number may be other
        # tokens.
        within = inside[-1] if inside else ""
        layout = token_layouts(run.model, run.inputs, run.spec, within=within).get(shape[1])
    if layout is None:
        raise MethodError(
            "The token activation map needs logits at the picture's positions, in a sentence that "
            f"holds the picture's tokens; the model returned logits {list(logits.shape)}, and none "
            "of these positions is a place on the picture. Use 'gradcam'."
        )
    if stands_elsewhere(layout, logits.shape[1], run.inputs):
        raise MethodError(ELSEWHERE)
    return layout
