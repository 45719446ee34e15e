"""What `--verbose` shows: the messages of the logger `limelight`, on stderr."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from limelight.cli.output import Console
from limelight.errors import OutputError


class _ConsoleHandler(logging.Handler):
    """Prints messages to stderr, each with the module that it comes from."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message; if stderr takes none, the command goes on."""
        text = f"{record.name.removeprefix('limelight.')}: {record.getMessage()}"
        with suppress(OutputError, BrokenPipeError):
            Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def log_to_stderr(verbosity: int) -> Callable[[], None]:
    """Show what limelight logs: at 1 what is decided, at 2 and more all; return what ends it."""
    logger, handler = logging.getLogger("limelight"), _ConsoleHandler()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbosity == 1 else logging.DEBUG)

    def end() -> None:
        logger.removeHandler(handler)
        logger.setLevel(before)

    return end
