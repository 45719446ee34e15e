"""Names of grad-cam, torchcam and captum, and what stands in their place in limelight."""

from __future__ import annotations

#: The classes of grad-cam, each with the method of limelight that computes the same.
GRAD_CAM_METHODS = {
    "GradCAM": "gradcam",
    "HiResCAM": "hirescam",
    "GradCAMElementWise": "gradcam-elementwise",
    "GradCAMPlusPlus": "gradcam++",
    "XGradCAM": "xgradcam",
    "LayerCAM": "layercam",
    "EigenCAM": "eigencam:centred=true",
    "EigenGradCAM": "eigengradcam:centred=true",
    "SegEigenCAM": "segeigencam",
    "KPCA_CAM": "kpcacam",
    "FEM": "fem",
    "ScoreCAM": "scorecam:softmax=true",
    "AblationCAM": "ablationcam",
    "ShapleyCAM": "shapleycam",
    "FullGrad": "fullgrad",
    "RandomCAM": "random",
}


#: Those of torchcam.
TORCHCAM_METHODS = {
    "CAM": "cam",
    "GradCAM": "gradcam",
    "GradCAMpp": "gradcam++",
    "SmoothGradCAMpp": "gradcam++",
    "XGradCAM": "xgradcam",
    "LayerCAM": "layercam",
    "ScoreCAM": "scorecam:softmax=true",
    "SSCAM": "sscam:softmax=true",
    "ISCAM": "iscam:softmax=true",
}


_OVERLAY = (
    "result.overlay() returns pictures in limelight's colours, "
    "result.overlay(alpha=0.5, colormap='jet') a blend as in the paper"
)
_FACTORIZE = "limelight.factorize(model, images, concepts=...) does the same"

#: Other names, each with what is used instead.
INSTEAD = {
    "show_cam_on_image": _OVERLAY,
    "overlay_mask": _OVERLAY,
    "DeepFeatureFactorization": _FACTORIZE,
    "run_dff_on_image": _FACTORIZE,
    "ClassifierOutputTarget": "a class is its index or its name: target=281, target='tabby'",
    "SemanticSegmentationTarget": "a region is target=limelight.Region(...)",
    "preprocess_image": "a Network prepares photos: network = limelight.load_model('resnet50'), "
    "limelight.explain(network, photo)",
    "load_image": "limelight.load_photo('cat.jpg') reads a photo",
}


#: Arguments of these libraries and guesses, each with the parameters of limelight, of which a
#: function has one, and with what to write if that does not follow from the name.
ARGUMENTS: dict[str, tuple[tuple[str, ...], str]] = {
    "target_layers": (("layer", "layers"), "a dotted path or a module, or a list of them"),
    "target_layer": (("layer", "layers"), "a dotted path or a module"),
    "layers": (("layer",), "a dotted path or a module, or a list of them"),
    "layer": (("layers",), "a list, or a single one"),
    "layer_name": (("layer", "layers"), "a dotted path or a module"),
    "input_tensor": (("inputs",), "the second argument, without a name"),
    "images": (("inputs",), "the second argument, without a name"),
    "image": (("inputs",), "the second argument, without a name"),
    "input": (("inputs",), "the second argument, without a name"),
    "photo": (("inputs", "photos"), ""),
    "targets": (("target",), "explain_each takes a list of targets"),
    "target": (("targets",), "a list, or a single one"),
    "target_category": (("target", "targets"), ""),
    "class_idx": (("target", "targets"), ""),
    "method": (("methods",), "a list, or a single one"),
    "methods": (("method",), "limelight.compare takes several"),
    "class_names": (("classes",), ""),
    "labels": (("classes",), ""),
    "aug_smooth": (("views",), "views=limelight.flips()"),
    "eigen_smooth": (("eigen",), "eigen=True"),
    "reshape_transform": (
        ("grid",),
        "grid=(height, width) where limelight does not find the grid of tokens by itself",
    ),
    "batch_size": (("chunk", "batch"), ""),
    "photos": (("inputs",), "photos are the second argument, of a Network"),
    "cmap": (("colormap",), ""),
    "width": (("style",), "style=limelight.FigureStyle(width='85mm')"),
    "dpi": (("style",), "style=limelight.FigureStyle(dpi=300)"),
    "font_size": (("style",), "style=limelight.FigureStyle(font_size=8)"),
    "figsize": (("style",), "style=limelight.FigureStyle(width='85mm')"),
    "opacity": (("alpha",), ""),
    "use_cuda": ((), "move the model and the images with .to('cuda')"),
}
