"""Probes: a part of the photo is painted over, and the score is read again in one run."""

from __future__ import annotations

import math
import time
from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from collections.abc import Callable
from io import BytesIO
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from limelight.evidence import at_least_float32
from limelight.finish import at_places
from limelight.metrics.faithfulness import blur
from limelight.pixels import as_pixels
from limelight.translations.languages import Language
from limelight.web.answers.looks import named_answer
from limelight.web.answers.maps import shown_label
from limelight.web.answers.numbers import finite
from limelight.web.requests import ProbeRequest
from limelight.web.serving.refusals import Refusal
from limelight.web.subjects.looks import Look
from limelight.web.subjects.photo_store import StoredPhoto

#: The deviation of the blur, as a share of the input's shorter side. It leaves a ninth of a pattern
#: that repeats four times across that side, and less of finer ones: colours stay, objects do not.
BLUR = 1 / 12

#: The deviation by which the edge of what is painted is softened, as a share of the shorter side: a
#: sharp edge would be something new to see.
EDGE = 1 / 100

#: The most pixels of the longer side of the picture that is sent.
_LONGEST = 320

Fill = Literal["blurred", "grey", "photo"]

#: An answer as plain values, and what gives it a name where it has none.
Answer = dict[str, Any]
Named = Callable[[Answer], Answer]


class Probed(NamedTuple):
    """What a network says of a photo that is painted over in part.

    Attributes:
        image: The network's input, `[1, C, H, W]`.
        painted: How much of each of its pixels is painted over, `[H, W]`, from 0 to 1.
        output: What the network returned.
    """

    image: Tensor
    painted: Tensor
    output: Any


def probe(
    look: Look, request: ProbeRequest, language: Language, other: StoredPhoto | None = None
) -> dict[str, Any]:
    """Return score, probability and first answers before and after a part is painted over.

    1. Bring the strokes into the input, soften their edge, and paint.
    2. Run the network once.
    3. Read the same score again, the class as it was chosen before, and the answers.

    Args:
        look: The photo as the network saw it.
        request: What is painted, and how.
        language: The language in which a class without a name is named.
        other: The photo that is painted with, if the fill is one.

    Raises:
        Refusal: The strokes do not fit their raster, or there is no other photo.
    """
    begun = time.perf_counter()
    probed = paint(look, request, other)
    scores, cut = look.score(request.target), look.cut(None)
    row = torch.zeros(1, dtype=torch.long, device="cpu")
    with torch.no_grad():
        score = scores.read_again(probed.output, row)
        share = scores.probability and scores.probability(probed.output, row)
    served = look.served
    before = look.once("all answers", lambda: look.answers(count=_ALL))
    after = look.answers(count=_ALL, output=probed.output)

    def named(answer: dict[str, Any]) -> dict[str, Any]:
        return named_answer(answer, served.measure, language)

    likely, likely_after = (
        served.probability(cut.probability(scores), scores.values),
        served.probability(share, score),
    )
    return {
        "label": shown_label(scores.labels[0], language),
        "before": _state(scores.values, likely, before, named),
        "after": _state(score, likely_after, after, named),
        "moved": _moved(before, after, named),
        "measure": served.measure,
        "picture": _as_webp(served.network.preprocess.picture(probed.image[0])),
        "share": float(probed.painted.mean()),
        "seconds": time.perf_counter() - begun,
    }


def paint(look: Look, request: ProbeRequest, other: StoredPhoto | None = None) -> Probed:
    """Paint over a part of the network's input, and run the network on it.

    Raises:
        Refusal: As `probe`.
    """
    image = at_least_float32(look.inputs.image)
    strokes = read_strokes(request.strokes, request.raster)
    painted = in_input(strokes, look).to(image)
    fill = _fill(look, image, request.fill, other)
    changed = as_pixels(torch.lerp(image, fill, painted), look.inputs.image.dtype)
    with torch.no_grad():
        return Probed(changed, painted, look.cut(None).network(changed))


def read_strokes(packed: str, raster: tuple[int, int]) -> Tensor:
    """Return which cells of a raster are painted over, `[rows, columns]`, 1 or 0.

    Raises:
        Refusal: They are not as many bits as the raster has cells.
    """
    rows, columns = raster
    width = math.ceil(columns / 8)
    try:
        data = b64decode(packed, validate=True)
    except (BadBase64, ValueError):
        data = b""
    if len(data) != rows * width:
        raise Refusal("strokes", 422, given=len(data), expected=rows * width)
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8).reshape(rows, width), axis=1)
    return torch.from_numpy(bits[:, :columns].astype(np.float32))


def in_input(strokes: Tensor, look: Look) -> Tensor:
    """Return strokes over the whole photo as they lie in the network's input, with a soft edge.

    Shape `[H, W]`; what the network did not see of the photo is left out, and so is the border that
    it was given where its crop is larger than the photo.
    """
    size = look.inputs.image.shape[2:]
    width, height = look.stored.size
    left, top, right, bottom = look.crop.box
    places = []
    for count, start, end, length in zip(
        size, (top, left), (bottom, right), (height, width), strict=True
    ):
        centres = (torch.arange(count, dtype=torch.float64, device="cpu") + 0.5) / count
        places.append((start + centres * (end - start)) / length)
    laid = at_places(strokes[None], places)[0]
    for axis, along in enumerate(places):
        inside = ((along >= 0) & (along <= 1)).to(laid)
        laid = laid * (inside[:, None] if axis == 0 else inside)
    return _blurred(laid[None, None], EDGE)[0, 0].clamp(0, 1)


def blurred_input(look: Look) -> Tensor:
    """Return the network's input, blurred so much that only colours stay, `[1, C, H, W]`."""
    return look.once("blurred", lambda: _blurred(at_least_float32(look.inputs.image), BLUR))


def _fill(look: Look, image: Tensor, fill: Fill, other: StoredPhoto | None) -> Tensor:
    """Return what is painted, as the network takes it, `[1, C, H, W]`.

    The input is normalised: `(x - mean) / std`. A blur of it is the blur of the photo, normalised;
    grey is not 0, which is the mean colour, but `(0.5 - mean) / std`.
    """
    if fill == "blurred":
        return blurred_input(look)
    preprocess = look.served.network.preprocess
    if fill == "grey":
        pairs = zip(preprocess.mean, preprocess.std, strict=True)
        greys = [(0.5 - mean) / std for mean, std in pairs]
        return image.new_tensor(greys).reshape(1, -1, 1, 1).expand_as(image)
    if other is None:
        raise Refusal("no-other-photo", 422)
    key = "painted with", other.id
    prepared = look.once(key, lambda: look.served.network.images(other.photo)).to(image)
    if prepared.shape == image.shape:
        return prepared
    return interpolate(prepared, size=image.shape[2:], mode="bilinear", antialias=True)


def _blurred(images: Tensor, share: float) -> Tensor:
    """Return images blurred by a deviation that is a share of their shorter side."""
    deviation = share * min(images.shape[2:])
    return blur(images, width=2 * math.ceil(3 * deviation) + 1, deviation=deviation)


#: More classes than a network has.
_ALL = 1_000_000

#: How many first answers are shown.
_SHOWN = 5


def _state(
    score: Tensor, probability: Tensor | None, answers: list[Answer], named: Named
) -> dict[str, Any]:
    return {
        "score": finite(float(score[0].detach())),
        "probability": None if probability is None else finite(float(probability[0])),
        "answers": [named(each) for each in answers[:_SHOWN]],
    }


def _moved(before: list[Answer], after: list[Answer], named: Named) -> list[dict[str, Any]]:
    """Return the first answers before and after, each class once, with both its probabilities.

    They are sorted by the probability after; that of a class which is no answer at all is 0. Of a
    segmenter it is the share of the pixels, of a network with a single output its score.
    """
    first, last = _by_class(before), _by_class(after)
    shown = {each["index"]: named(each)["name"] for each in (*before[:_SHOWN], *after[:_SHOWN])}
    rows = [
        {"index": i, "name": name, "before": first.get(i, 0.0), "after": last.get(i, 0.0)}
        for i, name in shown.items()
    ]
    return sorted(rows, key=lambda row: -row["after"])


def _by_class(answers: list[Answer]) -> dict[int, float]:
    """Return the highest probability of each class: a detector may find several objects of one."""
    return {
        each["index"]: each["score"] if each["probability"] is None else each["probability"]
        for each in reversed(answers)
    }


def _as_webp(picture: Image.Image) -> str:
    picture = picture.convert("RGB")
    picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BILINEAR)
    buffer = BytesIO()
    picture.save(buffer, "WEBP", quality=80, method=0)
    return b64encode(buffer.getvalue()).decode()
