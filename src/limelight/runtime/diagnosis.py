"""Why no gradient of a score reaches a layer."""

from __future__ import annotations

from limelight.errors import LayerError
from limelight.runtime.forward import Pass
from limelight.runtime.record import chosen_layer


def why_disconnected(run: Pass, layer: str, *, in_graph: bool) -> str:
    """Return why the gradient of a score is zero on the whole grid of a layer, and what to do.

    Args:
        run: The pass.
        layer: The layer's path.
        in_graph: Whether the graph leads from the score back to the layer.
    """
    if not in_graph:
        return (
            f"Nothing leads back from the score to {layer!r}: the model detaches what it "
            "computes on the way, turns it into numbers, or makes the score of something else. "
            "Take a layer after that, or a method that needs no gradient ('ablationcam')."
        )
    try:
        advised = str(chosen_layer(run.model, run.inputs, run.spec).layer)
    except LayerError:
        advised = ""
    if advised and advised != layer:
        return (
            f"The score does not depend on the grid of {layer!r}: after it only other "
            f"tokens, or nothing of it, is read. Take layer={advised!r}."
        )
    return (
        f"The gradient of the score is zero everywhere on the grid of {layer!r}. A head "
        "whose weights are zero (not trained yet) does this, as does a score that no longer "
        "changes (behind a ReLU, a clamp or a sigmoid): explain what goes into that."
    )
