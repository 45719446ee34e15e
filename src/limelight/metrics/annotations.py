"""What people marked on photos: boxes and masks, from the files that they are kept in."""

from __future__ import annotations

import csv
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import product, takewhile
from pathlib import Path, PurePosixPath
from zlib import crc32

import numpy as np
import torch
from PIL import Image, ImageDraw

from limelight.errors import OptionError, PhotoError
from limelight.files import read_text
from limelight.metrics.objects import Objects
from limelight.photos.decode import open_photo, photo_errors
from limelight.photos.memory import Sized
from limelight.photos.pieces import pieces
from limelight.photos.preprocess import Preprocess
from limelight.targets import ClassName

_PICTURES = (".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")


_COLUMNS = ("photo", "x1", "y1", "x2", "y2")


@dataclass(frozen=True, slots=True)
class Marked:
    """An object that was marked on a photo.

    Attributes:
        label: Its class; "" when nobody said.
        corners: The corners of a box, or of a polygon, as shares of the photo's sides,
            `x1, y1, x2, y2, ...`.
        pixels: The same in pixels, when that is what was written.
    """

    label: str
    corners: tuple[float, ...]
    pixels: bool = False

    def box(self, photo: Sized, preprocess: Preprocess) -> list[float]:
        """Return the box x1, y1, x2, y2 around it, in pixels of the network's input."""
        across, down = (1, 1) if self.pixels else (photo.width, photo.height)
        x = [value * across for value in self.corners[::2]]
        y = [value * down for value in self.corners[1::2]]
        first = preprocess.point(photo, min(x), min(y))
        return [*first, *preprocess.point(photo, max(x), max(y))]


#: By the name of a photo, what is marked on each photo of that name, by its path in the file.
Table = dict[str, dict[str, list[Marked]]]


class Annotations:
    """Boxes or masks of many photos, looked up by the photo's name.

    Boxes are a CSV file with the columns photo, x1, y1, x2, y2 (pixels of the photo) and, if you
    like, class; or a folder with a text file for each photo, as YOLO takes them: a line for each
    object, its class number, then the centre, width and height of its box as shares of the photo,
    or the corners of a polygon. Masks are a folder with a picture for each photo, of the same name
    or ending in `_mask`, black where there is no object; or text files with polygons. Where masks
    hold numbers of classes, `value` says which number is the object.
    """

    def __init__(
        self,
        *,
        boxes: Path | None = None,
        masks: Path | None = None,
        names: Sequence[str] | None = None,
        value: int | None = None,
    ) -> None:
        """Read a CSV file, or note the folder.

        Raises:
            OptionError: The file cannot be read, or there is no such folder.
        """
        self._folder = boxes or masks or Path()
        self._as_masks, self._names, self._value = masks is not None, names, value
        self._table: Table | None = None
        # Path.exists raises an error for a name that is too long; os.path.exists returns False.
        if not os.path.exists(self._folder):
            raise OptionError(f"There is no file or folder {str(self._folder)!r} with annotations.")
        if not os.path.isdir(self._folder):
            if self._as_masks:
                raise OptionError(f"Masks are a folder; {str(self._folder)!r} is a file.")
            self._table = _read_table(self._folder)

    def objects(self, path: Path, photo: Sized, preprocess: Preprocess) -> dict[str, Objects]:
        """Return the objects on one photo that the network sees, by class.

        Raises:
            PhotoError: What was marked on it cannot be read.
        """
        blank = torch.empty(1, 1, *preprocess.input_size(photo), dtype=torch.float32, device="cpu")
        file = self._picture_file(path) if self._as_masks else None
        if file is not None:
            try:
                mask = preprocess.mask(photo, self._object_of(file))
            except PhotoError as error:
                raise PhotoError(f"{str(path)!r}: {error}") from error
            return {"": Objects.of(mask[None], blank)} if mask.any() else {}
        found = dict[str, Objects]()
        marked = self._marked(path)
        for label in dict.fromkeys(one.label for one in marked):
            own = [one for one in marked if one.label == label]
            if self._as_masks:
                mask = preprocess.mask(photo, _filled(own, photo))
                objects = Objects.of(mask[None], blank)
            else:
                objects = Objects.of([[one.box(photo, preprocess) for one in own]], blank)
            if objects.mask.any():
                found[label] = objects
        return found

    def fingerprint(self, path: Path) -> str:
        """Return what changes when what is marked on a photo does."""
        if self._table is not None:
            return f"{crc32(repr(_nearest(self._table, path)).encode()):08x}"
        file = (self._picture_file(path) if self._as_masks else None) or self._text_file(path)
        return "" if file is None else f"{crc32(file.read_bytes()):08x}"

    def _marked(self, path: Path) -> list[Marked]:
        if self._table is not None:
            return _nearest(self._table, path)
        file = self._text_file(path)
        if file is None:
            return []
        try:
            lines = read_text(file).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise PhotoError(
                f"{str(file)!r} cannot be read: {error}. Text was expected."
            ) from error
        marked = enumerate(lines, start=1)
        return [self._line(file, number, line) for number, line in marked if line.strip()]

    def _line(self, file: Path, number: int, line: str) -> Marked:
        """Read a line: a class number, then a box or a polygon."""
        try:
            kind, *values = (float(part) for part in line.split())
            if not kind.is_integer() or kind < 0:
                raise ValueError(f"{kind:g} is no class number")
            if len(values) < 4 or len(values) % 2 or not all(map(math.isfinite, values)):
                raise ValueError(f"{len(values)} numbers")
            label = f"{kind:.0f}" if self._names is None else self._names[int(kind)]
        except (ValueError, IndexError) as error:
            raise PhotoError(
                f"Line {number} of {str(file)!r} cannot be read ({error}): {line.strip()[:60]!r}. "
                "A class number was expected, then centre x, y, width and height as shares of the "
                "photo, or x y x y x y ... of a polygon; and a name for each class number."
            ) from error
        if len(values) == 4:
            x, y, w, h = values
            return Marked(label, (x - w / 2, y - h / 2, x + w / 2, y + h / 2))
        return Marked(label, tuple(values))

    def _text_file(self, path: Path) -> Path | None:
        """Return the text file of a photo; a folder of photos may have a folder of its own."""
        own = (folder / f"{path.stem}.txt" for folder in self._folders(path))
        return next((file for file in own if os.path.exists(file)), None)

    def _picture_file(self, path: Path) -> Path | None:
        """Return the mask of a photo, if there is one as a picture."""
        stems = f"{path.stem}_mask", path.stem
        for folder, stem, suffix in product(self._folders(path), stems, _PICTURES):
            file = folder / f"{stem}{suffix}"
            if os.path.exists(file) and file.resolve() != path.resolve():
                return file
        return None

    def _folders(self, path: Path) -> tuple[Path, Path]:
        return self._folder / path.parent.name, self._folder

    def _object_of(self, file: Path) -> Image.Image:
        """Return where a mask marks the object, as a picture in black and white."""
        with (
            warnings.catch_warnings(action="ignore"),
            photo_errors(file),
            open_photo(file) as picture,
        ):
            picture.load()
        # A palette's numbers are what counts, not its colours; of colours, any but black.
        grey = picture.mode in ("1", "L", "P") or picture.mode.startswith("I")
        drawn = Image.new("L", picture.size)
        for box in pieces(*picture.size):
            part = picture.crop(box)
            values = np.asarray(part if grey else part.convert("RGB"))
            values = values if grey else values.max(-1)
            inside = values == self._value
            if self._value is None:  # JPEG is never quite black
                inside = values > 127 if picture.format == "JPEG" else values != 0
            drawn.paste(Image.fromarray(inside.astype(np.uint8) * 255), box)
        return drawn


def joined(objects: Mapping[str, Objects]) -> Objects | None:
    """Return the objects of all classes together; None without any."""
    each = list(objects.values())
    if not each:
        return None
    mask = torch.stack([one.mask for one in each]).any(0)
    return Objects(mask, (torch.cat([one.boxes[0] for one in each]),))


def read_names(path: Path) -> list[str]:
    """Return the names in a text file, one per line.

    Raises:
        OptionError: It cannot be read.
    """
    try:
        return [line.strip() for line in read_text(path).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"The names cannot be read from {str(path)!r}: {error}.") from error


def read_matches(path: Path) -> dict[str, list[ClassName]]:
    """Return which of the network's classes go with a class of annotations.

    A CSV file without a header: the annotations' class, then as many classes of the network as go
    with it, by name or by index. A class alone on its line is itself.

    Raises:
        OptionError: It cannot be read.
    """
    try:
        lines = csv.reader(StringIO(read_text(path), newline=""))
        rows = [[cell.strip() for cell in row] for row in lines if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"The matches cannot be read from {str(path)!r}: {error}.") from error
    found = dict[str, list[ClassName]]()
    for own, *others in rows:
        if own:
            named = [one for one in others if one] or [own]
            found.setdefault(own, []).extend(int(one) if one.isdigit() else one for one in named)
    return found


def _read_table(path: Path) -> Table:
    """Read boxes from a CSV file."""
    found: Table = {}
    line = 1
    try:
        reader = csv.DictReader(StringIO(read_text(path), newline=""), skipinitialspace=True)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise OptionError(
                f"{str(path)!r} has no column {', '.join(missing)}; the columns "
                f"{', '.join(_COLUMNS)} were expected, and class if you like."
            )
        for row in reader:
            line = reader.line_num
            corners = tuple(float(row[name]) for name in _COLUMNS[1:])
            if not all(map(math.isfinite, corners)):
                raise ValueError(f"a corner of {row['photo']!r} is not finite")
            label = (row.get("class") or "").strip()
            photo = row["photo"].strip()
            same = found.setdefault(PurePosixPath(photo).name, {})
            same.setdefault(photo, []).append(Marked(label, corners, True))
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(
            f"The boxes cannot be read from {str(path)!r}, line {line}: {error}. A row for each "
            f"box was expected, with numbers for {', '.join(_COLUMNS[1:])} in pixels of the photo."
        ) from error
    return found


def _nearest(table: Table, path: Path) -> list[Marked]:
    """Return what a table has of a photo: by its name, or without the suffix.

    Where photos of one name lie in several folders, those with most of the path in common.
    """

    def common(name: str) -> int:
        pairs = zip(PurePosixPath(name).parts[::-1], path.parts[::-1], strict=False)
        return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))

    alike = table.get(path.name) or table.get(path.stem) or {}
    most = max(map(common, alike), default=0)
    return [one for name, marked in alike.items() if common(name) == most for one in marked]


def _filled(marked: Sequence[Marked], photo: Sized) -> Image.Image:
    """Return polygons and boxes filled in, at the photo's size."""
    mask = Image.new("L", (photo.width, photo.height))
    draw = ImageDraw.Draw(mask)
    for one in marked:
        x = np.array(one.corners[::2]) * photo.width
        y = np.array(one.corners[1::2]) * photo.height
        if len(x) == 2:
            draw.rectangle([x[0], y[0], max(x[0], x[1] - 1), max(y[0], y[1] - 1)], fill=255)
        else:
            draw.polygon(list(zip(x.tolist(), y.tolist(), strict=True)), fill=255)
    return mask
