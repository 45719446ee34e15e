"""The result of `measure`: readings that can be added, and the estimates made from them."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from limelight.errors import InputError, unknown
from limelight.figure_style import USUAL_STYLE, FigureStyle
from limelight.metrics import storage
from limelight.metrics.comparisons import MapsDifference, groups_alike, pairwise
from limelight.metrics.estimates import MetricEstimate, best_first, with_claims
from limelight.metrics.readings import CHANCE, MAP_SOURCES, MapReadings, ReadingsKey, Unmeasured
from limelight.metrics.verdict import Verdict, judge
from limelight.misnamed import KnownAttributes
from limelight.tables import as_frame

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from limelight import render


_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, eq=False, repr=False)
class Measurement(KnownAttributes):
    """The readings of any number of images; measurements can be added.

        total = limelight.Measurement()
        for images in loader:
            total += limelight.measure(model, images, limelight.explain(model, images))
        total.estimate("gradcam", "insertion").own          # mean, interval, n
        total.estimate("gradcam", "insertion").random       # the same for random maps
        total.save("shard-1.json"), limelight.Measurement.load("shard-1.json")

    Adding is associative; adding an empty measurement changes nothing. The estimates do not depend
    on the order of the batches.

    Attributes:
        readings: What metrics read off the maps, by method, layer and metric.
        status: How often each status of a heatmap occurred, by method and layer.
        unmeasured: The metrics that could not be measured for a method, with reasons.
    """

    readings: Mapping[ReadingsKey, MapReadings] = field(default_factory=dict)
    status: Mapping[tuple[str, str], Mapping[str, int]] = field(default_factory=dict)
    unmeasured: tuple[Unmeasured, ...] = ()

    def __add__(self, other: Measurement) -> Measurement:
        """Join the readings of two measurements.

        Raises:
            InputError: A metric read different things, so that they cannot be of one run.
        """
        return Measurement.total([self, other])

    @classmethod
    def total(cls, measurements: Iterable[Measurement]) -> Measurement:
        """Join the readings of many measurements at once, which is faster than one by one.

        Raises:
            InputError: A metric read different things, so that they cannot be of one run.
        """
        batches, unmeasured = dict[ReadingsKey, list[MapReadings]](), dict[Unmeasured, None]()
        status = dict[tuple[str, str], Counter[str]]()
        for measurement in measurements:
            for key, maps in measurement.readings.items():
                batches.setdefault(key, []).append(maps)
            for name, counts in measurement.status.items():
                status.setdefault(name, Counter()).update(counts)
            unmeasured |= dict.fromkeys(measurement.unmeasured)
        readings = dict[ReadingsKey, MapReadings]()
        for key, parts in batches.items():
            try:
                readings[key] = MapReadings.joined(parts)
            except ValueError as error:
                raise InputError(
                    f"The readings of {key.metric!r} of {key.method!r} do not fit each other; they "
                    "were expected to come from the same metric with the same options."
                ) from error
        summed = {name: dict(counts) for name, counts in status.items()}
        return cls(readings, summed, tuple(unmeasured))

    def __repr__(self) -> str:
        """Return the number of images, the methods and the metrics."""
        return (
            f"Measurement({self.n} images; {', '.join(self.methods) or 'no method'}; "
            f"{', '.join(self.metrics) or 'no metric'})"
        )

    @property
    def n(self) -> int:
        """How many maps of a method were measured; the most, if methods differ."""
        return max((len(maps.groups) for maps in self.readings.values()), default=0)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, with their options."""
        return tuple(dict.fromkeys(key.method for key in self.readings))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics, with their options."""
        return tuple(dict.fromkeys(key.metric for key in self.readings))

    @property
    def names(self) -> dict[tuple[str, str], str]:
        """A name for each method and layer; the layer is part of it if a method has several."""
        pairs = list(dict.fromkeys((key.method, key.layer) for key in self.readings))
        methods = [method for method, _ in pairs]
        return {
            (method, layer): f"{method} at {layer}" if methods.count(method) > 1 else method
            for method, layer in pairs
        }

    def estimate(
        self, method: str, metric: str, *, layer: str | None = None, part: str = "value"
    ) -> MetricEstimate:
        """Return what a metric says of a method: the mean with its interval, beside the controls.

        A name without options stands for the first one of that name that was measured.

        Args:
            method: The method.
            metric: The metric.
            layer: The layer, where the network was cut at several; None for the first.
            part: The part of the metric; "value" is the metric itself.

        Raises:
            UnknownNameError: There is no such estimate.
        """
        named = _with_options(method, self.methods), _with_options(metric, self.metrics), part
        for estimate in self.estimates():
            same = (estimate.method, estimate.metric, estimate.part) == named
            if same and layer in (None, estimate.layer):
                return estimate
        known = [f"{key.method} {key.metric}" for key in self.readings]
        wanted = f"{method} {metric}" + ("" if part == "value" else f" {part}")
        raise unknown("estimate", wanted, known, f"Measured were {', '.join(known) or 'none'}.")

    def estimates(self) -> list[MetricEstimate]:
        """Return all estimates; those of a metric's parts follow its value."""
        return list(self._estimates)

    @cached_property
    def _estimates(self) -> list[MetricEstimate]:
        return with_claims(
            [estimate for key, maps in self.readings.items() for estimate in maps.estimates(key)]
        )

    def curves(self, metric: str) -> dict[str, dict[str, Tensor]]:
        """Return the mean curves `[P]` of a metric, by the curve's name and then by method.

        The name of a method at several layers includes the layer. The curves of the controls are on
        the grid of the first method, and are called `chance: random` and `chance: centre`. A name
        without options stands for the first measured with any options.
        """
        means = dict[str, dict[str, Tensor]]()
        metric = _with_options(metric, self.metrics)
        names = self.names
        for key, maps in self.readings.items():
            if key.metric != metric:
                continue
            for source in MAP_SOURCES:
                name = names[key.method, key.layer] if source == "own" else f"{CHANCE}{source}"
                for part, summed in maps.curve_sums[source].items():
                    count = maps.curve_counts[source][part]
                    means.setdefault(part, {}).setdefault(name, summed / count)
        return means

    def ranking(self, metric: str) -> list[MetricEstimate]:
        """Return the estimates of a metric's value, best first."""
        metric = _with_options(metric, self.metrics)
        return best_first(
            [
                estimate
                for estimate in self.estimates()
                if estimate.metric == metric and estimate.part == "value"
            ]
        )

    def differences(self, metric: str) -> list[MapsDifference]:
        """Return for every two methods, or layers, by how much the better one leads, and if so.

        The differences are taken image by image, and Holm's correction is for all pairs of this
        metric.

            for pair in measured.differences("insertion"):
                print(pair.sentence)
        """
        return self._differences[_with_options(metric, self.metrics)]

    @cached_property
    def _differences(self) -> dict[str, list[MapsDifference]]:
        names, by_metric = self.names, dict[str, list[MapsDifference]]()
        for metric in self.metrics:
            keys = [ReadingsKey(row.method, row.layer, metric) for row in self.ranking(metric)]
            rows = [(names[key.method, key.layer], self.readings[key]) for key in keys]
            by_metric[metric] = pairwise(metric, rows)
        return by_metric

    def alike(self, metric: str) -> list[tuple[str, ...]]:
        """Return the largest groups of methods that these images cannot tell apart, best first.

        A method may be in several groups: it may be like a better one and like a worse one, though
        those two differ. On fewer than 80 images no claim is made: all methods are in one group.
        """
        names = self.names
        ordered = [names[row.method, row.layer] for row in self.ranking(metric)]
        return groups_alike(ordered, self.differences(metric))

    def letters(self, metric: str) -> dict[str, str]:
        """Return the letters of the groups that each method is in; see `alike`."""
        letters = dict[str, str]()
        for number, group in enumerate(self.alike(metric)):
            for name in group:
                letters[name] = letters.get(name, "") + _LETTERS[number % len(_LETTERS)]
        return letters

    def rankings(self) -> list[render.MetricRanking]:
        """Return, for each metric, its methods as lines to be printed, best first."""
        from limelight.metrics import panels

        names = self.names
        return [
            panels.ranking_lines(metric, self.ranking(metric), names) for metric in self.metrics
        ]

    def verdict(self) -> Verdict:
        """Return which method earned trust on this network and these images, or that none did.

        A method earns trust if it beats both controls in every metric of faithfulness and
        localisation: image by image it is better, by more than chance (`MetricEstimate.p` below
        0.05). The best of several has the lowest mean rank over the metrics. On fewer than
        `FEWEST_IMAGES` images none earns trust.
        """
        return judge(self.estimates(), self.names, self.n)

    def figure(self, *, style: FigureStyle = USUAL_STYLE) -> Figure:
        """Draw for every metric the means of methods and controls, and the mean curves.

        Raises:
            InputError: Nothing was measured.
        """
        from limelight import render
        from limelight.metrics import panels

        if not self.readings:
            raise InputError("Nothing was measured, so there is nothing to draw.")
        drawn, names = list[render.Bars | render.Curves](), self.names
        for metric in self.metrics:
            drawn.append(panels.bars(metric, self.ranking(metric), names))
            for name, by_method in self.curves(metric).items():
                axes = next(m.metric.axes for k, m in self.readings.items() if k.metric == metric)
                assert axes is not None  # every metric with curves has axes
                drawn.append(panels.curves(f"{metric}, {name}", axes, by_method))
        return render.measurement_figure(drawn, title=self.verdict().sentence, style=style)

    def _repr_html_(self) -> str:
        """Show the means of methods and controls in a notebook, and the verdict."""
        from limelight.metrics import displays

        if not self.readings:
            return html.escape(repr(self))
        rankings = {metric: self.ranking(metric) for metric in self.metrics}
        notes = [f"{each.method}, {each.metric}: {each.reason}" for each in self.unmeasured]
        return displays.measurement_html(rankings, self.names, self.verdict().sentence, notes)

    def save(self, path: str | Path, *, style: FigureStyle = USUAL_STYLE) -> Path:
        """Write everything (.json, which `load` reads), a table (.csv), or a picture.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
        """
        return storage.save(path, self._report, self.rows, lambda: self.figure(style=style))

    def _report(self) -> dict[str, Any]:
        verdict = self.verdict()
        return {
            "verdict": verdict.sentence,
            "trusted": list(verdict.trusted),
            "figures": self.rows(),
            "differences": self.difference_rows(),
            **self.as_dict(),
        }

    @classmethod
    def load(cls, path: str | Path) -> Measurement:
        """Read what `save` wrote as .json.

        Raises:
            InputError: The file holds something else.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{str(path)!r} cannot be read as a measurement: {error!r}. A .json file that "
                "Measurement.save wrote was expected."
            ) from error

    def rows(self) -> list[dict[str, Any]]:
        """Return the estimates as plain values, one dict each, as in CSV and JSON."""
        return list(map(storage.estimate_row, self.estimates()))

    def to_frame(self) -> pandas.DataFrame:
        """Return the estimates as a data frame of pandas, with the columns of `rows`.

        Raises:
            OptionError: pandas is not installed.
        """
        return as_frame(self.rows())

    def difference_rows(self) -> list[dict[str, Any]]:
        """Return the differences of all pairs of methods as plain values, one dict each."""
        pairs = chain.from_iterable(self._differences.values())
        return list(map(storage.difference_row, pairs))

    def counts(self) -> list[dict[str, Any]]:
        """Return how often each status occurred, as plain values."""
        return [
            {"method": method, "layer": layer, "counts": dict(counts)}
            for (method, layer), counts in self.status.items()
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return all readings as plain values, which `from_dict` reads.

        They fit JSON: NaN is None, and infinity the string "Infinity".
        """
        return {
            "unmeasured": [unmeasured._asdict() for unmeasured in self.unmeasured],
            "status": self.counts(),
            "readings": storage.plain_readings(self.readings),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Measurement:
        """Return the measurement from the plain values that `as_dict` returned.

        Raises:
            UnknownNameError, OptionError: A metric in it does not exist in METRICS.
        """
        readings = storage.parse_readings(plain["readings"])
        status = {(row["method"], row["layer"]): row["counts"] for row in plain["status"]}
        return cls(readings, status, tuple(Unmeasured(**row) for row in plain["unmeasured"]))


def _with_options(name: str, known: Sequence[str]) -> str:
    """Return the name itself if it is known, else the first known name that adds options to it."""
    if name in known:
        return name
    return next(
        (full for full in known if full.partition(":")[0].partition(",")[0] == name),
        name,
    )
