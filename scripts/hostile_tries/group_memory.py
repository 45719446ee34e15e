"""Memory, one fresh process at a time: bounded by what one small photo takes, and 1.5 GB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hostile_tries import photos
from hostile_tries.running import LIMIT
from hostile_tries.tries import Ran, Try

MORE = 1500.0  # MB above the base
#: What one small photo takes, until it is measured.
BASE = [450.0]


def tries(work: Path) -> Iterator[Try]:
    """Yield them; the first is the base."""
    good = photos.good(work / "good")
    heatmap = ("--picture", "heatmap", "--json")
    large, zeros, bit, deep = _files(work)  # before any try, which is not looked at meanwhile
    yield Try("one small photo", ("explain", good, *heatmap), fresh=True, also=_base)
    for name, argv in {
        "12 photos of 8000x6000": ("explain", str(large), *heatmap),
        "12 photos of 8000x6000, --batch 1": ("explain", str(large), *heatmap, "--batch", "1"),
        "one photo of 8000x6000": ("explain", str(large / "0.jpg"), *heatmap),
        "one photo of 8000x6000, figure": ("explain", str(large / "0.jpg"), "--json"),
        "one photo of 8000x6000, npz": ("explain", str(large / "0.jpg"), "-f", "npz", "--json"),
        "6 PNGs of 12200x12200 zeros": ("explain", str(zeros), *heatmap),
        "a 1-bit PNG of 12200x12200": ("explain", str(bit), *heatmap),
        "a 16-bit RGBA PNG of 12200x12200": ("explain", str(deep), *heatmap),
        "measure of 12 large photos": (
            "measure",
            str(large),
            "--methods",
            "gradcam",
            "--metrics",
            "insertion:steps=2",
            "--json",
        ),
        "compare of 12 large photos": ("compare", str(large), "--methods", "gradcam", "--json"),
        "walkthrough of a large photo": ("walkthrough", str(large / "0.jpg"), "--json"),
        "sanity of 3 large photos": (
            "sanity",
            *(str(large / f"{n}.jpg") for n in range(3)),
            "--methods",
            "gradcam",
            "--steps",
            "2",
            "--json",
        ),
        "concepts of 12 large photos": ("concepts", str(large), "--count", "2"),
    }.items():
        yield Try(name, argv, fresh=True, seconds=300, also=_bounded, megabytes=LIMIT)


def _base(ran: Ran) -> tuple[()]:
    BASE[0] = ran.megabytes
    return ()


def _bounded(ran: Ran) -> Iterator[str]:
    if ran.megabytes > BASE[0] + MORE:
        yield f"at most {BASE[0] + MORE:.0f} MB; {ran.megabytes:.0f} MB"


def _files(work: Path) -> tuple[Path, Path, Path, Path]:
    large, zeros = work / "large", work / "zeros"
    large.mkdir()
    zeros.mkdir()
    data = photos.encode(photos.draw(8000, 6000), quality=80)
    empty = photos.png(12200, 12200, 8, 2)
    for number in range(12):
        (large / f"{number}.jpg").write_bytes(data)
    for number in range(6):
        (zeros / f"{number}.png").write_bytes(empty)
    for name, bits, colour in (("bit", 1, 0), ("deep", 16, 6)):
        (work / f"{name}.png").write_bytes(photos.png(12200, 12200, bits, colour))
    return large, zeros, work / "bit.png", work / "deep.png"
