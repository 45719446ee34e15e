"""Writes what `choose.py` found into docs/choose.md, and its figures into docs/choose.json."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from limelight.metrics.intervals import FEWEST_IMAGES_OF_A_PAIR
from limelight.plain import as_json
from measure import Table

PAGE = Path(__file__).parents[1] / "docs" / "choose.md"

#: What a record holds: plain values.
Record = Mapping[str, Any]


def publish(records: Mapping[str, Record]) -> None:
    """Write all sections of the page, each between `<!-- NAME -->` and `<!-- end -->`."""
    text = PAGE.read_text()
    learned = [record for record in records.values() if "methods" in record]
    random = [record for record in records.values() if "methods" not in record]
    for name, section in {
        "chosen": chosen(learned),
        "kinds": "\n\n".join(map(kind, learned)),
        "random": random_weights(random),
    }.items():
        before, found, after = text.partition(f"<!-- {name} -->\n")
        _, ended, after = after.partition("<!-- end -->")
        if not found or not ended:
            raise ValueError(f"{PAGE} has no section {name!r}")
        text = f"{before}{found}\n{section}\n\n{ended}{after}"
    PAGE.write_text(text)
    PAGE.with_suffix(".json").write_text(as_json(records, indent=1) + "\n")


def chosen(records: Iterable[Record]) -> str:
    """Return what was chosen on each network, and what photos without a part in it say."""
    parts = list[str]()
    for record in records:
        parts.append(f"**{record['network']}**, {record['about']}:\n\n> {record['sentence']}")
        if record["confirmed"]:
            parts.append(str(leads(f"{record['network']}, other photos", record["confirmed"])))
        parts.append(
            f"{record['candidates']} candidates were measured on {record['n']} of "
            f"{record['photos']} photos; all of it took {minutes(record['seconds'])} on "
            f"{record['setting']}, while others used the same machine."
        )
        if record.get("further"):
            first = record["further"][0]
            name = f"{first['candidate']}, {first['n']} further photos"
            parts.append(str(leads(name, record["further"])))
        if record["beside_default"]:
            # A page would take <input> for a tag.
            sentences = (text.replace(" at <input>", "") for text in record["beside_default"])
            parts.append("\n".join(f"* {text}" for text in sentences))
    return "\n\n".join(parts)


def leads(name: str, rows: Iterable[Record]) -> Table:
    """Return by how much a map leads chance, for each metric."""
    columns = {"map": ".3f", "random": ".3f", "centre": ".3f", "lead over the better": ""}
    table = Table({name: "", **columns, "p": "", "n": "d"})
    for row in rows:
        means = (row["value"], row["random"], row["centre"])
        table.add(f"`{row['metric']}`", *means, lead(row), p_value(row["p"]), row["n"])
    return table


def kind(record: Record) -> str:
    """Return what is known of each method on one network."""
    metrics = list(record["methods"][0]["metrics"])
    table = Table(
        {
            f"{record['network']}, n = {record['n']}": "",
            "where it ranked best": "",
            **{f"lead in {metric.partition(':')[0]}": "" for metric in metrics},
            "beats chance": "",
            "sanity": "",
            "runs": ".1f",
        }
    )
    for row in record["methods"]:
        table.add(
            f"`{row['method']}`",
            where(row["layers"]),
            *(f"{lead(row['metrics'][m])}, {p_value(row['metrics'][m]['p'])}" for m in metrics),
            "yes" if row["beats chance"] else "not shown",
            sanity(row),
            row["runs"],
        )
    parts = [f"### {record['network']}", str(table), str(places(record))]
    if record["n"] < FEWEST_IMAGES_OF_A_PAIR:
        parts.append(
            f"{record['n']} photos are too few to say of any two of these that they differ, which "
            f"takes {FEWEST_IMAGES_OF_A_PAIR}."
        )
    else:
        parts.append("Methods that these photos cannot tell apart, where each ranked best:")
        parts.append(
            "\n".join(
                f"* `{metric}`: "
                + "; ".join(", ".join(map(method_name, group)) for group in groups)
                for metric, groups in record["alike"].items()
            )
        )
    skipped = {name.partition(" at ")[0]: why for name, why in record["skipped"].items()}
    if skipped:
        names = ", ".join(f"`{name}`" for name in skipped)
        parts.append(f"Not possible on this network: {names}.")
    return "\n\n".join(parts)


def places(record: Record) -> Table:
    """Return how each method does at each place: its mean rank among all candidates."""
    rows = [row for row in record["places"] if row["layers"]]
    columns: list[str] = max((row["layers"] for row in rows), key=len)
    table = Table(
        {"mean rank, 1 is best": "", **{f"`{layer}`": "" for layer in columns}, "fused": ""}
    )
    for method in dict.fromkeys(row["method"] for row in rows):
        of_method = {tuple(row["layers"]): row for row in rows if row["method"] == method}
        cells = [of_method.get((layer,)) for layer in columns]
        cells.append(next((row for layers, row in of_method.items() if len(layers) > 1), None))
        table.add(f"`{method}`", *map(rank, cells))
    return table


def rank(row: Record | None) -> str:
    """Return the rank at a place, and a star where the method beats chance there."""
    return "" if row is None else f"{row['rank']:.1f}{'*' if row['beats chance'] else ''}"


def random_weights(records: Iterable[Record]) -> str:
    """Return what was said of networks with random weights."""
    table = Table({"random weights": "", "p of the predictions": "", "recommended": "", "why": ""})
    for record in records:
        learned = record["learned"] or {"p": None}
        why = record["sentence"].partition("Nothing is recommended. ")[2]
        table.add(
            record["network"],
            p_value(learned["p"]),
            record["recommended"] or "nothing",
            why.partition(".")[0].partition(":")[0],
        )
    return str(table)


# ---- cells ---------------------------------------------------------------------------------------


def lead(row: Record) -> str:
    """Return a lead with its interval."""
    return f"{row['lead']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def p_value(p: float | None) -> str:
    """Return a p-value in words; "" where there is none."""
    if p is None or math.isnan(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def sanity(row: Record) -> str:
    """Return the verdict of sanity, with the likeness."""
    if "likeness" not in row:
        return str(row["sanity"])
    value, low, high, _ = row["likeness"]
    return f"{row['sanity']}: {value:.2f} [{low:.2f}, {high:.2f}]"


def method_name(name: str) -> str:
    """Return the name of a method as the tables have it."""
    method = name.partition(",")[0].partition(" at ")[0]
    return f"`{method}` fused" if "," in name else f"`{method}`"


def where(layers: list[str]) -> str:
    """Return where a candidate cuts."""
    if not layers:
        return "the input"
    if len(layers) > 1:
        return "fused"
    return f"`{layers[0]}`"


def minutes(seconds: float) -> str:
    """Return a time in minutes."""
    return f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"
