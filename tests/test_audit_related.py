"""Which photos are related, and what an audit says of them."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.audit_rows import made_rows
from limelight.audits.searches.related import LEAST_FLIPS, MOST_BITS, related_warning, sources_of


def _look(picture: Image.Image) -> int:
    """Return the difference hash as it is defined: is each of 8 x 9 cells darker than the next?"""
    cells = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BILINEAR)).astype(int)
    bits = [cells[i, j + 1] > cells[i, j] for i in range(8) for j in range(8)]
    return sum(1 << (63 - k) for k, bit in enumerate(bits) if bit)


def _flips(look: int) -> int:
    bits = np.array([(look >> (63 - k)) & 1 for k in range(64)]).reshape(8, 8)
    return int((bits[1:] != bits[:-1]).sum() + (bits[:, 1:] != bits[:, :-1]).sum())


def _slow_sources(looks: list[int]) -> list[int]:
    """Return the sources of hashes by comparing all pairs, and following links one by one."""
    source = list(range(len(looks)))
    for i, first in enumerate(looks):
        for j, second in enumerate(looks):
            told = min(_flips(first), _flips(second)) >= LEAST_FLIPS
            if told and (first ^ second).bit_count() <= MOST_BITS:
                low, high = sorted((source[i], source[j]))
                source = [low if each == high else each for each in source]
    return source


def _partition(numbers: object) -> set[frozenset[int]]:
    values = np.asarray(numbers)
    return {frozenset(np.flatnonzero(values == each).tolist()) for each in set(values.tolist())}


def test_groups_are_the_sources() -> None:
    rows = made_rows(5, group=["b", "a", "b", "", ""], digest=["x", "x", "y", "z", "x"])
    # The last has the content of the first two, but those have groups, and it has none.
    assert sources_of(rows).tolist() == [0, 1, 0, 2, 3]


def test_photos_of_one_content_are_of_one_source() -> None:
    rows = made_rows(4, digest=["x", "y", "x", ""])
    assert sources_of(rows).tolist() == [0, 1, 0, 2]


def test_rows_without_a_digest_are_each_of_their_own() -> None:
    assert sources_of(made_rows(3, digest=["", "", ""])).tolist() == [0, 1, 2]


def test_frames_slices_and_pages_of_one_file_are_of_one_source() -> None:
    photos = ["a/clip.mp4/clip-0001", "a/clip.mp4/clip-0002", "b/clip.mp4/clip-0001"]
    photos += [
        "scan.v2.nii.gz/scan_v2-01",
        "scan.v2.nii.gz/scan_v2-02",
        "head/head-1",
        "head/head-2",
    ]
    photos += [
        "C:\\x\\film.tif\\film-1",
        "C:\\x\\film.tif\\film-2",
        "dog/dog-1.jpg",
        "dog/dog-2.jpg",
    ]
    rows = made_rows(len(photos), photo=photos)
    assert sources_of(rows).tolist() == [0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 6]


def test_hashes_within_few_bits_are_of_one_source_as_comparing_all_pairs_finds() -> None:
    drawn = np.random.default_rng(4)
    looks = [int(each) for each in drawn.integers(0, 2**64, 40, dtype=np.uint64)]
    for look in looks[:20]:  # each is followed by a chain of ever more different ones
        near = look
        for _ in range(3):
            for bit in drawn.choice(64, int(drawn.integers(0, 6)), replace=False):
                near ^= 1 << int(bit)
            looks.append(near)
    looks += [0, 1, 3, 7, 0, 2**64 - 1]
    found = sources_of(made_rows(len(looks), look=looks))
    assert _partition(found) == _partition(_slow_sources(looks))
    assert 40 < len(_partition(found)) < 100  # some of the chains hold, and others break


def test_sources_do_not_depend_on_the_order_of_the_rows() -> None:
    drawn = np.random.default_rng(0)
    base = drawn.integers(0, 2**64, 30, dtype=np.uint64)
    looks = base[drawn.integers(0, 30, 90)] ^ (np.uint64(1) << drawn.integers(0, 64, 90, np.uint64))
    order = drawn.permutation(90)
    there = sources_of(made_rows(90, look=looks))
    again = sources_of(made_rows(90, look=looks[order]))
    assert _partition(there[order]) == _partition(again)


def test_empty_pictures_and_skies_are_not_taken_for_one_photo() -> None:
    assert len(set(sources_of(made_rows(4, look=[0, 0, 1, 0xFF])).tolist())) == 4


def test_no_rows_have_no_sources() -> None:
    assert len(sources_of(made_rows(0))) == 0
    assert related_warning(made_rows(0), sources_of(made_rows(0))) == ""


def test_a_photo_saved_anew_is_found_and_other_photos_are_not(shared: Path) -> None:
    looks = list[int]()
    for path in sorted((shared / "coco128" / "images").glob("*.jpg"))[:40]:
        with Image.open(path) as photo:
            seen = photo.convert("RGB").resize((224, 224))
        file = io.BytesIO()
        seen.save(file, "JPEG", quality=50)
        with Image.open(file) as saved:
            looks += [_look(seen), _look(saved)]
    source = sources_of(made_rows(80, look=looks))
    found = source[::2] == source[1::2]
    assert found.mean() >= 0.9
    assert len(set(source[::2].tolist())) == 40


def test_a_hundred_thousand_hashes_take_seconds() -> None:
    drawn = np.random.default_rng(1)
    looks = drawn.integers(0, 2**64, 100_000, dtype=np.uint64)
    looks[50_000:] = looks[:50_000] ^ (np.uint64(1) << drawn.integers(0, 64, 50_000, np.uint64))
    rows = made_rows(100_000, look=looks)
    start = time.process_time()
    sources = sources_of(rows)
    assert time.process_time() - start < 20
    assert len(np.unique(sources)) == 50_000


def test_names_that_share_a_beginning_are_pointed_out_and_are_no_groups() -> None:
    photos = [f"scans/patient{i // 4}_{i % 4:02}.png" for i in range(40)]
    rows = made_rows(40, photo=photos)
    sources = sources_of(rows)
    assert len(set(sources.tolist())) == 40
    said = related_warning(rows, sources)
    assert "scans/patient9" in said
    assert "give their groups" in said


@pytest.mark.parametrize(
    "names",
    [
        [f"IMG_{i:04}.jpg" for i in range(40)],
        [f"train2017/{i:012}.jpg" for i in range(40)],
        [f"ILSVRC2012_val_{i:08}.JPEG" for i in range(40)],
        [f"{'cat' if i % 2 else 'dog'}/{i}.png" for i in range(40)],
        [f"n0144076{i // 10}/n0144076{i // 10}_{i}.JPEG" for i in range(40)],
        [f"visit{i}_1.png" for i in range(40)],
    ],
    ids=["camera", "coco", "imagenet", "class folders", "synsets", "one each"],
)
def test_names_that_only_count_or_name_the_class_are_not(names: list[str]) -> None:
    rows = made_rows(40, photo=names, label=[f"class{i // 10}" for i in range(40)])
    assert related_warning(rows, sources_of(rows)) == ""


def test_groups_that_are_many_leave_nothing_to_say() -> None:
    photos = [f"patient{i}_1.png" for i in range(30)] + [f"patient{i}_2.png" for i in range(5)]
    rows = made_rows(35, photo=photos, group=[name.partition("_")[0] for name in photos])
    assert related_warning(rows, sources_of(rows)) == ""


def test_many_photos_of_few_sources_are_said_to_be_so() -> None:
    rows = made_rows(60, group=[f"ward {i % 7}" for i in range(60)])
    said = related_warning(rows, sources_of(rows))
    assert "60 photos are of 7 sources" in said
    assert "fewer than 10 have no p-value" in said


def test_copies_are_counted() -> None:
    rows = made_rows(30, digest=["same", "same", *(f"{i}" for i in range(28))])
    assert "1 of the 30 photos look like another" in related_warning(rows, sources_of(rows))
