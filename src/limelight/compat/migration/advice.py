"""What to do about names of other libraries that a rewritten script still uses."""

from __future__ import annotations

from limelight.peer_names import INSTEAD

_AS_BEFORE = ("show_cam_on_image", "overlay_mask")
_MEASURE = "limelight.measure(model, images, result, metrics=[...]) measures beside chance"

_OF_NAME = {
    **{name: f"it draws as before; {INSTEAD[name]}" for name in _AS_BEFORE},
    "CamMultImageConfidenceChange": f"{_MEASURE}: 'increase', 'average-drop'",
    "DropInConfidence": f"{_MEASURE}: 'average-drop'",
    "IncreaseInConfidence": f"{_MEASURE}: 'increase'",
    "DeepFeatureFactorization": INSTEAD["DeepFeatureFactorization"],
    "run_dff_on_image": INSTEAD["run_dff_on_image"],
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
