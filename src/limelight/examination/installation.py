"""Whether the installation works: versions, the machine, packages that fit together, a first map.

Nothing is imported before it is looked at, so that what is missing or broken can be reported.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from limelight.errors import describe_error
from limelight.examination.observations import Observation, observed, of_part, quiet
from limelight.examination.packages import examine_packages, installed_version
from limelight.progress import ProgressCallback
from limelight.version import __version__

#: The oldest Python that limelight runs on.
LEAST_PYTHON = (3, 11)


def examine_installation(progress: ProgressCallback = quiet) -> Iterator[Observation]:
    """Yield what is found, part by part: versions, packages, machine, and a first map."""
    progress("versions", 0, 0)
    yield from _versions()
    yield from examine_packages()
    progress("importing torch", 0, 0)
    torch = _imported("torch")
    if isinstance(torch, str):
        yield Observation("machine", "torch", torch, "broken", _REINSTALL_TORCH)
        return
    progress("the machine", 0, 0)
    yield from of_part("machine", _machine(torch))
    progress("packages together", 0, 0)
    yield from _fitting(torch)
    progress("a first map", 0, 0)
    yield from of_part("self-test", _first_map(), "The packages above do not work together.")


_REINSTALL_TORCH = (
    "PyTorch cannot be imported, and limelight needs it. Install it anew for this Python and this "
    "machine, best in a fresh environment: pip uninstall torch, then pip install torch."
)


def _versions() -> Iterator[Observation]:
    """Yield the versions of limelight, of Python and of the system."""
    part, folder = "versions", Path(__file__).parents[1]
    yield Observation(part, "limelight", f"{__version__}, in {folder}")
    given = installed_version("limelight")
    if given is not None and given != __version__:
        advice = (
            f"pip has noted {given}, and {__version__} is what runs. Another folder is found "
            "first: look at sys.path and at PYTHONPATH, or install limelight anew."
        )
        yield Observation(part, "installed as", given, "note", advice)
    python = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    least = ".".join(map(str, LEAST_PYTHON))
    too_old = sys.version_info < LEAST_PYTHON
    advice = f"Python {least} or newer was expected; install one, and limelight in it."
    yield Observation(
        part, "Python", python, "broken" if too_old else "ok", advice if too_old else ""
    )
    yield Observation(part, "system", platform.platform())


def _machine(torch: Any) -> Iterator[Observation]:
    """Yield processor, memory, threads and devices."""
    part, cores = "machine", usable_cores()
    yield Observation(part, "processor", f"{_processor()}, {cores} cores to use")
    if memory := _memory():
        yield Observation(part, "memory", f"{memory / 2**30:.1f} GiB")
    threads = torch.get_num_threads()
    many = threads > cores
    advice = f"More threads than cores wait for each other: set OMP_NUM_THREADS={cores}."
    yield Observation(
        part, "threads", f"{threads} of torch", "note" if many else "ok", advice if many else ""
    )
    devices = _devices(torch)
    yield from devices
    if not devices:
        yield _no_device(torch)


def _devices(torch: Any) -> list[Observation]:
    """Return the devices beside the processor, each after a first convolution on it."""
    found = list[Observation]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong with a driver is asked for by `_no_device`
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        has_mps = torch.backends.mps.is_available()
    for number in range(count):
        facts = torch.cuda.get_device_properties(number)
        what = f"{facts.name}, {facts.total_memory / 2**30:.1f} GiB"
        found.append(_tried(torch, f"cuda:{number}", what))
    return [*found, *([_tried(torch, "mps", "the GPU of this Mac")] if has_mps else [])]


def _tried(torch: Any, device: str, what: str) -> Observation:
    """Return whether a device can convolve."""

    def convolve() -> Observation:
        ones = torch.ones(1, 1, 4, 4, dtype=torch.float32, device=device)
        total = float(torch.nn.functional.conv2d(ones, ones).sum())
        if total != 16:
            raise ArithmeticError(f"16 ones add up to {total} there")
        return Observation("machine", device, what)

    advice = (
        f"torch {torch.__version__} finds this device and cannot compute on it. Its driver or the "
        "build of torch does not suit it: install the build for it, or choose the device 'cpu'."
    )
    return observed("machine", device, convolve, advice)


def _no_device(torch: Any) -> Observation:
    """Return why there is no device beside the processor, where one seems to be."""
    built_for = torch.version.cuda or torch.version.hip
    has_gpu = Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None
    if not has_gpu:
        return Observation("machine", "devices", "the processor alone")
    if built_for is None:
        advice = (
            "There is an NVIDIA GPU, and this torch was built without CUDA. Install a build with "
            "it to use the GPU."
        )
        return Observation("machine", "devices", "the processor alone", "note", advice)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.is_available()
    reason = " ".join(str(each.message).partition("(")[0] for each in said)
    advice = (
        f"torch was built for CUDA {built_for} and cannot use the NVIDIA GPU of this machine. "
        f"{reason} Look at the driver with nvidia-smi, and at CUDA_VISIBLE_DEVICES."
    )
    return Observation("machine", "devices", "the processor alone", "note", advice)


def _fitting(torch: Any) -> Iterator[Observation]:
    """Yield whether torch, numpy and torchvision work together."""
    part = "together"

    def exchange() -> Observation:
        ones = torch.ones(2, dtype=torch.float32, device="cpu")
        if float(torch.from_numpy(ones.numpy()).sum()) != 2:
            raise ArithmeticError("an array and its tensor hold different numbers")
        return Observation(part, "torch and numpy", "arrays become tensors, and back")

    numpy, version = installed_version("numpy"), torch.__version__
    yield observed(
        part,
        "torch and numpy",
        exchange,
        f"torch {version} and numpy {numpy} do not fit. Install both anew: "
        "pip install -U torch numpy.",
    )
    vision = installed_version("torchvision")
    if vision is None:
        return
    wanted = _wanted_torch()
    if wanted and wanted != _release(version):
        advice = (
            f"torchvision {vision} was built for torch {wanted}, and {version} is installed. "
            "Install both together: pip install -U torch torchvision."
        )
        yield Observation(part, "torch and torchvision", f"{version}, {vision}", "broken", advice)
        return

    def suppress_boxes() -> Observation:
        operators = import_module("torchvision.ops")
        boxes = torch.tensor([[0, 0, 2, 2], [0, 0, 2, 2]], dtype=torch.float32, device="cpu")
        scores = torch.ones(2, dtype=torch.float32, device="cpu")
        if len(operators.nms(boxes, scores, 0.5)) != 1:
            raise ArithmeticError("of two equal boxes, one was expected to be left")
        return Observation(part, "torch and torchvision", f"{version} and {vision} fit")

    yield observed(
        part,
        "torch and torchvision",
        suppress_boxes,
        f"torch {version} and torchvision {vision} do not fit. Install both together: "
        "pip install -U torch torchvision.",
    )


def _wanted_torch() -> str:
    """Return the release of torch that torchvision was built for; "" if it does not say so."""
    for text in metadata.requires("torchvision") or []:
        if match := re.match(r"torch\s*\(?==\s*([\d.]+)", text):
            return match[1]
    return ""


def _release(version: str) -> str:
    return version.partition("+")[0]


def _first_map() -> Iterator[Observation]:
    """Yield what a first map shows; imported only here, as it takes torch."""
    from limelight.examination.first_map import examine_first_map

    return examine_first_map()


def _imported(module: str) -> Any:
    """Return a module; in words what happened if it cannot be imported."""
    try:
        return import_module(module)
    except (Exception, SystemExit) as error:  # a broken library raises nearly anything
        return describe_error(error)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    """Return the name of the processor."""
    with suppress(OSError):
        names = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"))
        if names:
            return names[1]
    return platform.processor() or platform.machine()


def _memory() -> int:
    """Return how many bytes of memory the machine has; 0 if it does not say."""
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0
