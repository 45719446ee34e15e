"""Why no gradient of a score reaches a layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from limelight.errors import LayerError
from limelight.runtime.autograd import differentiate
from limelight.runtime.forward import Pass, run_pass
from limelight.runtime.model_cache import model_cache
from limelight.runtime.record import chosen_layer
from limelight.targets import FixedScore, Scores, ScoreTarget


def layers_instead(run: Pass, layer: str, scores: Scores, image: int) -> Iterator[str]:
    """Yield layers that the score of one image may read, where it does not read the chosen one.

    Those that helped before come first, since a pass at each costs less than to choose one for this
    score. If whoever asks goes on after the last, none helped; then none is chosen again.
    """
    inputs = run.inputs.take(torch.tensor([image], device="cpu"))
    cache = model_cache(run.model, run.spec.key)
    key = inputs.signature, layer
    found: list[str] = cache.setdefault("instead", {}).setdefault(key, [])
    hopeless: set[object] = cache.setdefault("nothing instead", set())
    yield from tuple(found)
    if key in hopeless:
        return

    def read(output: Any, _rows: Tensor) -> Tensor:
        return scores.read_again(output, torch.tensor([image], device="cpu"))

    try:
        chosen = str(chosen_layer(run.model, inputs, run.spec, [FixedScore(read)]).layer)
    except LayerError:
        chosen = layer
    if chosen != layer and chosen not in found:
        found.append(chosen)
        yield chosen
        found.remove(chosen)
    hopeless.add(key)


def _gradient_arrives(run: Pass, layer: str, target: ScoreTarget) -> bool:
    """Return whether the gradient of some image's score is not zero at a layer."""
    again, outputs = run_pass(run.model, run.inputs, [layer], run.options, asked=[target])
    with torch.inference_mode(False), torch.enable_grad():
        total = target.score(again.output, again.context).values.sum()
        (gradient,) = differentiate(total, [outputs[0].tensor], retain=False)
    return bool(gradient.any())


def why_disconnected(run: Pass, layer: str, target: ScoreTarget, *, in_graph: bool) -> str:
    """Return why the gradient of a score is zero on the whole grid of a layer, and what to do.

    Args:
        run: The pass.
        layer: The layer's path.
        target: What is explained.
        in_graph: Whether the graph leads from the score back to the layer.
    """
    if not in_graph:
        return (
            f"Nothing leads back from the score to {layer!r}: the model detaches what it "
            "computes on the way, turns it into numbers, or makes the score of something else. "
            "Take a layer after that, or a method that needs no gradient ('ablationcam')."
        )
    try:
        advised = str(chosen_layer(run.model, run.inputs, run.spec, [target]).layer)
    except LayerError:
        advised = ""
    if advised and advised != layer and _gradient_arrives(run, advised, target):
        return (
            f"The score does not depend on the grid of {layer!r}: after it only other "
            f"tokens, or nothing of it, is read. Take layer={advised!r}."
        )
    return (
        f"The gradient of the score is zero everywhere on the grid of {layer!r}. A head "
        "whose weights are zero (not trained yet) does this, as does a score that no longer "
        "changes (behind a ReLU, a clamp or a sigmoid): explain what goes into that."
    )
