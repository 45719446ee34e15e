"""What calls of grad-cam (`pytorch_grad_cam`) are in limelight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import libcst as cst

from limelight.compat.migration.arguments import Arguments, bind, is_constant, is_off
from limelight.compat.migration.calls import ExplainCall, Rewritten, text_code
from limelight.compat.migration.grad_cam_targets import TargetWriter
from limelight.compat.migration.remarks import NotRewrittenError
from limelight.compat.migration.site import CallSite
from limelight.peer_names import GRAD_CAM_METHODS

#: What grad-cam ignores eigen_smooth for.
_OWN_COMPONENT = ("EigenCAM", "EigenGradCAM", "SegEigenCAM", "KPCA_CAM", "FEM")
_META = ("FinerCAM", "RefineCAM", "SESS")
_GUIDED = "GuidedBackpropReLUModel"

#: What can be made and then called.
_CLASSES = (*GRAD_CAM_METHODS, *_META, _GUIDED)

#: How maps differ, by class; docs/migrate.md says more.
DIFFERENCES = {
    "GradCAMPlusPlus": "grad-cam adds 1e-6 to a denominator, which shrinks the weights of small "
    "gradients; limelight adds nothing, so the map differs a little",
    "KPCA_CAM": "the sign of the component is that of the mean activation, not the solver's",
    "EigenCAM": "the sign of the component is that of the mean activation, not the solver's",
    "EigenGradCAM": "the sign of the component is that of the mean activation, not the solver's",
    "FEM": "grad-cam weights a channel by its share of strong cells; the paper, and limelight, by "
    "its mean",
    "ScoreCAM": "grad-cam's masks are shifted towards the edges (align_corners=True); "
    "limelight's are not",
    "AblationCAM": "grad-cam divides by the score, which turns the map of a negative one over; "
    "limelight does not",
    "FullGrad": "grad-cam pairs biases in the order of modules with gradients in the order in "
    "which they run; limelight takes each gradient where its bias is added",
    "RandomCAM": "the random numbers are others, and the same in every run",
    "FinerCAM": "grad-cam weights the other classes by their probability; in limelight, as in the "
    "paper, they count the same",
    "RefineCAM": "maps are multiplied on the finest grid among the layers, then resized",
    "SESS": "limelight neither blurs nor filters, and weights windows by the target's score",
}

#: The classes of the drop-in whose maps are others than those of grad-cam, for these reasons.
OTHER_MAPS = DIFFERENCES.keys() - {"RandomCAM", "FinerCAM", "SESS"}

_KNOWN = (
    "model",
    "target_layers",
    "reshape_transform",
)
_MORE = {
    "AblationCAM": ("ablation_layer", "batch_size", "ratio_channels_to_ablate"),
    "FEM": ("k",),
    "KPCA_CAM": ("kernel", "gamma"),
    "FinerCAM": ("base_method",),
    "RefineCAM": ("base_method",),
    "SESS": ("base_method", "scales", "num_scales", "scale_step_ratio"),
}
_BY_KEYWORD = (
    "use_cuda",
    "target_layer",
    "compute_input_gradient",
    "uses_gradients",
    "tta_transforms",
    "detach",
)
_CALLED = ("input_tensor", "targets", "aug_smooth", "eigen_smooth")
_META_CALLED = ("input_tensor", "targets", "eigen_smooth")
_FINER_CALLED = (*_META_CALLED, "alpha", "comparison_categories", "target_idx")


@dataclass(slots=True)
class GradCamExplainer:
    """An object of grad-cam's, as the script makes it.

    Attributes:
        kind: The name of its class.
        made: The arguments that it is made with.
        batch_size: What is assigned to its attribute of this name, as code.
    """

    kind: str
    made: Arguments
    batch_size: str = field(default="")

    #: Statements on the object that need no counterpart.
    dropped_calls: ClassVar[tuple[str, ...]] = ("release", "activations_and_grads.release")
    #: Its attribute that holds what the model returned.
    output_attribute: ClassVar[str] = "outputs"
    #: The package that it comes from, and the classes of this kind.
    package: ClassVar[str] = "pytorch_grad_cam"
    classes: ClassVar[tuple[str, ...]] = _CLASSES
    #: The method that explains; "" where the object itself is called.
    called: ClassVar[str] = ""

    @classmethod
    def read(cls, kind: str, call: cst.Call) -> GradCamExplainer:
        """Read the call that makes the object.

        Raises:
            NotRewrittenError: It has arguments without a counterpart.
        """
        if kind == _GUIDED:
            return cls(kind, bind(call, ("model", "device"), ("use_cuda",)))
        made = bind(call, (*_KNOWN, *_MORE.get(kind, ())), _BY_KEYWORD)
        ratio = made.get("ratio_channels_to_ablate")
        if ratio is not None and not (isinstance(ratio, cst.Float) and float(ratio.value) == 1):
            raise NotRewrittenError("limelight's 'ablationcam' always removes every channel")
        kernel = made.get("kernel")
        if kernel is not None and not (
            isinstance(kernel, cst.SimpleString) and kernel.evaluated_value == "sigmoid"
        ):
            raise NotRewrittenError("limelight's 'kpcacam' has the sigmoid kernel of the paper")
        if "scales" in made:
            raise NotRewrittenError("limelight.scales() takes a count and a growth, not sizes")
        return cls(kind, made)

    def rewrite(self, site: CallSite) -> Rewritten:
        """Return what stands in the place of a call of the object.

        Raises:
            NotRewrittenError: There is no counterpart.
        """
        model = site.model(self.made)
        if self.kind == _GUIDED:
            return self._guided(site, model)
        names = {"FinerCAM": _FINER_CALLED}.get(
            self.kind, _META_CALLED if self.kind in _META else _CALLED
        )
        called = bind(site.call, names, ("target_category",))
        call = ExplainCall(model, site.code_of(called, "input_tensor"))
        call.keywords["target"] = self._target(called, site)
        call.keywords["method"] = self._method(site)
        self._add_layer(call, site)
        self._add_smoothing(call, called, site)
        if self.kind in ("AblationCAM", "ScoreCAM"):
            given = site.code_of(self.made, "batch_size") if "batch_size" in self.made else ""
            call.keywords["chunk"] = self.batch_size or given
        self._remark(site)
        return Rewritten(call, "{}.heatmap.cpu().numpy()")

    def _guided(self, site: CallSite, model: str) -> Rewritten:
        called = bind(site.call, ("input_img", "target_category"), ("input_tensor",))
        inputs = site.code_of(called, "input_img" if "input_img" in called else "input_tensor")
        target = (
            "" if is_off(called.get("target_category")) else site.code_of(called, "target_category")
        )
        site.remark(
            "guided backpropagation by limelight.cut; limelight.explain(..., "
            "method='guided-backprop') makes a heatmap of it"
        )
        cut = f"limelight.cut({model}, {inputs}, limelight.INPUT)"
        value = f"{cut}.guided_gradients({target})[0].permute(1, 2, 0).cpu().numpy()"
        return Rewritten(None, value)

    def _target(self, called: Arguments, site: CallSite) -> str:
        """Return the argument `target` as code; "" for the predicted class."""
        if "target_category" in called:
            given = called["target_category"]
            return "" if is_constant(given, "None") else site.code_of(called, "target_category")
        writer = TargetWriter(site)
        target = writer.code(called.get("targets"))
        if self.kind != "FinerCAM" or target:
            return target
        if not is_off(called.get("comparison_categories")):
            raise NotRewrittenError(
                "limelight.Contrast takes the nearest classes (similar=...), or named ones "
                "(against=...)"
            )
        parts = [f"weight={site.code_of(called, 'alpha') if 'alpha' in called else 1}"]
        if not is_off(called.get("target_idx")):
            parts.insert(0, site.code_of(called, "target_idx"))
        return f"limelight.Contrast({', '.join(parts)})"

    def _method(self, site: CallSite) -> str:
        """Return the argument `method` as code."""
        kind = self.kind
        if kind in _META:
            base = self.made.get("base_method")
            kind = {"RefineCAM": "GradCAMPlusPlus"}.get(kind, "GradCAM")
            if base is not None:
                kind = site.script.imported(base).rpartition(".")[2]
            if kind not in GRAD_CAM_METHODS:
                raise NotRewrittenError("its base_method is not one of grad-cam's classes")
        method = GRAD_CAM_METHODS[kind]
        if kind == "FEM" and "k" in self.made:
            return text_code("fem:deviations=", site.code_of(self.made, "k"))
        if kind == "KPCA_CAM" and not is_off(self.made.get("gamma")):
            return text_code("kpcacam:gamma=", site.code_of(self.made, "gamma"))
        return f'"{method}"'

    def _add_layer(self, call: ExplainCall, site: CallSite) -> None:
        if self.kind == "FullGrad":
            return
        if "target_layer" in self.made:  # of old releases
            call.keywords["layer"] = site.code_of(self.made, "target_layer")
            return
        layers = self.made.get("target_layers")
        if layers is None:
            raise NotRewrittenError("it has no target_layers")
        # grad-cam goes over them one by one: those of a container are the modules in it.
        is_list = isinstance(site.value(layers), cst.List)
        call.keywords["layer"] = site.layers(layers) if is_list else f"list({site.code(layers)})"
        if self.kind == "RefineCAM":
            call.keywords["fuse"] = '"product"'
        elif call.keywords["layer"].startswith("[") and "," in call.keywords["layer"]:
            site.remark(
                "the maps of several layers are averaged on the finest grid among them, then "
                "resized; grad-cam resizes first"
            )

    def _add_smoothing(self, call: ExplainCall, called: Arguments, site: CallSite) -> None:
        smoothed = called.get("aug_smooth")
        if not is_off(smoothed):
            if not is_off(self.made.get("tta_transforms")):
                raise NotRewrittenError("limelight has no counterpart for tta_transforms")
            flips = "limelight.flips()"
            if not is_constant(smoothed, "True"):
                flips += f" if {site.code_of(called, 'aug_smooth')} else None"
            call.keywords["views"] = flips
            site.remark(
                "aug_smooth: limelight averages the raw maps of an image and its mirror image; "
                "grad-cam also multiplies by 0.9 and 1.1, and scales each map first"
            )
        if self.kind in ("FullGrad", "RandomCAM") and not is_off(called.get("eigen_smooth")):
            raise NotRewrittenError("its map is not a sum over channels that can be smoothed")
        if self.kind not in _OWN_COMPONENT and not is_off(called.get("eigen_smooth")):
            call.keywords["eigen"] = site.code_of(called, "eigen_smooth")
            site.remark(
                "eigen_smooth: grad-cam centres the channels first, and leaves the sign to the "
                "solver; limelight takes the sign of the mean activation"
            )
        if self.kind == "SESS":
            count = site.code_of(self.made, "num_scales") if "num_scales" in self.made else "12"
            step = self.made.get("scale_step_ratio")
            growth = "2 / 7" if step is None else site.code_of(self.made, "scale_step_ratio")
            call.keywords["views"] = f"limelight.scales({count}, growth={growth})"

    def _remark(self, site: CallSite) -> None:
        """Tell what differs."""
        if self.kind in DIFFERENCES:
            site.remark(DIFFERENCES[self.kind])
        if not is_off(self.made.get("reshape_transform")):
            site.remark(
                "reshape_transform is left out: limelight finds the grid of tokens. If it cannot, "
                "pass grid=(height, width)"
            )
        if not is_off(self.made.get("use_cuda")):
            site.remark("use_cuda is left out: move the model and the images with .to('cuda')")
        if not is_off(self.made.get("ablation_layer")):
            site.remark("ablation_layer is left out: limelight sets channels to zero itself")
