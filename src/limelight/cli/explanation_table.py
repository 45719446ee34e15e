"""The table of `limelight explain`, which grows photo by photo."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from limelight.cli.run_record import RunRecord
from limelight.cli.words import worded
from limelight.errors import PhotoError
from limelight.metrics.annotation_files import Annotations, join_objects
from limelight.photo_pipeline import PhotoResult
from limelight.photos.preprocess import Preprocess
from limelight.tables import TableFile, failed_row


@dataclass(kw_only=True)
class ExplanationTable:
    """A row for each photo and target; the photos themselves are not kept.

    Attributes:
        file: The table.
        run: The run, whose exit code is 1 when what is marked on a photo cannot be read.
        preprocess: How photos became inputs.
        annotations: The objects whose share of the heat is a column; None when none are marked.
        count: The number of photos so far.
    """

    file: TableFile
    run: RunRecord
    preprocess: Preprocess
    annotations: Annotations | None
    count: int = 0

    def add(self, result: PhotoResult) -> None:
        """Add the rows of one photo: one for each target, or one with its error."""
        photo, number, error = str(result.path), self.count, result.error
        objects = None
        try:
            objects = self._objects(result)
        except PhotoError as unreadable:
            error, self.run.code = unreadable, max(self.run.code, 1)
        message = None if error is None else worded(error)
        if message is not None and not result.explanations:
            self.file.rows.append(failed_row(photo, message, image=number))
        for explanation in result.explanations:
            rows = explanation.rows([photo], objects=objects, first=number)
            self.file.rows += [row | {"error": message} for row in rows]
        self.count += 1

    def _objects(self, result: PhotoResult) -> Tensor | None:
        """Return the mask of what is marked on a photo, `[1, *image]`; None without anything."""
        if self.annotations is None or result.crop is None:
            return None
        preprocess, (first, *_) = self.preprocess, result.explanations
        if first.windows is not None:  # the whole photo was seen, and stands reduced for the input
            height, width = first.image.shape[2:]
            preprocess = replace(preprocess, size=None, resize=(height, width), longest=None)
        marked = self.annotations.objects(result.path, result.crop.original_size, preprocess)
        objects = join_objects(marked)
        return None if objects is None else objects.mask
