"""Regions of many photos as files that labelling tools open: COCO, YOLO text, mask pictures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from limelight import files
from limelight.errors import OptionError, OutputError, unknown
from limelight.plain import as_json
from limelight.regions.categories import Categories
from limelight.regions.coco import annotation, document
from limelight.regions.drawings import overlay
from limelight.regions.heat_regions import ImageRegions
from limelight.regions.yolo_text import box_line, polygon_line
from limelight.tables.explanations import check_count

#: coco: one JSON file. yolo: a text file per photo, with boxes. yolo-polygons: the same, with
#: polygons. masks: black pictures, 255 in regions. numbered-masks: the number of each region.
#: pictures: the photos with the regions drawn on them.
RegionFormat = Literal["coco", "yolo", "yolo-polygons", "masks", "numbered-masks", "pictures"]

REGION_FORMATS: tuple[RegionFormat, ...] = get_args(RegionFormat)

#: The formats with a picture for each photo and target, which is written at once.
_PICTURE_FORMATS = ("masks", "numbered-masks", "pictures")

#: The class of a region: its index, and its label.
ImageClass = tuple[int | None, str]


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of YOLO text, whose class has no number yet."""

    index: int | None
    label: str
    shares: str


@dataclass(kw_only=True)
class RegionExport:
    """The regions of the photos of a run, in one format.

    Pictures are written photo by photo; the other files at the end, with what came until then.

    Attributes:
        out: The JSON file of coco; else a folder.
        form: The format.
        categories: The classes so far.
        images, annotations: The parts of a COCO file so far.
        lines: The lines of YOLO text so far, by the name of the photo.
    """

    out: Path
    form: RegionFormat
    categories: Categories
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[tuple[ImageClass, dict[str, Any]]] = field(default_factory=list)
    lines: dict[str, list[_Line]] = field(default_factory=dict)

    @classmethod
    def plan(
        cls,
        out: Path,
        form: RegionFormat,
        names: Sequence[str],
        *,
        classes: Sequence[str] | None = None,
        photos: Sequence[Path] = (),
    ) -> RegionExport:
        """Return an empty export, after checking that its files can be written.

        Args:
            out: A folder; or for coco a .json file.
            form: The format.
            names: The names of the photos in the files, with their suffixes.
            classes: The names of the network's classes.
            photos: The photos themselves, which are not overwritten.

        Raises:
            UnknownNameError: There is no such format.
            OutputError: The files cannot be written there, or two photos would share a file.
        """
        if form not in REGION_FORMATS:
            known = ", ".join(REGION_FORMATS)
            raise unknown("format for regions", form, REGION_FORMATS, f"There are {known}.")
        is_json = out.suffix.lower() == ".json" and not out.is_dir()
        if form != "coco":
            if is_json:
                raise OutputError(
                    f"Regions as {form} are files in a folder, and {str(out)!r} is the name of a "
                    "JSON file. Pass a folder, or take the format coco."
                )
            _refuse_shared_files(names)
            files.make_folder(out)
        else:
            out = out if is_json else out / "annotations.json"
            files.make_folder(out.parent)
        export = cls(out=out, form=form, categories=Categories(classes))
        resolved = {path.resolve() for path in photos}
        for picture in map(export._picture_path, names if form in _PICTURE_FORMATS else ()):
            if picture.resolve() in resolved:
                raise OutputError(
                    "The regions of a photo would be written over the photo "
                    f"{str(picture)!r}. Pass another folder for the regions."
                )
        return export

    def add(self, name: str, targets: Sequence[ImageRegions]) -> list[Path]:
        """Add the regions of one photo, for each of its targets; return the pictures, if any.

        Raises:
            OutputError: A picture cannot be written.
        """
        for regions in targets:
            self.categories.add(regions)
        if self.form in _PICTURE_FORMATS:
            return [
                self._write_picture(name, regions, number if len(targets) > 1 else None)
                for number, regions in enumerate(targets, start=1)
            ]
        if self.form == "coco":
            self._add_to_coco(name, targets)
        else:
            line = box_line if self.form == "yolo" else polygon_line
            self.lines[name] = [
                _Line(regions.index, regions.label, line(region))
                for regions in targets
                for region in regions
            ]
        return []

    def write(self) -> list[Path]:
        """Write what is not written yet; return the files.

        Raises:
            OutputError: A file cannot be written.
        """
        if self.form == "coco":
            return [files.write_whole(self.out, as_json(self._coco()).encode())]
        if self.form in _PICTURE_FORMATS:
            return []
        names = "".join(f"{line}\n" for line in self.categories.lines)
        written = [files.write_whole(self.out / "classes.txt", names.encode())]
        for name, lines in self.lines.items():
            number = self.categories.number
            text = "".join(f"{number(line.index, line.label)} {line.shares}\n" for line in lines)
            path = self.out / "labels" / PurePosixPath(name).with_suffix(".txt")
            written.append(files.write_whole(path, text.encode()))
        return written

    def _add_to_coco(self, name: str, targets: Sequence[ImageRegions]) -> None:
        height, width = targets[0].size
        self.images.append({"file_name": name, "width": width, "height": height})
        for regions in targets:
            for region in regions:
                what = regions.index, regions.label
                part = {"image_id": len(self.images), **annotation(region)}
                self.annotations.append((what, part))

    def _coco(self) -> dict[str, Any]:
        annotations = [
            {**part, "category_id": self.categories.number(*what) + 1}
            for what, part in self.annotations
        ]
        return document(self.images, annotations, self.categories.used)

    def _write_picture(self, name: str, regions: ImageRegions, number: int | None) -> Path:
        path = self._picture_path(name, number)
        picture = self._picture(regions)
        return files.write_whole(path, lambda file: picture.save(file, "PNG"))

    def _picture(self, regions: ImageRegions) -> Image.Image:
        if self.form == "pictures":
            return overlay(regions)
        numbers = regions.numbered.numpy()
        if self.form == "masks":
            numbers = 255 * (numbers > 0)
        depth = np.uint8 if len(regions) <= 255 else np.uint16
        return Image.fromarray(numbers.astype(depth))

    def _picture_path(self, name: str, number: int | None = None) -> Path:
        """Return the file of a picture: NAME.png, or with several targets NAME-1.png and so on."""
        photo = PurePosixPath(name)
        parts = [photo.stem] if number is None else [photo.stem, str(number)]
        return self.out / photo.parent / files.file_name(parts, "png")


def _refuse_shared_files(names: Sequence[str]) -> None:
    """Refuse photos whose names differ in their suffixes alone, for formats with a file for each.

    Raises:
        OutputError: There are such photos.
    """
    stems = Counter(str(PurePosixPath(name).with_suffix("")) for name in names)
    for stem, count in stems.items():
        if count > 1:
            raise OutputError(
                f"{count} photos are called {stem!r} but for their suffixes, and would have one "
                "file of regions. Rename them, or take the format coco."
            )


def names_in_files(paths: Sequence[Path]) -> list[str]:
    """Return the names of photos as files of annotations have them: from their common folder on."""
    absolute = [Path(os.path.abspath(path)) for path in paths]
    try:
        common: PurePath = Path(os.path.commonpath([path.parent for path in absolute]))
    except ValueError:  # on different drives, or no photo
        return [path.name for path in absolute]
    return [path.relative_to(common).as_posix() for path in absolute]


def check_names(names: Sequence[str] | None, count: int) -> list[str]:
    """Return the names of photos that were given; else `image-0.png` and so on.

    Raises:
        InputError: There is not one name for each image.
        OptionError: A name is used twice, or leads out of the folder.
    """
    if names is None:
        return [f"image-{number}.png" for number in range(count)]
    check_count(names, count)
    for name in names:
        path = PurePosixPath(name)
        if not path.name or path.is_absolute() or ".." in path.parts:
            raise OptionError(
                f"A photo is called {name!r}; a name such as 'cat.jpg' or 'pets/cat.jpg' was "
                "expected, from the folder of the photos on."
            )
    if len(set(names)) < count:
        raise OptionError("Two photos have the same name; a name of its own was expected for each.")
    return list(names)
