"""Which methods can be part of an exported file."""

from __future__ import annotations

from limelight.errors import MethodError
from limelight.evidence import EvidenceKind
from limelight.methods import METHODS, Method

#: The evidence that the graph of a head and its gradient gives.
_FROM_GRAPH: frozenset[EvidenceKind] = frozenset({"gradients", "curvature", "class weights"})

#: For each method that cannot be exported, the nearest one that can.
_NEAREST = {
    "ablationcam": "reciprocam",
    "scorecam": "reciprocam",
    "sscam": "reciprocam",
    "iscam": "reciprocam",
    "eigencam": "fem",
    "kpcacam": "fem",
    "eigengradcam": "hirescam",
    "segeigencam": "hirescam",
    "saliency": "layercam",
    "input-x-gradient": "hirescam",
    "smoothgrad": "layercam",
    "integrated-gradients": "hirescam",
    "guided-backprop": "layercam",
    "guided-gradcam": "layercam",
    "fullgrad": "layercam",
    "occlusion": "reciprocam",
    "rise": "reciprocam",
    "kernelshap": "reciprocam",
    "rollout": "gradcam",
    "attention-x-gradient": "gradcam",
    "legrad": "gradcam",
    "grad-eclip": "gradcam",
    "tam": "gradcam",
}


def can_be_exported(method: Method) -> bool:
    """Return whether a method is a closed formula of activations and gradients.

    Recipro-CAM is one as well: a fixed number of runs of the head, which go in one batch.
    """
    if method.name == "reciprocam":
        return True
    closed = method.family in ("weighted", "pointwise")
    return closed and method.place == "layer" and method.needs <= _FROM_GRAPH


def check_exportable(method: Method) -> None:
    """Raise an error for a method that cannot be exported, which names the nearest that can.

    Raises:
        MethodError: As said.
    """
    if can_be_exported(method):
        return
    known = [name for name, row in METHODS.items() if can_be_exported(row)]
    nearest = _NEAREST.get(method.name)
    raise MethodError(
        f"{method.name!r} cannot be exported: {_reason(method)}. "
        + (f"The nearest method that can is {nearest!r}. " if nearest else "")
        + f"There are {', '.join(known)}."
    )


def _reason(method: Method) -> str:
    """Return why a method cannot be exported."""
    if method.family == "spectral":
        return "it takes components of the activations, an operation that ONNX does not have"
    if not method.needs.isdisjoint({"network", "head"}):
        return "it runs the network many times, in a loop over masks or steps"
    if method.family == "control":
        return "it is a baseline that does not read the network"
    if method.place == "input":
        return (
            "its gradient at the image passes through every layer, and the rounding of another "
            "runtime changes it by some percent"
        )
    if method.place == "network" or "guided gradients" in method.needs:
        return "it changes or reads what every layer of the network computes"
    return "it is not a formula of activations and gradients alone"
