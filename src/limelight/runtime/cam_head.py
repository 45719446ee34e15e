"""The head that CAM needs: an average pool and one linear layer, checked on the numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limelight.errors import MethodError
from limelight.runtime.autograd import differentiate
from limelight.runtime.forward import Pass
from limelight.targets.outputs import class_logits, find_logits
from limelight.targets.scores import Scores


def class_weights(
    run: Pass, layer: str, activations: Tensor, gradients: Tensor, scores: Scores
) -> Tensor:
    """Return the weights `w^c = (d score / d y) W` for a head `y = W mean_ij(A) + b`, `[B, K]`.

    Args:
        run: The pass through the network.
        layer: The layer's path, for the error.
        activations: A, `[B, K, *grid]`.
        gradients: The gradients of the score at A, of the same shape.
        scores: What is explained.

    Raises:
        MethodError: The head is not an average pool and one linear layer.
    """
    logits = find_logits(run.output, run.spec.key)
    pooled = activations.detach().flatten(2).mean(2)
    weight = _linear_weight(run.model, class_logits(logits.detach()), pooled)
    low, high = gradients.flatten(2).aminmax(dim=2)
    tolerance = 64 * torch.finfo(low.dtype).eps * torch.maximum(low.abs(), high.abs())
    # Behind a mean all cells of a channel have the same gradient.
    if weight is None or bool((high - low > tolerance).any()):
        raise MethodError(
            "CAM needs a head that is an average pool and one linear layer, y = W mean(A) + b; "
            f"after {layer!r} this network computes something else. Use method='gradcam', "
            "which equals CAM where CAM exists, or name the layer that the pool reads."
        )
    with torch.inference_mode(False), torch.enable_grad():
        (by_logit,) = differentiate(scores.values.sum(), [logits])
    return by_logit.reshape(len(by_logit), -1).to(weight) @ weight


def _linear_weight(model: nn.Module, logits: Tensor, pooled: Tensor) -> Tensor | None:
    """Return the W `[C, K]` for which `y = W mean(A) + b` holds on this pass, or None."""
    precise = torch.promote_types(logits.dtype, torch.float32)
    coarsest = max(torch.finfo(t.dtype).eps for t in (logits, pooled))
    for module in model.modules():
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        weight = module.weight.detach().flatten(1).to(precise)
        if weight.shape != (logits.shape[-1], pooled.shape[1]):
            continue
        bias = 0 if module.bias is None else module.bias.detach()
        deviation = (pooled.to(precise) @ weight.T + bias - logits).abs().max()
        # The tolerance is that of the coarsest precision on the way, relative to the logits.
        if deviation <= 64 * coarsest * logits.abs().max():
            return weight
    return None
