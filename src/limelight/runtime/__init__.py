"""Cut a network at a layer: `A = body(x)`, `y = head(A)`.

This is the only room that runs, hooks or differentiates a model, and it does so on a shadow
(`limelight.runtime.shadow`), never on the model itself.

One pass does it: the body runs without a graph; the layer's output becomes a leaf that requires
grad, and from there on a graph is recorded. `torch.autograd.grad(score, A)` then differentiates
the head alone, and no gradient of a parameter is ever computed.
"""

from __future__ import annotations

__all__ = ["INPUT", "Cut", "Layer", "Slope", "cut", "cut_given", "cuts", "record", "slopes_given"]
