"""What an exported file says of itself: its network, maps and input, and how exact they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from limelight.errors import WeightsError
from limelight.plain import as_json
from limelight.status import STATUS_NAMES

#: The key of the description among the metadata of an ONNX file, and the name of the file beside a
#: program of torch.export.
METADATA_KEY: Final = "limelight"

#: The form of the description; a reader refuses a later one.
FORM: Final = 1

#: What `logits` holds: class scores `[B, C]`; those of each cell, `[B, C, *grid]`, as of a
#: segmenter; or those of each box, `[B, N, C]`, as of a detector.
OutputKind = Literal["classes", "regions", "boxes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapDescription:
    """One map of the file.

    Attributes:
        method: The method's name.
        layer: The layer's path.
        grid: The sizes of the raw map's axes.
        span: Where the grid lies on the picture, along each axis: start, end, seen from, seen to,
            in picture lengths; () if it covers the picture.
        heatmap, raw, status: The names of its outputs.
        messages: What to do about each status, in the order of STATUS_NAMES; "" for ok.
    """

    method: str
    layer: str
    grid: tuple[int, ...]
    span: tuple[tuple[float, float, float, float], ...] = ()
    heatmap: str = "heatmap"
    raw: str = "raw"
    status: str = "status"
    messages: tuple[str, ...] = ("",) * len(STATUS_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What an exported file says of itself.

    Attributes:
        network: The network's name.
        weights: Where its weights come from, in words.
        output: What `logits` holds.
        no_object: Whether the last logit of a box says that it holds no object: its probabilities
            are a softmax, else each is a sigmoid.
        classes: The names of the classes; None when they are not known.
        maps: The maps, in the order of the file.
        input_shape: `[C, *image]`.
        batch: The number of images that the file takes; None for any.
        preprocess: The fields of the `Preprocess` that makes the input from a photo; None when it
            is not known.
        preprocessing_inside: Whether the file takes a photo `[H, W, C]` of bytes, and does that
            itself.
        parity: The differences from the original network that were measured at export, by what was
            compared; None, when read from a file, for one that is not finite.
        quantised: What int8 weights changed, as `parity`; None for a file in float.
        version: The version of limelight that wrote the file.
        form: The form of this description.
    """

    network: str
    output: OutputKind
    maps: tuple[MapDescription, ...]
    input_shape: tuple[int, ...]
    weights: str = ""
    no_object: bool = False
    classes: tuple[str, ...] | None = None
    batch: int | None = None
    preprocess: Mapping[str, Any] | None = None
    preprocessing_inside: bool = False
    parity: Mapping[str, float | None] = field(default_factory=dict)
    quantised: Mapping[str, float | None] | None = None
    version: str = ""
    form: int = FORM

    def to_json(self) -> str:
        """Return the description as JSON; figures that are not finite are null."""
        return as_json(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Description:
        """Return a description from its JSON.

        Raises:
            WeightsError: A later limelight wrote it, or it is damaged.
        """
        try:
            fields = json.loads(text)
            form = fields["form"]
            if not isinstance(form, int):
                raise TypeError(f"its form is {form!r}, and a whole number was expected")
            if form <= FORM:
                return cls._of_fields(fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"it has no {error}" if isinstance(error, KeyError) else error
            raise WeightsError(f"The description in the file cannot be read: {why}.") from error
        raise WeightsError(
            f"The file was written by limelight {fields.get('version')}, in form {form} of "
            f"its description; this limelight reads up to form {FORM}. Update limelight."
        )

    @classmethod
    def _of_fields(cls, fields: Mapping[str, Any]) -> Description:
        preprocess = fields["preprocess"]
        return cls(
            **_as_tuples(fields)
            | {
                "maps": tuple(MapDescription(**_as_tuples(each)) for each in fields["maps"]),
                "preprocess": None if preprocess is None else _as_tuples(preprocess),
            }
        )


def _as_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with tuples in place of the lists that JSON makes of them."""
    return {name: _as_tuple(value) for name, value in fields.items()}


def _as_tuple(value: Any) -> Any:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return tuple(map(_as_tuple, value)) if is_list else value
