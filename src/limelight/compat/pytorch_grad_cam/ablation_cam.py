"""Ablation-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from limelight.compat.arrays import Array, as_array
from limelight.compat.pytorch_grad_cam.ablation_layer import AblationLayer
from limelight.compat.pytorch_grad_cam.base_cam import BaseCAM
from limelight.compat.runs import ReshapeTransform
from limelight.compat.scores import OneImageTarget
from limelight.errors import OptionError
from limelight.evidence import at_least_float32
from limelight.layers.resolved import Layer


class AblationCAM(BaseCAM):
    """Channels weighted by the share of the score that is lost without them.

    `w_k = (y_c - y_c(A without channel k)) / |y_c|`: Desai and Ramaswamy 2020, section 3; the paper
    divides by `y_c`, which would turn the map of a negative score around. A removed channel is
    zero, as in the paper, whatever sign its activations have.
    """

    method = "ablationcam"

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[Layer] | None = None,
        reshape_transform: ReshapeTransform | None = None,
        ablation_layer: AblationLayer | None = None,
        batch_size: int = 32,
        ratio_channels_to_ablate: float = 1.0,
        **older_forms: Any,
    ) -> None:
        """Remember what to explain; see `BaseCAM`.

        Args:
            model, target_layers, reshape_transform, older_forms: As for `BaseCAM`.
            ablation_layer: Chooses the channels to remove; None for an `AblationLayer`.
            batch_size: How many removals run together.
            ratio_channels_to_ablate: The share of channels to remove; the others get weight zero.

        Raises:
            OptionError: The ratio is not in (0, 1], or the layer ablates by code of its own.
        """
        super().__init__(model, target_layers, reshape_transform, **older_forms)
        self.batch_size = batch_size
        self.ablation_layer: AblationLayer = ablation_layer or AblationLayer()
        self.ratio_channels_to_ablate = ratio_channels_to_ablate
        if not 0 < ratio_channels_to_ablate <= 1:
            raise OptionError(
                f"ratio_channels_to_ablate is {ratio_channels_to_ablate}; a share above 0 and at "
                "most 1 was expected."
            )
        replaced = {"set_next_batch", "__call__", "forward"} & set(vars(type(self.ablation_layer)))
        if replaced:
            raise OptionError(
                f"{type(self.ablation_layer).__name__} defines {', '.join(sorted(replaced))}, "
                "which is not run: limelight removes channels by itself. An ablation layer may "
                "define activations_to_be_ablated alone."
            )

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layers: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
    ) -> Array:
        """Return the weight of each channel, `[B, K]`."""
        evidence, batch, ratio = (
            self.evidence_at(target_layers),
            len(activations),
            self.ratio_channels_to_ablate,
        )
        removed = np.zeros((activations.shape[1], batch), dtype=bool)
        for image in range(batch):
            chosen = self.ablation_layer.activations_to_be_ablated(activations[image], ratio)
            removed[chosen, image] = True
        # A channel that is zero everywhere is not run, as nothing changes without it.
        removed &= activations.reshape(*activations.shape[:2], -1).any(axis=2).T
        left = evidence.scores_without(torch.from_numpy(removed))
        score = at_least_float32(evidence.scores.values.detach())
        lost = torch.where(torch.from_numpy(removed).to(score.device), score - left, 0)
        return as_array((lost / torch.where(score == 0, 1, score.abs())).T)
