"""Options for the vision-language model that a command asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import typer

from limelight.cli.network_options import Device, DType, chosen_device, weights_option
from limelight.errors import OptionError
from limelight.models.vision_language import VisionLanguageModel, load_vision_language


@dataclass(frozen=True, kw_only=True)
class VisionLanguageOptions:
    """A model that writes words about photos, and where it runs."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="hf:NAME_OR_FOLDER",
            help="A model of transformers that answers about photos, or writes captions, with its "
            "processor: a repository of the hub, or a folder.",
        ),
    ] = None
    weights: Annotated[
        str,
        weights_option("Its own, random, or a state dict (.pth, .pt, .safetensors)."),
    ] = "default"
    device: Device = "auto"
    dtype: Annotated[
        DType | None,
        typer.Option(
            help="What the model computes in; that which it was saved in, if not given.",
            show_default=False,
        ),
    ] = None

    def load(self) -> VisionLanguageModel:
        """Load the model.

        Raises:
            OptionError: None was named, or not as one of transformers.
        """
        return load_vision_language(
            self.check(),
            weights=self.weights,
            device=chosen_device(self.device),
            dtype=None if self.dtype is None else getattr(torch, self.dtype),
        )

    def check(self) -> str:
        """Return the name of the model, before any work is done.

        Raises:
            OptionError: None was given, or not that of one of transformers.
        """
        expected = (
            "a model of transformers that answers about photos was expected, as in --model "
            "hf:llava-hf/llava-1.5-7b-hf or --model hf:FOLDER."
        )
        if self.model is None:
            raise OptionError(f"--model is missing; {expected}")
        if not self.model.startswith("hf:"):
            raise OptionError(f"--model is {self.model!r}; {expected}")
        return self.model
