"""What Ablation-CAM removes: in grad-cam a layer put in place of the target layer.

limelight runs the head on activations without a channel, at any layer it finds a grid for, so that
no layer has to be replaced. The classes are here because scripts name them, and choose channels.
"""

from __future__ import annotations

import numpy as np
from torch import nn

from limelight.compat.arrays import Array
from limelight.compat.pytorch_grad_cam.utils.svd_on_activations import get_2d_projection


class AblationLayer(nn.Module):
    """Chooses the channels that Ablation-CAM removes."""

    def objectiveness_mask_from_svd(self, activations: Array, threshold: float = 0.01) -> Array:
        """Return where the first component of activations `[K, *grid]` is not near its lowest.

        The absolute component is scaled to [0, 1]; where it is above `threshold`, `[*grid]`.
        """
        component = np.abs(get_2d_projection(activations[None])[0])
        height = component.max() - component.min()
        mask: Array = component - component.min() > threshold * height
        return mask

    def activations_to_be_ablated(
        self, activations: Array, ratio_channels_to_ablate: float = 1.0
    ) -> Array:
        """Return the channels to remove, of activations `[K, *grid]`: that share of all K.

        They are the channels with most of their mass inside `objectiveness_mask_from_svd`.
        """
        channels = len(activations)
        if ratio_channels_to_ablate == 1.0:
            return np.arange(channels, dtype=np.int32)
        mask = self.objectiveness_mask_from_svd(activations)
        mass = np.abs(activations).reshape(channels, -1)
        mass = mass - mass.min(axis=1, keepdims=True)
        total = mass.sum(axis=1)
        inside = mass[:, mask.reshape(-1)].sum(axis=1)
        share = np.divide(inside, total, out=np.zeros_like(total), where=total > 0)
        count = int(channels * ratio_channels_to_ablate)
        return np.argsort(-share, kind="stable")[:count].astype(np.int32)


class AblationLayerVit(AblationLayer):
    """As `AblationLayer`, for the tokens of a transformer."""


class AblationLayerFasterRCNN(AblationLayer):
    """As `AblationLayer`, for a feature pyramid read by `fasterrcnn_reshape_transform`."""
