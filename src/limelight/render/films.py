"""Films: pictures one after the other, each with a line of text below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from limelight import files
from limelight.errors import OutputError
from limelight.extras import refuse_without
from limelight.render.fonts import drawable, font_file

#: The formats of films.
FILMS = ("mp4", "gif")

#: The height of the line of text as a share of the picture's, and its limits in pixels.
_LINE_SHARE, _LINE_LEAST, _LINE_MOST = 1 / 14, 18, 48

#: How much of the line's height the letters take.
_LETTER_SHARE = 0.58

_BACKGROUND, _TEXT = (24, 24, 27), (244, 244, 245)

#: What an encoder that writes fast loses on each picture; 18 is hardly seen (0 is nothing).
_QUALITY = "18"


def film_format(path: Path) -> str:
    """Return the format of a film, "mp4" or "gif", by its suffix.

    Raises:
        OutputError: It is another one.
        MissingPackageError: The package that writes it is not installed.
    """
    form = files.known_suffix(path, FILMS)
    if form == "mp4":
        refuse_without("av", use="Writing a film in mp4", instead="A film in gif needs none.")
    return form


def captioned(picture: Image.Image, left: str, right: str = "") -> Image.Image:
    """Return a picture with a line of text below, even in width and height, as films have to be.

    Text that is too long is cut off with an ellipsis; that on the right goes first.
    """
    width, height = picture.width + picture.width % 2, picture.height
    line = round(min(_LINE_MOST, max(_LINE_LEAST, height * _LINE_SHARE)))
    line += (height + line) % 2
    framed = Image.new("RGB", (width, height + line), _BACKGROUND)
    framed.paste(picture, (0, 0))
    draw = ImageDraw.Draw(framed)
    margin, middle = line // 3, height + line / 2
    room = width - 2 * margin
    left = _fitting(draw, drawable(left), line, room)
    draw.text((margin, middle), left, _TEXT, _font(left, line), anchor="lm")
    taken = draw.textlength(left, _font(left, line)) + 2 * margin
    right = drawable(right)
    if right and draw.textlength(right, _font(right, line)) <= room - taken:
        draw.text((width - margin, middle), right, _TEXT, _font(right, line), anchor="rm")
    return framed


def _font(text: str, line: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_file(text), round(line * _LETTER_SHARE))


def _fitting(draw: ImageDraw.ImageDraw, text: str, line: int, room: float) -> str:
    """Return as much of a text as fits."""
    if draw.textlength(text, _font(text, line)) <= room:
        return text
    while text and draw.textlength(text + "…", _font(text, line)) > room:
        text = text[:-1]
    return text + "…"


def write_film(path: Path, pictures: Iterable[Image.Image], fps: float) -> Path:
    """Write pictures of one size as a film, whole or not at all.

    Args:
        path: The file; its suffix, .mp4 or .gif, is the format.
        pictures: The pictures, one after the other; they are not kept.
        fps: How many are shown in a second.

    Raises:
        OutputError: There is no picture, or the file cannot be written there.
    """
    form, frames = film_format(path), _of_one_size(pictures)
    first = next(frames, None)
    if first is None:
        raise OutputError(f"{str(path)!r} is not written: there is no picture to show.")
    write = _write_mp4 if form == "mp4" else _write_gif
    return files.write_whole(path, lambda file: write(file, first, frames, fps))


def _of_one_size(pictures: Iterable[Image.Image]) -> Iterator[Image.Image]:
    """Yield pictures in the size of the first, with bars around those of other proportions."""
    size: tuple[int, int] | None = None
    for picture in pictures:
        size = size or picture.size
        if picture.size == size:
            yield picture
            continue
        share = min(size[0] / picture.width, size[1] / picture.height)
        small = picture.resize((round(picture.width * share), round(picture.height * share)))
        placed = Image.new("RGB", size, _BACKGROUND)
        placed.paste(small, ((size[0] - small.width) // 2, (size[1] - small.height) // 2))
        yield placed


def _write_mp4(file: object, first: Image.Image, frames: Iterator[Image.Image], fps: float) -> None:
    """Write an mp4 that browsers and slides play: H.264, colours at half resolution."""
    from fractions import Fraction

    import av

    rate = Fraction(fps).limit_denominator(1001)
    names = ("libx264", "mpeg4")
    codec = next(name for name in names if name in av.codecs_available)
    options = {"crf": _QUALITY, "preset": "veryfast"} if codec == "libx264" else {}
    with av.open(file, mode="w", format="mp4", options={"movflags": "faststart"}) as film:
        stream: Any = film.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, "yuv420p"
        if codec == "mpeg4":
            stream.bit_rate = 8 * first.width * first.height
        frame: Image.Image | None = first
        while frame is not None:
            coded: Any = av.VideoFrame.from_image(frame)  # type: ignore[no-untyped-call]
            film.mux(stream.encode(coded))
            frame = next(frames, None)
        film.mux(stream.encode(None))


def _write_gif(file: object, first: Image.Image, frames: Iterator[Image.Image], fps: float) -> None:
    """Write a gif that is shown again and again; it tells times in hundredths of a second."""
    first.save(
        file,  # type: ignore[arg-type]
        format="GIF",
        save_all=True,
        append_images=frames,
        duration=max(20, 10 * round(100 / fps)),
        loop=0,
        optimize=False,
    )
