"""Export the network that comes with limelight for the page, and put two photos beside it.

    python examples/browser/prepare.py

The page shows any other file as well: `limelight.export(..., preprocessing=True)`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import limelight
from limelight.photos.pictures import load_photo
from limelight.photos.samples import SAMPLES, find_sample


def prepare(folder: Path) -> None:
    """Write network.onnx and the sample photos, chelsea.png and coffee.png, to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SAMPLES:
        load_photo(find_sample(name)).save(folder / f"{name}.png")
    exported = limelight.export(
        limelight.load_model(),
        folder / "chelsea.png",
        folder / "network.onnx",
        method=["gradcam", "layercam"],
        preprocessing=True,
    )
    print(f"{exported.path}: {exported.path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="the page's folder")
    prepare(parser.parse_args().out)
