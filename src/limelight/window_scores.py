"""The windows that a large picture was explained in, with the score of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limelight.status import Status


@dataclass(frozen=True, slots=True, eq=False)
class WindowScores:
    """The W windows of a picture that was explained by `tiles`.

    Attributes:
        boxes: Where each window lies, in pixels of the picture, `[W, 4]`: x1, y1, x2, y2. For
            signals `[W, 2]`: begin and end; for volumes `[W, 6]`: x1, y1, z1, x2, y2, z2.
        score: The score of each window, `[W, B]`.
        status: For each window, and each image of it, whether its own map shows something.
    """

    boxes: Tensor
    score: Tensor
    status: tuple[tuple[Status, ...], ...]

    @classmethod
    def of(
        cls,
        boxes: list[tuple[slice, ...]],
        scores: list[Tensor],
        status: list[tuple[Status, ...]],
    ) -> WindowScores:
        """Return the scores `[B]` and status of windows, in order."""
        corners = [
            [*(along.start for along in box[::-1]), *(along.stop for along in box[::-1])]
            for box in boxes
        ]
        return cls(torch.tensor(corners, device="cpu"), torch.stack(scores), tuple(status))

    def __len__(self) -> int:
        """Return W, the number of windows."""
        return len(self.boxes)

    def of_image(self, image: int) -> WindowScores:
        """Return the windows of one image of the batch."""
        rows = slice(image, image + 1)
        return WindowScores(
            self.boxes, self.score[:, rows], tuple(each[rows] for each in self.status)
        )

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return each window's box, and the score and status of the first image."""
        return [
            {"box": box, "score": float(score[0]), "status": status[0].name}
            for box, score, status in zip(self.boxes.tolist(), self.score, self.status, strict=True)
        ]
