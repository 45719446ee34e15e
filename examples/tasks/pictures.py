"""Pictures of the maps, and the check that they lie where they must."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

import limelight


def shrink(data: bytes, path: Path, wide: int = 1000) -> None:
    """Write a figure as a small image file."""
    with Image.open(BytesIO(data)) as drawn:
        picture = drawn.convert("RGB")
    if picture.width > wide:
        high = round(picture.height * wide / picture.width)
        picture = picture.resize((wide, high), Image.Resampling.LANCZOS)
    picture.save(path, optimize=True)


def save(
    result: limelight.Explanation, path: Path, photos: Sequence[Image.Image] | None = None
) -> None:
    """Write the figure of an explanation."""
    drawn = result.save(path, photos=photos)
    shrink(drawn.read_bytes(), path)


def strip(
    found: Sequence[limelight.Explanation],
    path: Path,
    photo: Image.Image,
    titles: Sequence[str] | None = None,
    wide: int = 1000,
) -> None:
    """Write the photo and the overlay of each explanation of it, side by side."""
    titles = titles or [f"{result.label[0]}  {result.score[0]:.2f}" for result in found]
    overlays = [result.overlay([photo])[0] for result in found]
    side_by_side([("photo", photo), *zip(titles, overlays, strict=True)], path, wide)


def side_by_side(panels: Sequence[tuple[str, Image.Image]], path: Path, wide: int = 1000) -> None:
    """Write pictures of one size side by side, each under its title; those of photos are plain."""
    _, first = panels[0]
    across = wide / 130 / len(panels)
    sheet = Figure(
        figsize=(across * len(panels), across * first.height / first.width + 0.45), dpi=200
    )
    sheet.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02)
    for axes, (title, picture) in zip(sheet.subplots(1, len(panels)), panels, strict=True):
        axes.imshow(picture)
        weight = "normal" if title.startswith("photo") else "bold"
        axes.set_title(title, fontsize=9, fontweight=weight)
        axes.set_axis_off()
    data = BytesIO()
    sheet.savefig(data, format="png", facecolor="white", bbox_inches="tight", pad_inches=0.02)
    shrink(data.getvalue(), path, wide)


def check(heatmap: Tensor, inside: Tensor, least: float = 2.0) -> None:
    """Raise an error unless a heatmap `[*image]` has far more heat inside a mask than by chance."""
    inside = inside.float()
    share = float((heatmap * inside).sum() / heatmap.sum())
    if not share > least * float(inside.mean()):
        raise RuntimeError(f"Only {share:.0%} of the heat is on {float(inside.mean()):.0%} of it.")
