"""An exported ONNX model, changed: its body in 8 bits, or its preprocessing inside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from limelight.errors import ModelError, OptionError
from limelight.exporting.formats import run_onnx
from limelight.exporting.int8 import body_nodes, quantise
from limelight.exporting.plan import MOST_COMPARED, ExportPlan
from limelight.exporting.preprocessing_graph import with_preprocessing
from limelight.photos.crops import CroppedPhoto
from limelight.photos.preprocess import Preprocess

if TYPE_CHECKING:
    import onnx


def computing_in_int8(
    model: onnx.ModelProto, plan: ExportPlan, layer_values: Sequence[str]
) -> tuple[onnx.ModelProto, dict[str, float | None]]:
    """Return an exported model whose body computes in 8 bits, and what that changes.

    The first, third, ... of the images calibrate it, and the others are compared; of a single image
    both. What changes is given as `same_class`, the share of images whose predicted class stays,
    and `raw_correlation` and `lowest_raw_correlation`, the mean and the lowest correlation of raw
    maps of the class that the model in floating point predicts; None if all maps are the same
    everywhere.

    Args:
        model: The model, which also returns the layers' outputs.
        plan: The network, and what was exported of it.
        layer_values: The names of the layers' outputs, which are taken out.

    Raises:
        OptionError: No layer with weights comes before the cut.
    """
    if not any(node.op_type in ("Conv", "Gemm", "MatMul") for node in _body(model, layer_values)):
        raise OptionError(
            "int8=True lets the network compute in 8 bits up to the layer, and there is nothing "
            "to compute before it. Take a later layer, or leave int8 out."
        )
    images, count = plan.images, plan.batch or 1
    calibration, tested = images[::2], images[1::2] if len(images) > 1 else images
    fed = [
        {"image": rows.detach().cpu().numpy(), "target": np.full(count, -1)}
        for rows in _in_batches(calibration, count)
    ]
    quantised = quantise(model, layer_values, fed)
    for each in (model, quantised):
        kept = [output for output in each.graph.output if output.name not in layer_values]
        del each.graph.output[:]
        each.graph.output.extend(kept)
    return quantised, _lost(model, quantised, plan, tested)


def _body(model: onnx.ModelProto, layer_values: Sequence[str]) -> Sequence[onnx.NodeProto]:
    """Return the nodes that make the layers' outputs."""
    made = {value for node in model.graph.node for value in node.output}
    return body_nodes(model, [name for name in layer_values if name in made])


def _in_batches(images: Tensor, count: int) -> list[Tensor]:
    """Return images in batches of a size, the last one filled up with the first images."""
    rows = torch.arange(-(-len(images) // count) * count, device=images.device) % len(images)
    return [images[rows[at : at + count]] for at in range(0, len(rows), count)]


def _lost(
    model: onnx.ModelProto, quantised: onnx.ModelProto, plan: ExportPlan, images: Tensor
) -> dict[str, float | None]:
    """Return what 8 bits change on images."""
    run, run_quantised = run_onnx(model), run_onnx(quantised)
    maps = plan.described
    same, correlations = list[bool](), list[float]()
    for rows in _in_batches(images, plan.batch or 1):
        predicted = torch.full((len(rows),), -1, dtype=torch.long, device="cpu")
        outputs = run(rows, predicted)
        _, index = plan.reading.score(outputs["logits"], predicted)
        others = run_quantised(rows, index)
        _, other_index = plan.reading.score(others["logits"], predicted)
        same += (index == other_index).tolist()
        for each in maps:
            pairs = torch.stack([outputs[each.raw].flatten(1), others[each.raw].flatten(1)], 1)
            by_image = (float(torch.corrcoef(pair)[0, 1]) for pair in pairs)
            # A map that is the same everywhere correlates with nothing.
            correlations += [each for each in by_image if math.isfinite(each)]
    same = same[: len(images)]  # the last batch was filled up
    return {
        "images": len(images),
        "same_class": sum(same) / len(same),
        "raw_correlation": sum(correlations) / len(correlations) if correlations else None,
        "lowest_raw_correlation": min(correlations, default=None),
    }


#: The largest difference that preprocessing inside the file may make, relative to the largest
#: value: Pillow rounds to 8 bits after each axis, so some pixels differ by a level.
_PHOTO_TOLERANCE = 0.02


def photo_differences(
    model: onnx.ModelProto,
    plan: ExportPlan,
    preprocess: Preprocess,
    photos: Sequence[CroppedPhoto],
) -> dict[str, float]:
    """Return what changes when an exported model prepares the photos itself.

    They are the differences of logits and raw maps, `photo_logits` and `photo_raw`, relative to the
    largest value, at most, over the first photos.

    Args:
        model: The model in floating point, which takes images.
        plan: The network, and what was exported of it.
        preprocess: What makes the images from photos.
        photos: The photos.

    Raises:
        ModelError: The differences are larger than rounding to 8 bits explains.
        OptionError: The file cannot do this preprocessing.
    """
    run, run_on_photo = run_onnx(model), run_onnx(with_preprocessing(model, preprocess))
    target = torch.full((1,), -1, dtype=torch.long, device="cpu")
    names = ["logits", *(each.raw for each in plan.described)]
    largest = dict.fromkeys(names, 0.0)
    for photo, image in list(zip(photos, plan.images, strict=True))[:MOST_COMPARED]:
        mode = "L" if preprocess.channels == 1 else "RGB"
        pixels = np.array(photo.photo.convert(mode)).reshape(*photo.photo.size[::-1], -1)
        expected = run(image[None], target)
        _, index = plan.reading.score(expected["logits"], target)
        outputs = run_on_photo(torch.from_numpy(pixels), index)
        for name in names:
            difference = float((outputs[name] - expected[name]).abs().max())
            scale = float(expected[name].abs().max())
            largest[name] = max(largest[name], difference / scale if difference else 0.0)
    worst = max(largest.values())
    if not worst <= _PHOTO_TOLERANCE:
        raise ModelError(
            f"With the preprocessing inside, the file differs by {worst:.1e} from the network, "
            f"relative to the largest value; at most {_PHOTO_TOLERANCE} was expected, so it was "
            "not written. Leave preprocessing out, and prepare photos as limelight.deployed does."
        )
    return {
        "photo_logits": largest["logits"],
        "photo_raw": max(value for name, value in largest.items() if name != "logits"),
    }
