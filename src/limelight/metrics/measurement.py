"""What was measured: readings that can be added up, and the figures that they make."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limelight import files
from limelight.errors import InputError, unknown
from limelight.metrics.metric import Readings
from limelight.metrics.readings import WHOSE, Key, Sample, Unmeasured
from limelight.metrics.statistics import Estimate
from limelight.metrics.verdict import Measured, Verdict, judge, ranked
from limelight.plain import as_json, from_json_number, to_json_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from limelight import render


#: How the controls' curves are called; a method may be called random, too.
CHANCE = "chance: "


FORMATS = ("json", "csv", "png", "jpg", "pdf", "svg", "webp")


@dataclass(frozen=True, eq=False, repr=False)
class Measurement:
    """Readings of any number of images, that add up: `total = total + measure(...)`.

        total = limelight.Measurement()
        for images in loader:
            total += limelight.measure(model, images, limelight.explain(model, images))
        total.figure("gradcam", "insertion").own          # mean, interval, n
        total.figure("gradcam", "insertion").random       # the same of random maps
        total.save("shard-1.json"), limelight.Measurement.load("shard-1.json")

    Adding is associative, and an empty one changes nothing; figures do not depend on the order.

    Attributes:
        samples: Readings, by method, layer and metric.
        status: How often each status of a heatmap occurred, by method and layer.
        unmeasured: What could not be measured.
    """

    samples: Mapping[Key, Sample] = field(default_factory=dict)
    status: Mapping[tuple[str, str], Mapping[str, int]] = field(default_factory=dict)
    unmeasured: tuple[Unmeasured, ...] = ()

    def __add__(self, other: Measurement) -> Measurement:
        """Put the readings of two measurements together.

        Raises:
            InputError: A metric read different things, so that they cannot be of one run.
        """
        return Measurement.total([self, other])

    @classmethod
    def total(cls, measurements: Iterable[Measurement]) -> Measurement:
        """Put the readings of many measurements together, at once rather than one by one.

        Raises:
            InputError: A metric read different things, so that they cannot be of one run.
        """
        samples, unmeasured = dict[Key, list[Sample]](), dict[Unmeasured, None]()
        status = dict[tuple[str, str], Counter[str]]()
        for one in measurements:
            for key, sample in one.samples.items():
                samples.setdefault(key, []).append(sample)
            for name, counts in one.status.items():
                status.setdefault(name, Counter()).update(counts)
            unmeasured |= dict.fromkeys(one.unmeasured)
        found = dict[Key, Sample]()
        for key, parts in samples.items():
            try:
                found[key] = Sample.joined(parts)
            except ValueError as error:
                raise InputError(
                    f"The readings of {key.metric!r} of {key.method!r} do not fit each other; they "
                    "were expected to come from the same metric with the same options."
                ) from error
        told = {name: dict(counts) for name, counts in status.items()}
        return cls(found, told, tuple(unmeasured))

    def __repr__(self) -> str:
        """Return what was measured."""
        return (
            f"Measurement({self.n} images; {', '.join(self.methods) or 'no method'}; "
            f"{', '.join(self.metrics) or 'no metric'})"
        )

    @property
    def n(self) -> int:
        """How many maps of each method were measured."""
        return max((len(sample.groups) for sample in self.samples.values()), default=0)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, with their options."""
        return tuple(dict.fromkeys(key.method for key in self.samples))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics, with their options."""
        return tuple(dict.fromkeys(key.metric for key in self.samples))

    def figure(
        self, method: str, metric: str, *, layer: str | None = None, part: str = "value"
    ) -> Measured:
        """Return one figure. A name alone means it with any options, the first that there is.

        Raises:
            UnknownNameError: That was not measured.
        """
        named = _meant(method, self.methods), _meant(metric, self.metrics), part
        for one in self.figures():
            if (one.method, one.metric, one.part) == named and layer in (None, one.layer):
                return one
        known = [f"{key.method} {key.metric}" for key in self.samples]
        wanted = f"{method} {metric}" + ("" if part == "value" else f" {part}")
        raise unknown("figure", wanted, known, f"Measured were {', '.join(known) or 'none'}.")

    def figures(self) -> list[Measured]:
        """Return all figures, those of a metric's parts behind its value."""
        return list(self._figures)

    @cached_property
    def _figures(self) -> list[Measured]:
        found = []
        for key, sample in self.samples.items():
            row = sample.row
            by = {
                whose: row.compute(sample.readings[whose], sample.groups, sample.images)
                for whose in WHOSE
            }
            for part in by["own"]:
                own, random, centre = (by[whose][part] for whose in WHOSE)
                better = row.better if part not in row.lower else "lower"
                judged = row.judged and part == "value"
                found.append(Measured(*key, part, better, own, random, centre, judged))
        return found

    def curves(self, metric: str) -> dict[str, dict[str, Tensor]]:
        """Return the mean curves `[P]` of a metric, by the curve's name and then by method.

        A method that was cut at several layers is told with the layer. The curves of the controls
        are the first method's, called `chance: random` and `chance: centre`. Of a metric measured
        with several options, name the options too: without them it is the first.
        """
        found = dict[str, dict[str, Tensor]]()
        metric = _meant(metric, self.metrics)
        told = self.names
        for key, sample in self.samples.items():
            if key.metric != metric:
                continue
            for whose in WHOSE:
                name = told[key.method, key.layer] if whose == "own" else f"{CHANCE}{whose}"
                for part, summed in sample.curves[whose].items():
                    count = sample.counted[whose][part]
                    found.setdefault(part, {}).setdefault(name, summed / count)
        return found

    @property
    def names(self) -> dict[tuple[str, str], str]:
        """What to call each method at a layer: the layer is told where there are several."""
        names = list(dict.fromkeys((key.method, key.layer) for key in self.samples))
        methods = [method for method, _ in names]
        return {
            (method, layer): f"{method} at {layer}" if methods.count(method) > 1 else method
            for method, layer in names
        }

    def ranking(self, metric: str) -> list[Measured]:
        """Return the figures of a metric's value, best first."""
        metric = _meant(metric, self.metrics)
        return ranked(
            [one for one in self.figures() if one.metric == metric and one.part == "value"]
        )

    def rankings(self) -> list[render.MetricRanking]:
        """Return, for each metric, its methods as lines to be printed, best first."""
        from limelight import render

        found, told = [], self.names
        for metric in self.metrics:
            best = self.ranking(metric)
            lines = [
                (
                    told[one.method, one.layer],
                    f"{one.own.value:.3f}",
                    f"{one.random.value:.3f}",
                    f"{one.centre.value:.3f}",
                    one.ahead if one.beats_chance is None else one.beats_chance,
                )
                for one in best
            ]
            found.append(render.MetricRanking(metric, f"{best[0].better} is better", lines))
        return found

    def verdict(self) -> Verdict:
        """Say which method earned trust on this network and these images, or that none did.

        A method earns it if in every metric that is judged (of faithfulness and localisation) it is
        better than random maps on its own grid and than a blob in the middle, the intervals apart.
        The best of those has the lowest mean rank over the metrics. Fewer than 8 images earn none:
        their bootstrap intervals are too narrow.
        """
        return judge(self.figures(), self.names, self.n)

    def rows(self) -> list[dict[str, Any]]:
        """Return the figures as plain values, one dict each, as in CSV and JSON."""
        found = []
        for one in self.figures():
            estimates = {
                f"{whose}{name}": value
                for whose, estimate in (
                    ("", one.own),
                    ("random_", one.random),
                    ("centre_", one.centre),
                )
                for name, value in (
                    ("value", estimate.value),
                    ("low", estimate.low),
                    ("high", estimate.high),
                )
            }
            found.append(
                {
                    "method": one.method,
                    "layer": one.layer,
                    "metric": one.metric,
                    "part": one.part,
                    "better": one.better,
                    "n": one.own.n,
                    "images": one.own.images,
                    "left_out": one.own.left_out,
                    **estimates,
                    "beats_chance": one.beats_chance if one.judged else None,
                }
            )
        return found

    def counts(self) -> list[dict[str, Any]]:
        """Return how often each status occurred, as plain values."""
        return [
            {"method": method, "layer": layer, "counts": dict(counts)}
            for (method, layer), counts in self.status.items()
        ]

    def save(self, path: str | Path) -> Path:
        """Write everything (.json, which `load` reads), the figures (.csv), or a picture of them.

        Raises:
            OutputError: The format is unknown, or the file cannot be written there.
        """
        path = Path(path)
        form = files.known_suffix(path, FORMATS)
        if form == "json":
            verdict = self.verdict()
            report = {
                "verdict": verdict.sentence,
                "trusted": list(verdict.trusted),
                "figures": self.rows(),
                **self.as_dict(),
            }
            return files.write_whole(path, as_json(report, indent=1).encode())
        if form == "csv":
            return files.write_whole(path, self._csv().encode())
        from limelight import render

        return render.save_figure(path, self.plot)

    def plot(self) -> Figure:
        """Draw every metric: the methods' means beside chance, and the mean curves.

        Raises:
            InputError: Nothing was measured.
        """
        from limelight import render

        if not self.samples:
            raise InputError("Nothing was measured, so there is nothing to draw.")
        panels = list[render.Bars | render.Curves]()
        told = self.names
        for metric in self.metrics:
            best = self.ranking(metric)
            panels.append(
                render.Bars(
                    title=metric,
                    note=f"{best[0].better} is better",
                    means={told[one.method, one.layer]: _interval(one.own) for one in best},
                    controls={
                        told[one.method, one.layer]: {
                            f"{CHANCE}random": _interval(one.random),
                            f"{CHANCE}centre": _interval(one.centre),
                        }
                        for one in best
                    },
                )
            )
            for name, by_method in self.curves(metric).items():
                axes = next(s.row.axes for k, s in self.samples.items() if k.metric == metric)
                assert axes is not None  # every metric with curves says what they are over
                curves = {method: values.tolist() for method, values in by_method.items()}
                x = axes.points(len(next(iter(curves.values()))))
                panels.append(render.Curves(f"{metric}, {name}", axes.along, axes.up, x, curves))
        return render.measured(panels, title=self.verdict().sentence)

    def as_dict(self) -> dict[str, Any]:
        """Return all readings as plain values, which `from_dict` reads.

        They fit JSON: NaN is None, and infinity the string "Infinity".
        """
        return {
            "unmeasured": [one._asdict() for one in self.unmeasured],
            "status": self.counts(),
            "readings": [
                {
                    **key._asdict(),
                    "groups": list(sample.groups),
                    "images": list(sample.images),
                    "numbers": {whose: _plain(sample.readings[whose]) for whose in WHOSE},
                    "curves": {whose: _plain(sample.curves[whose]) for whose in WHOSE},
                    "counted": {whose: dict(sample.counted[whose]) for whose in WHOSE},
                }
                for key, sample in self.samples.items()
            ],
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Measurement:
        """Return what `as_dict` told.

        Raises:
            UnknownNameError, OptionError: There is no such metric here.
        """
        from limelight.metrics import find_metric

        samples = {
            Key(one["method"], one["layer"], one["metric"]): Sample(
                find_metric(one["metric"]),
                {whose: _tensors(one["numbers"][whose]) for whose in WHOSE},
                {whose: _tensors(one["curves"][whose]) for whose in WHOSE},
                one["counted"],
                tuple(one["groups"]),
                tuple(one["images"]),
            )
            for one in told["readings"]
        }
        status = {(one["method"], one["layer"]): one["counts"] for one in told["status"]}
        return cls(samples, status, tuple(Unmeasured(**one) for one in told["unmeasured"]))

    @classmethod
    def load(cls, path: str | Path) -> Measurement:
        """Read what `save` wrote as .json.

        Raises:
            InputError: The file is no such thing.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{str(path)!r} cannot be read as a measurement: {error!r}. A .json file that "
                "Measurement.save wrote was expected."
            ) from error

    def _csv(self) -> str:
        rows = self.rows()
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(rows[0]) if rows else ["method"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue()


def _meant(name: str, known: Sequence[str]) -> str:
    """Return the name with options that is meant: itself, or the first that begins like it."""
    if name in known:
        return name
    return next((one for one in known if one.partition(":")[0].partition(",")[0] == name), name)


def _interval(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _plain(readings: Readings) -> dict[str, Any]:
    # Of a batch `[N]`, of curves the sum `[P]`.
    return {name: list(map(to_json_number, values.tolist())) for name, values in readings.items()}


def _tensors(plain: Mapping[str, Sequence[float | str | None]]) -> Readings:
    """Return plain values as tensors, as they were written."""
    return {
        name: torch.tensor(list(map(from_json_number, values)), dtype=torch.float64, device="cpu")
        for name, values in plain.items()
    }
