"""The targets of grad-cam, as those of limelight."""

from __future__ import annotations

from typing import ClassVar

import libcst as cst

from limelight.compat.migration.arguments import bind, is_constant
from limelight.compat.migration.remarks import NotRewrittenError
from limelight.compat.migration.site import CallSite

_CLASS = "ClassifierOutputTarget"


class TargetWriter:
    """Writes the argument `target` of one call."""

    _ARGUMENTS: ClassVar = {
        _CLASS: ("category",),
        "ClassifierOutputSoftmaxTarget": ("category",),
        "ClassifierOutputReST": ("category",),
        "BinaryClassifierOutputTarget": ("category",),
        "RawScoresOutputTarget": (),
        "SemanticSegmentationTarget": ("category", "mask"),
        "FinerWeightedTarget": ("main_category", "comparison_categories", "alpha"),
    }

    def __init__(self, site: CallSite) -> None:
        """Write targets for a call."""
        self._site = site

    def code(self, targets: cst.BaseExpression | None) -> str:
        """Return grad-cam's list of targets as one target; "" for the predicted class.

        Raises:
            NotRewrittenError: There is no counterpart, or it is not certain what the list holds.
        """
        if targets is None or is_constant(targets, "None"):
            return ""
        value = self._site.value(targets)
        code = self._either(value)
        if value is not targets and isinstance(targets, cst.Name):
            self._site.inlined.append(targets)
        return code

    def _either(self, value: cst.BaseExpression) -> str:
        """Return a list of targets, `None`, or one of two of them by a condition."""
        if is_constant(value, "None"):
            return ""
        if not isinstance(value, cst.IfExp):
            return self._of_list(value)
        first, second = (self._either(part) or "None" for part in (value.body, value.orelse))
        first = f"({first})" if first.startswith("lambda") else first
        return f"{first} if {self._site.code(value.test)} else {second}"

    def _of_list(self, value: cst.BaseExpression) -> str:
        if isinstance(value, cst.BinaryOperation) and isinstance(value.operator, cst.Multiply):
            repeated = next((s for s in (value.left, value.right) if isinstance(s, cst.List)), None)
            if repeated is not None and len(repeated.elements) == 1:
                return self._one(repeated.elements[0].value)  # one target for all images
        if isinstance(value, cst.ListComp) and self._kind(value.elt) == _CLASS:
            category = self._arguments(value.elt)["category"]
            self._site.script.check_unchanged(value, self._site.call)
            return self._site.script.code(value.with_changes(elt=category))
        if isinstance(value, cst.List) and value.elements:
            parts = [element.value for element in value.elements]
            if all(self._kind(part) == _CLASS for part in parts):
                classes = [self._site.code(self._arguments(part)["category"]) for part in parts]
                return classes[0] if len(classes) == 1 else f"[{', '.join(classes)}]"
            if len({self._site.script.code(part) for part in parts}) == 1:
                return self._one(parts[0])
            raise NotRewrittenError(
                "each image has a target of its own; explain them one by one, or pass a function "
                "from the whole output to scores [B]"
            )
        raise NotRewrittenError(
            "it is not certain what the list of targets holds here; pass target=..., as a class, "
            "a list of classes, or a function from the whole output to scores [B]"
        )

    def _kind(self, node: cst.BaseExpression) -> str:
        """Return the name of the class of grad-cam's that a node makes a target of, or ""."""
        if not isinstance(node, cst.Call):
            return ""
        home, _, name = self._site.script.imported(node.func).rpartition(".")
        return name if home.startswith("pytorch_grad_cam") else ""

    def _arguments(self, node: cst.BaseExpression) -> dict[str, cst.BaseExpression]:
        assert isinstance(node, cst.Call)
        return bind(node, self._ARGUMENTS[self._kind(node)])

    def _one(self, node: cst.BaseExpression) -> str:
        """Return the target that is the same for all images."""
        kind = self._kind(node)
        if kind == "FasterRCNNBoxScoreTarget":
            raise NotRewrittenError(
                "grad-cam adds up the overlaps and probabilities of several boxes; limelight "
                "explains the logit of one: target=limelight.Box(box, label), once for each box"
            )
        if kind not in self._ARGUMENTS:
            return self._of_one_output(node)
        arguments = self._arguments(node)
        parts = {name: self._site.code(value) for name, value in arguments.items()}
        return self._known(kind, parts, arguments)

    def _known(
        self, kind: str, parts: dict[str, str], arguments: dict[str, cst.BaseExpression]
    ) -> str:
        category = parts.get("category", "")
        written = {
            _CLASS: category,
            "ClassifierOutputSoftmaxTarget": f"lambda output: output.softmax(-1)[:, {category}]",
            "ClassifierOutputReST": f"lambda output: output[:, {category}] + "
            f"output.log_softmax(-1)[:, {category}]",
            "RawScoresOutputTarget": "lambda output: output.flatten()",
        }
        if kind in written:
            return written[kind]
        if kind == "FinerWeightedTarget":
            return self._contrast(parts, arguments)
        if kind == "BinaryClassifierOutputTarget":
            sign = {"1": "", "0": "-"}.get(category, f"(1 if {category} == 1 else -1) * ")
            return f"lambda output: {sign}output.flatten()"
        self._site.remark(
            "limelight.Region takes the mean over the mask (where it is not zero), grad-cam the "
            "sum; the heatmap is the same"
        )
        return f"limelight.Region({category}, where={parts['mask']})"

    def _contrast(self, parts: dict[str, str], arguments: dict[str, cst.BaseExpression]) -> str:
        others = self._site.value(arguments["comparison_categories"])
        if not isinstance(others, cst.List) or len(others.elements) != 1:
            raise NotRewrittenError("limelight.Contrast takes one class in against=...")
        other = self._site.code(others.elements[0].value)
        main, weight = parts["main_category"], parts["alpha"]
        return f"limelight.Contrast({main}, {other}, weight={weight})"

    def _of_one_output(self, node: cst.BaseExpression) -> str:
        """Return a function of the whole output for one that reads the output of one image."""
        code = self._site.code(node)
        called = f"({code})" if isinstance(node, cst.Lambda) else code
        self._site.imports.add("torch")
        self._site.remark(
            "grad-cam calls this target with the output of one image, limelight with that of all"
        )
        return f"lambda output: torch.stack([{called}(each).sum() for each in output])"
