"""The networks of `zoo.py`, with random weights, and their inputs.

torchvision: every classifier, segmenter, detector and video network. timm: the smallest member
with a classifier of every architecture module, except for those made for timm's own tests. Some
networks of both run at sizes that they pad, or that are not square. transformers: small networks
from configurations. Nothing is downloaded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils import _pytree as pytree

from limelight.inputs import Inputs

Size = tuple[int, ...]

#: What a network puts out: logits of classes (or an embedding), logits of pixels, boxes.
Kind = Literal["classes", "pixels", "boxes"]


@dataclass(frozen=True)
class Network:
    """A network of the zoo.

    Attributes:
        family, name: What it is called.
        kind: What it puts out.
        build: Builds it, with random weights.
        inputs: Makes its inputs.
        layer: A layer to name; None to have limelight choose.
        score: What is explained when no target is named, given the output and the explanation; None
            for what goes with the kind.
    """

    family: str
    name: str
    kind: Kind
    build: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    layer: str | None = None
    score: Callable[[Any, Any], Tensor] | None = None


def picture(*size: int, channels: int = 3) -> Tensor:
    """Return a picture `[1, C, *size]` in [0, 1]: blobs, edges and a little noise."""
    draw = torch.Generator().manual_seed(0)
    mode = {2: "bilinear", 3: "trilinear"}[len(size)]
    total = torch.zeros(1, channels, *size)
    for cells in (3, 7, 16):
        coarse = torch.randn(1, channels, *(min(cells, s) for s in size), generator=draw)
        total += interpolate(coarse, size=size, mode=mode)
    noisy = total + 0.1 * torch.randn(total.shape, generator=draw)
    return (noisy / 6 + 0.5).clamp(0, 1)


def standardised(*size: int, channels: int = 3) -> Tensor:
    """Return the picture, standardised as for classifiers."""
    return (picture(*size, channels=channels) - 0.5) / 0.25


def fill_zeros(model: nn.Module) -> None:
    """Replace weights that are zero everywhere, as in a fresh head, by draws from N(0, 0.02)."""
    for name, weight in model.named_parameters():
        if "bias" not in name and not weight.detach().any():
            nn.init.normal_(weight.detach(), std=0.02)


def settle(model: nn.Module, inputs: Inputs) -> None:
    """Fit batch norms to the picture and its mirror image; in fresh ones activations die out."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms or not isinstance(inputs, Tensor):
        return
    for norm in norms:
        norm.train()
        norm.momentum = None  # the mean of all that is seen
    with torch.no_grad():
        model(torch.cat([inputs, inputs.flip(-1)]))
    model.eval()


def picture_in(inputs: Inputs) -> Tensor:
    """Return the picture among the inputs of a network."""
    return inputs if isinstance(inputs, Tensor) else pytree.tree_leaves(inputs)[0]


def redraw(model: nn.Module) -> None:
    """Draw weights so large that each layer keeps the size of what it is given.

    With weights as small as some libraries draw them, all that a picture changes is rounded away.
    """
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "weight" in name:
            nn.init.normal_(weight.detach(), std=weight[0].numel() ** -0.5)


def torchvision_networks() -> Iterator[Network]:
    """Find every classifier, segmenter, detector and video network."""
    from torchvision import models

    groups: list[tuple[Any, Kind]] = [
        (models, "classes"),
        (models.segmentation, "pixels"),
        (models.detection, "boxes"),
        (models.video, "classes"),
    ]
    for module, kind in groups:
        for name in models.list_models(module=module):
            options: dict[str, Any] = {"weights": None}
            size: Size = (299, 299) if name == "inception_v3" else (224, 224)
            if kind in ("pixels", "boxes"):
                options["weights_backbone"] = None
            if kind == "boxes":  # with random weights no box is sure enough
                size = (320, 320)
                two_stage = name.startswith(("faster", "mask", "keypoint"))
                options["box_score_thresh" if two_stage else "score_thresh"] = 0.0
            elif module is models.video:
                frames = 8 if name.startswith("swin") else 16
                size = (frames, 112, 112) if name[:2] in ("r3", "mc", "r2") else (frames, 224, 224)
            elif name in ("googlenet", "inception_v3"):
                options["init_weights"] = False  # minutes of it
            build = partial(models.get_model, name, **options)
            inputs = picture if kind == "boxes" else standardised
            yield Network("torchvision", name, kind, build, partial(inputs, *size))
            if name in TORCHVISION_SIZES:
                size = TORCHVISION_SIZES[name]
                yield Network("torchvision", at(name, size), kind, build, partial(inputs, *size))


#: Some at another size: one that does not divide by patches and windows, or is not square.
TORCHVISION_SIZES: dict[str, Size] = {
    "resnet18": (160, 288),
    "swin_t": (230, 230),
    "swin_v2_t": (230, 230),
    "lraspp_mobilenet_v3_large": (160, 288),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (160, 288),
    "ssdlite320_mobilenet_v3_large": (160, 288),
}


def at(name: str, size: Size) -> str:
    """Return the name of a network at a size other than its own."""
    return f"{name} at {by(size)}"


def by(shape: Sequence[int]) -> str:
    """Return a shape as text."""
    return " x ".join(map(str, shape))


def timm_networks() -> Iterator[Network]:
    """Find the smallest member with a classifier of every architecture module."""
    import timm

    for module in timm.list_modules():
        weights, shapes = dict[str, int](), dict[str, Size]()
        for name in timm.list_models(module=module):
            config = timm.get_pretrained_cfg(name)
            if name.startswith("test_") or (config is not None and not config.num_classes):
                continue
            with torch.device("meta"):
                made = timm.create_model(name)
            weights[name] = sum(weight.numel() for weight in made.parameters())
            shapes[name] = made.default_cfg["input_size"]
        if weights:
            name = min(weights, key=lambda name: weights[name])
            channels, *sides = shapes[name]
            build = partial(timm.create_model, name)
            inputs = partial(standardised, *sides, channels=channels)
            yield Network("timm", f"{module}: {name}", "classes", build, inputs)
    for (size, told), names in TIMM_SIZES.items():
        for name in names.split():
            build = partial(timm.create_model, name, **({"img_size": size} if told else {}))
            yield Network("timm", at(name, size), "classes", build, partial(standardised, *size))


#: By another size, and whether networks have to be told: their names.
TIMM_SIZES: dict[tuple[Size, bool], str] = {
    ((230, 230), True): "swin_tiny_patch4_window7_224 swinv2_tiny_window8_256",
    ((230, 230), False): "davit_tiny focalnet_tiny_srf",
    ((160, 288), True): """
        vit_tiny_patch16_224 vit_wee_patch16_reg1_gap_256 deit_tiny_distilled_patch16_224
        beit_base_patch16_224 cait_xxs24_224 coat_tiny hiera_tiny_224 levit_128s mixer_s32_224
        pit_ti_224 swin_tiny_patch4_window7_224 tnt_s_legacy_patch16_224 twins_svt_small
        volo_d1_224 xcit_nano_12_p16_224""",
    ((160, 288), False): "crossvit_tiny_240 mobilevit_xxs pvt_v2_b0 tiny_vit_5m_224",
    ((168, 280), True): "eva02_tiny_patch14_224",
}


#: Small transformers: three blocks of 32 channels, 14 by 14 patches.
PATCHES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 224,
    "patch_size": 16,
}
WINDOWS: dict[str, Any] = {"embed_dim": 16, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8]}
STAGES: dict[str, Any] = {"hidden_sizes": [8, 16, 40, 64], "depths": [1, 1, 1, 1]}
RESNET = {**STAGES, "embedding_size": 8, "layer_type": "basic"}
DETR: dict[str, Any] = {
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64),
    "d_model": 32,
    "num_queries": 10,
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
}
WORDS = {**PATCHES, "vocab_size": 100, "eos_token_id": 99, "projection_size": 32}

CLASSIFIER, SEGMENTER, DETECTOR = (
    f"For{task}" for task in ("ImageClassification", "SemanticSegmentation", "ObjectDetection")
)

#: Names, how they end, the options of their configurations, and the picture's size.
CONFIGS: list[tuple[str, str, dict[str, Any], Size]] = [
    ("ViT ViTMSN DeiT Beit Data2VecVision", CLASSIFIER, PATCHES, (224, 224)),
    ("ViT", CLASSIFIER, {**PATCHES, "image_size": (160, 288)}, (160, 288)),
    ("DeiT", f"{CLASSIFIER}WithTeacher", PATCHES, (224, 224)),
    ("Dinov2 Dinov2WithRegisters", CLASSIFIER, {**PATCHES, "patch_size": 14}, (224, 224)),
    ("Dinov2", "Model", {**PATCHES, "patch_size": 14}, (224, 224)),
    ("Swin", CLASSIFIER, WINDOWS, (224, 224)),
    ("Swin", CLASSIFIER, {**WINDOWS, "image_size": 230}, (230, 230)),
    ("Swinv2", CLASSIFIER, {**WINDOWS, "image_size": 256, "window_size": 8}, (256, 256)),
    ("ResNet", CLASSIFIER, RESNET, (224, 224)),
    ("RegNet", CLASSIFIER, {**RESNET, "layer_type": "x", "groups_width": 8}, (224, 224)),
    ("ConvNext ConvNextV2 PoolFormer Pvt PvtV2 Segformer", CLASSIFIER, STAGES, (224, 224)),
    ("Levit", CLASSIFIER, {"hidden_sizes": [32, 48, 64], "depths": [2, 2, 2]}, (224, 224)),
    ("Cvt", CLASSIFIER, {}, (224, 224)),
    ("Hiera", CLASSIFIER, {"embed_dim": 32, "depths": [1, 1, 2, 1]}, (224, 224)),
    ("MobileViT", CLASSIFIER, {}, (256, 256)),
    ("MobileViT", SEGMENTER, {"num_labels": 5}, (256, 256)),
    ("Segformer", SEGMENTER, {**STAGES, "decoder_hidden_size": 32, "num_labels": 5}, (224, 224)),
    ("Detr ConditionalDetr", DETECTOR, DETR, (224, 224)),
    ("Yolos", DETECTOR, {**PATCHES, "image_size": (224, 224)}, (224, 224)),
    ("CLIPVision", "ModelWithProjection", PATCHES, (224, 224)),
]


def transformers_networks() -> Iterator[Network]:
    """Build small networks from configurations, with pictures and patches of the usual sizes."""
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)

    def build(name: str, options: dict[str, Any]) -> nn.Module:
        if options is DETR:
            ending = {**RESNET, "out_features": ["stage4"]}
            options = {**options, "backbone_config": transformers.ResNetConfig(**ending)}
        kind = getattr(transformers, name)
        made: nn.Module = kind(kind.config_class(**options))
        return made

    kinds: dict[str, Kind] = {SEGMENTER: "pixels", DETECTOR: "boxes"}
    for heads, end, options, size in CONFIGS:
        for name in (f"{head}{end}" for head in heads.split()):
            shown = name if size == (224, 224) else at(name, size)
            made, kind = partial(build, name, options), kinds.get(end, "classes")
            yield Network("transformers", shown, kind, made, partial(standardised, *size))
    for name in ("CLIPModel", "SiglipModel"):
        for texts, words, side in ((3, 8, 224), (1, 16, 64), (1, 17, 64)):
            options = {"text_config": WORDS, "vision_config": {**PATCHES, "image_size": side}}
            made, shown = partial(build, name, options), f"{name} with {texts} x {words} words"
            inputs = partial(with_texts, texts, words, side)
            yield Network("transformers", shown, "classes", made, inputs)


def with_texts(count: int, words: int, side: int) -> dict[str, Tensor]:
    """Return a picture, and texts to compare with it."""
    texts = torch.randint(1, 99, (count, words), generator=torch.Generator().manual_seed(0))
    texts[:, -1] = WORDS["eos_token_id"]
    shown = {"pixel_values": standardised(side, side), "input_ids": texts}
    return {**shown, "attention_mask": torch.ones_like(texts)}


#: By library.
NETWORKS: dict[str, Callable[[], Iterator[Network]]] = {
    "torchvision": torchvision_networks,
    "timm": timm_networks,
    "transformers": transformers_networks,
}
