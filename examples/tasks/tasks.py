"""Train small networks and draw the pictures of docs/tasks.md, one for each task.

    python examples/tasks/tasks.py                  # all of them, about five minutes on one core
    python examples/tasks/tasks.py --only detection --out pictures

The photos are drawn too (`shapes.py`): discs, squares and triangles in three colours on a dark
wall. So the right place of every map is known, and the script checks that the map lies there.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from classes import classification, ensemble, labels
from regions import depth, detection, keypoints, masks, segmentation
from shapes import draw_photos
from signals import signals, solids
from texts import language
from vectors import embedding, pair

TASKS = {
    "classification": classification,
    "labels": labels,
    "segmentation": segmentation,
    "masks": masks,
    "detection": detection,
    "keypoints": keypoints,
    "depth": depth,
    "embedding": embedding,
    "pair": pair,
    "ensemble": ensemble,
    "language": language,
    "signals": signals,
    "solids": solids,
}


def main() -> None:
    """Draw the pictures that the command line selects."""
    told = argparse.ArgumentParser(description="Draw the pictures of docs/tasks.md.")
    told.add_argument("--only", choices=TASKS, action="append", help="this task alone")
    told.add_argument("--out", type=Path, default=Path("docs/images"), help="a folder")
    asked = told.parse_args()
    torch.set_num_threads(1)
    photos = draw_photos()
    for name in asked.only or TASKS:
        began = time.perf_counter()
        torch.manual_seed(0)
        TASKS[name](photos, asked.out)
        print(f"{name}: {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
