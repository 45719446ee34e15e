"""The class from which the methods derive: one pass, a map at each layer, their mean."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from limelight.compat.arrays import Array, as_array, as_values
from limelight.compat.augmentation import FLIPS_AND_FACTORS, turned_back
from limelight.compat.progress import RunsBar
from limelight.compat.pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
from limelight.compat.pytorch_grad_cam.call_forms import (
    Targets,
    as_target_of_images,
    as_targets,
    category_as_targets,
    layers_named,
    moved_to_gpu,
    targets_one_by_one,
)
from limelight.compat.pytorch_grad_cam.utils.image import scale_cam_image
from limelight.compat.pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
from limelight.compat.release import Releasable
from limelight.compat.runs import LayerEvidence, PeerRun, ReshapeTransform
from limelight.compat.scores import OneImageTarget
from limelight.errors import InputError, MethodError
from limelight.finish import AxisSpan, normalise, relu, resize
from limelight.layers.resolved import Layer
from limelight.methods import METHODS
from limelight.runtime.autograd import accumulate_gradients
from limelight.status import Status, SummedOver, zero_unless_ok
from limelight.targets import ScoreTarget, as_target
from limelight.targets.outputs import class_logits


class BaseCAM(Releasable):
    """Maps of a model's output at some layers, `[B, *image]` in [0, 1].

    To write a method, derive a class and define `get_cam_weights` or `get_cam_image`.

    Attributes:
        model: The network; it runs as in evaluation mode, and is left untouched.
        target_layers: The layers; the maps of several are averaged.
        outputs: What the model returned in the last call, without a graph.
        statuses: For each layer, whether the map of each image shows something, after a call.
        batch_size: How many variants run together, in methods that run the network many times.
        method: The row of METHODS that the class computes; "" for a method of one's own.
        warns: Whether a map that shows nothing gives a warning.
        device: Where the network is.
        activations_and_grads: What keeps activations and gradients, for a method of one's own.
    """

    method: ClassVar[str] = ""

    batch_size: int | None = None

    warns: bool = True

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[Layer] | None = None,
        reshape_transform: ReshapeTransform | None = None,
        compute_input_gradient: bool = False,
        uses_gradients: bool = True,
        tta_transforms: Any = None,
        detach: bool = True,
        *,
        use_cuda: bool | None = None,
        target_layer: Layer | None = None,
    ) -> None:
        """Remember what to explain; nothing runs yet.

        Args:
            model: The network.
            target_layers: Modules inside the model, or their dotted paths.
            reshape_transform: From what a layer puts out to `[B, K, *grid]`; it is applied to the
                gradient too. None to let limelight find the grid.
            compute_input_gradient: Give `get_cam_image` images whose `grad` is that of the score.
            uses_gradients: Whether a method of one's own reads gradients; without, they are passed
                as None.
            tta_transforms: For `aug_smooth`: what ttach calls a Compose. None for the image and its
                mirror image, each times 0.9, 1 and 1.1.
            detach: Pass activations and gradients as arrays; False for tensors with their graph, as
                the layers put them out.
            use_cuda, target_layer: The forms of earlier versions.

        Raises:
            UnknownNameError, LayerError: A layer is not part of the model.
        """
        if isinstance(reshape_transform, bool):  # earlier versions: use_cuda, reshape_transform
            use_cuda, reshape_transform = reshape_transform, None
            if callable(compute_input_gradient):
                reshape_transform, compute_input_gradient = compute_input_gradient, False
        self.model: nn.Module = moved_to_gpu(model, use_cuda)
        self.target_layers: list[Layer] = layers_named(self.model, target_layers, target_layer)
        devices = (p.device for p in self.model.parameters())
        self.device: torch.device = next(devices, torch.device("cpu"))
        self.reshape_transform = reshape_transform
        self.compute_input_gradient = compute_input_gradient
        needs = METHODS[self.method].needs if self.method else {"gradients"}
        self.uses_gradients: bool = uses_gradients and "gradients" in needs
        self.tta_transforms: Any = FLIPS_AND_FACTORS if tta_transforms is None else tta_transforms
        self.detach = detach
        self.activations_and_grads: Any = ActivationsAndGradients(
            self.model, self.target_layers, reshape_transform, detach
        )
        self.outputs: Any = None
        self.statuses: list[tuple[Status, ...]] = []

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layers: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
    ) -> Any:
        """Return the weight of each channel, `[B, K]`, from activations `[B, K, *grid]`."""
        raise NotImplementedError(
            f"{type(self).__name__} defines neither get_cam_weights nor get_cam_image; a method "
            "needs one of them."
        )

    def get_cam_image(
        self,
        input_tensor: Tensor,
        target_layer: Layer,
        targets: Sequence[OneImageTarget],
        activations: Any,
        grads: Any,
        eigen_smooth: bool = False,
    ) -> Array:
        """Return the raw map `[B, *grid]`: `sum_k w_k A_k`, or its first component."""
        weights = np.asarray(
            self.get_cam_weights(input_tensor, target_layer, targets, activations, grads)
        )
        values = as_array(activations) if isinstance(activations, Tensor) else activations
        weights = weights.reshape(*weights.shape[:2], *(1,) * (values.ndim - 2))
        return joined_channels(weights * values, eigen_smooth)

    def forward(
        self, input_tensor: Tensor, targets: Targets = None, eigen_smooth: bool = False
    ) -> Array:
        """Return the maps of images `[B, C, *image]`, `[B, *image]` in [0, 1]."""
        if type(self.activations_and_grads) is not ActivationsAndGradients:
            return self._maps_of_replaced_pass(input_tensor, targets, eigen_smooth)
        return self.maps_of(self.run(input_tensor), targets, eigen_smooth)

    def run(self, input_tensor: Tensor) -> PeerRun:
        """Run the network once, and keep what it returned as `outputs`.

        Raises:
            InputError: The images are no tensor.
        """
        if not isinstance(input_tensor, Tensor):
            raise InputError(
                f"input_tensor is a {type(input_tensor).__name__}; a tensor [B, C, H, W] was "
                "expected, as the model takes it. preprocess_image(photo / 255) makes one from a "
                "photo [H, W, C]."
            )
        run = PeerRun(
            self.model,
            input_tensor.to(self.device),
            self.target_layers,
            transform=self.reshape_transform,
            keeps_form=not self.detach,
            chunk=self.batch_size,
        )
        self.outputs = run.returned
        return run

    def maps_of(self, run: PeerRun, targets: Targets, eigen_smooth: bool = False) -> Array:
        """Return the maps of a run: score the images, make a map at each layer, and join them."""
        target = self._target(targets, run.batch)
        with RunsBar(self._name) as bar:
            at_layers = run.at_layers(target, bar.show)
            self._keep(at_layers)
            images = run.images_with_gradient(target) if self.compute_input_gradient else run.images
            one_by_one = targets_one_by_one(target, at_layers)
            by_layer = self.compute_cam_per_layer(images, one_by_one, eigen_smooth)
        return self.aggregate_multi_layers(by_layer)

    def compute_cam_per_layer(
        self, input_tensor: Tensor, targets: Sequence[OneImageTarget], eigen_smooth: bool
    ) -> list[Array]:
        """Return the map of each layer, `[B, 1, *image]` in [0, 1].

        1. Make the raw map from the layer's activations and gradients.
        2. Find its status; a map that shows nothing becomes zero, with a warning.
        3. ReLU, normalise, and resize to the image.
        """
        size = self.get_target_width_height(input_tensor)[::-1]
        at_layers = getattr(self.activations_and_grads, "at_layers", [])
        self.statuses, by_layer = [], []
        for number, layer in enumerate(self.target_layers):
            # 1. The raw map.
            activations, grads = self._values_at(number)
            raw = self.get_cam_image(input_tensor, layer, targets, activations, grads, eigen_smooth)
            maps = as_values(np.asarray(raw))
            span: tuple[AxisSpan, ...] = ()
            # 2. Its status; it is unknown after a pass that the script made.
            if at_layers:
                evidence = at_layers[number]
                status = evidence.status(
                    maps,
                    self._name,
                    reads=self.uses_gradients,
                    sums_over=self._sums_over(eigen_smooth),
                    keeps_positive=self._keeps_positive,
                )
                self.statuses.append(status)
                self._warn_of(status)
                maps, span = zero_unless_ok(maps, status), evidence.span
            # 3. The heatmap.
            heatmap = resize(normalise(relu(maps)), size, span)
            by_layer.append(as_array(heatmap)[:, None])
        return by_layer

    def get_target_width_height(self, input_tensor: Tensor) -> tuple[int, ...]:
        """Return the size that maps get, the last axis first: width and height of the images."""
        return tuple(input_tensor.shape[:1:-1])

    def aggregate_multi_layers(self, cam_per_target_layer: Sequence[Array]) -> Array:
        """Return the mean of the maps of all layers, scaled to [0, 1], `[B, *image]`."""
        stacked = np.maximum(np.concatenate(list(cam_per_target_layer), axis=1), 0)
        return scale_cam_image(stacked.mean(axis=1))

    def forward_augmentation_smoothing(
        self, input_tensor: Tensor, targets: Targets = None, eigen_smooth: bool = False
    ) -> Array:
        """Return the mean of the maps of augmented images, each turned back to the image.

        Targets see an output that is turned back too, so that a target that names a place still
        means the same place. The predicted class is that of the image itself.
        """
        if targets is None and self._reads_score:
            targets = self._predicted(input_tensor)
        maps = []
        for transform in self.tta_transforms:
            seen = targets
            if targets is not None:
                seen = turned_back(as_targets(targets, len(input_tensor)), transform, input_tensor)
            augmented = self.forward(transform.augment_image(input_tensor), seen, eigen_smooth)
            back = transform.deaugment_mask(torch.from_numpy(augmented)[:, None])
            maps.append(as_array(back)[:, 0])
        return np.asarray(np.mean(maps, axis=0), dtype=np.float32)

    def __call__(
        self,
        input_tensor: Tensor,
        targets: Targets = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
        *,
        target_category: Targets = None,
    ) -> Array:
        """Return the maps of images `[B, C, *image]`, float32 `[B, *image]` in [0, 1].

        Args:
            input_tensor: The images, as the model takes them.
            targets: For each image a callable from the output for that image to a number, or a
                class by index; one for all images; None for the predicted class. EigenCAM, FEM and
                KPCA_CAM need none, whatever the model returns.
            aug_smooth: Average over the augmented images of `tta_transforms`.
            eigen_smooth: Take the first principal component over channels instead of their sum.
            target_category: The name of `targets` in earlier versions.

        Raises:
            TargetError: There is not one target per image, or one returns no number.
            LayerError, MethodError, ModelError, InputError: See `limelight.errors`.
        """
        targets = category_as_targets(targets, target_category, len(input_tensor))
        if not self._reads_score and isinstance(targets, Sequence) and not targets:
            targets = None
        if aug_smooth:
            return self.forward_augmentation_smoothing(input_tensor, targets, eigen_smooth)
        return self.forward(input_tensor, targets, eigen_smooth)

    def release(self) -> None:
        """Forget what the last call kept; the model has no hook to remove."""
        self.activations_and_grads.release()

    def evidence_at(self, target_layer: Layer) -> LayerEvidence:
        """Return what the present call found out at a layer.

        Raises:
            MethodError: No call is under way.
        """
        at_layers: list[LayerEvidence] = getattr(self.activations_and_grads, "at_layers", [])
        for evidence in at_layers:
            if target_layer in (evidence.layer, evidence.path):
                return evidence
        raise MethodError(
            f"{self._name} reads more of the network than activations and gradients, so it makes "
            "maps in a call alone: cam(input_tensor, targets)."
        )

    def _warn_of(self, status: Sequence[Status]) -> None:
        """Warn of maps that show nothing, once for each reason."""
        reasons = dict.fromkeys(str(each) for each in status if not each.ok and self.warns)
        for reason in reasons:
            images = [str(image) for image, each in enumerate(status) if str(each) == reason]
            text = f"The map of image {', '.join(images)} shows nothing. {reason}"
            warnings.warn(text, stacklevel=6)

    def _maps_of_replaced_pass(
        self, input_tensor: Tensor, targets: Targets, eigen_smooth: bool
    ) -> Array:
        """Return the maps of a pass by what a script has put in place of `activations_and_grads`.

        That runs the model by itself, and keeps the gradients of a `backward`, so the model's
        parameters get gradients too.
        """
        images = input_tensor.to(self.device)
        with torch.inference_mode(False), torch.enable_grad():
            self.outputs = outputs = self.activations_and_grads(images)
            if targets is None and self._reads_score:
                targets = class_logits(outputs).argmax(-1)
            one_by_one = [] if targets is None else as_targets(targets, len(outputs))
            if self.uses_gradients:
                pairs = zip(one_by_one, outputs, strict=True)
                scores = [target(output).sum() for target, output in pairs]
                accumulate_gradients(scores)
        by_layer = self.compute_cam_per_layer(images, one_by_one, eigen_smooth)
        return self.aggregate_multi_layers(by_layer)

    def _keep(self, at_layers: Sequence[LayerEvidence]) -> None:
        """Keep activations and gradients as `activations_and_grads`."""
        if self.detach:
            activations = [evidence.activations.detach().cpu() for evidence in at_layers]
            gradients = [e.gradients.detach().cpu() for e in at_layers if self.uses_gradients]
        else:
            pairs = [evidence.with_graph() for evidence in at_layers]
            activations, gradients = ([pair[part] for pair in pairs] for part in (0, 1))
        self.activations_and_grads.keep(activations, gradients, at_layers)

    def _values_at(self, number: int) -> tuple[Any, Any]:
        """Return the activations and the gradients at a layer; None for gradients not read."""
        kept = self.activations_and_grads
        activations, gradients = kept.activations[number], kept.gradients
        grads = gradients[number] if number < len(gradients) else None
        if not self.detach:
            return activations, grads
        return as_array(activations), None if grads is None else as_array(grads)

    def _target(self, targets: Targets, batch: int) -> ScoreTarget:
        """Return what is explained; a method that reads no score needs no class to be predicted."""
        if targets is None and not self._reads_score:
            return as_target(lambda _output: torch.zeros(batch, dtype=torch.float32, device="cpu"))
        return as_target_of_images(targets, batch)

    def _predicted(self, input_tensor: Tensor) -> list[OneImageTarget]:
        """Return the predicted class of each image as a target."""
        run = self.run(input_tensor)
        target = as_target_of_images(None, run.batch)
        return targets_one_by_one(target, run.at_layers(target))

    @property
    def _name(self) -> str:
        return type(self).__name__

    @property
    def _reads_score(self) -> bool:
        """Whether the map depends on the score: not if the method reads activations alone."""
        return self.uses_gradients or not self.method or bool(METHODS[self.method].needs)

    @property
    def _keeps_positive(self) -> bool:
        """Whether the method leaves out what speaks against the score."""
        return bool(self.method) and METHODS[self.method].keeps_positive

    def _sums_over(self, eigen_smooth: bool) -> SummedOver | None:
        """Return what the method sums, so that it may cancel; a component is no sum of channels."""
        over = METHODS[self.method].sums_over if self.method else None
        return None if over == "channels" and eigen_smooth else over


def joined_channels(contributions: Array, eigen_smooth: bool) -> Array:
    """Return the sum of contributions `[B, K, *grid]` over channels, or their first component."""
    if eigen_smooth:
        return get_2d_projection(contributions)
    total: Array = contributions.sum(axis=1)
    return total
