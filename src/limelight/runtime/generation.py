"""Text that a network generates, one token after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from limelight.runtime.autograd import no_grad
from limelight.runtime.shadow import shadow


def generated_tokens(model: nn.Module, inputs: Mapping[str, Any], most: int) -> Tensor:
    """Return the tokens that a network of transformers generates greedily, `[B, N]`.

    `w_t = argmax_w p(w | w_<t, inputs)`. The network runs as in evaluation mode, on a shadow.

    Args:
        model: A network with `generate`.
        inputs: Its keyword arguments.
        most: How many tokens it generates at most.
    """
    with no_grad(), quietly():
        root, _ = shadow(model, ())
        tokens: Tensor = root.generate(  # type: ignore[operator]
            **inputs, do_sample=False, num_beams=1, max_new_tokens=most
        )
    return tokens


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers from remarks, such as on sampling options, which greedy search ignores."""
    from transformers.utils import logging as their_logging

    logging: Any = their_logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
