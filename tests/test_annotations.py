"""Boxes and masks from files: what is read, where it lands, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from helpers.photos import load_picture
from limelight.errors import OptionError, PhotoError
from limelight.metrics.annotation_files import Annotations, join_objects, read_matches, read_names
from limelight.metrics.objects import Objects
from limelight.photos.preprocess import Preprocess

#: Of a photo of 60 x 40 pixels, the middle 40 x 40, as it is.
SEEN = Preprocess(size=(40, 40), resize=40, mean=(0.0,), std=(1.0,))
HEAD = "photo,x1,y1,x2,y2\n"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return drawn(tmp_path / "photos" / "a.png")


def drawn(
    path: Path, box: Sequence[float] = (), size: tuple[int, int] = (60, 40), **options: Any
) -> Path:
    """Save a black photo, white in a box x1, y1, x2, y2."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("L", size)
    if box:
        x1, y1, x2, y2 = box
        ImageDraw.Draw(picture).rectangle((x1, y1, x2 - 1, y2 - 1), fill=255)
    picture.save(path, **options)
    return path


def written(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def found(
    annotations: Annotations, path: Path, preprocess: Preprocess = SEEN
) -> Mapping[str, Objects]:
    return annotations.objects(path, load_picture(path), preprocess)


def boxes(objects: Mapping[str, Objects]) -> dict[str, list[list[float]]]:
    return {label: one.boxes[0].tolist() for label, one in objects.items()}


def white(path: Path, preprocess: Preprocess = SEEN) -> Tensor:
    """Return where the network sees white, `[1, H, W]`."""
    return preprocess(load_picture(path)) > 0.5


def of_csv(path: Path, text: str | bytes) -> Mapping[str, Objects]:
    return found(Annotations(boxes=written(path.parents[1] / "boxes.csv", text)), path)


def of_yolo(path: Path, text: str | bytes, **options: Any) -> Mapping[str, Objects]:
    file = written(path.parents[1] / "labels" / f"{path.stem}.txt", text)
    return found(Annotations(boxes=file.parent, **options), path)


def of_mask(path: Path, mask: Image.Image, name: str = "a.png", **options: Any) -> Tensor:
    folder = path.parents[1] / "masks"
    folder.mkdir(exist_ok=True)
    mask.save(folder / name)
    objects = found(Annotations(masks=folder, **options), path)
    return objects[""].mask if objects else torch.zeros(1, 40, 40, dtype=torch.bool)


# Where boxes land

WHERE = [
    (20, 10, 40, 30),  # inside
    (0, 10, 20, 30),  # partly outside the crop
    (0, 0, 60, 40),  # larger than the crop
    (49, 39, 60, 40),  # a corner pixel
    (12, 7, 13, 8),  # one pixel
]


@pytest.mark.parametrize("box", WHERE, ids=str)
def test_a_box_lands_where_the_network_sees_it(tmp_path: Path, box: tuple[int, ...]) -> None:
    photo = drawn(tmp_path / "photos" / "a.png", box)
    x1, y1, x2, y2 = box
    shares = ((x1 + x2) / 120, (y1 + y2) / 80, (x2 - x1) / 60, (y2 - y1) / 40)
    from_csv = of_csv(photo, f"{HEAD}a.png,{x1},{y1},{x2},{y2}\n")
    from_yolo = of_yolo(photo, "3 " + " ".join(map(str, shares)))
    assert white(photo).any()
    assert torch.equal(from_csv[""].mask, white(photo))
    assert torch.equal(from_yolo["3"].mask, white(photo))
    low, high = np.clip((x1 - 10, y1), 0, 40), np.clip((x2 - 10, y2), 0, 40)
    assert boxes(from_csv)[""] == [[*low, *high]]


@pytest.mark.parametrize("box", WHERE[:3], ids=str)
def test_a_box_is_scaled_with_its_photo(tmp_path: Path, box: tuple[int, ...]) -> None:
    half = Preprocess(size=(20, 20), resize=20, mean=(0.0,), std=(1.0,), interpolation="nearest")
    photo = drawn(tmp_path / "photos" / "a.png", box)
    rows = HEAD + "a.png," + ",".join(map(str, box))
    objects = found(Annotations(boxes=written(tmp_path / "boxes.csv", rows)), photo, half)
    assert torch.equal(objects[""].mask, white(photo, half))


@pytest.mark.parametrize("box", [(0, 0, 10, 40), (50, 0, 60, 40), (-9, -9, -1, -1)], ids=str)
def test_what_lies_outside_the_crop_is_no_object(photo: Path, box: tuple[int, ...]) -> None:
    assert of_csv(photo, HEAD + "a.png," + ",".join(map(str, box))) == {}
    # Another that is seen stays, alone.
    both = of_csv(photo, f"{HEAD}a.png,{','.join(map(str, box))}\na.png,20,10,40,30\n")
    assert boxes(both) == {"": [[10, 10, 30, 30]]}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_of_the_upright_photo(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = drawn(tmp_path / "photos" / "a.png", (2, 3, 30, 24), exif=exif)
    upright = np.asarray(load_picture(photo).convert("L")) > 127
    rows, columns = np.nonzero(upright)
    box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    objects = of_csv(photo, HEAD + "a.png," + ",".join(map(str, box)))
    assert torch.equal(objects[""].mask, white(photo))
    mask = Image.fromarray(upright)
    assert torch.equal(of_mask(photo, mask), white(photo))


# CSV


def test_several_boxes_and_classes(photo: Path) -> None:
    text = "class,y1,x1,y2,x2,photo,extra\ncat,0,10,5,15,a.png,z\n,0,20,5,25,a.png,z\n"
    objects = of_csv(photo, text + "cat,10,10,20,20,a.png,z\ndog,0,0,1,1,b.png,z\n\n")
    assert boxes(objects) == {"cat": [[0, 0, 5, 5], [0, 10, 10, 20]], "": [[10, 0, 15, 5]]}


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "a.png,20,10,40,30",
        HEAD + "a,20,10,40,30\r\n",  # without the suffix
        HEAD + "some/where/a.png,20,10,40,30",
        HEAD + "a.png,40,30,20,10",  # corners the other way round
        "photo, x1, y1, x2, y2\na.png, 20, 10, 40.0, 3e1",
        b"\xef\xbb\xbf" + (HEAD + '"a.png","20","10","40","30"').encode(),
    ],
    ids=["plain", "stem", "folder", "corners", "spaces", "byte order mark"],
)
def test_ways_to_write_the_same(photo: Path, text: str | bytes) -> None:
    assert boxes(of_csv(photo, text)) == {"": [[10, 10, 30, 30]]}


def test_photos_of_one_name_in_two_folders_have_their_own_boxes(tmp_path: Path) -> None:
    first, second = drawn(tmp_path / "p" / "one" / "a.png"), drawn(tmp_path / "p" / "two" / "a.png")
    file = written(tmp_path / "boxes.csv", f"{HEAD}one/a.png,20,10,40,30\ntwo/a.png,11,11,12,12\n")
    annotations = Annotations(boxes=file)
    assert boxes(found(annotations, first)) == {"": [[10, 10, 30, 30]]}
    assert boxes(found(annotations, second)) == {"": [[1, 11, 2, 12]]}


def test_spaces_around_a_class_are_no_other_class(photo: Path) -> None:
    text = "photo,x1,y1,x2,y2,class\na.png,20,10,40,30,cat \na.png,11,11,12,12,cat\n"
    assert list(of_csv(photo, text)) == ["cat"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "",
            "has no column photo, x1, y1, x2, y2; the columns photo, x1, y1, x2, y2 were expected",
        ),
        ("photo,xmin,y1,x2,y2\n", "has no column x1;"),
        ("photo;x1;y1;x2;y2\n", "has no column photo, x1, y1, x2, y2;"),
        (
            HEAD + "a.png,1,2,three,4\n",
            "could not convert string to float: 'three'. A row for each",
        ),
        (
            HEAD + "a.png,1,2,3\n",
            "A row for each box was expected, with numbers for x1, y1, x2, y2",
        ),
        (HEAD + "a.png,,2,3,4\n", "A row for each box was expected"),
        (HEAD + "a.png,nan,2,3,4\n", "A row for each box was expected"),
        (HEAD + "a.png,1,2,inf,4\n", "A row for each box was expected"),
        (HEAD.encode("utf-16"), "cannot be read from"),
    ],
    ids=["empty", "column", "semicolon", "word", "short", "blank", "nan", "inf", "utf-16"],
)
def test_a_table_that_is_none_is_refused(photo: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(OptionError) as caught:
        of_csv(photo, text)
    assert says in str(caught.value)
    assert "boxes.csv" in str(caught.value)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no file or folder '.*none.csv' with annotations"):
        Annotations(boxes=tmp_path / "none.csv")
    with pytest.raises(OptionError, match=r"no file or folder '.*none' with annotations"):
        Annotations(masks=tmp_path / "none")
    file = written(tmp_path / "mask.png", "")
    with pytest.raises(OptionError, match=r"Masks are a folder; '.*mask.png' is a file"):
        Annotations(masks=file)


# YOLO


def test_yolo_lines_have_the_names_of_their_numbers(photo: Path) -> None:
    text = "1 .5 .5 .25 .5\n\n0 .25 .25 .05 .05\n1 .75 .75 .05 .05\n"
    objects = of_yolo(photo, text, names=["ant", "bee"])
    assert {name: len(one.boxes[0]) for name, one in objects.items()} == {"bee": 2, "ant": 1}
    assert list(of_yolo(photo, text)) == ["1", "0"]


def test_a_polygon_is_its_box_among_boxes_and_itself_among_masks(photo: Path) -> None:
    text = "0 .25 .25 .75 .25 .75 .75\n"
    objects = of_yolo(photo, text)
    assert boxes(objects) == {"0": [[5, 10, 35, 30]]}
    filled = found(Annotations(masks=photo.parents[1] / "labels"), photo)["0"]
    corner = filled.mask[0, 10:30, 5:35]
    assert not filled.mask[0, :9].any()
    assert not filled.mask[0, 32:].any()
    assert 0.5 <= corner.float().mean() < 0.58
    assert corner[0, -1]
    assert not corner[-1, 0]


def test_polygons_of_one_class_are_put_together(photo: Path) -> None:
    text = "0 .2 .2 .4 .2 .4 .4 .2 .4\n0 .6 .6 .8 .6 .8 .8 .6 .8\n1 .5 0 .6 0 .6 .1\n"
    folder = written(photo.parents[1] / "masks" / "a.txt", text).parent
    objects = found(Annotations(masks=folder, names=["ant", "bee"]), photo)
    assert {name: len(one.boxes[0]) for name, one in objects.items()} == {"ant": 2, "bee": 1}
    both = join_objects(objects)
    assert both is not None
    assert int(both.mask.sum()) == sum(int(one.mask.sum()) for one in objects.values())
    assert len(both.boxes[0]) == 3
    assert join_objects({}) is None


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("0 .5 .5 .1\n", {}, "(3 numbers): '0 .5 .5 .1'"),
        ("0 .5 .5 .1 .1 .9\n", {}, "(5 numbers)"),
        ("0 .5 .5 .1 .1 .9 .2\n", {"names": ["ant"]}, ""),
        ("cat .5 .5 .1 .1\n", {}, "could not convert string to float: 'cat'"),
        ("7 .5 .5 .1 .1\n", {"names": ["ant"]}, "a name for each class number"),
        ("-1 .5 .5 .1 .1\n", {"names": ["ant"]}, "class number"),
        ("0.5 .5 .5 .1 .1\n", {"names": ["ant"]}, "class number"),
        ("0 nan .5 .1 .1\n", {}, "shares"),
        ("0 inf .5 .1 .1\n", {}, "shares"),
        ("1e999 .5 .5 .1 .1\n", {}, "class number"),
        (b"\xff\xfe\x00\x01", {}, "cannot be read"),
    ],
    ids=[
        *("three", "confidence", "polygon", "word", "unnamed", "negative", "fraction"),
        *("nan", "inf", "overflow", "binary"),
    ],
)
def test_a_line_that_cannot_be_read_leaves_its_photo_out(
    photo: Path, text: str | bytes, options: dict[str, Any], says: str
) -> None:
    if not says:  # six numbers are a polygon
        assert of_yolo(photo, text, **options)
        return
    with pytest.raises(PhotoError) as caught:
        of_yolo(photo, text, **options)
    assert says in str(caught.value)
    assert "a.txt" in str(caught.value)


def test_the_line_that_cannot_be_read_is_named(photo: Path) -> None:
    with pytest.raises(PhotoError, match=r"^Line 3 of '.*a.txt' cannot be read"):
        of_yolo(photo, "0 .5 .5 .1 .1\n\n0 .5\n")


def test_a_photo_without_a_file_has_no_objects(photo: Path) -> None:
    written(photo.parents[1] / "labels" / "b.txt", "0 .5 .5 .1 .1")
    assert found(Annotations(boxes=photo.parents[1] / "labels"), photo) == {}
    assert of_yolo(photo, "\n") == {}


# Masks


def marks(value: int = 1, dtype: Any = np.uint8) -> np.ndarray:
    mask = np.zeros((40, 60), dtype)
    mask[10:30, 20:40] = value
    mask[0:5, 20:40] = value + 1
    return mask


INSIDE = torch.zeros(1, 40, 40, dtype=torch.bool)
INSIDE[:, 10:30, 10:30] = True
OTHER = torch.zeros(1, 40, 40, dtype=torch.bool)
OTHER[:, 0:5, 10:30] = True


def palette(values: np.ndarray) -> Image.Image:
    """Return a picture whose number 0 is white, and 1 black."""
    picture = Image.frombytes("P", (60, 40), values.tobytes())
    picture.putpalette([255, 255, 255, 0, 0, 0, 0, 0, 0] + [90] * 759)
    return picture


NUMBERED = [
    ("grey", Image.fromarray(marks()), 1),
    ("palette", palette(marks()), 1),
    ("16 bits", Image.fromarray(marks(dtype=np.uint16)), 1),
    ("16 bits, large", Image.fromarray(marks(300, np.uint16)), 300),
    ("32 bits", Image.fromarray(marks(300, np.int32)), 300),
]


@pytest.mark.parametrize(
    ("mask", "value"), [one[1:] for one in NUMBERED], ids=[one[0] for one in NUMBERED]
)
def test_numbers_of_classes_are_what_counts_not_colours(
    photo: Path, mask: Image.Image, value: int
) -> None:
    suffix = "a.tif" if mask.mode == "I" else "a.png"
    assert torch.equal(of_mask(photo, mask, suffix), INSIDE | OTHER)
    assert torch.equal(of_mask(photo, mask, suffix, mask_value=value), INSIDE)
    assert torch.equal(of_mask(photo, mask, suffix, mask_value=value + 1), OTHER)
    assert not of_mask(photo, mask, suffix, mask_value=9).any()


@pytest.mark.parametrize("colour", [(255, 255, 255), (128, 0, 0), (0, 0, 128), (1, 0, 0)], ids=str)
def test_what_is_not_black_is_the_object(photo: Path, colour: tuple[int, int, int]) -> None:
    mask = Image.new("RGB", (60, 40))
    mask.paste(colour, (20, 10, 40, 30))
    assert torch.equal(of_mask(photo, mask), INSIDE)


@pytest.mark.parametrize("name", ["a.png", "a_mask.png", "a.bmp", "a.webp", "a.tiff"])
def test_masks_are_found_by_the_name_of_their_photo(photo: Path, name: str) -> None:
    mask = Image.new("RGB", (60, 40))
    mask.paste("white", (20, 10, 40, 30))
    folder = photo.parents[1] / "masks"
    folder.mkdir()
    mask.save(folder / name, lossless=True)
    assert torch.equal(found(Annotations(masks=folder), photo)[""].mask, INSIDE)


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg"])
def test_a_mask_as_jpeg_marks_no_noise(photo: Path, name: str) -> None:
    mask = Image.new("L", (60, 40))
    mask.paste(255, (20, 10, 40, 30))
    folder = photo.parents[1] / "masks"
    folder.mkdir()
    mask.save(folder / name, quality=75)
    objects = found(Annotations(masks=folder), photo)
    assert torch.equal(objects[""].mask, INSIDE)
    assert len(objects[""].boxes[0]) == 1


def test_a_transparent_mask_marks_what_is_not_black(photo: Path) -> None:
    mask = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    mask.paste((255, 0, 0, 255), (20, 10, 40, 30))
    assert torch.equal(of_mask(photo, mask), INSIDE)


@pytest.mark.parametrize("factor", [0.5, 2, 3])
def test_a_mask_of_another_size_is_scaled(photo: Path, factor: float) -> None:
    mask = Image.new("1", (int(60 * factor), int(40 * factor)))
    x1, y1, x2, y2 = (int(one * factor) for one in (20, 10, 40, 30))
    mask.paste(1, (x1, y1, x2, y2))
    assert torch.equal(of_mask(photo, mask), INSIDE)


@pytest.mark.parametrize("size", [(40, 40), (40, 60), (60, 20)], ids=str)
def test_a_mask_of_other_proportions_is_refused(photo: Path, size: tuple[int, int]) -> None:
    with pytest.raises(PhotoError) as caught:
        of_mask(photo, Image.new("L", size, 255))
    assert str(caught.value) == (
        f"{str(photo)!r}: The mask is {size[0]} x {size[1]} pixels and its photo 60 x 40; the same "
        "proportions were expected."
    )


def test_rounding_to_whole_pixels_is_no_other_proportion(tmp_path: Path) -> None:
    photo = drawn(tmp_path / "photos" / "a.png", size=(4000, 3001))
    whole = Preprocess(size=None, resize=30, mean=(0.0,), std=(1.0,))
    for size in ((500, 375), (1000, 750), (333, 250)):
        mask = whole.mask(load_picture(photo), Image.new("L", size, 9))
        assert mask.shape == whole(load_picture(photo)).shape[1:]
        assert mask.all()


def test_what_is_too_thin_for_half_a_pixel_still_counts() -> None:
    small = Preprocess(size=(10, 10), resize=10, mean=(0.0,), std=(1.0,))
    photo = Image.new("RGB", (100, 100))
    mask = Image.new("L", (100, 100))
    mask.paste(255, (52, 0, 54, 100))
    assert small.mask(photo, mask).sum(0).tolist() == [0] * 5 + [10] + [0] * 4
    mask.paste(255, (0, 0, 20, 20))  # beside something thicker it does not
    assert small.mask(photo, mask).sum().item() == 4


def test_a_mask_goes_the_way_of_the_photo() -> None:
    photo = Image.new("L", (90, 60))
    ImageDraw.Draw(photo).ellipse((20, 10, 60, 50), fill=255)
    for size, resize in (((30, 30), 30), ((64, 64), 50), ((20, 40), (50, 70)), (None, None)):
        prepared = Preprocess(
            size=size, resize=resize, mean=(0.0,), std=(1.0,), interpolation="bilinear"
        )
        mask, seen = prepared.mask(photo, photo), prepared(photo)[0]
        assert mask.shape == seen.shape
        # They differ where an edge runs through a pixel, nowhere else.
        apart = (mask != (seen > 0.5)) & ((seen < 0.2) | (seen > 0.8))
        assert not apart.any()


def test_an_empty_or_unseen_mask_is_no_object(photo: Path) -> None:
    aside = Image.new("L", (60, 40))
    aside.paste(255, (0, 0, 10, 40))
    for mask in (Image.new("L", (60, 40)), aside):
        assert not of_mask(photo, mask).any()


def test_a_mask_that_is_no_picture_leaves_its_photo_out(photo: Path) -> None:
    folder = written(photo.parents[1] / "masks" / "a.png", "no picture").parent
    with pytest.raises(PhotoError, match=r"masks.a.png' is not a picture"):
        found(Annotations(masks=folder), photo)


def test_masks_beside_the_photos_are_not_the_photos(photo: Path) -> None:
    beside = Annotations(masks=photo.parent)
    assert found(beside, photo) == {}
    Image.fromarray(marks()).save(photo.parent / "a_mask.png")
    assert torch.equal(found(beside, photo)[""].mask, INSIDE | OTHER)


def test_a_picture_counts_before_polygons_and_mask_before_the_plain_name(photo: Path) -> None:
    folder = written(photo.parents[1] / "masks" / "a.txt", "0 0 0 1 0 1 1\n").parent
    assert list(found(Annotations(masks=folder), photo)) == ["0"]
    Image.fromarray(marks()).save(folder / "a.png")
    assert torch.equal(found(Annotations(masks=folder), photo)[""].mask, INSIDE | OTHER)
    Image.fromarray(marks() == 1).save(folder / "a_mask.png")
    assert torch.equal(found(Annotations(masks=folder), photo)[""].mask, INSIDE)


def test_a_mask_and_its_box_agree(tmp_path: Path) -> None:
    for box in WHERE[:3]:
        photo = drawn(tmp_path / "photos" / "a.png", box)
        from_csv = of_csv(photo, HEAD + "a.png," + ",".join(map(str, box)))
        from_mask = of_mask(photo, Image.open(photo))
        assert torch.equal(from_csv[""].mask, from_mask)


# Names and matches


def test_names_are_read_line_by_line(tmp_path: Path) -> None:
    file = written(tmp_path / "names", b"\xef\xbb\xbfant\r\n bee \ncaf\xc3\xa9\n")
    assert read_names(file) == ["ant", "bee", "café"]
    with pytest.raises(OptionError, match=r"The names cannot be read from '.*none'"):
        read_names(tmp_path / "none")
    with pytest.raises(OptionError, match="The names cannot be read"):
        read_names(written(tmp_path / "bad", b"\xff\xfe"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("cat,tabby,285\n", {"cat": ["tabby", 285]}),
        ("cat\n", {"cat": ["cat"]}),
        ("cat , tabby\n\ndog,7\n", {"cat": ["tabby"], "dog": [7]}),
        ('bird,"cock, rooster"\n', {"bird": ["cock, rooster"]}),
        # Tables save all lines equally long.
        ("cat,tabby,285\ndog,7,\nant,,\n,,\n", {"cat": ["tabby", 285], "dog": [7], "ant": ["ant"]}),
        # A class on two lines has those of both.
        ("cat,tabby\ncat,285\n", {"cat": ["tabby", 285]}),
    ],
    ids=["several", "alone", "spaces", "comma", "padded", "twice"],
)
def test_matches_are_read_line_by_line(
    tmp_path: Path, text: str, wanted: dict[str, list[str | int]]
) -> None:
    assert read_matches(written(tmp_path / "match.csv", text)) == wanted


def test_matches_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    for file in (tmp_path / "none.csv", tmp_path, written(tmp_path / "bad", b"\xff\xfe")):
        with pytest.raises(OptionError, match="The matches cannot be read"):
            read_matches(file)


def test_columns_are_told_apart_by_name_not_by_place(photo: Path) -> None:
    columns = {"photo": "a.png", "x1": "20", "y1": "10", "x2": "40", "y2": "30", "class": "c"}
    names = list(columns)
    for first, second in pairwise(names):  # any two beside each other change places
        order = [{first: second, second: first}.get(name, name) for name in names]
        text = ",".join(order) + "\n" + ",".join(columns[name] for name in order)
        assert boxes(of_csv(photo, text)) == {"c": [[10, 10, 30, 30]]}


@pytest.mark.parametrize("read", [read_names, read_matches])
def test_lists_that_never_end_are_not_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OptionError, match="is no file, but a folder, pipe or device"):
        read(tmp_path / "pipe")


def test_names_that_cannot_be_are_no_folders() -> None:
    with pytest.raises(OptionError, match="There is no file or folder"):
        Annotations(boxes=Path("x" * 300))
