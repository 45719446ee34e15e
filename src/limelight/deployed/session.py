"""Opening an exported file with onnxruntime, and running it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from limelight.deployed.description import METADATA_KEY, Description
from limelight.errors import (
    InputError,
    MissingWeightsError,
    OptionError,
    WeightsError,
    describe_error,
)
from limelight.extras import refuse_without

Array = npt.NDArray[Any]

#: What onnxruntime says of a file that keeps its weights in another one, which is not there.
_EXTERNAL = ("external data", "External data", "external_data")

_CPU = "CPUExecutionProvider"

_ERRORS_ONLY = 3  # of what onnxruntime logs


def open_session(
    path: Path, providers: Sequence[str] | None, threads: int | None
) -> tuple[Any, Description]:
    """Return the onnxruntime session of a file, and what the file says of itself.

    Raises:
        MissingWeightsError, WeightsError, OptionError: As `limelight.deployed.load`.
    """
    runtime = _onnxruntime()
    _check_file(path)
    chosen = [_CPU] if providers is None else list(providers)
    offered = runtime.get_available_providers()
    for name in chosen:
        if name not in offered:
            raise OptionError(
                f"onnxruntime has no provider {name!r} here; it has {', '.join(offered)}. Install "
                "the package of onnxruntime that brings it, or leave providers out for the CPU."
            )
    options = session_options(threads)
    try:
        session = runtime.InferenceSession(str(path), options, providers=chosen)
    except Exception as error:  # onnxruntime's own, without a common base
        raise _not_opened(path, error) from error
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise WeightsError(
            f"{str(path)!r} is an ONNX file, but not one that limelight exported: it has no maps. "
            "Export the network with `limelight export`, or limelight.export(...)."
        )
    return session, Description.from_json(text)


def session_options(threads: int | None = None) -> Any:
    """Return the options that files are opened with.

    Args:
        threads: Threads that compute; None for one per core.
    """
    options = _onnxruntime().SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    if threads is not None:
        options.intra_op_num_threads = threads
    if _sums_of_8_bits_may_overflow():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _sums_of_8_bits_may_overflow() -> bool:
    """Return whether the processor may be an x86 one without the instructions of VNNI.

    There sums of products of 8 bits are kept in 16, unless onnxruntime is told to take more care.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return False
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # another system than Linux
        return True


def _onnxruntime() -> Any:
    """Return onnxruntime; where nothing else is needed, pip is told to install it alone."""
    refuse_without("onnxruntime", extra="", instead="The extra 'export' has it too.")
    import onnxruntime

    return onnxruntime


def _check_file(path: Path) -> None:
    if path.suffix.lower() == ".pt2":
        raise OptionError(
            f"{str(path)!r} is a program of torch.export, which needs PyTorch: open it with "
            "torch.export.load, or export the network to a file that ends in .onnx."
        )
    if path.is_dir():
        raise WeightsError(f"{str(path)!r} is a folder; an .onnx file was expected.")
    if not path.exists():
        raise MissingWeightsError(
            f"There is no file {str(path)!r}; one that `limelight export` wrote was expected."
        )


def _not_opened(path: Path, error: Exception) -> WeightsError:
    """Return the error for a file that onnxruntime does not open."""
    why = describe_error(error)
    if any(words in why for words in (*_EXTERNAL, f"{path.name}.data")):
        return WeightsError(
            f"{str(path)!r} keeps its weights in another file, which is not beside it: copy the "
            f"file {path.name + '.data'!r} to the same folder. onnxruntime says: {why}"
        )
    return WeightsError(
        f"{str(path)!r} is no ONNX file that onnxruntime can run. It may be damaged or cut short, "
        f"or newer than this onnxruntime. onnxruntime says: {why}"
    )


def run_session(session: Any, image: Array, target: Array, path: Path) -> Mapping[str, Array]:
    """Return the outputs of a file, by name.

    Raises:
        InputError: onnxruntime cannot run it on these.
    """
    names = [output.name for output in session.get_outputs()]
    feed = {
        "image": np.ascontiguousarray(image),
        "target": np.ascontiguousarray(target, dtype=np.int64),
    }
    try:
        outputs = session.run(names, feed)
    except Exception as error:  # onnxruntime's own, without a common base
        raise InputError(
            f"onnxruntime cannot run {str(path)!r} on an image of shape {list(image.shape)} and "
            f"the target {list(target)}: {describe_error(error)}"
        ) from error
    return dict(zip(names, outputs, strict=True))
