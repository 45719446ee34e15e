"""Networks of the zoo from other libraries, for other tasks than naming the picture.

Detectors, segmenters, networks for volumes, adapters, and pairs of pictures and texts, each as its
library builds it, with random weights. A library that is not installed is left out. Nothing is
downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from zoo_networks import PATCHES, RESNET, WINDOWS, Kind, Network, picture, standardised
from zoo_places import library

#: The pictures of detectors and segmenters, rows and columns.
SIZE = (192, 256)
#: The sides of volumes.
VOLUME = (64, 64, 64)


def ultralytics_networks() -> Iterator[Network]:
    """Build five families of YOLO, the smallest of each, for every task that they have."""
    if not find_spec("ultralytics"):
        return
    families = {"yolov8n": True, "yolov10n": False, "yolo11n": True, "yolo12n": True}
    for family, has_tasks in {**families, "yolo26n": True}.items():
        for task in ("", "-seg", "-pose", "-obb", "-cls") if has_tasks else ("",):
            name = f"{family}{task}"
            kind: Kind = "classes" if task == "-cls" else "boxes"
            build = partial(_yolo, f"{name}.yaml")
            score = probabilities_first if task == "-cls" else None
            inputs = partial(picture, *SIZE)
            yield Network("ultralytics", name, kind, build, inputs, score=score)


def _yolo(name: str) -> nn.Module:
    from ultralytics import YOLO

    model: nn.Module = YOLO(name, verbose=False).model
    return model.float().eval()


def probabilities_first(output: Any, _found: object) -> Tensor:
    """Return the highest logit of a classifier that returns its probabilities before them."""
    highest: Tensor = output[1].amax()
    return highest


def smp_networks() -> Iterator[Network]:
    """Build every architecture of segmentation_models_pytorch, for four classes and for one."""
    if not find_spec("segmentation_models_pytorch"):
        return
    import segmentation_models_pytorch as smp

    names = "Unet UnetPlusPlus MAnet Linknet FPN PSPNet PAN DeepLabV3 DeepLabV3Plus UPerNet "
    for name in (names + "Segformer DPT").split():
        encoder = "tu-vit_tiny_patch16_224" if name == "DPT" else "resnet18"
        size = (224, 224) if name == "DPT" else SIZE
        for classes in (4, 1):
            build = partial(
                getattr(smp, name),
                **({"dynamic_img_size": True} if name == "DPT" else {}),
                encoder_name=encoder,
                encoder_weights=None,
                classes=classes,
            )
            shown = f"{name}, {classes} class{'es' if classes > 1 else ''}"
            score = None if classes > 1 else positive_pixels
            inputs = partial(standardised, *size)
            yield Network("smp", shown, "pixels", build, inputs, score=score)


def positive_pixels(output: Any, _found: object) -> Tensor:
    """Return the mean logit of the only class where it is predicted, or else everywhere."""
    logits = output[0]
    inside = logits > 0
    mean: Tensor = logits[inside].mean() if inside.any() else logits.mean()
    return mean


def monai_networks() -> Iterator[Network]:
    """Build networks of MONAI for volumes."""
    if not find_spec("monai"):
        return
    from monai.networks import nets

    three: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3}
    classify: dict[str, Any] = {**three, "out_channels": 5}
    steps: dict[str, Any] = {"channels": (8, 16, 32), "strides": (2, 2)}
    vit: dict[str, Any] = {"img_size": VOLUME, "hidden_size": 48, "mlp_dim": 64, "num_heads": 2}
    dynamic: dict[str, Any] = {
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [8, 16, 32],
    }
    resnet: dict[str, Any] = {"spatial_dims": 3, "n_input_channels": 1, "num_classes": 5}
    makers: dict[str, tuple[Kind, Callable[[], nn.Module]]] = {
        "DenseNet121": ("classes", lambda: nets.DenseNet121(**classify)),
        "resnet18": ("classes", lambda: nets.resnet18(**resnet)),
        "SEResNet50": ("classes", lambda: nets.SEResNet50(spatial_dims=3, in_channels=1)),
        "EfficientNetBN": (
            "classes",
            lambda: nets.EfficientNetBN(
                "efficientnet-b0", pretrained=False, spatial_dims=3, in_channels=1, num_classes=5
            ),
        ),
        "ViT": (
            "classes",
            lambda: _FirstOf(nets.ViT(1, patch_size=16, classification=True, **vit)),
        ),
        "UNet": ("pixels", lambda: nets.UNet(**three, **steps)),
        "UNet with residual units": (
            "pixels",
            lambda: nets.UNet(**three, **steps, num_res_units=2),
        ),
        "BasicUNet": ("pixels", lambda: nets.BasicUNet(**three, features=(8, 8, 16, 32, 32, 8))),
        "AttentionUnet": ("pixels", lambda: nets.AttentionUnet(**three, **steps)),
        "UNETR": (
            "pixels",
            lambda: nets.UNETR(1, 3, feature_size=8, **{**vit, "hidden_size": 48}),
        ),
        "SwinUNETR": ("pixels", lambda: nets.SwinUNETR(1, 3, feature_size=12)),
        "SegResNet": ("pixels", lambda: nets.SegResNet(3, 8, 1, 3)),
        "VNet": ("pixels", lambda: nets.VNet(3, 1, 3)),
        "HighResNet": ("pixels", lambda: nets.HighResNet(3, 1, 3)),
        "DynUNet": ("pixels", lambda: nets.DynUNet(3, 1, 3, **dynamic)),
    }
    for name, (kind, build) in makers.items():
        inputs = partial(standardised, *VOLUME, channels=1)
        yield Network("monai", name, kind, build, inputs)


class _FirstOf(nn.Module):
    """A network whose first output is taken."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        return self.net(x)[0]


def peft_networks() -> Iterator[Network]:
    """Put LoRA adapters, as after training, into transformers and a ResNet."""
    if not find_spec("peft"):
        return
    import timm
    import transformers

    vit = partial(timm.create_model, "vit_tiny_patch16_224", num_classes=10)
    hf_vit = partial(_from_config, transformers.ViTForImageClassification, PATCHES)
    swin = partial(_from_config, transformers.SwinForImageClassification, WINDOWS)
    resnet = partial(timm.create_model, "resnet18", num_classes=10)
    for name, make, modules in (
        ("timm ViT, queries, keys and values", vit, ["qkv"]),
        ("timm ViT, every linear layer", vit, "all-linear"),
        ("transformers ViT, queries and values", hf_vit, ["q_proj", "v_proj"]),
        ("transformers ViT, every linear layer", hf_vit, "all-linear"),
        ("transformers Swin, queries and values", swin, ["q_proj", "v_proj"]),
        ("timm ResNet, convolutions", resnet, ["conv1", "conv2"]),
    ):
        build = partial(_adapted, make, modules)
        yield Network("peft", name, "classes", build, partial(standardised, 224, 224))


def _from_config(kind: Any, options: dict[str, Any]) -> nn.Module:
    made: nn.Module = kind(kind.config_class(**options))
    return made


def _adapted(make: Callable[[], nn.Module], modules: Any) -> nn.Module:
    """Return a network with adapters that a dropout precedes; their weights are drawn."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, lora_dropout=0.1, target_modules=modules)
    model: nn.Module = get_peft_model(make(), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight.detach(), std=0.02)
    return model


def open_clip_networks() -> Iterator[Network]:
    """Build networks of open_clip, which compare a picture with three texts."""
    if not find_spec("open_clip"):
        return
    import open_clip

    for name in ("ViT-B-32", "RN50", "convnext_base", "ViT-B-16-SigLIP"):
        build = partial(open_clip.create_model, name, pretrained=None, load_weights=False)
        inputs = partial(_with_tokens, 64 if "SigLIP" in name else 77)
        yield Network("open_clip", name, "classes", build, inputs, score=best_text)


def _with_tokens(length: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return standardised(224, 224), torch.randint(1, 400, (3, length), generator=draw)


def best_text(output: Any, _found: object) -> Tensor:
    """Return the logit of the most similar text."""
    picture_, texts, scale = output[:3]
    highest: Tensor = (scale * picture_ @ texts.T).amax()
    return highest


def task_networks() -> Iterator[Network]:
    """Build detectors, segmenters and depth networks of transformers from configurations."""
    hf = library()
    backbone = hf.ResNetConfig(**RESNET, out_features=["stage2", "stage3", "stage4"])
    small: dict[str, Any] = {
        **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64),
        "d_model": 32,
        "num_queries": 20,
    }
    rt: dict[str, Any] = {
        **small,
        "encoder_hidden_dim": 32,
        "encoder_in_channels": [16, 40, 64],
        "feat_strides": [8, 16, 32],
        "decoder_in_channels": [32, 32, 32],
        "backbone_config": backbone,
        "anchor_image_size": None,
    }
    for name in ("RTDetr", "RTDetrV2", "DFine"):
        kind = getattr(hf, f"{name}ForObjectDetection")
        yield _task(name, "boxes", partial(_from_config, kind, rt))
    deformable = {**small, "backbone_config": backbone, "num_feature_levels": 3}
    kind = hf.DeformableDetrForObjectDetection
    yield _task("DeformableDetr", "boxes", partial(_from_config, kind, deformable))
    swin: dict[str, Any] = {**WINDOWS, "out_features": ["stage1", "stage2", "stage3", "stage4"]}
    masks: dict[str, Any] = {"num_queries": 10, "num_labels": 5}
    former: dict[str, Any] = {
        **masks,
        "backbone_config": hf.SwinConfig(**swin),
        "fpn_feature_size": 32,
        "mask_feature_size": 32,
    }
    yield _task("MaskFormer", "pixels", partial(_maskformer, former), semantic)
    two: dict[str, Any] = {
        **masks,
        "backbone_config": hf.SwinConfig(**swin),
        **dict.fromkeys(("feature_size", "mask_feature_size", "hidden_dim"), 32),
        "encoder_feedforward_dim": 64,
        "dim_feedforward": 64,
        **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
        "num_attention_heads": 2,
    }
    kind = hf.Mask2FormerForUniversalSegmentation
    yield _task("Mask2Former", "pixels", partial(_from_config, kind, two), semantic)
    eomt: dict[str, Any] = {**PATCHES, **masks, "num_blocks": 1, "num_upscale_blocks": 2}
    kind = hf.EomtForUniversalSegmentation
    build = partial(_from_config, kind, eomt)
    yield _task("EoMT", "pixels", build, semantic, size=(224, 224))
    dpt: dict[str, Any] = {
        **PATCHES,
        "num_hidden_layers": 4,
        "backbone_out_indices": [0, 1, 2, 3],
        "neck_hidden_sizes": [8, 16, 32, 32],
        "fusion_hidden_size": 16,
        "is_hybrid": False,
        "num_labels": 5,
    }
    build = partial(_from_config, hf.DPTForSemanticSegmentation, dpt)
    yield _task("DPT, classes", "pixels", build, size=(224, 224))
    build = partial(_from_config, hf.DPTForDepthEstimation, dpt)
    yield _task("DPT, depth", "pixels", build, mean_depth, size=(224, 224))
    uper: dict[str, Any] = {
        "backbone_config": hf.SwinConfig(**swin),
        "hidden_size": 32,
        "num_labels": 5,
        "use_auxiliary_head": False,
    }
    build = partial(_from_config, hf.UperNetForSemanticSegmentation, uper)
    yield _task("UperNet", "pixels", build)


def _maskformer(options: dict[str, Any]) -> nn.Module:
    hf = library()
    decoder = hf.DetrConfig(
        d_model=32,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=64,
        num_queries=10,
        backbone_config=hf.ResNetConfig(**RESNET),
    )
    options = {**options, "decoder_config": decoder}
    return _from_config(hf.MaskFormerForInstanceSegmentation, options)


def _task(
    name: str,
    kind: Kind,
    build: Callable[[], nn.Module],
    score: Callable[[Any, Any], Tensor] | None = None,
    size: tuple[int, int] = SIZE,
) -> Network:
    return Network("tasks", name, kind, build, partial(standardised, *size), score=score)


def semantic(output: Any, _found: object) -> Tensor:
    """Return the mean of the class predicted on most pixels, there, as masks are combined.

    The score of a class is `sum_q softmax(class)[q, c] sigmoid(mask)[q]`.
    """
    classes = output.class_queries_logits.softmax(-1)[0, :, :-1]
    dense = torch.einsum("qc,qhw->chw", classes, output.masks_queries_logits[0].sigmoid())
    predicted = dense.argmax(0)
    most = predicted.flatten().bincount().argmax()
    return dense[most][predicted == most].mean()


def mean_depth(output: Any, _found: object) -> Tensor:
    """Return the mean depth where it is positive, or else everywhere."""
    return positive_pixels(output.predicted_depth[:, None], None)


#: By library.
TASK_NETWORKS: dict[str, Callable[[], Iterator[Network]]] = {
    "ultralytics": ultralytics_networks,
    "smp": smp_networks,
    "monai": monai_networks,
    "peft": peft_networks,
    "open_clip": open_clip_networks,
    "tasks": task_networks,
}
