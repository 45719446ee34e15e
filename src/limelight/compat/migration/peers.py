"""The libraries whose calls are rewritten."""

from __future__ import annotations

from typing import ClassVar, Protocol

import libcst as cst

from limelight.compat.migration.calls import Rewritten
from limelight.compat.migration.captum import CaptumExplainer
from limelight.compat.migration.grad_cam import GradCamExplainer
from limelight.compat.migration.site import CallSite
from limelight.compat.migration.torchcam import TorchcamExplainer


class Explainer(Protocol):
    """An object of a library that explains, as its file describes it.

    Attributes:
        package: The package that it comes from.
        classes: The classes of such objects.
        dropped_calls: The calls on it that need no counterpart.
        output_attribute: Its attribute that holds what the model returned; "" if there is none.
        called: Its method that explains; "" where the object itself is called.
        batch_size: What the script assigns to its attribute of this name, as code.
    """

    package: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    dropped_calls: ClassVar[tuple[str, ...]]
    output_attribute: ClassVar[str]
    called: ClassVar[str]
    batch_size: str

    @classmethod
    def read(cls, kind: str, call: cst.Call) -> Explainer:
        """Read the call that makes the object."""

    def rewrite(self, site: CallSite) -> Rewritten:
        """Return what stands in the place of a call that explains."""


#: The kinds of objects, by the package that they come from.
PEERS: dict[str, type[Explainer]] = {
    each.package: each for each in (GradCamExplainer, TorchcamExplainer, CaptumExplainer)
}
