"""The lines of Python and of the command that make the same file as the page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from limelight.models.network import Network
from limelight.photos.preprocess import Preprocess
from limelight.photos.samples import SAMPLES
from limelight.translations.languages import Language
from limelight.web.answers.names import class_word, name_of, suffix_of
from limelight.web.requests import FileRequest, PhotoBox, TargetRequest
from limelight.web.subjects.networks import ServedNetwork
from limelight.web.wording import say

#: What a network says of its weights that was given as a model, so that no name loads it.
_GIVEN: Final = next(each.default for each in fields(Network) if each.name == "weights")

#: The suffixes of files of weights.
_WEIGHT_FILES: Final = (".pth", ".pt", ".safetensors")

#: How long a line of Python may become.
_LONGEST_LINE: Final = 100

#: How many names of classes are written into a line.
_MOST_NAMES: Final = 12

#: The file from which the command reads texts that photos are compared with.
_TEXT_FILE: Final = "texts.txt"

#: The option that says what classes are called; the others say what the network is shown.
_CLASSES: Final = frozenset({"classes"})


def code_lines(
    asked: FileRequest,
    served: ServedNetwork,
    photo: str,
    language: Language,
    loading: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the lines that write the same file as the page, from the photo beside them.

    They write no page to send: for it they write the picture.

    Args:
        asked: The file.
        served: The network.
        photo: The name of the photo.
        language: The language of remarks.
        loading: The options of the command by which the network was loaded, beside its name and
            weights.

    Returns:
        `python`, `command` (None where the command cannot make it), and in `note` what to know of
        them, or "".
    """
    network = served.network
    file = name_of(asked, served, photo, suffix_of(asked) or asked.suffix)
    is_own = network.weights == _GIVEN and ":" not in network.name
    at_region = asked.target.box is not None and served.kind == "segmenter"
    why = "own-network" if is_own else "no-region" if at_region else ""
    return {
        "python": _python(asked, served, photo, file, loading, is_own=is_own),
        "command": None if why else _command(asked, served, photo, file, loading),
        "note": say(f"page.out.{why}", language) if why else "",
    }


def _python(
    asked: FileRequest,
    served: ServedNetwork,
    photo: str,
    file: str,
    loading: Mapping[str, str],
    *,
    is_own: bool,
) -> str:
    imports, before, target = _python_target(asked.target, served)
    options = {"target": target, "method": _or_none(asked.method), "layer": _or_none(asked.layer)}
    network = served.network
    weights = _weights(network)
    texts = f"[{', '.join(map(_quoted, asked.texts))}]" if asked.texts else None
    named = {
        "weights": _quoted(weights) if weights else None,
        "classes": texts or _or_none(loading.get("classes")),
        "preprocess": _preprocess(network.preprocess) if loading.keys() - _CLASSES else None,
    }
    if is_own:
        function, given = "limelight.Network", [_quoted(network.name), "model"]
        changed = network.preprocess != Preprocess()
        named = {
            "preprocess": _preprocess(network.preprocess) if changed else None,
            "classes": _class_names(network.classes),
        }
    else:
        function, given = "limelight.load_model", [_quoted(network.name)]
    is_sample = photo in SAMPLES
    if is_sample:
        imports = [*imports, "from limelight.photos.samples import find_sample"]
    path = f"find_sample({_quoted(photo)})" if is_sample else _quoted(photo)
    return "\n".join(
        [
            "import limelight",
            *imports,
            "",
            _call(f"network = {function}", given, named),
            f"photo = limelight.load_photo({path})",
            *before,
            f"result = limelight.explain(network, photo{_arguments(options)})",
            _python_file(asked, photo, file),
        ]
    )


def _call(before: str, given: Sequence[str], named: Mapping[str, str | None]) -> str:
    """Return a call; one that is too long for a line has an argument on each."""
    values = [*given, *(f"{name}={value}" for name, value in named.items() if value is not None)]
    line = f"{before}({', '.join(values)})"
    if len(line) <= _LONGEST_LINE:
        return line
    return "\n    ".join([f"{before}(", *(f"{value}," for value in values)]) + "\n)"


def _preprocess(preprocess: Preprocess) -> str:
    """Return what makes a photo the network's input as code, without what is as by default."""
    usual = Preprocess()
    values = {each.name: getattr(preprocess, each.name) for each in fields(preprocess)}
    given = [
        f"{name}={_quoted(value)}"
        for name, value in values.items()
        if value != getattr(usual, name)
    ]
    return f"limelight.Preprocess({', '.join(given)})"


def _class_names(classes: tuple[str, ...] | None) -> str | None:
    """Return names of classes as code; where they are many, a word stands for the reader's list."""
    if classes is None or len(classes) > _MOST_NAMES:
        return None if classes is None else "classes"
    return f"[{', '.join(map(_quoted, classes))}]"


def _python_file(asked: FileRequest, photo: str, file: str) -> str:
    """Return the line that writes the file."""
    if asked.kind == "table":
        return f"result.to_frame([{_quoted(photo)}]).to_csv({_quoted(file)}, index=False)"
    if asked.kind == "regions":
        form = "" if asked.regions == "coco" else f", {_quoted(asked.regions)}"
        out = _quoted(_regions_out(asked, file))
        regions = f"result.regions({asked.threshold!r})"
        return f"{regions}.export({out}{form}, photos=[{_quoted(photo)}])"
    options: dict[str, str | None] = {"whole": "True" if asked.whole else None}
    if asked.kind != "arrays":
        options["picture"] = None if asked.picture == "figure" else _quoted(asked.picture)
        options["colormap"] = _or_none(asked.colormap)
    return f"result.save({_quoted(file)}{_arguments(options)})"


def _python_target(
    target: TargetRequest, served: ServedNetwork
) -> tuple[list[str], list[str], str | None]:
    """Return imports, the lines before, and the expression of a target; None for the predicted."""
    chosen = _or_none(class_word(target.class_, served))
    if target.against is not None:
        against = _or_none(class_word(target.against, served))
        chosen = f"limelight.Contrast({chosen}, {against})"
    elif target.counterfactual:
        chosen = f"limelight.Counterfactual({chosen or ''})"
    if target.pixel is not None:
        x, y = map(_number, target.pixel)
        before = [f"x, y = network.preprocess.point(photo, {x}, {y})"]
        return [], before, f"limelight.Region({chosen}, (int(y), int(x)))"
    if target.box is None:
        return [], [], chosen
    left, top, right, bottom = map(_number, target.box)
    before = [
        "point = network.preprocess.point",
        f"corners = *point(photo, {left}, {top}), *point(photo, {right}, {bottom})",
    ]
    if served.kind == "detector":
        return (
            [],
            before,
            f"limelight.Box(corners, {chosen})" if chosen else "limelight.Box(corners)",
        )
    before += [
        "left, top, right, bottom = (max(round(edge), 0) for edge in corners)",
        "where = torch.zeros(network.preprocess.input_size(photo), dtype=torch.bool)",
        "where[top : max(bottom, top + 1), left : max(right, left + 1)] = True",
    ]
    return ["import torch"], before, f"limelight.Region({chosen}, where)"


def _command(
    asked: FileRequest,
    served: ServedNetwork,
    photo: str,
    file: str,
    loading: Mapping[str, str],
) -> str:
    network, target = served.network, asked.target
    words = ["limelight", "explain", f"./{photo}" if photo.startswith("-") else photo]
    weights = _weights(network)
    against = class_word(target.against, served)
    given: list[tuple[str, object]] = [
        ("model", network.name),
        ("weights", weights or None),
        *((name, value or True) for name, value in loading.items() if name not in _CLASSES),
        ("classes", _TEXT_FILE if asked.texts else loading.get("classes")),
        ("target", class_word(target.class_, served)),
        ("against", against),
        ("counterfactual", True if target.counterfactual else None),
        ("box", None if target.box is None else _in_pixels(target.box)),
        ("pixel", None if target.pixel is None else _in_pixels(target.pixel[::-1])),
        ("method", asked.method),
        ("layer", asked.layer),
        *_command_file(asked, file),
    ]
    for name, value in given:
        if value is True:
            words.append(f"--{name}")
        elif value is not None:
            # A value that begins with a dash would be taken for an option.
            is_apart = not str(value).startswith("-")
            words += [f"--{name}", str(value)] if is_apart else [f"--{name}={value}"]
    line = shlex.join(words)
    if not asked.texts:
        return line
    lines = shlex.join(["printf", "%s\\n", *asked.texts])
    return f"{lines} > {_TEXT_FILE} && {line}"


def _command_file(asked: FileRequest, file: str) -> list[tuple[str, object]]:
    """Return the options that write the file."""
    if asked.kind == "table":
        return [("table", file)]
    if asked.kind == "regions":
        return [
            ("regions", _regions_out(asked, file)),
            ("regions-format", asked.regions),
            ("threshold", asked.threshold),
        ]
    if asked.kind == "arrays":
        return [("whole", True if asked.whole else None), ("out", file)]
    return [
        ("picture", asked.picture),
        ("colormap", asked.colormap),
        ("whole" if asked.whole else "crop", True),
        ("out", file),
    ]


def _regions_out(asked: FileRequest, file: str) -> str:
    """Return where regions go: coco is one file, other formats a folder."""
    return file if asked.regions == "coco" else str(Path(file).with_suffix(""))


def _weights(network: Network) -> str:
    """Return the weights that were named; "" for those that belong to the name."""
    if network.weights == "random":
        return "none"
    is_file = network.weights.endswith(_WEIGHT_FILES) and not network.name.endswith(network.weights)
    return Path(network.weights).name if is_file else ""


def _arguments(options: dict[str, str | None]) -> str:
    """Return keyword arguments, without those that are None."""
    return "".join(f", {name}={value}" for name, value in options.items() if value is not None)


def _or_none(value: object) -> str | None:
    return None if value is None else _quoted(value)


def _quoted(value: object) -> str:
    """Return a value as code, a text in double quotes where that needs no escape."""
    code = repr(value)
    plain = code[:1] == code[-1:] == "'" and '"' not in code and "\\" not in code
    return f'"{code[1:-1]}"' if plain else code


def _number(value: float) -> str:
    """Return a number as it is written in code, without a needless fraction."""
    return str(int(value)) if value == int(value) else repr(value)


def _in_pixels(values: PhotoBox | tuple[float, ...]) -> str:
    """Return places in whole pixels, as the command takes them."""
    return ",".join(str(max(0, round(value))) for value in values)
