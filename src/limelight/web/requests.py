"""What is asked of the page, as JSON: targets, maps, probes; checked before any work is done."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from limelight.explanation_pictures import PictureKind
from limelight.regions import RegionFormat

#: Left, top, right and bottom in pixels of the whole photo.
PhotoBox = tuple[float, float, float, float]

Name = Annotated[str, Field(max_length=300)]

ClassName = int | Name


class _Request(BaseModel):
    """Plain values; a field that is not known is an error, so that none is ignored unseen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TargetRequest(_Request):
    """What is explained; the predicted class, or the most probable object, when all is left out.

    Attributes:
        class_: A class by its index or name.
        against: What is explained is why `class_` rather than this one.
        counterfactual: What is explained is what speaks against `class_`.
        box: Of a detector: the box of the photo in which the class is explained. Of a segmenter:
            the region.
        pixel: Of a segmenter: x and y of the pixel of the photo whose class is explained.
    """

    class_: Annotated[ClassName | None, Field(alias="class")] = None
    against: ClassName | None = None
    counterfactual: bool = False
    box: PhotoBox | None = None
    pixel: tuple[float, float] | None = None

    model_config = ConfigDict(populate_by_name=True)


class LookRequest(_Request):
    """A photo as a network sees it.

    Attributes:
        network: The network's name; None for the first.
        texts: Of a network of pictures and texts: the texts that the photo is compared with.
    """

    network: Name | None = None
    texts: Annotated[tuple[Name, ...], Field(max_length=64)] = ()


class MapRequest(LookRequest):
    """One map.

    Attributes:
        target: What is explained.
        method: A name in METHODS, with options if any; None for the default.
        layer: A dotted path; None to let limelight choose.
    """

    target: TargetRequest = TargetRequest()
    method: Name | None = None
    layer: Name | None = None


class MapsRequest(_Request):
    """Several maps of one photo, answered one by one as they are made.

    Attributes:
        maps: The maps.
        longest: The longer side of the maps that are sent, in pixels.
        replaces: A name of the client's own: a later request of the same name stops this one.
        first: Whether it goes before what else waits for the client: the reader looks for it.
    """

    maps: Annotated[tuple[MapRequest, ...], Field(min_length=1, max_length=64)]
    longest: Annotated[int, Field(ge=16, le=1024)] = 224
    replaces: Annotated[str, Field(max_length=40)] = ""
    first: bool = False


class ProbeRequest(LookRequest):
    """What the score becomes when a part of the photo is painted over.

    Attributes:
        target: What is scored.
        strokes: Which cells of a raster over the whole photo are painted over: rows from top to
            bottom, bits from left to right, first bit highest, each row filled up to whole bytes;
            as base64.
        raster: Rows and columns of the raster.
        fill: What is painted: the photo `blurred`, its mean colour (`grey`: middle grey), or
            another `photo`.
        other: The id of the other photo.
        replaces: As in MapsRequest.
    """

    target: TargetRequest = TargetRequest()
    strokes: Annotated[str, Field(max_length=400_000)]
    raster: tuple[Annotated[int, Field(ge=1, le=1024)], Annotated[int, Field(ge=1, le=1024)]]
    fill: Literal["blurred", "grey", "photo"] = "blurred"
    other: Name | None = None
    replaces: Annotated[str, Field(max_length=40)] = ""


class CellRequest(MapRequest):
    """What one cell of a layer's grid holds, and where it looks.

    Attributes:
        at: x and y of a pixel of the photo; the cell is the one of the map there.
        channels: How many channels are listed.
        replaces: As in MapsRequest.
    """

    at: tuple[float, float]
    channels: Annotated[int, Field(ge=1, le=64)] = 8
    replaces: Annotated[str, Field(max_length=40)] = "cell"


class AskRequest(_Request):
    """A question about a photo, for a model that answers in words.

    Attributes:
        network: The model's name; None for the first that answers questions.
        question: The question; "" for a caption. Of a captioner it is what the caption begins with.
        answer: An answer to explain in place of the model's own.
        method: A name in METHODS, with options if any; None for the default.
        layer: A dotted path; None to let limelight choose.
        most_tokens: How many tokens the answer may have.
        longest: As in MapsRequest.
        replaces: As in MapsRequest.
    """

    network: Name | None = None
    question: Annotated[str, Field(max_length=2000)] = ""
    answer: Annotated[str, Field(max_length=2000)] | None = None
    method: Name | None = None
    layer: Name | None = None
    most_tokens: Annotated[int, Field(ge=1, le=256)] = 48
    longest: Annotated[int, Field(ge=16, le=1024)] = 224
    replaces: Annotated[str, Field(max_length=40)] = "ask"


class FileRequest(MapRequest):
    """A file of one map, to be taken away; or the lines of code that write the same.

    Attributes:
        kind: A `picture`; the `arrays` (.npz); a `table` (.csv, one row); the `regions` where the
            map is hot; or a `page`, one HTML file that shows the map and those beside it.
        picture: What a picture shows, as in `Explanation.save`.
        suffix: The format of a picture.
        colormap: The name of a colour map; None for the usual one.
        whole: Whether the whole photo is drawn, or only what the network saw of it.
        regions: The format of regions.
        threshold: The share of the highest heat from which a pixel lies in a region.
        beside: Of a page: the other maps on it.
        replaces: As in MapsRequest.
    """

    kind: Literal["picture", "arrays", "table", "regions", "page"] = "picture"
    picture: PictureKind = "figure"
    suffix: Literal["png", "jpg", "webp", "pdf", "svg"] = "png"
    colormap: Name | None = None
    whole: bool = False
    regions: RegionFormat = "coco"
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.2
    beside: Annotated[tuple[MapRequest, ...], Field(max_length=64)] = ()
    replaces: Annotated[str, Field(max_length=40)] = ""


class WalkthroughRequest(MapRequest):
    """The document that shows how one map came to be.

    Attributes:
        replaces: As in MapsRequest.
    """

    replaces: Annotated[str, Field(max_length=40)] = ""


class ExplainFields(_Request):
    """The fields of a form, beside its photos, by which programs ask for maps.

    Attributes:
        network: As in LookRequest.
        texts: As in LookRequest; a field for each.
        target: A class by its index or name; None for the predicted one.
        against: What is explained is why the target rather than this class.
        counterfactual: What is explained is what speaks against the target.
        method: As in MapRequest.
        layer: As in MapRequest.
        format: `json` for all photos, or `png` for the picture of one photo.
        picture: What the picture shows, in JSON too.
        colormap: The name of a colour map; None for the usual one.
        whole: Whether the whole photo is drawn, or only what the network saw of it.
        arrays: Whether JSON holds the numbers of the maps in place of a picture.
        longest: The longer side of these numbers, in pixels.
    """

    network: Name | None = None
    texts: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    target: Name | None = None
    against: Name | None = None
    counterfactual: bool = False
    method: Name | None = None
    layer: Name | None = None
    format: Literal["json", "png"] = "json"
    picture: PictureKind = "heatmap"
    colormap: Name | None = None
    whole: bool = False
    arrays: bool = False
    longest: Annotated[int, Field(ge=16, le=1024)] = 224


class CheckRequest(MapRequest):
    """A map, to be checked quickly.

    Attributes:
        replaces: As in MapsRequest.
    """

    replaces: Annotated[str, Field(max_length=40)] = "check"


class FaithfulnessRequest(MapRequest):
    """A map, to be measured by metrics.

    Attributes:
        metrics: Names in METRICS, without options; none for the quick ones.
        replaces: As in MapsRequest.
    """

    metrics: Annotated[tuple[Name, ...], Field(max_length=40)] = ()
    replaces: Annotated[str, Field(max_length=40)] = "faithfulness"
