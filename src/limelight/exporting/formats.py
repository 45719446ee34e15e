"""The formats of exported files: ONNX, and the programs of torch.export."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limelight import files
from limelight.deployed.description import METADATA_KEY, Description
from limelight.deployed.session import session_options
from limelight.errors import ModelError, OptionError
from limelight.exporting.parity import RunFile
from limelight.exporting.shared_weights import share_weights
from limelight.extras import refuse_without
from limelight.runtime.exported import torch_quiet

#: Before, torch.onnx cannot write a batch norm down.
_OLDEST_TORCH = (2, 7)

#: The version of the operators of ONNX: what torch writes unconverted, and old runtimes read.
_OPSET = 18

#: The most bytes of an ONNX file that holds its weights.
_MOST_BYTES = 2**31 - 2**20


def check_packages() -> None:
    """Raise an error if what writes ONNX files is not installed, or too old.

    Raises:
        MissingPackageError: A package is not installed.
        OptionError: torch is too old.
    """
    if tuple(map(int, torch.__version__.split(".")[:2])) < _OLDEST_TORCH:
        raise OptionError(
            f"Writing ONNX files needs torch 2.7 or later; this is torch {torch.__version__}. "
            "Update torch, or write a program of torch.export, in a file that ends in .pt2."
        )
    refuse_without("onnx", "onnxscript", "onnxruntime")


def to_onnx(program: torch.export.ExportedProgram, names: Sequence[str]) -> Any:
    """Return a program as an ONNX model.

    Args:
        program: From images and targets to outputs.
        names: The names of the outputs.

    Raises:
        ModelError: ONNX has no operator for something that the network computes.
    """
    try:
        with torch_quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["image", "target"],
                output_names=list(names),
                opset_version=_OPSET,
                verbose=False,
            )
    except Exception as error:  # torch.onnx wraps what it meets in errors of its own
        raise ModelError(f"The network cannot be written as ONNX: {_reason(error)}") from error
    assert exported is not None
    model = exported.model_proto
    share_weights(model)
    _name_batch(model)
    if model.ByteSize() > _MOST_BYTES:
        raise ModelError(
            f"The network takes {model.ByteSize() / 1e9:.1f} GB, and an ONNX file holds up to 2. "
            "Write it as a program of torch.export, in a file that ends in .pt2."
        )
    return model


def _name_batch(model: Any) -> None:
    """Call the open axis `batch`, for which torch has a symbol of its own."""
    graph = model.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    if not symbol:
        return
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = re.sub(rf"\b{symbol}\b", "batch", axis.dim_param)


def _reason(error: BaseException) -> str:
    """Return the innermost reason of an error of torch.onnx, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])[:400]}"


def run_onnx(model: Any) -> RunFile:
    """Return a function that runs an ONNX model with onnxruntime, on the CPU.

    Raises:
        ModelError: onnxruntime has no way to compute something in it.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own, without a common base
        raise ModelError(
            f"onnxruntime cannot run what the network computes: {_reason(error)} Let its forward "
            "compute in 32-bit floating point, or write a program of torch.export (.pt2)."
        ) from error
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
    buffer = BytesIO()
    torch.export.save(program, buffer, extra_files=extra)
    return files.write_whole(path, buffer.getvalue())
