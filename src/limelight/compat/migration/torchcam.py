"""What calls of torchcam are in limelight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import libcst as cst

from limelight.compat.migration.arguments import Arguments, bind, is_constant, is_off
from limelight.compat.migration.calls import ExplainCall, Rewritten, text_code
from limelight.compat.migration.remarks import NotRewrittenError
from limelight.compat.migration.site import CallSite
from limelight.peer_names import TORCHCAM_METHODS

#: What can be made and then called.
_CLASSES = tuple(TORCHCAM_METHODS)

#: How maps differ, by class; docs/migrate.md says more.
DIFFERENCES = {
    "CAM": "torchcam shows what speaks against the class as well, scaled to [0, 1]; limelight's "
    "heatmap ends at 0, and result.raw has the sign",
    "ScoreCAM": "torchcam scales the masks on the layer's grid, limelight on the image",
    "GradCAMpp": "torchcam's weights are another formula than the paper's; the map differs",
    "SmoothGradCAMpp": "limelight averages the maps of noisy images, torchcam their derivatives; "
    "the deviation of the noise is a share of each image's range",
    "SSCAM": "the noise is other noise, and the same in every run",
    "ISCAM": "torchcam's masks grow beyond the image; limelight's do not",
}

_SAMPLED = {
    "SmoothGradCAMpp": ("num_samples", "std"),
    "ScoreCAM": ("batch_size",),
    "SSCAM": ("batch_size", "num_samples", "std"),
    "ISCAM": ("batch_size", "num_samples"),
    "CAM": ("fc_layer",),
}


@dataclass(slots=True)
class TorchcamExplainer:
    """An extractor of torchcam's, as the script makes it.

    Attributes:
        kind: The name of its class.
        made: The arguments that it is made with.
        batch_size: Not used by torchcam.
    """

    kind: str
    made: Arguments
    batch_size: str = field(default="")

    #: Statements on the object that need no counterpart.
    dropped_calls: ClassVar[tuple[str, ...]] = ("remove_hooks", "reset_hooks")
    #: torchcam keeps no output.
    output_attribute: ClassVar[str] = ""
    #: The package that it comes from, and the classes of this kind.
    package: ClassVar[str] = "torchcam"
    classes: ClassVar[tuple[str, ...]] = _CLASSES
    #: The method that explains; "" where the object itself is called.
    called: ClassVar[str] = ""

    @classmethod
    def read(cls, kind: str, call: cst.Call) -> TorchcamExplainer:
        """Read the call that makes the object.

        Raises:
            NotRewrittenError: It has arguments without a counterpart.
        """
        names = ("model", "target_layer", *_SAMPLED.get(kind, ()), "input_shape")
        return cls(kind, bind(call, names, ("reshape_transform",)))

    def rewrite(self, site: CallSite) -> Rewritten:
        """Return what stands in the place of a call of the object.

        Raises:
            NotRewrittenError: There is no counterpart.
        """
        called = bind(site.call, ("class_idx", "scores", "normalized"), ("targets", "retain_graph"))
        if not is_constant(called.get("normalized", cst.Name("True")), "True"):
            raise NotRewrittenError("maps that are not normalised are result.raw in limelight")
        model = site.model(self.made)
        call = ExplainCall(model, self._inputs(called.get("scores"), model, site))
        call.keywords["target"] = self._target(called, site)
        call.keywords["method"] = self._method(site)
        layer = self.made.get("target_layer")
        if not is_off(layer) and layer is not None:
            call.keywords["layer"] = site.layers(layer)
            if call.keywords["layer"].startswith("["):
                raise NotRewrittenError(
                    "limelight fuses the maps of a list of layers, with fuse='mean', 'max' "
                    "or 'product'; limelight.compare(layers=[...]) makes a map of each"
                )
        if self.kind == "SmoothGradCAMpp":
            samples, deviation = (
                self._option("num_samples", "4", site),
                self._option("std", "0.3", site),
            )
            call.keywords["views"] = f"limelight.noise({samples}, {deviation})"
        if "batch_size" in self.made:
            call.keywords["chunk"] = site.code_of(self.made, "batch_size")
        if self.kind in DIFFERENCES:
            site.remark(DIFFERENCES[self.kind])
        if not is_off(self.made.get("reshape_transform")):
            site.remark("reshape_transform is left out: limelight finds the grid of tokens")
        site.remark("the map has the size of the images; result.raw is that of the layer")
        return Rewritten(call, "[{}.heatmap]")

    def _option(self, name: str, default: str, site: CallSite) -> str:
        return site.code_of(self.made, name) if name in self.made else default

    def _method(self, site: CallSite) -> str:
        method = TORCHCAM_METHODS[self.kind]
        if self.kind == "SSCAM":
            samples, deviation = (
                self._option("num_samples", "35", site),
                self._option("std", "2.0", site),
            )
            return text_code(f"{method},samples=", samples, ",deviation=", deviation)
        if self.kind == "ISCAM":
            return text_code(f"{method},samples=", self._option("num_samples", "10", site))
        return f'"{method}"'

    def _target(self, called: Arguments, site: CallSite) -> str:
        """Return the argument `target` as code."""
        targets = called.get("targets")
        if targets is None:
            return site.code_of(called, "class_idx")
        if not isinstance(targets, cst.Lambda | cst.Name):
            raise NotRewrittenError("each image has a target of its own; explain them one by one")
        code = site.code(targets)
        function = f"({code})" if isinstance(targets, cst.Lambda) else code
        site.imports.add("torch")
        return f"lambda output: torch.stack([{function}(each).sum() for each in output])"

    def _inputs(self, scores: cst.BaseExpression | None, model: str, site: CallSite) -> str:
        """Return what the model was called with, to give the scores.

        Raises:
            NotRewrittenError: It is not certain.
        """
        script = site.script
        ran = scores if scores is None else site.value(scores)
        if ran is None:
            calls = [
                call
                for call in script.nodes(cst.Call)
                if script.code(call.func) == model and script.start(call) < script.start(site.call)
            ]
            ran = calls[-1] if calls else None
        if (
            isinstance(ran, cst.Call)
            and script.code(ran.func) == model
            and len(ran.args) == 1
            and ran.args[0].keyword is None
        ):
            return site.code(ran.args[0].value)
        raise NotRewrittenError(
            f"the call {model}(images) that gave the scores was not found; limelight runs the "
            "model itself: limelight.explain(model, images, ...)"
        )
