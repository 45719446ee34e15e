"""What the user knows of the photos: labels, groups, objects, and which answers are right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from limelight.audits.data.named_photos import match_photos, path_of, read_column
from limelight.audits.rows.columns import AuditRows
from limelight.errors import LimelightError, OptionError
from limelight.metrics.annotation_files import Annotations, join_objects
from limelight.metrics.objects import Objects
from limelight.photos.memory import Sized
from limelight.photos.preprocess import Preprocess
from limelight.plain import as_json
from limelight.targets.class_names import ClassName, class_index

#: A file of labels, or `folders`: each photo has the name of the folder that it is in.
Labels = Path | Literal["folders"]

#: How many names an error lists.
_SHOWN = 5


class PhotoTruth(NamedTuple):
    """The label and the group of a photo; "" where one is not known."""

    label: str = ""
    group: str = ""


@dataclass(frozen=True)
class NetworkClasses:
    """The classes of the network, and how labels name them.

    Attributes:
        names: Their names; None when they are not known.
        by_order: The classes of folders that are the network's in alphabetical order, as
            torchvision's `ImageFolder` numbers them.
    """

    names: tuple[str, ...] | None = None
    by_order: Mapping[str, int] | None = None

    def index(self, name: ClassName) -> int | None:
        """Return the index of a class by its name or index; None where names are not known.

        Raises:
            UnknownNameError, TargetError: There is no such class, or there are several.
        """
        if isinstance(name, str) and self.by_order and name in self.by_order:
            return self.by_order[name]
        text = str(name).strip()
        if self.names is None:
            return int(text) if text.isdigit() else None
        named = text.casefold() in (each.casefold() for each in self.names)
        number = text.isdigit() and not named
        return class_index(int(text) if number else text, len(self.names), self.names)

    def called(self, name: str) -> list[int]:
        """Return the indices of the classes that have a name: of ImageNet's, two are `crane`."""
        same = [index for index, each in enumerate(self.names or ()) if each == name]
        if same:
            return same
        index = self.index(name) if self.knows(name) else None
        return [] if index is None else [index]

    def knows(self, name: ClassName) -> bool:
        """Return whether a name or an index is that of one class."""
        try:
            return self.index(name) is not None
        except LimelightError:
            return False


@dataclass(frozen=True, eq=False)
class Truth:
    """What the user knows of the photos.

    Attributes:
        photos: Label and group by the photo's path or URL; photos of which neither is known are
            not among them.
        classes: The classes of the network.
        annotations: What is marked on the photos; None when that is not known.
        matches: By a class of labels or annotations, the network's classes that go with it.
    """

    photos: Mapping[str, PhotoTruth]
    classes: NetworkClasses = NetworkClasses()
    annotations: Annotations | None = None
    matches: Mapping[str, Sequence[ClassName]] | None = None
    _known: dict[str, frozenset[int]] = field(init=False, repr=False, default_factory=dict)

    @classmethod
    def read(
        cls,
        photos: Sequence[str],
        *,
        labels: Labels | None = None,
        groups: Path | None = None,
        annotations: Annotations | None = None,
        matches: Mapping[str, Sequence[ClassName]] | None = None,
        classes: Sequence[str] | None = None,
    ) -> Truth:
        """Read what is known of the photos of a data set.

        Args:
            photos: Their paths or URLs.
            labels: A CSV file with the columns photo and label, or `folders`. With None, the
                folders' names are the labels if there are two or more and all are classes.
            groups: A CSV file with the columns photo and group.
            annotations: What is marked on the photos.
            matches: By a class of labels or annotations, the network's classes that go with it.
            classes: The names of the network's classes; None when they are not known.

        Raises:
            OptionError: A file cannot be read, names none of the photos, or names one of several
                without saying which; or a label or a match is no class of the network.
        """
        known = NetworkClasses(None if classes is None else tuple(classes))
        truth = cls({}, known, annotations, matches)
        truth.check_matches()
        if isinstance(labels, Path):
            by_photo = match_photos(read_column(labels, "label"), photos, labels)
        elif labels == "folders" or truth.names_classes(set(folder_names(photos).values())):
            by_photo = folder_names(photos)
            truth = replace(truth, classes=in_folder_order(by_photo, known))
        else:
            by_photo = {}
        truth.check_labels(by_photo, "the folders" if labels is None else repr(str(labels)))
        groups_of = (
            {} if groups is None else match_photos(read_column(groups, "group"), photos, groups)
        )
        distinct = dict[PhotoTruth, PhotoTruth]()  # millions of photos share few of them
        found = dict[str, PhotoTruth]()
        for photo in photos:
            each = PhotoTruth(by_photo.get(photo, ""), groups_of.get(photo, ""))
            if any(each):
                found[photo] = distinct.setdefault(each, each)
        return replace(truth, photos=found)

    def of(self, photo: str) -> PhotoTruth:
        """Return what is known of a photo, by its path or URL."""
        return self.photos.get(photo, PhotoTruth())

    def without_labels(self) -> Truth:
        """Return the same without what is known of labels."""
        grouped = {photo: PhotoTruth("", each.group) for photo, each in self.photos.items()}
        return replace(self, photos=grouped)

    @property
    def labelled(self) -> int:
        """How many photos have a label."""
        return sum(bool(each.label) for each in self.photos.values())

    @property
    def grouped(self) -> int:
        """How many photos have a group."""
        return sum(bool(each.group) for each in self.photos.values())

    def objects(self, photo: str, size: Sized, preprocess: Preprocess) -> dict[str, Objects]:
        """Return the objects on a photo of that size that the network sees, by class.

        Raises:
            PhotoError: What was marked on it cannot be read.
        """
        if self.annotations is None:
            return {}
        return self.annotations.objects(Path(path_of(photo)), size, preprocess)

    def classes_of(self, label: str) -> frozenset[int]:
        """Return the network's classes that go with a label; none where that is not known.

        Raises:
            UnknownNameError, TargetError: It names no class, or several.
        """
        if label not in self._known:
            names: Sequence[ClassName] = (self.matches or {}).get(label, [label])
            indices = map(self.classes.index, names)
            self._known[label] = frozenset(index for index in indices if index is not None)
        return self._known[label]

    def is_right(self, label: str, predicted: int, marked: Collection[str] = ()) -> bool | None:
        """Return whether an answer is right; None where that is not known.

        It is if the predicted class goes with the label. Without a label it is if the predicted
        class goes with any object that is marked, of the classes that have matches.

        Args:
            label: The true class; "" when it is not known.
            predicted: The index of the predicted class.
            marked: The classes of the objects that are marked on the photo.
        """
        right = self.classes_of(label) if label else self._classes_marked(marked)
        return predicted in right if right else None

    def inside(self, objects: Mapping[str, Objects], explained: int) -> Objects | None:
        """Return the objects on which the heat should lie; None without any.

        Without matches these are all. With matches they are those that go with the explained class,
        or, where none does, all that have matches: the heat of a wrong answer is compared with what
        it should have looked at.
        """
        if self.matches is None:
            return join_objects(objects)
        matched = {name: each for name, each in objects.items() if name in self.matches}
        explaining = {
            name: each for name, each in matched.items() if explained in self.classes_of(name)
        }
        return join_objects(explaining or matched)

    def fingerprint(self) -> str:
        """Return text that changes when anything that is known of the photos changes."""
        digest = sha256()
        for photo, (label, group) in sorted(self.photos.items()):
            digest.update(as_json([photo, label, group]).encode())
        names, by_order = self.classes.names, self.classes.by_order
        matches = {name: list(each) for name, each in (self.matches or {}).items()}
        facts: list[Any] = [names, dict(by_order or {}), matches]
        digest.update(as_json(facts, sort_keys=True).encode())
        if self.annotations is not None:
            digest.update(_state_of(self.annotations).encode())
        return digest.hexdigest()[:16]

    def names_classes(self, labels: Collection[str]) -> bool:
        """Return whether there are two labels or more, and all name classes of the network."""
        if self.classes.names is None and not self.matches:
            return False
        return len(labels) > 1 and not self._unknown(labels)

    def check_labels(self, labels: Mapping[str, str], where: str) -> None:
        """Refuse labels that are no classes of the network, where its classes have names.

        Raises:
            OptionError: There are some.
        """
        wrong = self._unknown(set(labels.values()))
        if wrong:
            count = Counter(labels.values())
            listed = [f"{count[name]} photos: {wrong[name]}" for name in sorted(wrong)[:_SHOWN]]
            more = f" And {len(wrong) - _SHOWN} more labels." if len(wrong) > _SHOWN else ""
            raise OptionError(
                f"{len(wrong)} of the labels in {where} are no classes of the network. "
                f"{' '.join(listed)}{more} Write its classes by name or index; or say which of "
                "its classes go with each label, as matches."
            )

    def check_matches(self) -> None:
        """Refuse matches that are no classes of the network.

        Raises:
            OptionError: There are some.
        """
        wrong = self._unknown(self.matches or ())
        if wrong:
            raise OptionError(f"The matches do not fit the network. {next(iter(wrong.values()))}")

    def _unknown(self, labels: Collection[str]) -> dict[str, str]:
        """Return the labels that name no class, or several, each with the reason."""
        wrong = dict[str, str]()
        for label in labels:
            try:
                self.classes_of(label)
            except LimelightError as error:
                wrong[label] = str(error)
        return wrong

    def _classes_marked(self, marked: Collection[str]) -> frozenset[int]:
        matched = [name for name in marked if self.matches and name in self.matches]
        return frozenset[int]().union(*map(self.classes_of, matched))


def folder_names(photos: Sequence[str]) -> dict[str, str]:
    """Return the name of the folder that each photo is in, by photo.

    Photos beside the folders, rather than in one, have none.
    """
    folders = {photo: path_of(photo).parent for photo in photos}
    several = set(folders.values())
    above = [set(folder.parents) | {folder} for folder in several]
    beside = set.intersection(*above) if len(several) > 1 else set()
    return {photo: folder.name for photo, folder in folders.items() if folder not in beside}


def in_folder_order(labels: Mapping[str, str], classes: NetworkClasses) -> NetworkClasses:
    """Return the classes as folders number them, where their names say nothing to the network.

    torchvision's `ImageFolder` takes the folders in alphabetical order, so the first is class 0;
    thus the folders `n01440764`, ... of ImageNet are the classes of its networks. This holds if
    there is a folder for each class, and none has a name of one.

    Raises:
        OptionError: There are fewer than two folders.
    """
    folders = sorted(set(labels.values()))
    if len(folders) < 2:
        raise OptionError(
            f"Names of folders were to be the labels, and the photos are in {len(folders)} of "
            "them. Put the photos of each class in a folder of its own, or write the labels in a "
            "CSV file with the columns photo and label."
        )
    if classes.names is None or len(folders) != len(classes.names):
        return classes
    if any(map(classes.knows, folders)):
        return classes
    return replace(classes, by_order={folder: number for number, folder in enumerate(folders)})


def _state_of(annotations: Annotations) -> str:
    """Return text that changes when annotations change: their files' names, sizes and times."""
    folder = annotations.boxes or annotations.masks or Path()
    files = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    facts = [bool(annotations.boxes), annotations.names, annotations.mask_value, states]
    return as_json(facts)


def with_truth(rows: AuditRows, truth: Truth) -> AuditRows:
    """Return rows with the labels and groups of `truth`; an answer is right by the new label.

    Where the label is the same as before, so is whether the answer is right, unless `truth` has
    matches. A thing that `truth` knows of no photo stays as it is.
    """
    known = [truth.of(photo) for photo in rows.photo]
    label, group, right = rows.label, rows.group, rows.right
    if truth.labelled:
        label = np.array([each.label for each in known], dtype=object)
    changed = label != rows.label
    if changed.any() or truth.matches is not None:
        asked = changed if truth.matches is None else changed | (label != "")
        right = rows.right.copy()
        for number in np.flatnonzero(asked):
            answers = {
                truth.is_right(label[number], index)
                for index in truth.classes.called(rows.predicted[number])
            }
            if len(answers) == 1:
                (is_right,) = answers
                right[number] = np.nan if is_right is None else is_right
            elif changed[number]:
                right[number] = np.nan
    if truth.grouped:
        group = np.array([each.group for each in known], dtype=object)
    return replace(rows, label=label, group=group, right=right)
