"""Why no gradient of a score arrives at a layer."""

from __future__ import annotations

from limelight.errors import LayerError
from limelight.runtime.forward import Pass
from limelight.runtime.record import choose


def why_disconnected(run: Pass, layer: str, *, leads: bool) -> str:
    """Return why the gradient of a score is zero on the whole grid of a layer, and what to do.

    Args:
        run: The pass.
        layer: The layer's path.
        leads: Whether the graph leads from the score back to the layer.
    """
    if not leads:
        return (
            f"Nothing leads back from the score to {layer!r}: the model detaches what it "
            "computes on the way, turns it into numbers, or makes the score of something else. "
            "Take a layer after that, or a method that needs no gradient ('ablationcam')."
        )
    try:
        chosen = str(choose(run.model, run.inputs, run.spec).layer)
    except LayerError:
        chosen = ""
    if chosen and chosen != layer:
        return (
            f"The score does not depend on the grid of {layer!r}: after it only other "
            f"tokens, or nothing of it, is read. Take layer={chosen!r}."
        )
    return (
        f"The gradient of the score is zero everywhere on the grid of {layer!r}. A head "
        "whose weights are zero (not trained yet) does this, as does a score that no longer "
        "changes (behind a ReLU, a clamp or a sigmoid): explain what goes into that."
    )
