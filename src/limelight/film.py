"""Films of maps over time, on one scale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from PIL.Image import Image

from limelight.drawing import as_pictures
from limelight.errors import OptionError
from limelight.explanation import Explanation
from limelight.map_scales import ScaledMaps, highest_value
from limelight.models.network import Network
from limelight.photo_pipeline import PhotoResult
from limelight.progress import ProgressCallback

#: How many pictures are shown in a second, where the film that they come from does not say.
USUAL_FPS = 10.0

#: The longer side of a film's pictures, in pixels.
_LONGEST = 1920


class Film:
    """A film of overlays: maps of one picture after the other, all on one scale.

    The highest value of any raw map of the film has the last colour, so that heat that grows is
    seen to grow: `h_t = relu(L_t) / max_t max_ij L_t,ij`. With several maps of a picture the higher
    heat is shown at each pixel, and what each score is about is outlined.

        film = limelight.Film(network)
        for result in limelight.explain_photos(network, ["walk.mp4"], ["dog"]):
            film.add(result)
        film.save("dog.mp4")

    Pictures are not kept: `save` decodes each a second time.
    """

    def __init__(
        self, network: Network, *, whole: bool = True, colormap: str | None = None
    ) -> None:
        """Begin a film without pictures.

        Args:
            network: The network that was explained; it says which part of a photo it saw.
            whole: Draw on whole photos; else on the part that the network saw.
            colormap: The name of a matplotlib colour map; "inferno" when not given.
        """
        self.network, self.whole, self.colormap = network, whole, colormap
        self._frames = list[PhotoResult]()

    def __len__(self) -> int:
        """Return how many pictures it has."""
        return len(self._frames)

    def add(self, result: PhotoResult) -> None:
        """Add a picture with its maps; one that could not be read, or a volume, is left out."""
        if result.crop is not None and result.explanations:
            self._frames.append(result.without_pixels())

    def pictures(self, progress: ProgressCallback | None = None) -> Iterator[Image]:
        """Yield the pictures of the film, each with the names and scores below.

        Args:
            progress: Called as progress(path, done, total).

        Raises:
            PhotoError: A photo cannot be read any more.
        """
        from limelight import render

        highest = highest_value(each for frame in self._frames for each in frame.explanations)
        for number, frame in enumerate(self._frames, start=1):
            photo = self.network.preprocess.crop(self.network.load_photo(frame.path)).photo
            assert frame.crop is not None
            crop = frame.crop.on(photo).reduced(_LONGEST)
            maps = [
                ScaledMaps(each.drawn_on([crop]), signed=False, highest=[highest])
                for each in frame.explanations
            ]
            (drawn,) = as_pictures(maps, whole=self.whole)
            heat = render.highest_heat(drawn.heatmaps)
            picture = render.overlay(drawn.photo, heat, colormap=self.colormap or render.SEQUENTIAL)
            for region in drawn.regions:
                if region is not None:
                    picture = render.outlined(picture, region)
            yield render.captioned(picture, _names(frame.explanations), frame.path.name)
            if progress:
                progress(str(frame.path), number, len(self))

    def save(
        self,
        path: str | Path,
        *,
        fps: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Path:
        """Write the film, whole or not at all.

        Args:
            path: The file; its suffix, .mp4 (extra `video`) or .gif, is the format.
            fps: How many pictures are shown in a second; 10 when not given.
            progress: As in `pictures`.

        Raises:
            OptionError: `fps` is not positive.
            OutputError: The format is unknown, there is no picture, or the file cannot be written.
            PhotoError: A photo cannot be read any more.
        """
        from limelight import render

        check_fps(fps)
        return render.write_film(Path(path), self.pictures(progress), fps or USUAL_FPS)


def check_fps(fps: float | None) -> None:
    """Refuse a number of pictures in a second that no film has.

    Raises:
        OptionError: It is not positive, or above 240.
    """
    if fps is not None and not 0 < fps <= 240:
        raise OptionError(
            f"fps is {fps}; how many pictures are shown in a second was expected, above 0 and at "
            "most 240."
        )


def _names(explanations: tuple[Explanation, ...]) -> str:
    """Return what is explained, with scores, or why a map shows nothing."""
    words = []
    for each in explanations:
        status = each.status[0]
        note = "" if status.ok else f" ({status.name})"
        name = re.sub(r" in box \[.*\]$", "", each.label[0])  # the box is drawn
        words.append(f"{name} {float(each.score[0].detach()):.3g}{note}")
    return "   ".join(words)
