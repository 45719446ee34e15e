"""One place at which a script explains something, while it is being rewritten."""

from __future__ import annotations

from dataclasses import dataclass, field

import libcst as cst

from limelight.compat.migration.arguments import Arguments
from limelight.compat.migration.remarks import NotRewrittenError, Remark
from limelight.compat.migration.script import Script

_SAME_MODEL = ("eval", "cuda", "cpu", "to")


@dataclass(slots=True)
class CallSite:
    """The call that explains something.

    Attributes:
        script: The script.
        call: The call.
        remarks: What was said about it.
        inlined: The variables whose values were written into the new call: where they are read.
        imports: The modules that the new code needs besides limelight.
    """

    script: Script
    call: cst.Call
    remarks: list[Remark] = field(default_factory=list)
    inlined: list[cst.Name] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)

    def remark(self, text: str) -> None:
        """Say something about this call."""
        self.remarks.append(Remark(self.script.line(self.call), text, kept=False))

    def code(self, used: cst.BaseExpression) -> str:
        """Return the code of an expression that moves to this call.

        Raises:
            NotRewrittenError: It may have another value here.
        """
        self.script.check_unchanged(used, self.call)
        return self.script.code(used)

    def code_of(self, arguments: Arguments, name: str) -> str:
        """Return the code of an argument.

        Raises:
            NotRewrittenError: It is not given, or may have another value here.
        """
        if name not in arguments:
            raise NotRewrittenError(f"it has no argument {name!r}")
        return self.code(arguments[name])

    def model(self, arguments: Arguments) -> str:
        """Return the argument `model`: a variable or a part of one, in which mode ever.

        Raises:
            NotRewrittenError: It is not given, or is made in the call.
        """
        model = arguments.get("model")
        while (
            isinstance(model, cst.Call)
            and isinstance(model.func, cst.Attribute)
            and model.func.attr.value in _SAME_MODEL
        ):
            if model.func.attr.value != "eval":
                break
            model = model.func.value
        if isinstance(model, cst.Name | cst.Attribute | cst.Subscript):
            return self.code(model)
        raise NotRewrittenError("the model is made inside the call; give it a name first")

    def layers(self, layers: cst.BaseExpression) -> str:
        """Return a list of layers as code: the layer itself where it is one."""
        listed = self.value(layers)
        if not isinstance(listed, cst.List):
            return self.code(layers)
        if isinstance(layers, cst.Name):
            self.inlined.append(layers)
        parts = [self.code(element.value) for element in listed.elements]
        return parts[0] if len(parts) == 1 else f"[{', '.join(parts)}]"

    def value(self, given: cst.BaseExpression) -> cst.BaseExpression:
        """Return what a variable was assigned, if that is certain; other expressions as they are.

        Raises:
            NotRewrittenError: The variable may have changed before this call.
        """
        if not isinstance(given, cst.Name) or given.value in ("None", "True", "False"):
            return given
        value = self.script.value(given)
        if value is None:
            return given
        self.script.check_unchanged(given, self.call)
        return value
