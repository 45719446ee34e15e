"""The formats of exported files: ONNX, and the programs of torch.export."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limelight import files
from limelight.deployed.description import METADATA_KEY, Description
from limelight.errors import ModelError, OptionError
from limelight.exporting.parity import RunFile

#: The largest file that can hold its weights itself: the format's limit is 2 GB.
_MOST_BYTES = 1_900_000_000


def check_packages() -> None:
    """Raise an error if what writes ONNX files is not installed.

    Raises:
        OptionError: It names the extra to install.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise OptionError(
            f"The package {error.name} is not installed, which writing ONNX files needs: "
            "pip install 'limelight[export]'."
        ) from error


def to_onnx(program: torch.export.ExportedProgram, names: Sequence[str]) -> Any:
    """Return a program as an ONNX model.

    Args:
        program: From images and targets to outputs.
        names: The names of the outputs.

    Raises:
        ModelError: ONNX has no operator for something that the network computes.
    """
    try:
        with _quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["image", "target"],
                output_names=list(names),
                verbose=False,
            )
    except Exception as error:  # torch.onnx wraps what it meets in errors of its own
        raise ModelError(f"The network cannot be written as ONNX: {_reason(error)}") from error
    assert exported is not None
    return exported.model_proto


def _reason(error: BaseException) -> str:
    """Return the innermost reason of an error of torch.onnx, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])[:400]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch.onnx, which speaks of its own steps, from writing to the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def run_onnx(model: Any) -> RunFile:
    """Return a function that runs an ONNX model with onnxruntime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]

    def run(images: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        fed = {"image": images.detach().cpu().numpy(), "target": target.numpy()}
        return dict(zip(names, map(torch.from_numpy, session.run(None, fed)), strict=True))

    return run


def run_program(program: torch.export.ExportedProgram, names: Sequence[str]) -> RunFile:
    """Return a function that runs a program of torch.export."""
    module = program.module()

    def run(images: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        with torch.no_grad():
            outputs = module(images, target.to(images.device))
        return dict(zip(names, (output.cpu() for output in outputs), strict=True))

    return run


def write_onnx(path: Path, model: Any, description: Description) -> Path:
    """Write an ONNX model with its description, whole or not at all.

    Raises:
        OutputError: The file cannot be written there.
    """
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, description.to_json()
    return files.write_whole(path, model.SerializeToString())


def write_program(
    path: Path, program: torch.export.ExportedProgram, description: Description
) -> Path:
    """Write a program with its description beside it in the file, whole or not at all.

    Raises:
        OutputError: The file cannot be written there.
    """
    extra = {f"{METADATA_KEY}.json": description.to_json()}
    return files.write_whole(path, lambda file: torch.export.save(program, file, extra_files=extra))
