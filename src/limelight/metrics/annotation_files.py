"""What people marked on photos: boxes and masks, read from files."""

from __future__ import annotations

import csv
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from io import StringIO
from itertools import product
from pathlib import Path, PurePosixPath
from zlib import crc32

import numpy as np
import torch
from PIL import Image

from limelight.errors import OptionError, PhotoError
from limelight.files import read_text
from limelight.metrics.coco_files import read_coco
from limelight.metrics.marked import (
    MarkedObject,
    MarkedPhotos,
    filled,
    fingerprint_text,
    nearest_marked,
)
from limelight.metrics.objects import Objects
from limelight.photos.decode import open_photo, photo_errors
from limelight.photos.memory import Sized
from limelight.photos.pieces import pieces
from limelight.photos.preprocess import Preprocess
from limelight.targets import ClassName

_MASK_SUFFIXES = (".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")


_BOX_COLUMNS = ("photo", "x1", "y1", "x2", "y2")


class Annotations:
    """Boxes or masks of many photos, looked up by the photo's name.

    Boxes are a CSV file with the columns photo, x1, y1, x2, y2 (pixels of the photo) and, if you
    like, class; or a folder with a YOLO text file for each photo: a line for each object, its class
    number, then the centre, width and height of its box as shares of the photo, or the corners of a
    polygon. Masks are a folder with a picture for each photo, of the same name or ending in
    `_mask`, black where there is no object; or text files with polygons. A .json file in the form
    of COCO's instances has both.

    Attributes:
        boxes: The file or folder of boxes, if boxes were marked.
        masks: The file or folder of masks, if masks were.
        names: The names of the class numbers in text files.
        mask_value: The number of the object, where masks hold numbers of classes.
    """

    def __init__(
        self,
        *,
        boxes: Path | None = None,
        masks: Path | None = None,
        names: Sequence[str] | None = None,
        mask_value: int | None = None,
    ) -> None:
        """Read a CSV or JSON file, or note the folder.

        Raises:
            OptionError: The file cannot be read, or there is no such folder.
        """
        self.boxes, self.masks, self.names, self.mask_value = boxes, masks, names, mask_value
        self._folder = boxes or masks or Path()
        self._as_masks = masks is not None
        self._table: MarkedPhotos | None = None
        # Path.exists raises an error for a name that is too long; os.path.exists returns False.
        if not os.path.exists(self._folder):
            raise OptionError(f"There is no file or folder {str(self._folder)!r} with annotations.")
        if not os.path.isdir(self._folder):
            self._table = _read_file(self._folder, masks=self._as_masks)

    def objects(self, path: Path, photo: Sized, preprocess: Preprocess) -> dict[str, Objects]:
        """Return the objects on one photo that the network sees, by class.

        Raises:
            PhotoError: What was marked on it cannot be read.
        """
        blank = torch.empty(1, 1, *preprocess.input_size(photo), dtype=torch.float32, device="cpu")
        file = self._picture_file(path) if self._as_masks and self._table is None else None
        if file is not None:
            try:
                mask = preprocess.mask(photo, self._read_mask(file))
            except PhotoError as error:
                raise PhotoError(f"{str(path)!r}: {error}") from error
            return {"": Objects.of(mask[None], blank)} if mask.any() else {}
        by_class = dict[str, Objects]()
        marked = self._marked(path)
        for label in dict.fromkeys(item.label for item in marked):
            of_class = [item for item in marked if item.label == label]
            if self._as_masks:
                mask = preprocess.mask(photo, filled(of_class, photo))
                objects = Objects.of(mask[None], blank)
            else:
                boxes = [item.box(photo, preprocess) for item in of_class]
                objects = Objects.of([boxes], blank)
            if objects.mask.any():
                by_class[label] = objects
        return by_class

    def fingerprint(self, path: Path) -> str:
        """Return text that changes when what is marked on a photo changes."""
        if self._table is not None:
            marked = ", ".join(map(fingerprint_text, nearest_marked(self._table, path)))
            return f"{crc32(f'[{marked}]'.encode()):08x}"
        file = (self._picture_file(path) if self._as_masks else None) or self._text_file(path)
        return "" if file is None else f"{crc32(file.read_bytes()):08x}"

    def _marked(self, path: Path) -> list[MarkedObject]:
        if self._table is not None:
            return nearest_marked(self._table, path)
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

    def _line(self, file: Path, number: int, line: str) -> MarkedObject:
        """Read a line: a class number, then a box or a polygon."""
        try:
            kind, *values = (float(part) for part in line.split())
            if not kind.is_integer() or kind < 0:
                raise ValueError(f"{kind:g} is no class number")
            if len(values) < 4 or len(values) % 2 or not all(map(math.isfinite, values)):
                raise ValueError(f"{len(values)} numbers")
            label = f"{kind:.0f}" if self.names is None else self.names[int(kind)]
        except (ValueError, IndexError) as error:
            raise PhotoError(
                f"Line {number} of {str(file)!r} cannot be read ({error}): {line.strip()[:60]!r}. "
                "A class number was expected, then centre x, y, width and height as shares of the "
                "photo, or x y x y x y ... of a polygon; and a name for each class number."
            ) from error
        if len(values) == 4:
            x, y, w, h = values
            return MarkedObject(label, (x - w / 2, y - h / 2, x + w / 2, y + h / 2))
        return MarkedObject(label, tuple(values))

    def _text_file(self, path: Path) -> Path | None:
        """Return the text file of a photo; a folder of photos may have a folder of its own."""
        files = (folder / f"{path.stem}.txt" for folder in self._folders(path))
        return next((file for file in files if os.path.exists(file)), None)

    def _picture_file(self, path: Path) -> Path | None:
        """Return the mask of a photo, if there is one as a picture."""
        stems = f"{path.stem}_mask", path.stem
        for folder, stem, suffix in product(self._folders(path), stems, _MASK_SUFFIXES):
            file = folder / f"{stem}{suffix}"
            if os.path.exists(file) and file.resolve() != path.resolve():
                return file
        return None

    def _folders(self, path: Path) -> tuple[Path, Path]:
        return self._folder / path.parent.name, self._folder

    def _read_mask(self, file: Path) -> Image.Image:
        """Return a black picture that is white where a mask marks the object."""
        with (
            warnings.catch_warnings(action="ignore"),
            photo_errors(file),
            open_photo(file) as picture,
        ):
            picture.load()
        # In a palette the numbers count, not the colours; in colours, all but black is an object.
        grey = picture.mode in ("1", "L", "P") or picture.mode.startswith("I")
        drawn = Image.new("L", picture.size)
        for box in pieces(*picture.size):
            part = picture.crop(box)
            values = np.asarray(part if grey else part.convert("RGB"))
            values = values if grey else values.max(-1)
            inside = values == self.mask_value
            if self.mask_value is None:  # JPEG is never quite black
                inside = values > 127 if picture.format == "JPEG" else values != 0
            drawn.paste(Image.fromarray(inside.astype(np.uint8) * 255), box)
        return drawn


def join_objects(by_class: Mapping[str, Objects]) -> Objects | None:
    """Return the objects of all classes on one photo together; None without any."""
    if not by_class:
        return None
    mask = torch.stack([objects.mask for objects in by_class.values()]).any(0)
    boxes = torch.cat([objects.boxes[0] for objects in by_class.values()])
    return Objects(mask, (boxes,))


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
    """Return the network's classes that go with each class of the annotations.

    The file is CSV without a header: the annotations' class, then all classes of the network that
    go with it, by name or by index. A class alone on its line goes with the network's class of that
    name.

    Raises:
        OptionError: It cannot be read.
    """
    try:
        lines = csv.reader(StringIO(read_text(path), newline=""))
        rows = [[cell.strip() for cell in row] for row in lines if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"The matches cannot be read from {str(path)!r}: {error}.") from error
    matches = dict[str, list[ClassName]]()
    for annotated, *others in rows:
        if annotated:
            names = [name for name in others if name] or [annotated]
            matching = [int(name) if name.isdigit() else name for name in names]
            matches.setdefault(annotated, []).extend(matching)
    return matches


def _read_file(path: Path, *, masks: bool) -> MarkedPhotos:
    """Read the objects on all photos from one file.

    Raises:
        OptionError: It cannot be read, or holds no masks.
    """
    if path.suffix.lower() == ".json":
        return read_coco(path, masks=masks)
    if masks:
        raise OptionError(
            f"Masks are a folder; {str(path)!r} is a file. Of files, those in the form of COCO's "
            "instances have masks, and their names end in .json."
        )
    return _read_table(path)


def _read_table(path: Path) -> MarkedPhotos:
    """Read boxes from a CSV file."""
    photos: MarkedPhotos = {}
    line = 1
    try:
        reader = csv.DictReader(StringIO(read_text(path), newline=""), skipinitialspace=True)
        missing = [name for name in _BOX_COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise OptionError(
                f"{str(path)!r} has no column {', '.join(missing)}; the columns "
                f"{', '.join(_BOX_COLUMNS)} were expected, and class if you like."
            )
        for row in reader:
            line = reader.line_num
            corners = tuple(float(row[name]) for name in _BOX_COLUMNS[1:])
            if not all(map(math.isfinite, corners)):
                raise ValueError(f"a corner of {row['photo']!r} is not finite")
            label = (row.get("class") or "").strip()
            photo = row["photo"].strip()
            same_name = photos.setdefault(PurePosixPath(photo).name, {})
            same_name.setdefault(photo, []).append(MarkedObject(label, corners, True))
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(
            f"The boxes cannot be read from {str(path)!r}, line {line}: {error}. A row for each "
            f"box was expected, with numbers for {', '.join(_BOX_COLUMNS[1:])} in pixels of the "
            "photo."
        ) from error
    return photos
