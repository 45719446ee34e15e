"""Hostile photos: each beside a good one in `explain`, some in other commands, all in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hostile_tries import photos
from hostile_tries.photos import EITHER, READ, REFUSED, Hostile
from hostile_tries.tiny import MODEL
from hostile_tries.tries import Ran, Try

DRAW = (*MODEL, "--picture", "overlay")


def tries(work: Path) -> Iterator[Try]:
    """Yield them."""
    good = photos.good(work / "good")
    every = list(photos.hostile())
    folder = work / "hostile"
    folder.mkdir()
    for one in every:
        (folder / one.name).write_bytes(one.data)
    yield from _together(good, folder, every)
    for one in every:
        yield _beside(good, folder, one)
    for number, one in enumerate(every):
        if one.fate != EITHER or number % 4 == 0:
            yield from _elsewhere(good, folder, one, number)


def _beside(good: str, folder: Path, one: Hostile) -> Try:
    return Try(
        f"explain {one.name}",
        ("explain", good, str(folder / one.name), *DRAW, "--json"),
        codes=_codes(one.fate),
        done=("good.jpg", one.name) if one.fate == READ else ("good.jpg",),
        failed=(one.name,) if one.fate == REFUSED else (),
        also=_told_once([one.name]),
    )


def _elsewhere(good: str, folder: Path, one: Hostile, number: int) -> Iterator[Try]:
    path = str(folder / one.name)
    named = () if one.fate == READ else (r"good\.jpg|n = [12]|" + one.name.replace(".", r"\."),)
    quick = ("--methods", "gradcam", *MODEL)
    steps = ("--metrics", "insertion:steps=2")
    codes = _codes(one.fate)
    if number % 3 == 0:
        argv: tuple[str, ...] = ("measure", good, path, *quick, *steps)
        yield Try(f"measure {one.name}", argv, codes=codes, says=named)
    elif number % 3 == 1:
        yield Try(f"compare {one.name}", ("compare", good, path, *quick), codes=codes, says=named)
    else:
        argv = ("walkthrough", path, *MODEL, "--beside", "gradcam")
        yield Try(f"walkthrough {one.name}", argv, codes=codes)


def _together(good: str, folder: Path, every: list[Hostile]) -> Iterator[Try]:
    names = [one.name for one in every]
    read = tuple(one.name for one in every if one.fate == READ)
    refused = tuple(one.name for one in every if one.fate == REFUSED and one.data)
    argv = ("explain", good, str(folder), *DRAW)
    yield Try(
        "explain all in one, --json",
        (*argv, "--json"),
        codes=(1,),
        done=("good.jpg", *read),
        failed=refused,
        also=_told_once(names),
        seconds=240,
    )
    yield Try(
        "explain all in one",
        argv,
        codes=(1,),
        says=("good", *(name.split(".")[0] for name in refused)),
        seconds=240,
    )


def _codes(fate: str) -> tuple[int, ...]:
    return {READ: (0,), REFUSED: (1,), EITHER: (0, 1)}[fate]


def _told_once(names: Iterable[str]) -> Callable[[Ran], Iterator[str]]:
    def also(ran: Ran) -> Iterator[str]:
        try:
            done, failed = ran.photos("photos"), ran.photos("failed")
        except (ValueError, AttributeError, TypeError, KeyError):
            return  # the contract says so of any --json
        for name in names:
            if (name in done) == (name in failed):
                both = "under both" if name in done else "under neither"
                yield f"{name} under 'photos' or 'failed'; {both}"
        if bool(failed) != (ran.code == 1):
            yield f"exit 1 exactly where a photo failed; exit {ran.code}, {len(failed)} failed"

    return also
