"""Which photos are related: of one patient or film, frames of one file, or nearly the same.

Related photos are no independent witnesses: twelve frames of one film that show one mistake show it
once. So every test of an audit permutes and draws whole sources.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from limelight.audits.rows.columns import AuditRows, Numbers

#: With fewer sources in a class nothing about it is tested: a p-value would rest on a few scenes.
FEWEST_SOURCES = 10

#: The most bits in which the hashes of nearly the same photos differ. Tried on 139 photos: 94 of
#: 100 as JPEG of quality 20, 97 at a quarter of the size, 84 of 100 made brighter by 30 % and 78
#: cropped to 98 % were within it; of the 9591 pairs of different ones none (their least: 10 bits).
MOST_BITS = 3

#: Neighbouring bits of a hash that differ, of 112, so that it tells photos apart: below it are
#: skies and walls, which have one hash. Of 1.4 million pairs of windows of different photos 22 were
#: within 3 bits, and none where both had 16; 98 of 100 windows have it, and 99 of 100 photos.
LEAST_FLIPS = 16

#: The bits of a hash in six bands. Hashes that differ in three bits are equal in three bands.
_BANDS = ((0, 11), (11, 22), (22, 33), (33, 44), (44, 54), (54, 64))

_Looks = npt.NDArray[np.uint64]


def sources_of(rows: AuditRows) -> Numbers:
    """Return the source of each row, `[N]`, numbered from 0 in the order of the rows.

    Rows of one group are of one source. Those without a group are where they are frames, slices or
    pages of one file, have the same content, or nearly the same look; also where a chain of such
    photos links them.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    alone = np.flatnonzero(rows.group == "")
    edges = [
        _same((i, group) for i, group in enumerate(rows.group) if group),
        _same((int(i), rows.digest[i]) for i in alone if rows.digest[i]),
        _same((int(i), stack) for i in alone if (stack := _stack_of(rows.photo[i]))),
        alone[_near(rows.look[alone])],
    ]
    first, second = np.concatenate(edges).T
    size = (len(rows), len(rows))
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=size)
    _, component = connected_components(graph, directed=False)
    _, where, number = np.unique(component, return_index=True, return_inverse=True)
    ranks: Numbers = np.argsort(np.argsort(where))[number]
    return ranks


def _same(keyed: Iterable[tuple[int, str]]) -> Numbers:
    """Return pairs `[E, 2]` that link all rows of one key."""
    members = defaultdict[str, list[int]](list)
    for i, key in keyed:
        members[key].append(i)
    pairs = [pair for each in members.values() for pair in pairwise(each)]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _stack_of(photo: str) -> str:
    """Return the file that a photo is a frame, a slice or a page of; "" if it is a file itself.

    The twelfth frame of `clip.mp4` is `clip.mp4/clip-0012`.
    """
    file, _, name = photo.replace("\\", "/").rpartition("/")
    base = file.rpartition("/")[2]
    stems = (base, base.removesuffix(".nii"), base.rpartition(".")[0].removesuffix(".nii"))
    stem, numbered, digits = name.rpartition("-")
    named = stem in {each.replace(".", "_") for each in stems}
    return file if numbered and digits.isdecimal() and named else ""


def _near(looks: _Looks) -> Numbers:
    """Return pairs `[E, 2]` of hashes within `MOST_BITS`, equal ones once."""
    told = np.flatnonzero(_flips(looks) >= LEAST_FLIPS)
    looks, place = np.unique(looks[told], return_inverse=True)
    first = np.full(len(looks), len(told))
    np.minimum.at(first, place, np.arange(len(told)))
    pairs = [np.stack([first[place], np.arange(len(told))], 1)]
    for kept in combinations(_BANDS, 3):
        mask = sum((1 << end) - (1 << start) for start, end in kept)
        pairs += [first[each] for each in _near_where_equal(looks, np.uint64(mask))]
    linked: Numbers = told[np.concatenate(pairs)]
    return linked


def _near_where_equal(looks: _Looks, mask: np.uint64) -> list[Numbers]:
    """Return pairs of hashes within `MOST_BITS` that are equal in the bits of a mask."""
    keys = looks & mask
    order = np.argsort(keys, kind="stable")
    keys, looks, pairs = keys[order], looks[order], list[Numbers]()
    left = np.arange(len(order))
    for step in range(1, len(order)):  # each with the one that follows it by so many
        left = left[left + step < len(order)]
        left = left[keys[left] == keys[left + step]]
        if not len(left):
            break
        near = left[_bits(looks[left] ^ looks[left + step]) <= MOST_BITS]
        pairs.append(np.stack([order[near], order[near + step]], 1))
    return pairs


def _flips(looks: _Looks) -> Numbers:
    """Return how many of the 112 neighbours in 8 x 8 bits differ, `[N]`."""
    across = (looks ^ (looks >> np.uint64(1))) & np.uint64(0x7F7F7F7F7F7F7F7F)
    down = (looks ^ (looks >> np.uint64(8))) & np.uint64(0x00FFFFFFFFFFFFFF)
    return _bits(across) + _bits(down)


def _bits(values: _Looks) -> Numbers:
    """Return how many bits are set in each value."""
    in_bytes = np.ascontiguousarray(values).view(np.uint8).reshape(-1, 8)
    bits: Numbers = np.unpackbits(in_bytes, axis=1).sum(1, dtype=np.int64)
    return bits


def related_warning(rows: AuditRows, sources: Numbers) -> str:
    """Return what related photos do to this audit, in sentences; "" if there is nothing to say.

    Names that share a beginning with a number in it (`patient12_03.png`) are not taken for groups
    without being told so, but the warning names them.
    """
    count = len(np.unique(sources))
    said = list[str]()
    if 0 < 2 * count <= len(rows):
        said.append(
            f"The {len(rows)} photos are of {count} sources only: groups, frames of one file, or "
            "photos that look the same. Tests permute whole sources; classes with fewer than "
            f"{FEWEST_SOURCES} have no p-value."
        )
    elif not rows.group.any() and count < len(rows):
        said.append(
            f"{len(rows) - count} of the {len(rows)} photos look like another one, or are of one "
            "file with it; these count as one source."
        )
    if not rows.group.any() and (example := _shared_beginning(rows)):
        said.append(example)
    return " ".join(said)


def _shared_beginning(rows: AuditRows) -> str:
    """Return a sentence on names that look like those of related photos; "" if there are none."""
    beginnings = ["" if _stack_of(photo) else _beginning(photo) for photo in rows.photo]
    counts = Counter(each for each in beginnings if each)
    shared = {each: many for each, many in counts.items() if many > 1}
    labels = {(each, label) for each, label in zip(beginnings, rows.label, strict=True) if label}
    are_classes = len(labels) == len(counts) == len(set(rows.label) - {""})
    if len(shared) < 3 or 2 * sum(shared.values()) < len(rows) or are_classes:
        return ""
    most = max(shared, key=lambda each: (shared[each], each))
    return (
        f"{sum(shared.values())} photos share the beginning of their name with others, as the "
        f"{shared[most]} of {most!r} do: {len(shared)} beginnings. If such photos belong together "
        "(a patient, a film, a place), give their groups; else every p-value here is too small."
    )


def _beginning(photo: str) -> str:
    """Return folder and name before their last number, if a number is left in them; else ""."""
    folder, _, name = photo.replace("\\", "/").rpartition("/")
    folder = folder.rpartition("/")[2]
    stem = re.sub(r"\.\w+$", "", name)
    found = re.fullmatch(r"(.*?)[^0-9A-Za-z]*\d+", stem)
    before = found[1] if found else ""
    beginning = f"{folder}/{before}" if folder else before
    return beginning if found and re.search(r"\d", beginning) else ""
