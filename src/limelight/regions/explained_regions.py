"""The result of `Explanation.regions`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from limelight import files
from limelight.errors import OutputError
from limelight.map_views import Pictures
from limelight.notebook import pictures_html
from limelight.regions.drawings import overlay
from limelight.regions.exports import RegionExport, RegionFormat, check_names
from limelight.regions.heat_regions import ImageRegions, PixelsOf, regions_of_images
from limelight.regions.thresholds import ThresholdRule
from limelight.tables import as_frame
from limelight.tables.explanations import Tabulated

if TYPE_CHECKING:
    import pandas

#: The columns of a table of regions, with the types of their values.
REGION_COLUMNS = {
    "photo": str,
    "image": int,
    "target": str,
    "index": int,
    "region": int,
    "pixels": str,
    "x1": int,
    "y1": int,
    "x2": int,
    "y2": int,
    "area": int,
    "mean_heat": float,
    "max_heat": float,
    "max_x": int,
    "max_y": int,
    "share_of_heat": float,
}

_PICTURES = ("png", "jpg", "jpeg", "webp")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ExplainedRegions(Sequence[ImageRegions]):
    """The regions of B images, as `Explanation.regions` returns them.

        regions = limelight.explain(network, photo).regions(threshold=0.5)
        for region in regions[0]:
            print(region.box, region.share_of_heat)
        regions.export("regions.json")

    Attributes:
        images: The regions of each image.
        classes: The names of the network's classes; None when they are not known.
    """

    images: tuple[ImageRegions, ...]
    classes: Sequence[str] | None = None

    @classmethod
    def of(
        cls,
        explanation: Tabulated,
        threshold: float | None,
        how: ThresholdRule,
        *,
        min_area: int,
        largest: bool,
        pixels: PixelsOf | None,
    ) -> ExplainedRegions:
        """Return the regions of an explanation, as `Explanation.regions`."""
        images = regions_of_images(
            explanation, threshold, how, min_area=min_area, largest=largest, pixels=pixels
        )
        recipe = explanation.recipe
        classes = None if recipe is None else recipe.parts[0].options.spec.classes
        return cls(tuple(images), classes)

    def __repr__(self) -> str:
        """Return the regions of each image."""
        return f"ExplainedRegions({', '.join(map(repr, self))})"

    def _repr_html_(self) -> str:
        """Show the regions on the first pictures in a notebook."""
        return pictures_html(self.overlay())

    def __len__(self) -> int:
        """Return B, the number of images."""
        return len(self.images)

    def __iter__(self) -> Iterator[ImageRegions]:
        """Go through the images."""
        return iter(self.images)

    def __getitem__(self, image: Any) -> Any:
        """Return the regions of one image."""
        return self.images[image]

    def rows(self, photos: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return a row of plain values for each region; docs/guide.md has the columns.

        Args:
            photos: The names of the photos, one per image; None when they have none.

        Raises:
            InputError: There is not one name for each image.
        """
        names: Sequence[str | None]
        names = [None] * len(self) if photos is None else check_names(photos, len(self))
        return [
            {
                "photo": names[b],
                "image": b,
                "target": regions.label,
                "index": regions.index,
                "region": number,
                "pixels": regions.pixels,
                **dict(zip(("x1", "y1", "x2", "y2"), region.box, strict=True)),
                "area": region.area,
                "mean_heat": region.mean_heat,
                "max_heat": region.max_heat,
                "max_x": region.max_x,
                "max_y": region.max_y,
                "share_of_heat": region.share_of_heat,
            }
            for b, regions in enumerate(self)
            for number, region in enumerate(regions, start=1)
        ]

    def to_frame(self, photos: Sequence[str] | None = None) -> pandas.DataFrame:
        """Return `rows` as a data frame of pandas.

        Raises:
            InputError: As `rows`.
            OptionError: pandas is not installed.
        """
        return as_frame(self.rows(photos), REGION_COLUMNS)

    def overlay(self) -> list[Image.Image]:
        """Draw the regions on each picture: outline, box, number and share of the heat.

        A small picture is enlarged by an integer.
        """
        return Pictures(map(overlay, self))

    def save(self, path: str | Path) -> Path:
        """Write the drawing of one image as .png, .jpg or .webp, whole or not at all.

        Raises:
            OutputError: The format is unknown, there are several images, or the file cannot be
                written there.
        """
        from limelight import render

        path = Path(path)
        form = files.known_suffix(path, _PICTURES)
        if len(self) != 1:
            raise OutputError(
                f"One picture was asked for, and there are {len(self)} images. Save them one by "
                "one, explanation[0].regions(...).save(...)."
            )
        (drawn,) = self.overlay()
        return files.write_whole(path, lambda file: render.write(drawn, form, file))

    def export(
        self,
        out: str | Path,
        form: RegionFormat = "coco",
        *,
        photos: Sequence[str] | None = None,
    ) -> list[Path]:
        """Write the regions as files that labelling tools open; return the files.

        Args:
            out: A .json file for coco; else a folder.
            form: `coco`: one JSON file with polygons, boxes and run lengths; `yolo`: a text file
                per photo with boxes; `yolo-polygons`: the same with polygons; `masks`: a picture
                per photo, 255 in regions and 0 elsewhere; `numbered-masks`: the number of each
                region; `pictures`: what `overlay` draws.
            photos: The names of the photos in the files, one per image; `image-0.png` and so on
                when they have none.

        Raises:
            UnknownNameError: There is no such format.
            InputError: There is not one name for each image.
            OutputError: The files cannot be written there.
        """
        names = check_names(photos, len(self))
        export = RegionExport.plan(Path(out), form, names, classes=self.classes)
        written = [
            path
            for name, regions in zip(names, self, strict=True)
            for path in export.add(name, [regions])
        ]
        return [*written, *export.write()]
