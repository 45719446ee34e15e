"""Regions in the files of labelling tools, read again by slow readers and by limelight's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.region_cases import explanation, photo, pixels_in_polygons, segmented
from limelight import Explanation
from limelight.errors import InputError, LimelightError, OptionError, OutputError, UnknownNameError
from limelight.metrics.annotation_files import Annotations, read_names
from limelight.photos.crops import CroppedPhoto
from limelight.photos.preprocess import Preprocess
from limelight.regions.exports import RegionFormat, names_in_files

WIDTH, HEIGHT = 23, 18
PHOTOS = ["cat.jpg", "pets/dog.png"]


def two_photos(**fields: Any) -> Explanation:
    """Return an explanation of two photos with several regions, one of them with holes."""
    raw = torch.zeros(2, HEIGHT, WIDTH)
    raw[0, 2:12, 3:15] = 1.5
    raw[0, 4:6, 5:8] = raw[0, 8:10, 5:7] = raw[0, 6, 9] = raw[0, 7, 10] = 0
    raw[0, 14:, 20:] = 2
    raw[1, 0, 0] = raw[1, 5:9, 7] = raw[1, 8, 7:12] = 1
    crops = [CroppedPhoto.uncropped(photo(WIDTH, HEIGHT, seed)) for seed in range(2)]
    made: dict[str, Any] = {
        "index": torch.tensor([7, 2]),
        "label": ("class 7", "class 2"),
        "crops": crops,
    }
    return explanation(raw, **(made | fields))


RESULT = two_photos()
REGIONS = RESULT.regions(0.5)


def test_the_case_has_holes_and_several_regions() -> None:
    assert [len(regions) for regions in REGIONS] == [2, 2]
    assert sorted(len(region.contours) for regions in REGIONS for region in regions) == [1, 1, 1, 5]


def test_coco_holds_every_region_exactly(tmp_path: Path) -> None:
    (path,) = REGIONS.export(tmp_path / "regions.json", photos=PHOTOS)
    coco = json.loads(path.read_text())
    assert coco["images"] == [
        {"id": 1, "file_name": "cat.jpg", "width": WIDTH, "height": HEIGHT},
        {"id": 2, "file_name": "pets/dog.png", "width": WIDTH, "height": HEIGHT},
    ]
    assert coco["categories"] == [
        {"id": 3, "name": "class 2", "supercategory": ""},
        {"id": 8, "name": "class 7", "supercategory": ""},
    ]
    assert [each["id"] for each in coco["annotations"]] == [1, 2, 3, 4]
    regions = [(b, region) for b, of_image in enumerate(REGIONS) for region in of_image]
    for annotation, (b, region) in zip(coco["annotations"], regions, strict=True):
        mask = segmented(annotation, HEIGHT, WIDTH)
        assert (mask == region.mask.numpy()).all()
        assert annotation["image_id"] == b + 1
        assert annotation["category_id"] == [8, 3][b]
        assert annotation["area"] == mask.sum()
        assert annotation["iscrowd"] == 0
        rows, columns = np.nonzero(mask)
        x, y = columns.min(), rows.min()
        size = columns.max() + 1 - x, rows.max() + 1 - y
        assert annotation["bbox"] == [x, y, *size]
        assert annotation["share_of_heat"] == region.share_of_heat
    kinds = [type(each["segmentation"]) for each in coco["annotations"]]
    assert kinds.count(dict) == 1  # that with holes


def test_a_region_that_fills_the_photo_or_touches_its_corners(tmp_path: Path) -> None:
    for number, where in enumerate([np.s_[:, :], np.s_[1:, 1:], np.s_[:4, :4]]):
        raw = torch.full((1, 5, 6), 1e-3)
        raw[0][where] = 1
        raw[0, 2, 2] = 0  # a hole, so that it is written in runs
        regions = explanation(raw).regions(0.5)
        (path,) = regions.export(tmp_path / f"{number}.json")
        (annotation,) = json.loads(path.read_text())["annotations"]
        assert isinstance(annotation["segmentation"], dict)
        assert (segmented(annotation, 5, 6) == regions[0].mask.numpy()).all()


def lines_of(folder: Path, stem: str) -> list[list[float]]:
    text = (folder / "labels" / f"{stem}.txt").read_text()
    return [[float(word) for word in line.split()] for line in text.splitlines()]


def test_yolo_boxes(tmp_path: Path) -> None:
    written = REGIONS.export(tmp_path, "yolo", photos=PHOTOS)
    assert written == [
        tmp_path / "classes.txt",
        tmp_path / "labels" / "cat.txt",
        tmp_path / "labels" / "pets" / "dog.txt",
    ]
    for stem, number, regions in zip(("cat", "pets/dog"), (7, 2), REGIONS, strict=True):
        lines = lines_of(tmp_path, stem)
        for (kind, x, y, w, h), region in zip(lines, regions, strict=True):
            corners = (x - w / 2) * WIDTH, (y - h / 2) * HEIGHT
            ends = (x + w / 2) * WIDTH, (y + h / 2) * HEIGHT
            assert kind == number
            assert (*corners, *ends) == pytest.approx(region.box, abs=1e-6)
    names = (tmp_path / "classes.txt").read_text().splitlines()
    assert names == [f"class {number}" for number in range(8)]


def test_yolo_polygons_hold_every_region_exactly_holes_too(tmp_path: Path) -> None:
    REGIONS.export(tmp_path, "yolo-polygons", photos=PHOTOS)
    for stem, regions in zip(("cat", "pets/dog"), REGIONS, strict=True):
        for (_, *shares), region in zip(lines_of(tmp_path, stem), regions, strict=True):
            polygon = [share * (WIDTH, HEIGHT)[number % 2] for number, share in enumerate(shares)]
            assert (pixels_in_polygons([polygon], HEIGHT, WIDTH) == region.mask.numpy()).all()


def whole_photo() -> Preprocess:
    return Preprocess(size=(HEIGHT, WIDTH), resize=(HEIGHT, WIDTH), mean=(0.0,) * 3, std=(1.0,) * 3)


def test_limelight_reads_back_the_boxes_that_it_writes(tmp_path: Path) -> None:
    REGIONS.export(tmp_path, "yolo", photos=PHOTOS)
    names = read_names(tmp_path / "classes.txt")
    annotations = Annotations(boxes=tmp_path / "labels", names=names)
    for name, label, regions in zip(PHOTOS, ("class 7", "class 2"), REGIONS, strict=True):
        read = annotations.objects(Path("photos") / name, photo(WIDTH, HEIGHT), whole_photo())
        boxes = read[label].boxes[0].round().int().tolist()
        assert sorted(map(tuple, boxes)) == sorted(region.box for region in regions)


@pytest.mark.parametrize("form", ["yolo-polygons", "masks", "numbered-masks"])
def test_limelight_reads_back_the_masks_that_it_writes(tmp_path: Path, form: RegionFormat) -> None:
    REGIONS.export(tmp_path, form, photos=PHOTOS)
    folder = tmp_path / "labels" if form == "yolo-polygons" else tmp_path
    annotations = Annotations(masks=folder)
    for name, regions in zip(PHOTOS, REGIONS, strict=True):
        read = annotations.objects(Path("photos") / name, photo(WIDTH, HEIGHT), whole_photo())
        (objects,) = read.values()
        assert torch.equal(objects.mask[0], regions.mask)


def test_mask_pictures(tmp_path: Path) -> None:
    for form, of_region in (("masks", [0, 255, 255]), ("numbered-masks", [0, 1, 2])):
        folder = tmp_path / form
        written = REGIONS.export(folder, form, photos=PHOTOS)  # type: ignore[arg-type]
        assert written == [folder / "cat.png", folder / "pets" / "dog.png"]
        for path, regions in zip(written, REGIONS, strict=True):
            with Image.open(path) as file:
                assert (file.format, file.mode) == ("PNG", "L")
                values = np.asarray(file)
            assert (values == np.array(of_region)[regions.numbered.numpy()]).all()


def test_pictures_with_the_regions_drawn_on_them(tmp_path: Path) -> None:
    written = REGIONS.export(tmp_path, "pictures", photos=PHOTOS)
    assert written == [tmp_path / "cat.png", tmp_path / "pets" / "dog.png"]
    for path, drawn in zip(written, REGIONS.overlay(), strict=True):
        with Image.open(path) as file:
            assert (np.asarray(file) == np.asarray(drawn)).all()


def test_more_regions_than_a_byte_counts(tmp_path: Path) -> None:
    raw = torch.zeros(1, 40, 40)
    raw[0, ::2, ::2] = 1
    regions = explanation(raw).regions(0.5)
    (path,) = regions.export(tmp_path, "numbered-masks")
    with Image.open(path) as file:
        assert np.asarray(file).max() == len(regions[0]) == 400


def test_a_photo_without_regions_is_in_the_files(tmp_path: Path) -> None:
    nothing = explanation(torch.zeros(1, 4, 4)).regions(0.5)
    (path,) = nothing.export(tmp_path / "c.json", photos=["cold.jpg"])
    coco = json.loads(path.read_text())
    assert [image["file_name"] for image in coco["images"]] == ["cold.jpg"]
    assert coco["annotations"] == []
    nothing.export(tmp_path, "yolo", photos=["cold.jpg"])
    assert (tmp_path / "labels" / "cold.txt").read_text() == ""


def test_what_is_no_class_is_numbered_after_the_classes(tmp_path: Path) -> None:
    regions = two_photos(index=None, label=("a red roof", "a tree")).regions(0.5)
    (path,) = regions.export(tmp_path / "c.json", photos=PHOTOS)
    coco = json.loads(path.read_text())
    assert [(each["id"], each["name"]) for each in coco["categories"]] == [
        (1, "a red roof"),
        (2, "a tree"),
    ]
    assert [each["category_id"] for each in coco["annotations"]] == [1, 1, 2, 2]


def test_names_that_are_not_known_are_made(tmp_path: Path) -> None:
    (path,) = REGIONS.export(tmp_path / "made")
    assert path == tmp_path / "made" / "annotations.json"
    names = [image["file_name"] for image in json.loads(path.read_text())["images"]]
    assert names == ["image-0.png", "image-1.png"]


@pytest.mark.parametrize(
    ("out", "arguments", "error", "message"),
    [
        ("x", {"form": "voc"}, UnknownNameError, "There are coco, yolo, yolo-polygons"),
        ("x.json", {"form": "yolo"}, OutputError, "Pass a folder, or take the format coco"),
        ("x", {"photos": ["a.jpg"]}, InputError, "1 names of photos for 2 images"),
        ("x", {"photos": ["a.jpg", "a.jpg"]}, OptionError, "Two photos have the same name"),
        ("x", {"photos": ["a.jpg", "../b.jpg"]}, OptionError, "a name such as 'cat.jpg'"),
        ("x", {"photos": ["a.jpg", "/b.jpg"]}, OptionError, "A photo is called '/b.jpg'"),
        (
            "x",
            {"form": "yolo", "photos": ["a.jpg", "a.png"]},
            OutputError,
            "2 photos are called 'a' but for their suffixes",
        ),
        ("file", {}, OutputError, "Cannot write"),
    ],
)
def test_exports_that_are_refused(
    tmp_path: Path,
    out: str,
    arguments: dict[str, Any],
    error: type[LimelightError],
    message: str,
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(error, match=message):
        REGIONS.export(tmp_path / out, **arguments)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["file"]


def test_the_names_in_files_begin_at_the_common_folder(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "1.jpg", tmp_path / "a" / "b" / "1.jpg", tmp_path / "a" / "2.jpg"]
    assert names_in_files(paths) == ["1.jpg", "b/1.jpg", "2.jpg"]
    assert names_in_files(paths[1:2]) == ["1.jpg"]
    assert names_in_files([]) == []
