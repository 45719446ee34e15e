"""Tables of values by photo, and which photo of a data set each line is of."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from io import StringIO
from itertools import takewhile
from pathlib import Path, PurePosixPath

from limelight.errors import OptionError
from limelight.files import read_text

#: How many names an error lists.
_SHOWN = 5


def path_of(photo: str) -> PurePosixPath:
    """Return the path in the name of a photo: the name itself, or that in a URL.

    Of a URL in several steps, as in `zip://a.png::s3://bucket/photos.zip`, it is the first.
    """
    if "://" not in photo:
        return PurePosixPath(Path(photo).as_posix())
    return PurePosixPath(photo.partition("::")[0].partition("://")[2])


def read_column(path: Path, column: str) -> dict[str, str]:
    """Return a column of a CSV file by photo, as each photo is written there.

    Raises:
        OptionError: It cannot be read, or has two values for one photo.
    """
    values = dict[str, str]()
    line = 1
    if not path.exists():
        other = ", or 'folders' for the names of the photos' folders" if column == "label" else ""
        raise OptionError(
            f"There is no file {str(path)!r} with {column}s. A CSV file was expected, whose first "
            f"line is photo,{column}, with a line for each photo{other}."
        )
    try:
        reader = csv.DictReader(StringIO(read_text(path), newline=""), skipinitialspace=True)
        missing = [name for name in ("photo", column) if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"there is no column {' and no column '.join(missing)}")
        for row in reader:
            line = reader.line_num
            photo, value = (row["photo"] or "").strip(), (row[column] or "").strip()
            if values.get(photo, value) != value:
                raise ValueError(f"{photo!r} is {value!r} here, and {values[photo]!r} before")
            if photo and value:
                values[photo] = value
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise OptionError(
            f"The {column}s cannot be read from {str(path)!r}, line {line}: {error}. A CSV file "
            f"was expected, whose first line is photo,{column}, with a line for each photo."
        ) from error
    return values


def match_photos(written: Mapping[str, str], photos: Sequence[str], path: Path) -> dict[str, str]:
    """Return values by photo, from those of photos as they are written in a file.

    A photo is looked up by its name, with or without the suffix. A line that names a folder is of
    no photo in a folder of another name. Where several have that name, the folders before it
    decide: a photo takes the line whose path has most in common with its own, and
    a line goes to the photo with which it has most in common.

    Args:
        written: The values, by photo as written.
        photos: The paths or URLs of the photos of the data set.
        path: The file, for errors.

    Raises:
        OptionError: No line is of a photo, or it is not clear which photo a line is of.
    """
    lines = defaultdict[str, list[str]](list)
    for name in written:
        lines[path_of(name).name].append(name)
    taken = dict[str, str]()
    users = defaultdict[str, list[tuple[int, str]]](list)
    for photo in photos:
        common, names = _nearest_lines(lines, photo)
        if len({written[name] for name in names}) > 1:
            raise _unclear(path, f"{photo!r} may be", names)
        if names:
            taken[photo] = names[0]
            users[names[0]].append((common, photo))
    if not taken:
        raise OptionError(
            f"{str(path)!r} names none of the {len(photos)} photos. Its lines are of "
            f"{_listed(list(written))}; the photos are {_listed(list(photos))}."
        )
    values = dict[str, str]()
    for name, each in users.items():
        most = max(each)[0]
        nearest = [photo for common, photo in each if common == most]
        if len(nearest) > 1:
            raise _unclear(path, f"The line {name!r} may be of", nearest)
        values[nearest[0]] = written[name]
    return values


def _nearest_lines(lines: Mapping[str, Sequence[str]], photo: str) -> tuple[int, list[str]]:
    """Return the lines that have most in common with a photo's path, and how many parts that is."""
    path = path_of(photo)
    for own in (path, path.with_suffix("") if path.name else path):
        parts = own.parts[::-1]
        paths = {name: path_of(name).parts[::-1] for name in lines.get(own.name, ())}
        common = {
            name: _common(path, parts)
            for name, path in paths.items()
            if not _in_other_folders(path, parts)
        }
        if common:
            most = max(common.values())
            return most, [name for name, count in common.items() if count == most]
    return 0, []


def _in_other_folders(line: Sequence[str], photo: Sequence[str]) -> bool:
    """Return whether two paths, their names first, are in folders of other names."""
    return len(line) > 1 and len(photo) > 1 and line[1] != photo[1]


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    pairs = zip(first, second, strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _unclear(path: Path, start: str, names: Sequence[str]) -> OptionError:
    return OptionError(
        f"In {str(path)!r} it is not clear which photo is meant. {start} {_listed(names)}. Write "
        "more of the paths there, such as the folder before the name."
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more or "no photo"
