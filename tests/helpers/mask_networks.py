"""Small networks that propose masks or heatmaps, and tiny ones of transformers like them."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.ops import MultiScaleRoIAlign

from helpers.shapes import Pyramid, faster_rcnn

CLASSES = 4
QUERIES = 6
PICTURE = (3, 32, 48)


class Body(nn.Module):
    """What all small networks here begin with: a grid at a quarter of the picture's size."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.late = nn.Conv2d(8, 8, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        late: Tensor = self.late(self.early(x).tanh())
        return late


class MaskClassifier(nn.Module):
    """Queries that look at the picture, each with class logits and a mask: a MaskFormer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()
        self.queries = nn.Parameter(torch.randn(QUERIES, 8))
        self.classes = nn.Linear(8, CLASSES + 1)
        self.pixels = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> SimpleNamespace:
        grid = self.body(x).tanh()
        seen = torch.einsum("qk,bkhw->bqhw", self.queries, grid).flatten(2).softmax(2)
        values = self.queries + 3 * torch.einsum("bqn,bkn->bqk", seen, grid.flatten(2))
        masks = torch.einsum("bqk,bkhw->bqhw", values, self.pixels(grid))
        return SimpleNamespace(
            class_queries_logits=3 * self.classes(values), masks_queries_logits=masks
        )


class Prompted(nn.Module):
    """Three masks of a point, and how good each is: a SAM."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()
        self.point = nn.Linear(2, 8)
        self.masks = nn.Linear(8, 3 * 8)
        self.quality = nn.Linear(8, 3)

    def forward(self, pixel_values: Tensor, input_points: Tensor) -> SimpleNamespace:
        grid = self.body(pixel_values).tanh()
        prompt = self.point(input_points / 32).tanh() + grid.mean((2, 3))[:, None]
        weights = self.masks(prompt).unflatten(2, (3, 8))
        return SimpleNamespace(
            pred_masks=torch.einsum("bpmk,bkhw->bpmhw", weights, grid),
            iou_scores=self.quality(prompt).sigmoid(),
        )


class Heatmaps(nn.Module):
    """A heatmap for each of five keypoints."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()
        self.head = nn.Conv2d(8, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        heatmaps: Tensor = self.head(self.body(x).tanh())
        return heatmaps


def mask_rcnn() -> FasterRCNN:
    """Return a Mask R-CNN without training, which returns a few boxes, each with its mask."""
    detector = faster_rcnn()
    heads: Any = detector.roi_heads
    heads.score_thresh, heads.detections_per_img = 0.0, 5
    heads.mask_roi_pool = MultiScaleRoIAlign(["0", "1"], output_size=7, sampling_ratio=2)
    width = Pyramid.out_channels
    heads.mask_head = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.Tanh())
    heads.mask_predictor = nn.Conv2d(width, 4, 1)
    with torch.no_grad():
        heads.mask_predictor.bias.fill_(0.3)  # so that no mask is empty
    return detector


def transformers_network(kind: str) -> tuple[nn.Module, Any, str]:
    """Return a tiny network of transformers with random weights, two pictures, and a layer."""
    torch.manual_seed(0)
    model, inputs, layer = _BUILDERS[kind](import_module("transformers"))
    return model.double().eval(), inputs, layer


def _swin(hf: Any) -> Any:
    return hf.SwinConfig(
        image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=2,
        out_features=[f"stage{i}" for i in range(1, 5)],
    )  # fmt: skip


def _pictures(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width, dtype=torch.float64)


def _mask2former(hf: Any) -> tuple[nn.Module, Any, str]:
    config = hf.Mask2FormerConfig(
        backbone_config=_swin(hf), hidden_dim=32, feature_size=32, mask_feature_size=32,
        encoder_feedforward_dim=16, dim_feedforward=16, encoder_layers=1, decoder_layers=2,
        num_attention_heads=2, num_queries=QUERIES, num_labels=CLASSES,
    )  # fmt: skip
    layer = "model.pixel_level_module.decoder.input_projections.0"
    return hf.Mask2FormerForUniversalSegmentation(config), _pictures(64, 96), layer


def _maskformer(hf: Any) -> tuple[nn.Module, Any, str]:
    decoder = hf.DetrConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16, decoder_ffn_dim=16,
        num_queries=QUERIES, encoder_attention_heads=2, decoder_attention_heads=2,
    )  # fmt: skip
    config = hf.MaskFormerConfig(
        backbone_config=_swin(hf), decoder_config=decoder, fpn_feature_size=32,
        mask_feature_size=32, num_labels=CLASSES,
    )  # fmt: skip
    layer = "model.transformer_module.input_projection"
    return hf.MaskFormerForInstanceSegmentation(config), _pictures(64, 96), layer


def _eomt(hf: Any) -> tuple[nn.Module, Any, str]:
    config = hf.EomtConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=8,
        num_blocks=1, num_queries=QUERIES, num_labels=CLASSES, num_upscale_blocks=1, mlp_ratio=1,
    )  # fmt: skip
    return hf.EomtForUniversalSegmentation(config), _pictures(64, 64), "layers.1"


def _sam(hf: Any) -> tuple[nn.Module, Any, str]:
    vision = hf.SamVisionConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=8,
        output_channels=8, global_attn_indexes=[1], window_size=4, mlp_dim=16, num_pos_feats=4,
    )  # fmt: skip
    prompt = hf.SamPromptEncoderConfig(
        hidden_size=8, image_size=64, patch_size=8, mask_input_channels=4
    )
    decoder = hf.SamMaskDecoderConfig(
        hidden_size=8, mlp_dim=16, num_hidden_layers=1, num_attention_heads=2,
        iou_head_hidden_dim=8, attention_downsample_rate=1,
    )  # fmt: skip
    config = hf.SamConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    points = torch.tensor([[[[20.0, 30.0]]], [[[40.0, 30.0]]]], dtype=torch.float64)
    inputs = {"pixel_values": _pictures(64, 64), "input_points": points}
    return hf.SamModel(config), inputs, "vision_encoder.neck"


def _vitpose(hf: Any) -> tuple[nn.Module, Any, str]:
    backbone = hf.VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[8, 8], hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, mlp_ratio=2, out_indices=[2],
    )  # fmt: skip
    config = hf.VitPoseConfig(backbone_config=backbone, num_labels=5)
    return hf.VitPoseForPoseEstimation(config), _pictures(64, 48), "backbone.encoder.layer.0"


_BUILDERS = {
    "mask2former": _mask2former,
    "maskformer": _maskformer,
    "eomt": _eomt,
    "sam": _sam,
    "vitpose": _vitpose,
}
