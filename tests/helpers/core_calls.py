"""Everything that limelight offers, called where only torch, NumPy and Pillow are installed.

A program for a process of its own: it prints, as JSON, what came of each call:

* "" if it worked;
* the module that an error names as missing, which may be one that says so of a photo;
* "refused: ..." of another error of limelight's, which has nothing to do with packages;
* "Type: ..." of any other error.
"""

from __future__ import annotations

import inspect
import json
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import limelight
from helpers.hidden_packages import hide
from limelight.extras import PACKAGES, missing_package

hide(set(PACKAGES) - {"filelock"})  # which torch itself needs

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from limelight.errors import LimelightError, MissingPackageError  # noqa: E402


class Classifier(nn.Module):
    """Two convolutions and a linear layer: five classes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 8, 3, 2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        grid = self.last(self.first(x).relu()).relu()
        scores: Tensor = self.head(grid.mean((2, 3)))
        return scores


class Detector(nn.Module):
    """Returns a box for each cell of a grid, as DETR returns its boxes: none of torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        self.grid, self.logits = nn.Conv2d(3, 6, 8, 8), nn.Conv2d(6, 4, 1)
        self.corners = nn.Conv2d(6, 4, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        grid = self.grid(images)
        logits, boxes = self.logits(grid), self.corners(grid).sigmoid()
        return {
            "logits": logits.flatten(2).transpose(1, 2),
            "pred_boxes": boxes.flatten(2).transpose(1, 2),
        }


class Reader(nn.Module):
    """Embeds words, mixes neighbours, and names one of three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix = nn.Embedding(20, 6), nn.Conv1d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, ids: Tensor) -> Tensor:
        mixed = self.mix(self.words(ids).transpose(1, 2)).relu()
        scores: Tensor = self.head(mixed.mean(2))
        return scores


#: What the methods of results are called with, if they have to have arguments.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "drawn_on": ([],),
    "heatmap_at": ((8, 8),),
    "in_pieces": ((8, 8),),
    "extent": ((0, 0),),
    "numbers": (0,),
    "window": (0,),
    "head": (torch.rand(2, 8, 7, 7, device="cpu", dtype=torch.float32),),
    "network": (torch.rand(2, 3, 32, 32, device="cpu", dtype=torch.float32),),
    "on": (torch.rand(2, 3, 32, 32, device="cpu", dtype=torch.float32),),
    **dict.fromkeys(("alike", "curves", "differences", "letters", "ranking"), ("deletion",)),
    "estimate": ("gradcam", "deletion"),
}

#: Methods that take what only the library makes.
INSIDE = {"Cut.elsewhere", "Trace.of_image", "Cut.pass_", "Comparison.of_image"}

#: What is no result: its methods are called by the library.
GIVEN = (limelight.ScoreTarget, limelight.Tiles, limelight.Views)

#: Where results are saved; each refuses the formats that it has not.
FILES = ("maps.npz", "maps.png", "readings.json", "readings.csv", "page.html")


def outcome(call: Callable[[], Any]) -> tuple[Any, str]:
    """Return what a call returned, and what came of it."""
    try:
        result = call()
        return (list(result) if isinstance(result, Iterator) else result), ""
    except Exception as error:
        return None, _said(error)


def _said(error: Exception) -> str:
    if isinstance(error, MissingPackageError):
        return str(error.name)
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, MissingPackageError):
        behind = behind.__cause__ or behind.__context__
    if isinstance(behind, MissingPackageError) and str(behind) not in str(error):
        return f"swallowed {behind.name}: {error}"
    for name in PACKAGES:  # said of one photo, or of one of several metrics
        if str(missing_package(name)) in str(error):
            return name
    kind = "refused" if isinstance(error, LimelightError) else type(error).__name__
    return f"{kind}: {error}"


def calls_of(name: str, result: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the public methods and properties of a result, and what shows it in a notebook."""
    for attribute in sorted({*dir(type(result)), "_repr_html_", "_repr_png_", "__repr__"}):
        shown = attribute in ("_repr_html_", "_repr_png_", "__repr__")
        if not hasattr(type(result), attribute) or (attribute.startswith("_") and not shown):
            continue
        kind = inspect.getattr_static(type(result), attribute)
        if isinstance(kind, property):
            yield f"{name}.{attribute}", partial(getattr, result, attribute)
        elif attribute == "save":
            for file in FILES:
                yield f"{name}.save({file})", partial(result.save, file)
        elif inspect.isfunction(kind) and f"{type(result).__name__}.{attribute}" not in INSIDE:
            given = ARGUMENTS.get(attribute, ())
            yield f"{name}.{attribute}", partial(getattr(result, attribute), *given)


def calls() -> dict[str, Callable[[], Any]]:
    """Return a call of each public function, by its name."""
    model, x = Classifier().eval(), torch.rand(2, 3, 32, 32, dtype=torch.float32, device="cpu")
    network = limelight.Network("own", model, limelight.Preprocess((32, 32)))
    many = torch.rand(16, 3, 32, 32, dtype=torch.float32, device="cpu")
    words = torch.randint(20, (1, 7), device="cpu")
    methods = ["gradcam", "layercam"]
    return {
        "explain": lambda: limelight.explain(model, x),
        "explain_each": lambda: limelight.explain_each(model, x, [0, 1]),
        "explain_photos": lambda: limelight.explain_photos(network, ["photo.png"]),
        "explain_again": lambda: limelight.explain_again(
            limelight.explain(model, x).manifest(), model, x
        ),
        "explain_text": lambda: limelight.explain_text(Reader().eval(), words),
        "compare": lambda: limelight.compare(model, x, methods=methods),
        "cut": lambda: limelight.cut(model, x),
        "cuts": lambda: limelight.cuts(model, x, ["first", "last"]),
        "record": lambda: limelight.record(model, x),
        "stages": lambda: limelight.stages(limelight.record(model, x)),
        "trace": lambda: limelight.trace(model, x),
        "where_cells_look": lambda: limelight.where_cells_look(model, x),
        "walkthrough": lambda: limelight.walkthrough(model, x[:1]),
        "measure": lambda: limelight.measure(
            model, x, limelight.compare(model, x, methods=methods), metrics=["deletion"]
        ),
        "choose": lambda: limelight.choose(
            model, many, methods=methods[:1], layers=["last"], budget=100
        ),
        "sanity": lambda: limelight.sanity(model, x[:1], methods=methods),
        "factorize": lambda: limelight.factorize(model, x, concepts=2),
        "fuse": lambda: limelight.fuse([limelight.explain(model, x, layer="first")]),
        "flips": limelight.flips,
        "noise": lambda: limelight.noise(2),
        "scales": lambda: limelight.scales(2),
        "tiles": lambda: limelight.tiles(16),
        "top": lambda: limelight.top(2),
        "each_word": lambda: limelight.each_word([1, 2]),
        "load_photo": lambda: limelight.load_photo("photo.png"),
        "load_model": limelight.load_model,
        "load_vision_language": lambda: limelight.load_vision_language("hf:x"),
        "ask": lambda: limelight.ask("photo.png", "What is it?", model="hf:x"),
        "caption": lambda: limelight.caption("photo.png", model="hf:x"),
        "audit": lambda: limelight.audit(network, ["photo.png"], out="audit"),
        "audit_again": lambda: limelight.audit_again("audit"),
        "compare_audits": lambda: limelight.compare_audits("audit", "audit", "difference"),
        "export": lambda: limelight.export(network, x, "net.onnx"),
        "page": lambda: limelight.page(network),
        "examine": limelight.examine,
    }


def further() -> dict[str, Callable[[], Any]]:
    """Return further calls: files of every kind, networks by name, targets, methods, metrics."""
    model, x = Classifier().eval(), torch.rand(1, 3, 32, 32, dtype=torch.float32, device="cpu")
    network = limelight.Network("own", model, limelight.Preprocess((32, 32)))
    found: dict[str, Callable[[], Any]] = {
        f"photo:{name}": partial(limelight.load_photo, name)
        for name in ("deep.png", "deep.tif", "scan.nii", "scan.dcm", "film.mp4")
    }
    found |= {
        f"model:{name}": partial(limelight.load_model, name)
        for name in ("resnet18", "hf:x", "open_clip:ViT-B-32/x", "yolo:x.pt")
    }
    targets: dict[str, Any] = {
        "class": 3,
        "contrast": limelight.Contrast(1, 2),
        "counterfactual": limelight.Counterfactual(1),
        "any": limelight.AnyOf([1, 2]),
        "rank": limelight.Rank(2),
    }
    found |= {
        f"target:{name}": partial(limelight.explain, model, x, target=target)
        for name, target in targets.items()
    }
    box = limelight.Box((2, 2, 30, 30), iou=0.01)
    found["target:class of a detector"] = lambda: limelight.explain(
        Detector().eval(), x, target=1, layer="grid"
    )
    found["target:box"] = lambda: limelight.explain(Detector().eval(), x, target=box, layer="grid")
    found |= {
        f"method:{name}": partial(limelight.explain, model, x, method=name)
        for name in limelight.METHODS
    }
    maps, objects = limelight.explain(model, x), [torch.tensor([[2, 2, 20, 20]], device="cpu")]
    found |= {
        f"metric:{name}": partial(
            limelight.measure, model, x, maps, metrics=[name], objects=objects
        )
        for name in limelight.METRICS
    }
    found["target:name"] = lambda: limelight.explain(
        nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1000)
        ),
        x,
        target="tabby",
    )
    found["weights.safetensors"] = lambda: limelight.load_model(
        "helpers.core_calls:Classifier", weights="weights.safetensors"
    )
    found["export.pt2"] = lambda: limelight.export(network, x, "net.pt2")
    return found


def write_files() -> None:
    """Write a file of each kind, as far as its first bytes say which it is."""
    Image.fromarray(np.full((32, 40, 3), 90, np.uint8)).save("photo.png")
    Image.fromarray(np.full((32, 40), 900, np.uint16)).save("deep.tif")
    _write_deep_png(Path("deep.png"))
    Path("scan.nii").write_bytes(bytes(400))
    Path("scan.dcm").write_bytes(bytes(128) + b"DICM" + bytes(40))
    Path("film.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(40))
    Path("weights.safetensors").write_bytes(bytes(16))


def _write_deep_png(path: Path) -> None:
    """Write a PNG in colours of 16 bits, which Pillow does not."""
    rows = b"".join(b"\0" + bytes(40 * 3 * 2) for _ in range(32))
    header = struct.pack(">IIBBBBB", 40, 32, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    )


def main() -> None:
    """Call everything, in the working directory."""
    warnings.simplefilter("ignore")  # of networks that are not trained
    torch.manual_seed(0)
    write_files()
    functions = {n for n in limelight.__all__ if inspect.isfunction(getattr(limelight, n))}
    results: dict[str, str] = {}
    named = calls()
    assert named.keys() == functions, named.keys() ^ functions
    for name, call in named.items():
        result, results[name] = outcome(call)
        first = result[0] if isinstance(result, list | tuple) and result else result
        if type(first).__module__.startswith("limelight."):
            for label, method in calls_of(name, first) if not isinstance(first, GIVEN) else ():
                results[label] = outcome(method)[1]
    for name, call in further().items():
        results[name] = outcome(call)[1]
    loaded = [name for name in PACKAGES if name in sys.modules]
    sys.stdout.write(json.dumps({"outcomes": results, "loaded": loaded}))


if __name__ == "__main__":
    main()
