"""Where networks of transformers come from: a repository of the hub, or a folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from limelight.errors import WeightsError, describe_error
from limelight.extras import refuse_without
from limelight.models.online import unreachable
from limelight.models.state import fit, read_state

_Loaded = TypeVar("_Loaded")


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository of the hub, or a folder that save_pretrained wrote.

    Attributes:
        name: As it was given, `hf:NAME_OR_FOLDER`.
        source: The same without `hf:`.
        why: The reason that the hub cannot be reached; "" if it can, or need not be.
    """

    name: str
    source: str
    why: str

    @classmethod
    def of(cls, name: str) -> HubSource:
        """Return the source of a name.

        Raises:
            MissingPackageError: transformers is not installed.
        """
        refuse_without("transformers")
        source = name.removeprefix("hf:")
        return cls(name, source, unreachable() if _is_repository(source) else "")

    def fetch(self, part: Any, **options: Any) -> Any:
        """Load a part of a network, of a class with `from_pretrained`.

        Raises:
            WeightsError: It cannot be had, or read.
        """
        return _fetch(
            self.source,
            self.why,
            lambda: part.from_pretrained(self.source, local_files_only=bool(self.why), **options),
        )

    def kind(self, config: Any) -> Any:
        """Return the class that a network was saved as; None if transformers has none such."""
        import transformers

        return getattr(transformers, (config.architectures or [""])[0], None)

    def model(self, kind: Any, config: Any, weights: str | Path) -> nn.Module:
        """Return the network: with its own weights, random ones, or those of a file.

        Raises:
            WeightsError: They cannot be had or read, or do not fit.
        """
        if str(weights) == "default":
            loaded: nn.Module = self.fetch(kind)
            return loaded
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model: nn.Module = kind(config)
        if str(weights) != "none":
            fit(model, read_state(Path(weights)), str(weights))
        return model

    def weights_in_words(self, weights: str | Path) -> str:
        """Return where the weights come from, in words."""
        named = {"default": self.source, "none": "random"}
        return named.get(str(weights), str(weights))


@contextmanager
def without_bars() -> Iterator[None]:
    """Keep transformers from drawing its own progress bars."""
    from transformers.utils import logging as their_logging

    logging: Any = their_logging
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def _is_repository(source: str) -> bool:
    """Return whether a source is a name on the hub, not a folder."""
    return not Path(source).is_dir() and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source) is not None


def _fetch(source: str, why: str, load: Callable[[], _Loaded]) -> _Loaded:
    """Load a part of a network, or raise a WeightsError.

    `why` is the reason that the hub cannot be reached; "" if it can.
    """
    try:
        return load()
    except (OSError, ValueError, ImportError) as error:
        reason = describe_error(error).splitlines()[0]
        if why and isinstance(error, OSError):
            reason = f"{why}, and not all of it was downloaded before"
        raise WeightsError(
            f"The network {source!r} cannot be had from the hub or a folder: {reason}. Pass the "
            "folder that save_pretrained wrote, of the model and of its processor."
        ) from error
