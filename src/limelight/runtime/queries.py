"""The boxes that DETR and its relatives propose: one for each query, as `pred_boxes`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limelight.inputs import ModelInputs
from limelight.targets.mask_outputs import part_named

#: The tokens that stand between the prompts of GroundingDINO: [PAD], [CLS], [SEP], "." and "?".
_BETWEEN_PROMPTS = (0, 101, 102, 1012, 1029)


def read_queries(
    output: Any, inputs: ModelInputs, model: nn.Module
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return boxes `[B, N, 4]` in pixels, logits and probabilities `[B, N, C]`; None without any.

    The output holds `pred_boxes` (centre, width, height, as shares) and `logits` or `pred_logits`.
    A network of transformers says by its configuration how they are meant: as many logits as labels
    are a sigmoid each, one more is a softmax whose last class is "no object". For a network with
    prompts each logit is a sigmoid. For any other network the last class is "no object", if there
    are several.
    """
    boxes, logits = part_named(output, "pred_boxes"), part_named(output, "logits")
    logits = part_named(output, "pred_logits") if logits is None else logits
    if not isinstance(boxes, Tensor) or not isinstance(logits, Tensor):
        return None
    if boxes.ndim != 3 or boxes.shape[2] != 4 or boxes.shape[:2] != logits.shape[:2]:
        return None
    height, width = inputs.image.shape[-2:]
    centre, size = boxes[..., :2], boxes[..., 2:]
    corners = torch.cat([centre - size / 2, centre + size / 2], -1).clamp(0, 1)
    pixels = corners * corners.new_tensor([width, height, width, height])
    config = _configuration(model)
    if "grounding-dino" in getattr(config, "model_type", "").replace("_", "-"):
        logits = _by_prompt(logits, inputs)
    if _last_is_no_object(logits.shape[-1], config):
        return pixels, logits[..., :-1], logits.detach().softmax(-1)[..., :-1]
    return pixels, logits, logits.detach().sigmoid()


def _configuration(model: nn.Module) -> Any:
    """Return the configuration of the network of transformers in a model; None if there is none."""
    configs = (getattr(module, "config", None) for module in model.modules())
    return next((config for config in configs if hasattr(config, "num_labels")), None)


def _last_is_no_object(class_count: int, config: Any) -> bool:
    """Return whether the last of the logits means "no object"."""
    if class_count == 1:
        return False
    if config is None:
        return True
    return not hasattr(config, "text_config") and class_count != config.num_labels


def _by_prompt(logits: Tensor, inputs: ModelInputs) -> Tensor:
    """Return the logits `[B, N, prompts]`, from those of each token of the text `[B, N, tokens]`.

    The logit of a prompt is the largest of its tokens. If the images have different numbers of
    prompts, or the tokens are not known, the logits stay those of the tokens.
    """
    words = inputs.kwargs.get("input_ids")
    if not isinstance(words, Tensor) or words.ndim != 2:
        return logits
    rows = words if len(words) == len(logits) else words[:1].expand(len(logits), -1)
    prompts = [_runs(row) for row in rows.tolist()]
    counts = {len(of_image) for of_image in prompts}
    if len(counts) != 1 or counts == {0}:
        return logits
    by_image = [
        torch.stack([of_tokens[:, first:end].amax(1) for first, end in of_image], 1)
        for of_tokens, of_image in zip(logits, prompts, strict=True)
    ]
    return torch.stack(by_image)


def _runs(tokens: Sequence[int]) -> list[tuple[int, int]]:
    """Return where each prompt begins and ends: the runs of tokens that stand between others."""
    runs, first = list[tuple[int, int]](), None
    for place, token in enumerate([*tokens, _BETWEEN_PROMPTS[0]]):
        if token in _BETWEEN_PROMPTS and first is not None:
            runs.append((first, place))
            first = None
        elif token not in _BETWEEN_PROMPTS and first is None:
            first = place
    return runs
