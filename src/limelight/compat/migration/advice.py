"""What to do about names of other libraries that a rewritten script still uses."""

from __future__ import annotations

_OVERLAY = (
    "it draws as before; result.overlay() returns pictures in limelight's colours, "
    "result.overlay(alpha=0.5, colormap='jet') a blend as in the paper"
)
_MEASURE = "limelight.measure(model, images, result, metrics=[...]) measures beside chance"

_OF_NAME = {
    "show_cam_on_image": _OVERLAY,
    "overlay_mask": _OVERLAY,
    "CamMultImageConfidenceChange": f"{_MEASURE}: 'increase', 'drop'",
    "DropInConfidence": f"{_MEASURE}: 'drop'",
    "IncreaseInConfidence": f"{_MEASURE}: 'increase'",
    "DeepFeatureFactorization": "limelight.factorize(model, images, concepts=...) does the same",
    "run_dff_on_image": "limelight.factorize(model, images, concepts=...) does the same",
    "LayerAttribution": "it resizes as before; result.heatmap has the size of the images already",
    "fuse_cams": "limelight.explain fuses a list of layers with fuse='max'",
}
_OF_MODULE = {
    "pytorch_grad_cam.metrics": _MEASURE,
    "torchcam.metrics": _MEASURE,
    "captum.metrics": _MEASURE,
}


def advice_on(name: str) -> str:
    """Return what to do about a name that stays; "" where nothing needs to be said.

    Args:
        name: The full name, with its module.
    """
    home, _, last = name.rpartition(".")
    if last in _OF_NAME:
        return f"{last}: {_OF_NAME[last]}"
    for module, advice in _OF_MODULE.items():
        if home.startswith(module):
            return f"{last}: {advice}"
    if last[:1].isupper() and home.startswith(("captum.attr", "torchcam.methods")):
        return f"{last}: limelight has no counterpart that can be put in its place"
    return ""
