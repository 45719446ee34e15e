"""What a row of METHODS is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Any, Literal

from torch import Tensor

from limelight.errors import OptionError, unknown
from limelight.evidence import Evidence, Need

Family = Literal["weighted", "pointwise", "spectral", "pixels", "perturbed", "attention", "control"]
Place = Literal["layer", "input", "network"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A row of METHODS.

    Attributes:
        name: What it is called with.
        family: The shape of its formula.
        function: From evidence to a raw map `[B, *grid]`; its keyword arguments are the options.
        needs: What it reads besides the activations.
        place: Where the network is cut when no layer is named: at the chosen `layer`; at the
            `input`; or at the input only, because it reads the whole `network`.
        formula: The raw map, in one line.
        paper: Where it comes from.
        use: When to use it, in one sentence.
        by_channel: Whether the map is a sum over channels, so that eigen smoothing makes sense.
        sums_to: From evidence (and the options) to what the map should sum to, `[B]`, if the method
            promises that.
        options: The options that were set.
    """

    name: str
    family: Family
    function: Callable[..., Tensor]
    needs: frozenset[Need] = frozenset()
    place: Place = "layer"
    formula: str
    paper: str
    use: str
    by_channel: bool = False
    sums_to: Callable[..., Tensor] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def known_options(self) -> dict[str, Any]:
        """The options that there are, with their values."""
        parameters = inspect.signature(self.function).parameters.values()
        own = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        return own | dict(self.options)

    def set(self, **options: Any) -> Method:
        """Return the method with other options.

        Raises:
            UnknownNameError: There is no such option.
            OptionError: The value is not of the kind, or not in the range, of the default.
        """
        known = self.known_options
        for name, value in options.items():
            if name not in known:
                those = ", ".join(known) or "none"
                raise unknown(f"option of {self.name}", name, known, f"There are: {those}.")
            _check(self.name, name, value, known[name])
        return replace(self, options=dict(self.options) | options)

    def raw(self, evidence: Evidence) -> Tensor:
        """Return the raw map `[B, *grid]`."""
        return self.function(evidence, **dict(self.options))

    def __str__(self) -> str:
        """Return the name, and the options that were set, as `--method` takes them."""
        told = ",".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.name}:{told}" if told else self.name


#: What options are limited to, if not to any number: lowest and highest.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("samples", "masks", "steps", "cells", "segments"), (1, inf)),
    **dict.fromkeys(("noise", "deviation"), (0, inf)),
    "seed": (0, 2**32 - 1),
    **dict.fromkeys(("patch", "stride", "keep"), (1e-6, 1)),
    "width": (1e-6, inf),
}


def _check(method: str, name: str, value: Any, default: Any) -> None:
    """Refuse a value that an option cannot have."""
    low, high = _RANGES.get(name, (-inf, inf))
    if isinstance(default, bool):
        fits, kind = isinstance(value, bool), "true or false"
    else:
        whole = isinstance(default, int)
        number = isinstance(value, int) or (isinstance(value, float) and not whole)
        fits = number and not isinstance(value, bool) and isfinite(value) and low <= value <= high
        kind = "an integer" if whole else "a number"
        if low > -inf:
            least = "above 0" if low == 1e-6 else f"of at least {low:g}"
            kind += f" {least}" + (f" and at most {high:g}" if high < inf else "")
        fits = fits or (value is None and default is None)
    if not fits:
        raise OptionError(f"The option {name} of {method} is {value!r}; {kind} was expected.")


def read_settings(text: str) -> tuple[str, dict[str, Any]]:
    """Read `name:option=value,option=value`.

    Raises:
        OptionError: It cannot be read.
    """
    name, _, settings = text.partition(":")
    options = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if not equals:
            raise OptionError(
                f"Cannot read {setting!r} in {text!r}; option=value was expected, as in "
                "'rise:masks=1000,seed=1'."
            )
        options[key.strip()] = _value(value.strip())
    return name.strip(), options


def _value(text: str) -> Any:
    """Read an option's value: a number, true or false, none."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
