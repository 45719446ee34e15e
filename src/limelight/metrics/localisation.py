"""Does the map lie on the object? These metrics need to be told where the object is.

A map that is the same everywhere, zero included, prefers no pixel; it counts as uniform, so that
it has the value of chance. An image without an object is left out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from limelight.metrics.case import MapCase
from limelight.metrics.metric import Readings
from limelight.metrics.objects import Objects, largest_part_box, near, overlaps


def pointing_game(case: MapCase, *, tolerance: float = 15.0) -> Readings:
    """Return whether the map's maximum lies on the object, or near it.

    1 if the maximum of M is within `tolerance` pixels of B, else 0, `[B]`: Zhang et al. 2018,
    with the 15 pixels of their benchmark; then the mean over classes of the mean over
    images. Pixels are those of the image that the network is given. Where several pixels share the
    maximum, the value is the share of them that hits.
    """
    return {"value": _where_marked(case, pointing_hits(case.heatmap, _inside(case), tolerance))}


def pointing_hits(heatmap: Tensor, inside: Tensor, tolerance: float = 15.0) -> Tensor:
    """Return which share of the maxima of heatmaps `[B, *image]` lies near the objects, `[B]`."""
    hit = near(inside, tolerance).flatten(1)
    values = _flat(heatmap)
    top = values == values.amax(1, keepdim=True)
    return (hit & top).double().sum(1) / top.sum(1)


def energy_pointing(case: MapCase, *, most: float = 1.0) -> Readings:
    """Return the share of the map's energy that lies in the object.

    `sum(M in B) / sum(M)`, `[B]`: Wang et al. 2020 (Score-CAM), section 4.3. A uniform map has
    area(B) / area(image). Images in which B covers more than the share `most` are left out; the
    paper leaves out more than half, where any map has a high value.
    """
    area = _inside(case).flatten(1).double().mean(1)
    share = torch.where(area <= most, share_inside(case.heatmap, _inside(case)), math.nan)
    return {"value": _where_marked(case, share)}


def mass_accuracy(case: MapCase) -> Readings:
    """Return the share of the positive relevance that lies in the object.

    `sum(R+ in B) / sum(R+)`, `[B]`, with R+ the positive part of the raw map, resized to the image:
    Arras et al. 2022. It is `energy_pointing` without the scaling of the heatmap to [0, 1],
    which takes its minimum away.
    """
    return {"value": _where_marked(case, share_inside(case.relevance, _inside(case)))}


def rank_accuracy(case: MapCase) -> Readings:
    """Return the share of the most relevant pixels that lies in the object.

    The value is the share of the |B| pixels with the highest M that is in B, `[B]`: Arras et al.
    2022. The pixels that share the lowest of these values count by the share of them in B.
    """
    accuracies = []
    for values, inside in zip(_flat(case.heatmap), _inside(case).flatten(1), strict=True):
        count = int(inside.sum())
        if not count:
            accuracies.append(math.nan)
            continue
        lowest = values.topk(count).values[-1]
        above, tied = values > lowest, values == lowest
        left = count - int(above.sum())
        hits = int((above & inside).sum()) + left * int((tied & inside).sum()) / int(tied.sum())
        accuracies.append(hits / count)
    return {"value": torch.tensor(accuracies, dtype=torch.float64, device="cpu")}


def localisation_error(case: MapCase, *, threshold: float = 0.15, iou: float = 0.5) -> Readings:
    """Return whether the box drawn around the map misses every object.

    Pixels of M below `threshold` times its maximum are dropped. The value is 1 if the box around
    the largest connected part of the rest overlaps no box of an object by `iou` (intersection over
    union), else 0, `[B]`: Selvaraju et al. 2017, section 4.1.
    """
    errors = []
    for heatmap, boxes in zip(case.heatmap.cpu(), _objects(case).boxes, strict=True):
        if not len(boxes):
            errors.append(math.nan)
            continue
        box = largest_part_box(heatmap >= threshold * heatmap.max())
        errors.append(float(not (overlaps(box, boxes) >= iou).any()))
    return {"value": torch.tensor(errors, dtype=torch.float64, device="cpu")}


def _objects(case: MapCase) -> Objects:
    assert case.objects is not None  # the rows in METRICS need them
    return case.objects


def _inside(case: MapCase) -> Tensor:
    """Return the masks of the objects `[B, *image]`."""
    return _objects(case).mask.cpu()


def _flat(maps: Tensor) -> Tensor:
    """Return maps as rows `[B, N]` in float64."""
    return maps.detach().cpu().double().flatten(1)


def share_inside(maps: Tensor, inside: Tensor) -> Tensor:
    """Return the share of each map `[B, *image]` that lies in the objects `[B, *image]`, `[B]`.

    Of a map without heat it is that of a uniform map: the share of the image that they cover.
    """
    marked, values = inside.flatten(1), _flat(maps)
    total = values.sum(1)
    share = (values * marked).sum(1) / torch.where(total > 0, total, 1)
    return torch.where(total > 0, share, marked.double().mean(1))


def _where_marked(case: MapCase, values: Tensor) -> Tensor:
    """Return values `[B]`, NaN for images without an object."""
    is_marked = _inside(case).flatten(1).any(1)
    return torch.where(is_marked, values.double(), math.nan)
