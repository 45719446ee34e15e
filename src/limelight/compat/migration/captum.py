"""What calls of captum are in limelight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import libcst as cst

from limelight.compat.migration.arguments import Arguments, bind, is_constant, is_off
from limelight.compat.migration.calls import ExplainCall, Rewritten, text_code
from limelight.compat.migration.remarks import NotRewrittenError
from limelight.compat.migration.site import CallSite

_AT_LAYER = ("LayerGradCam", "GuidedGradCam")

#: The classes that are understood.
_CLASSES = (
    *_AT_LAYER,
    "Saliency",
    "InputXGradient",
    "IntegratedGradients",
    "GuidedBackprop",
    "Occlusion",
)

_SUMMED = "captum keeps the channels apart; this is their sum, [B, 1, *image]"

#: How attributions differ, by class; docs/migrate.md says more.
DIFFERENCES = {
    "IntegratedGradients": _SUMMED,
    "Occlusion": "captum adds up what windows take away, for each channel; limelight takes the "
    "mean over the windows at a pixel, [B, 1, *image]",
    "GuidedGradCam": "limelight multiplies the largest gradient over the channels by the heatmap, "
    "which is resized linearly and scaled, [B, 1, *image]",
}


@dataclass(slots=True)
class CaptumExplainer:
    """An attribution object of captum's, as the script makes it.

    Attributes:
        kind: The name of its class.
        made: The arguments that it is made with.
        batch_size: Not used by captum.
    """

    kind: str
    made: Arguments
    batch_size: str = field(default="")

    #: No statements on the object are known that need no counterpart.
    dropped_calls: ClassVar[tuple[str, ...]] = ()
    #: captum keeps no output.
    output_attribute: ClassVar[str] = ""
    #: The package that it comes from, and the classes of this kind.
    package: ClassVar[str] = "captum"
    classes: ClassVar[tuple[str, ...]] = _CLASSES
    #: The method that explains.
    called: ClassVar[str] = "attribute"

    @classmethod
    def read(cls, kind: str, call: cst.Call) -> CaptumExplainer:
        """Read the call that makes the object.

        Raises:
            NotRewrittenError: It has arguments without a counterpart.
        """
        if kind in _AT_LAYER:
            made = bind(call, ("model", "layer"), ("forward_func",))
        else:
            made = bind(call, ("model",), ("forward_func",))
        if "forward_func" in made:
            made["model"] = made.pop("forward_func")
        return cls(kind, made)

    def rewrite(self, site: CallSite) -> Rewritten:
        """Return what stands in the place of a call of `attribute`.

        Raises:
            NotRewrittenError: There is no counterpart.
        """
        called = self._arguments(site)
        if isinstance(called.get("inputs"), cst.Tuple) or isinstance(
            called.get("target"), cst.Tuple
        ):
            raise NotRewrittenError(
                "a tuple means other things in limelight: inputs=(a, b) are the model's arguments, "
                "and for a place pass target=limelight.Region(class, where=(row, column))"
            )
        model, inputs = site.model(self.made), site.code_of(called, "inputs")
        target = "" if is_off(called.get("target")) else site.code_of(called, "target")
        if self.kind in DIFFERENCES:
            site.remark(DIFFERENCES[self.kind])
        if self.kind in ("Saliency", "InputXGradient", "GuidedBackprop"):
            return self._by_cut(called, model, inputs, target)
        call = ExplainCall(model, inputs, {"target": target})
        call.keywords["method"] = self._method(called, site)
        if self.kind in _AT_LAYER:
            call.keywords["layer"] = site.code_of(self.made, "layer")
        if "internal_batch_size" in called:
            call.keywords["chunk"] = site.code_of(called, "internal_batch_size")
        elif "perturbations_per_eval" in called:
            call.keywords["chunk"] = site.code_of(called, "perturbations_per_eval")
        relu = called.get("relu_attributions")
        if relu is not None and not is_constant(relu, "True", "False"):
            raise NotRewrittenError("relu_attributions is not written as True or False")
        return Rewritten(call, "{}.raw.unsqueeze(1)" + (".relu()" if not is_off(relu) else ""))

    def _arguments(self, site: CallSite) -> Arguments:
        """Return the arguments of the call, where all have a counterpart."""
        names = {
            "Saliency": ("inputs", "target", "abs"),
            "IntegratedGradients": ("inputs", "baselines", "target"),
            "Occlusion": ("inputs", "sliding_window_shapes", "strides", "baselines", "target"),
        }.get(self.kind, ("inputs", "target"))
        more = {
            "LayerGradCam": ("relu_attributions",),
            "IntegratedGradients": ("n_steps", "internal_batch_size", "return_convergence_delta"),
            "GuidedGradCam": ("interpolate_mode",),
            "Occlusion": ("perturbations_per_eval", "show_progress"),
        }
        called = bind(site.call, names, more.get(self.kind, ()))
        if not is_off(called.get("return_convergence_delta")):
            raise NotRewrittenError(
                "limelight.explain returns one result, which has the gap: result.completeness_gap"
            )
        baseline = called.get("baselines")
        if not is_off(baseline) and not isinstance(baseline, cst.Integer | cst.Float):
            raise NotRewrittenError("the baseline of limelight is one number: 'baseline=0.5'")
        return called

    def _by_cut(self, called: Arguments, model: str, inputs: str, target: str) -> Rewritten:
        """Return what has a gradient for each channel, exactly as captum's."""
        cut = f"limelight.cut({model}, {inputs}, limelight.INPUT)"
        if self.kind == "GuidedBackprop":
            return Rewritten(None, f"{cut}.guided_gradients({target})")
        if self.kind == "InputXGradient":
            plain = isinstance(
                called["inputs"], cst.Name | cst.Attribute | cst.Subscript | cst.Call
            )
            factor = inputs if plain else f"({inputs})"
            return Rewritten(None, f"{factor} * {cut}.gradients({target})")
        absolute = called.get("abs", cst.Name("True"))
        if not is_constant(absolute, "True", "False"):
            raise NotRewrittenError("abs is not written as True or False")
        return Rewritten(
            None, f"{cut}.gradients({target})" + ("" if is_off(absolute) else ".abs()")
        )

    def _method(self, called: Arguments, site: CallSite) -> str:
        if self.kind == "LayerGradCam":
            return '"gradcam"'
        if self.kind == "GuidedGradCam":
            return '"guided-gradcam"'
        parts = list[str]()
        if not is_off(called.get("baselines")):
            parts += ["baseline=", site.code_of(called, "baselines")]
        if self.kind == "IntegratedGradients":
            if "n_steps" in called:
                parts += [",steps=" if parts else "steps=", site.code_of(called, "n_steps")]
            name = "integrated-gradients"
        else:
            site.remark(
                "limelight's windows are shares of the image, 'occlusion:patch=0.2,stride=0.1' "
                "unless they are set; captum's are pixels"
            )
            name = "occlusion"
        return text_code(f"{name}:{parts[0]}", *parts[1:]) if parts else f'"{name}"'
