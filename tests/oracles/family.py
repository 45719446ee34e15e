"""What a family of oracles says about its methods: how to call them, and what has to hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from torch import Tensor

#: What oracles read: a network with images, and what a full forward and backward find there.
Scene = TypeVar("Scene")
Oracle = Callable[[Scene], Tensor]


class OneImage(NamedTuple):
    """What a walkthrough shows of one image: activations and gradients, `[K, *grid]`."""

    a: Tensor
    g: Tensor
    class_weights: Tensor | None

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(range(1, self.a.ndim))

    def spread(self, values: Tensor) -> Tensor:
        """Return one number per channel, `[K]`, ready to multiply maps."""
        return values.reshape(-1, *(1,) * len(self.axes))


@dataclass(frozen=True, kw_only=True)
class Family(Generic[Scene]):
    """The oracles of a family, their mistakes, and the laws of their methods.

    A key with options, as `method:option=value`, is how the method is called. What follows
    `oracles` and `doctored` is needed only where it applies.

    Attributes:
        oracles: What each method should find, by how it is called.
        doctored: What passes for a method at first sight, and is not it: by how the method is
            called, and by the mistake. Every method has some.
        undoctored: What doctored maps are made of, put together as it should be.
        cancels: The size of what is added in a raw map, by the method's name, where terms cancel:
            comparisons are as good as that.
        linear: The methods whose map of a difference of scores is the difference of the maps.
        of_no_class: The methods, by name, whose map does not depend on what is explained.
        shaped_by_scale: The methods whose map changes shape with the scale of the scores.
        of_any_scale: The methods whose raw map stays the same when the scores are scaled.
        weights: By its name, what a method that walkthroughs show weighs with, `[K]` or
            `[K, *grid]`, and what it weighs: the same to the bit.
        tried: The cases in which a method is tried, by its name, unless it is tried in all.
    """

    oracles: Mapping[str, Oracle[Scene]]
    doctored: Mapping[str, Mapping[str, Oracle[Scene]]]
    undoctored: Mapping[str, Oracle[Scene]] = field(default_factory=dict)
    cancels: Mapping[str, Callable[[Scene], float]] = field(default_factory=dict)
    linear: Sequence[str] = ()
    of_no_class: Sequence[str] = ()
    shaped_by_scale: Sequence[str] = ()
    of_any_scale: Sequence[str] = ()
    weights: Mapping[str, Callable[[OneImage], tuple[Tensor, Tensor]]] = field(default_factory=dict)
    tried: Mapping[str, Sequence[str]] = field(default_factory=dict)


#: What an oracle finds of one image: the metric, or its parts and curves by name.
Found = float | Mapping[str, float | list[float]]


@dataclass(frozen=True, kw_only=True)
class MetricFamily(Generic[Scene]):
    """The same of metrics; an oracle is about one image, whose number it is given.

    Attributes:
        oracles: What each metric should find, by how it is called; every option occurs.
        doctored: What passes for a metric at first sight, and is not it.
        undoctored: What doctored ones are made of, put together as it should be.
        allowed: By a metric's name: what `assert_agrees` has to know to compare its readings.
    """

    oracles: Mapping[str, Callable[[Scene, int], Found]]
    doctored: Mapping[str, Mapping[str, Callable[[Scene, int], float]]]
    undoctored: Mapping[str, Callable[[Scene, int], float]] = field(default_factory=dict)
    allowed: Mapping[str, Callable[[Scene], dict[str, Any]]] = field(default_factory=dict)
