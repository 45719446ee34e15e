"""Deep feature factorization: concepts in the activations, and where they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from limelight.compat.arrays import Array, as_array, as_values
from limelight.compat.pytorch_grad_cam.utils.image import (
    create_labels_legend,
    scale_cam_image,
    show_factorization_on_image,
)
from limelight.compat.release import Releasable
from limelight.compat.runs import PeerRun, ReshapeTransform
from limelight.layers.resolved import Layer
from limelight.methods.spectral import factorize_activations
from limelight.targets import as_target


def dff(activations: Array, n_components: int = 5) -> tuple[Array, Array]:
    """Factorize activations `[B, K, h, w]` into non-negative concepts: `A ~ W H`.

    Collins et al. 2018. The start is found from singular vectors, so that the result is always the
    same; NaN counts as zero, and channels with negative values are shifted up before, and back
    after.

    Returns:
        The concepts `[K, n_components]`, and their maps `[B, n_components, h, w]`.
    """
    values = np.nan_to_num(activations, nan=0.0)
    lowest = values.min(axis=(0, 2, 3), keepdims=True)
    maps, concepts = factorize_activations(as_values(values - lowest), n_components)
    return as_array(concepts.T) + lowest.reshape(-1, 1), as_array(maps)


class DeepFeatureFactorization(Releasable):
    """Concepts in the activations of a layer, with a heatmap each; see `dff`."""

    def __init__(
        self,
        model: nn.Module,
        target_layer: Layer,
        reshape_transform: ReshapeTransform | None = None,
        computation_on_concepts: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Remember what to factorize.

        Args:
            model: The network.
            target_layer: The layer.
            reshape_transform: As for `BaseCAM`.
            computation_on_concepts: Applied to the concepts `[n_components, K]`: a classifier, say.
        """
        self.model, self.target_layer = model, target_layer
        self.reshape_transform = reshape_transform
        self.computation_on_concepts = computation_on_concepts

    def __call__(self, input_tensor: Tensor, n_components: int = 16) -> tuple[Any, ...]:
        """Return concepts `[K, n]`, and for each image the heatmaps `[n, H, W]` in [0, 1].

        With `computation_on_concepts` its result follows, `[n, ...]`.
        """
        run = PeerRun(
            self.model, input_tensor, [self.target_layer], transform=self.reshape_transform
        )
        (layer,) = run.at_layers(
            as_target(lambda _output: torch.zeros(run.batch, dtype=torch.float32, device="cpu"))
        )
        concepts, maps = dff(as_array(layer.activations), n_components)
        height, width = input_tensor.shape[2:]
        heatmaps = [scale_cam_image(each, (width, height)) for each in maps]
        if self.computation_on_concepts is None:
            return concepts, heatmaps
        with torch.no_grad():
            computed = self.computation_on_concepts(torch.from_numpy(np.float32(concepts.T)))
        return concepts, heatmaps, as_array(computed)


def run_dff_on_image(
    model: nn.Module,
    target_layer: Layer,
    classifier: Callable[[Tensor], Tensor],
    img_pil: Image.Image,
    img_tensor: Tensor,
    reshape_transform: ReshapeTransform | None = None,
    n_components: int = 5,
    top_k: int = 2,
) -> Array:
    """Return a photo beside its concepts in colour, with the classes of each, `[H, 2 W, 3]`.

    The names of the classes are those of the model, `model.config.id2label`.
    """
    factorization = DeepFeatureFactorization(model, target_layer, reshape_transform, classifier)
    _, heatmaps, logits = factorization(img_tensor[None], n_components)
    probabilities = as_array(torch.from_numpy(logits).softmax(-1))
    config: Any = model.config
    labels = create_labels_legend(probabilities, labels=config.id2label, top_k=top_k)
    photo = np.array(img_pil)
    drawn = show_factorization_on_image(
        photo / 255, heatmaps[0], image_weight=0.3, concept_labels=labels
    )
    return np.hstack((photo, drawn))
