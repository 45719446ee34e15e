"""The page of an explained answer: one HTML file that asks for nothing else.

The words are in `html/en.toml` and `html/zh.toml`, the shape in `html/answer.html`.
"""

from __future__ import annotations

import math
import tomllib
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from limelight.notebook.encoding import data_uri, reduced
from limelight.plain import as_json
from limelight.render.maps import SEQUENTIAL
from limelight.render.overlays import overlay_colours
from limelight.translations.languages import Language, check_language
from limelight.translations.library import in_language
from limelight.vision_language.answer import AnswerData, ExplainedWord, Sink

#: The longest side of a photo on the page, in pixels, and the quality of its encoding.
_PHOTO_PIXELS, _PHOTO_QUALITY = 1280, 84

#: Width by height of the place that the photos have on a screen.
_SCREEN_ASPECT = 1.4

#: Shares below this are written with a digit behind the point.
_SMALL_SHARE = 0.1


def page_html(answer: AnswerData, language: Language = "en") -> str:
    """Return the page of an answer: its photos, and for each word the map that lies over them.

    Args:
        answer: What `ask` or `caption` returned.
        language: The language of the page, `en` or `zh`; question and answer stay as they are.

    Raises:
        UnknownNameError: There is no such language.
    """
    check_language(language)
    return _Page(answer, language).render()


class _Page:
    """A page in the making."""

    def __init__(self, answer: AnswerData, language: Language) -> None:
        self.answer, self.language = answer, language
        self.texts = _texts(language)

    def render(self) -> str:
        """Fill in the template."""
        from jinja2 import Environment, StrictUndefined  # not before a page is made
        from markupsafe import Markup

        answer, colours = self.answer, overlay_colours(SEQUENTIAL)
        aspects = [photo.width / photo.height for photo in answer.photos]
        rows = _rows(aspects)
        words = [self._word(number) for number in range(len(answer.words))]
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        return environment.from_string(_asset("answer.html")).render(
            answer=answer,
            language=self.language,
            texts=self.texts,
            say=self._say,
            title=answer.question or f"{self.texts['caption']}: {answer.text}",
            rows=[[self._photo(number) for number in row] for row in rows],
            aspect=round(_aspect(aspects, rows), 4),
            words=words,
            reason=in_language(answer.reason, self.language),
            groups=_grouped(words),
            marks={word["mark"] for word in words},
            first=self._first(),
            known=any(word.gain is not None for word in answer.words),
            summary=self._summary(),
            sinks=[
                self._sink(answer.photo_names[photo], sink)
                for photo, sinks in enumerate(answer.sinks)
                for sink in sinks
            ],
            style=Markup(f"{_asset('answer.css')}{_scale_style(colours)}"),
            script=Markup(_asset("answer.js")),
            maps=Markup(self._maps(colours)),
        )

    def _say(self, key: str, **values: object) -> str:
        """Return a text in the page's language, its places filled in."""
        return str(self.texts[key]).format(**values)

    def _photo(self, number: int) -> dict[str, object]:
        """Return a photo as the page shows it, with the outlines of its sinks in percent."""
        photo = reduced(self.answer.photos[number], _PHOTO_PIXELS)
        return {
            "number": number,
            "name": self.answer.photo_names[number],
            "source": data_uri(photo, "webp", _PHOTO_QUALITY),
            "width": photo.width,
            "height": photo.height,
            "share": round(100 * photo.width / photo.height, 2),
            "sinks": [_outline(sink) for sink in self.answer.sinks[number]],
        }

    def _word(self, number: int) -> dict[str, object]:
        """Return all that the page says of a word."""
        words, text = self.answer.words, self.answer.text
        word = words[number]
        before = text[words[number - 1].end : word.start] if number else " "
        mark, share = _mark(word), word.picture_share
        blurred = None if word.without_picture is None else math.exp(word.without_picture)
        return {
            "number": number,
            "text": word.text,
            "joined": before == "",
            "breaks": "\n" in before,
            "is_sign": _is_sign(word),
            "mark": mark,
            "has_map": word.has_map,
            "probability": percent(word.probability),
            "length": _length(word.probability),
            "blurred": None if blurred is None else percent(blurred),
            "blurred_length": _length(blurred or 0),
            "share": None if share is None else self._share(share),
            "bar": _length(share or 0),
            "told": self._told(word, mark),
            "notes": self._notes(word),
            "message": in_language(word.status.message, self.language) if word.status else "",
            "needs": self.texts["needs"][_needs(word)],
            "status": self.texts["status"][word.status.name if word.status else "unasked"],
        }

    def _share(self, share: float) -> str:
        return percent(share) if share > 0 else self.texts["none"]

    def _told(self, word: ExplainedWord, mark: str) -> str:
        """Return what a screen reader says of a word."""
        told = self._say("told", word=word.text, p=percent(word.probability))
        if mark:
            return told + self._say(f"told_{mark}")
        share = word.picture_share
        return told if share is None else told + self._say("told_share", share=self._share(share))

    def _notes(self, word: ExplainedWord) -> list[str]:
        """Return what has to be said beside the map of a word, in sentences."""
        notes, mark = [], _mark(word)
        if word.gain is None:
            notes.append(self._say("unknown"))
        elif word.undecided:
            notes.append(self._say("undecided_note"))
        elif word.needs_picture:
            notes.append(self._say("needs_picture", times=_times(word.gain)))
        else:
            notes.append(self._say("prior_note"))
        if mark == "prior":
            notes.append(self._say("prior_map"))
        if mark == "silent" and word.status is not None:
            notes.append(self.texts["silent"][word.status.name])
        if word.contrast is not None:
            nats, times = f"{word.contrast:+.2f}", _times(word.contrast)
            notes.append(self._say("instead", word=word.instead, nats=nats, times=times))
        return notes

    def _first(self) -> int | None:
        """Return the number of the word that is shown first: that which gains most of the photo."""
        with_maps = [
            (word.status is not None and word.status.ok, word.gain or 0.0, -number)
            for number, word in enumerate(self.answer.words)
            if word.has_map
        ]
        return -max(with_maps)[2] if with_maps else None

    def _summary(self) -> str:
        """Return which words need the picture, in a sentence; "" if that is not known."""
        known = [word for word in self.answer.words if word.gain is not None and not _is_sign(word)]
        needing = [word.text for word in known if word.needs_picture]
        undecided = [word.text for word in known if word.undecided]
        if not known:
            return ""
        kind = "some" if needing else "undecided" if undecided else "none"
        return self._say(
            f"summary_{kind}",
            count=len(needing),
            total=len(known),
            words=self.texts["separator"].join(dict.fromkeys(needing or undecided)),
        )

    def _sink(self, photo: str, sink: Sink) -> str:
        """Return where a sink is, in words."""
        left, top, right, bottom = sink.box
        return str(self.texts["sinks"]["one"]).format(
            photo=photo,
            across=round(50 * (left + right)),
            down=round(50 * (top + bottom)),
            share=percent(sink.share),
        )

    def _maps(self, colours: np.ndarray) -> str:
        """Return what the script draws: the maps of all words in 256 heats, and their colours."""
        packed = {
            "separator": self.texts["separator"],
            "colours": _packed(colours),
            "words": [
                {"maps": [_packed_map(heatmap) for heatmap in word.heatmaps]}
                if word.has_map
                else None
                for word in self.answer.words
            ],
        }
        # Nothing in it may end the script element.
        return as_json(packed).replace("<", "\\u003c")


def _needs(word: ExplainedWord) -> str:
    """Return what the page says of whether a word needs the picture."""
    if word.undecided:
        return "undecided"
    return {True: "yes", False: "no", None: "unknown"}[word.needs_picture]


def _mark(word: ExplainedWord) -> str:
    """Return how a word is marked: that it has no map, or does not surely need the picture."""
    if word.status is not None and not word.status.ok:
        return "silent"
    if word.undecided:
        return "undecided"
    return "prior" if word.needs_picture is False else ""


def percent(share: float) -> str:
    """Return a share in percent, small ones with a digit behind the point."""
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.995 <= share < 1:
        return ">99%"
    return f"{share:.1%}" if 0 < share < _SMALL_SHARE else f"{share:.0%}"


def _times(nats: float) -> str:
    """Return how many times as probable something is that is more so by this."""
    return f"{math.exp(min(nats, 700)):.2g}" if nats < math.log(10) else _rounded(nats)


def _rounded(nats: float) -> str:
    """Return a large factor; from a million on as a power of ten."""
    tens = nats / math.log(10)
    return f"10^{tens:.0f}" if tens >= 6 else f"{float(f'{math.exp(nats):.2g}'):,.0f}"


def _length(share: float) -> float:
    """Return the length of a bar in percent."""
    return round(100 * min(max(share, 0.0), 1.0), 1)


def _is_sign(word: ExplainedWord) -> bool:
    """Return whether a word is a punctuation mark."""
    return not any(letter.isalnum() for letter in word.text)


def _rows(aspects: Sequence[float]) -> list[range]:
    """Return which photos stand beside each other, so that all of them fill a screen best."""
    count = len(aspects)
    ways = [
        [range(row * count // rows, (row + 1) * count // rows) for row in range(rows)]
        for rows in range(1, count + 1)
    ]
    return min(ways, key=lambda rows: abs(math.log(_aspect(aspects, rows) / _SCREEN_ASPECT)))


def _aspect(aspects: Sequence[float], rows: Sequence[range]) -> float:
    """Return width by height of rows of photos, all rows as wide as each other."""
    return 1 / sum(1 / sum(aspects[number] for number in row) for row in rows)


def _grouped(words: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return words in groups that stay on one line: a sign stays with the word before it."""
    groups: list[list[dict[str, Any]]] = []
    for word in words:
        if groups and word["is_sign"] and word["joined"]:
            groups[-1].append(word)
        else:
            groups.append([word])
    return groups


def _outline(sink: Sink) -> str:
    """Return the place of a sink on its photo, as a style."""
    left, top, right, bottom = (100 * side for side in sink.box)
    return (
        f"left: {left:.2f}%; top: {top:.2f}%; "
        f"width: {right - left:.2f}%; height: {bottom - top:.2f}%"
    )


def _packed_map(heatmap: np.ndarray) -> dict[str, object]:
    rows, columns = heatmap.shape
    heats = (np.nan_to_num(heatmap).clip(0, 1) * 255).round().astype(np.uint8)
    return {"rows": rows, "columns": columns, "data": _packed(heats)}


def _packed(values: np.ndarray) -> str:
    return b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _scale_style(colours: np.ndarray) -> str:
    """Return the style of the colour bar: the colours as opaque as they lie over a photo."""
    stops = ", ".join(
        f"rgb({red} {green} {blue} / {alpha / 255:.2f})"
        for red, green, blue, alpha in colours[::15].tolist()
    )
    return f".scale i {{ background: linear-gradient(to right, {stops}); }}"


@cache
def _asset(name: str) -> str:
    return (files("limelight.vision_language") / "html" / name).read_text(encoding="utf-8")


@cache
def _texts(language: str) -> dict[str, Any]:
    return tomllib.loads(_asset(f"{language}.toml"))
