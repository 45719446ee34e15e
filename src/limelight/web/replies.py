"""What the page answers, as JSON: for /openapi.json, and for the tests, which hold it to them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from limelight.plain import as_json
from limelight.web.requests import PhotoBox
from limelight.web.subjects.answers import AnswerMeasure, NetworkKind


class _Reply(BaseModel):
    """Plain values, all of them named here."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class ErrorFacts(_Reply):
    """What is wrong: a code for programs, and a sentence in the reader's language."""

    code: str
    message: str


class ErrorReply(_Reply):
    """A request that was refused."""

    error: ErrorFacts


class TextsReply(_Reply):
    """The words of the page in one language."""

    language: Literal["en", "zh"]
    texts: dict[str, Any]


class MethodFacts(_Reply):
    """A method; `quick` ones take about as long as running the network once or twice."""

    name: str
    family: str
    place: str
    quick: bool
    formula: str
    use: str
    paper: str


class SampleFacts(_Reply):
    """A photo that comes with limelight."""

    name: str
    words: str


class LimitFacts(_Reply):
    """How much one request may take: bytes and pixels of a photo, files, and seconds."""

    bytes: int
    pixels: int
    files: int
    seconds: float


class PageReply(_Reply):
    """What the page offers; `colormaps` are 256 colours each, RGB, as base64."""

    version: str
    networks: list[str]
    methods: list[MethodFacts]
    colormaps: dict[str, dict[str, str]]
    samples: list[SampleFacts]
    audit: bool
    limits: LimitFacts


class LayerFacts(_Reply):
    """A layer that the page offers; `chosen` is the one that limelight takes by itself."""

    path: str
    grid: list[int]
    chosen: bool
    reason: str


class NetworkReply(_Reply):
    """A network; `input` is height and width, or None for photos of any size."""

    name: str
    weights: str
    kind: NetworkKind
    measure: AnswerMeasure
    classes: list[str]
    takes_texts: bool
    takes_questions: bool | None = Field(default=None, description="Of vision-language models.")
    input: list[int] | None
    layers: list[LayerFacts]


class PhotoReply(_Reply):
    """A photo that is held; whoever knows its id may ask about it."""

    id: str
    name: str
    width: int
    height: int


class AnswerFacts(_Reply):
    """A class that the network finds probable; `measure` says what its numbers are."""

    index: int
    name: str
    probability: float | None
    score: float | None


class ObjectFacts(_Reply):
    """An object that a detector found, with its box in pixels of the photo."""

    index: int
    name: str
    probability: float
    box: PhotoBox


class LookReply(_Reply):
    """What a network answers; `box` is the part of the photo that it saw, `input` its size."""

    network: str
    kind: NetworkKind
    measure: AnswerMeasure
    box: PhotoBox
    input: list[int]
    answers: list[AnswerFacts]
    objects: list[ObjectFacts] | None = Field(default=None, description="Of detectors.")


class CodeReply(_Reply):
    """The lines that write the same file; `note` says what the command cannot."""

    python: str
    command: str | None
    note: str


class DocumentReply(_Reply):
    """The address of a document that is held for a while."""

    document: str


class AuditFacts(_Reply):
    """A page of an audit, and its address."""

    name: Literal["report", "difference"]
    address: str


class AuditReply(_Reply):
    """The pages of the audit that the page was started with."""

    pages: list[AuditFacts]


class StatusFacts(_Reply):
    """Whether a map shows something; if not, what to do."""

    name: str
    message: str


class MapFacts(_Reply):
    """A map: `heatmap` in 1/65535 (u16), `signed` in `largest`/32767 (i16), base64, row by row.

    `region` is the box of the object that is explained, in pixels of the photo, if it is one.
    """

    method: str
    layer: str
    reason: str
    grid: list[int]
    label: str
    region: PhotoBox | None = Field(description="The box of the photo whose object is explained.")
    index: int | None
    score: float | None
    status: StatusFacts
    rows: int
    columns: int
    heatmap: str
    signed: str
    largest: float
    raw: dict[str, float | None]


class ProbeState(_Reply):
    """Score, probability (if the score has one) and first answers of a photo."""

    score: float | None
    probability: float | None
    answers: list[AnswerFacts]


class MovedAnswer(_Reply):
    """What the network finds of a class before and after; `measure` says what the numbers are."""

    index: int
    name: str
    before: float
    after: float


class ProbeReply(_Reply):
    """A photo before and after a `share` of what the network sees of it was painted over.

    `picture` is what it sees then: WebP, as base64.
    """

    label: str
    before: ProbeState
    after: ProbeState
    moved: list[MovedAnswer]
    measure: AnswerMeasure
    picture: str
    share: float
    seconds: float


class ChanceFacts(_Reply):
    """What `count` random maps leave of the score."""

    mean: float | None
    lowest: float | None
    highest: float | None
    count: int


class CheckReply(_Reply):
    """What is left of the score when the hottest `share` of a map is blurred away; less is better.

    `own` is None, and what follows it is left out, for a map that shows nothing.
    """

    share: float
    status: str
    label: str
    method: str
    layer: str
    own: float | None
    measured: Literal["probability", "score"] | None = None
    before: float | None = None
    chance: ChanceFacts | None = None
    centre: float | None = None
    verdict: (
        Literal["no-loss", "ahead", "ahead-on-average", "behind-centre", "no-better"] | None
    ) = None


class MetricFacts(_Reply):
    """A metric of one map; `quick` ones are measured when none are named."""

    name: str
    family: str
    better: Literal["higher", "lower"]
    formula: str
    paper: str
    use: str
    quick: bool


class MetricsReply(_Reply):
    """The metrics by which a map of one photo can be measured."""

    metrics: list[MetricFacts]


class NextStep(_Reply):
    """What to ask instead of a blank map; only the field that the action is about is there."""

    action: Literal["signed", "layer", "method", "class"]
    words: str
    layer: str | None = None
    method: str | None = None
    index: int | None = None
    name: str | None = None


class InsteadReply(_Reply):
    """Whether a map shows something, and the next steps if it does not."""

    status: StatusFacts
    steps: list[NextStep]


class ExplainedPhoto(_Reply):
    """A photo that was explained: its `map` if arrays were asked for, else its `heatmap`, a PNG."""

    photo: str
    width: int
    height: int
    box: PhotoBox
    label: str
    index: int | None
    score: float | None
    probability: float | None
    status: StatusFacts
    method: str
    layer: str
    top: list[AnswerFacts]
    heatmap: str | None = Field(default=None, description="A PNG, as base64.")
    map: MapFacts | None = None


class FailedPhoto(_Reply):
    """A photo that could not be explained."""

    photo: str
    error: ErrorFacts


class ExplainReply(_Reply):
    """What became of the photos, in their order."""

    network: str
    photos: list[ExplainedPhoto | FailedPhoto]


class HealthReply(_Reply):
    """Whether the page can do its work; the HTTP status is 503 if it cannot.

    `waiting` requests wait, and the one in hand has been at work for `seconds`.
    """

    status: Literal["ok", "stuck", "stopped"]
    waiting: int
    seconds: float
    networks: int


#: What every address may answer in place of the result.
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorReply, "description": "The request is refused; the sentence says why."},
    "5XX": {
        "model": ErrorReply,
        "description": "The page is busy, it took too long, or something went wrong inside.",
    },
}


def json_reply(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return what an address is documented to answer, which is not checked at every answer."""
    return {200: {"model": model, "description": (model.__doc__ or "").strip()}}


def line_replies(*lines: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """Return the same for an address that answers by lines of JSON, of which these are some."""
    example = "".join(as_json(line) + "\n" for line in lines)
    content = {"application/x-ndjson": {"schema": {"type": "string"}, "example": example}}
    return {200: {"description": "Lines of JSON, as they come.", "content": content}}


def file_replies(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return the same for an address that answers with a file of one of these kinds."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
    return {200: {"description": "The file.", "content": content}}


def form_of(fields: type[BaseModel] | None, *, several: bool) -> dict[str, Any]:
    """Return what a form is documented to hold: photos, and beside them fields.

    Args:
        fields: The model of the fields; None for none.
        several: Whether there may be several photos.
    """
    properties = {} if fields is None else fields.model_json_schema()["properties"]
    one: dict[str, Any] = {"type": "string", "format": "binary"}
    photo = {"type": "array", "items": one, "minItems": 1} if several else one
    photo = {**photo, "description": "The photo." if not several else "One or several photos."}
    schema = {
        "type": "object",
        "properties": {"photo": photo, **properties},
        "required": ["photo"],
    }
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }
