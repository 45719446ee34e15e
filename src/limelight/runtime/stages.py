"""The stages of a network: layers early to late, found without measuring all the others."""

from __future__ import annotations

from torch import nn

from limelight.inputs import ModelInputs
from limelight.layers.choice import stages
from limelight.layers.record import ModuleCall
from limelight.runtime.arrivals import Arrivals, RecordedPass
from limelight.runtime.record import read_calls, with_pass
from limelight.targets.outputs import OutputSpec


def stage_calls(
    model: nn.Module, inputs: ModelInputs, spec: OutputSpec
) -> tuple[list[str], tuple[ModuleCall, ...]]:
    """Return the paths of a network's stages, as `stages` finds them, and all its calls.

    The layout of an output with the axes of the picture is known by its shape. Only those of the
    stages that are tokens are measured: to measure every layer takes a big detector minutes.

    1. Read the calls, their layouts guessed as far as they are not known.
    2. Measure what is a guess among the stages; and again, until nothing of them is one.

    Args:
        model, inputs, spec: As in `cached_record`.
    """

    def read(recorded: RecordedPass) -> tuple[list[str], tuple[ModuleCall, ...]]:
        recording, arrived = recorded.recording, Arrivals(recorded).since(0)
        while True:
            # 1. The calls.
            calls = read_calls(recording, arrived)
            paths = stages(calls)
            # 2. The measurement.
            taken = [call for call in calls if call.path in paths and not call.settled]
            guessed = [c.number for c in taken if c.layout is None or c.layout.kind == "tokens"]
            if not guessed:
                return paths, calls
            recording.settle(recorded.model, recorded.inputs, guessed)

    return with_pass(model, inputs, spec, read)
