"""A run: the rows of a data set, made by one network and written into one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from limelight.audits.data.folders import OutputFolder
from limelight.audits.data.stores import PhotoStore
from limelight.audits.data.truth import Truth
from limelight.audits.data.urls import is_url
from limelight.audits.rows.facts import FACTS, RunFacts, make_question, read_facts
from limelight.audits.rows.looking import LookPlan
from limelight.audits.rows.maker import Row, file_bytes
from limelight.audits.rows.shards import Shards, read_done
from limelight.errors import PhotoError
from limelight.models.network import Network
from limelight.progress import ProgressCallback

#: How many photos are tried until one can be read, to plan a run.
_MOST_TRIED = 100


@dataclass
class Run:
    """A run.

    Attributes:
        network: The network.
        store: Where the photos are.
        truth: What is known of them.
        folder: Where the rows go.
        progress: As in `audit`.
    """

    network: Network
    store: PhotoStore
    truth: Truth
    folder: OutputFolder
    progress: ProgressCallback | None

    def begin(
        self, photos: Sequence[str], options: Mapping[str, Any], known: Mapping[str, Any]
    ) -> RunFacts:
        """Return the facts of the run in the folder; begin one where there is none.

        Raises:
            OutputError: The run there has other settings.
            PhotoError: None of the first photos can be read.
        """
        question = make_question(self.network, options, known)
        facts = read_facts(self.folder)
        if facts is not None:
            facts.refuse_other(question)
            return facts
        plan = LookPlan.make(self.network, self._first_image(photos), **options)
        facts = RunFacts.of(self.network, plan, question)
        self.folder.write(FACTS, facts.as_text().encode())
        return facts

    def _first_image(self, photos: Sequence[str]) -> Tensor:
        """Return the first photo that can be read as the network's input.

        Raises:
            PhotoError: None of the first hundred can.
        """
        first: PhotoError | None = None
        for photo in photos[:_MOST_TRIED]:
            try:
                return self.network.images(self.store.load(photo, self.network.preprocess))
            except PhotoError as error:
                first = first or error
        assert first is not None  # there are photos
        count = min(len(photos), _MOST_TRIED)
        if count == 1:
            raise first
        raise PhotoError(f"None of the first {count} photos can be read. {first}") from first

    def add_rows(
        self,
        photos: Sequence[str],
        facts: RunFacts,
        make: Callable[[Sequence[str]], Iterator[list[Row]]],
    ) -> None:
        """Make and write the rows of the photos that have none, or that have changed.

        What was made is written also when an error or an interrupt ends the work.
        """
        done = read_done(self.folder)
        left = [photo for photo in photos if not self._is_done(photo, done)]
        if not left:
            return
        shards = Shards(self.folder, facts.plan.form)
        count = len(photos) - len(left)
        try:
            for rows in make(left):
                shards.add(rows)
                count += len(rows)
                if self.progress:
                    self.progress("photos", count, len(photos))
        finally:
            shards.flush()

    def _is_done(self, photo: str, done: Mapping[str, int]) -> bool:
        """Return whether a photo has its row.

        One on this machine has if its size is the same, one at a URL if it could be fetched.
        """
        if photo not in done:
            return False
        return done[photo] > 0 if is_url(photo) else done[photo] == file_bytes(Path(photo))
