"""The photos that were uploaded, by ids that nobody can guess; those not asked for are dropped."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image

from limelight.photos.memory import bytes_to_hold
from limelight.photos.raster import Photo, Raster
from limelight.web.serving.refusals import Refusal
from limelight.web.settings import Limits


@dataclass(eq=False)
class StoredPhoto:
    """An uploaded photo.

    Attributes:
        id: What requests call it: whoever knows it may ask about the photo.
        name: Its name, to be shown.
        photo: The photo, decoded and upright.
        asked: When it was last asked for, as `time.monotonic` tells it.
    """

    id: str
    name: str
    photo: Photo
    asked: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.photo.width, self.photo.height

    @property
    def taken(self) -> int:
        """How many bytes it takes."""
        return bytes_to_hold(self.photo)

    def picture(self, longest: int) -> bytes:
        """Return the photo as a WebP picture whose longer side has at most so many pixels.

        Its pixels are drawn anew: nothing of the file that was uploaded is in it.
        """
        photo = self.photo
        picture = (photo.picture() if isinstance(photo, Raster) else photo).convert("RGB")
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        buffer = BytesIO()
        picture.save(buffer, "WEBP", quality=88)
        return buffer.getvalue()


class PhotoStore:
    """Uploaded photos, bounded in bytes and in time."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without photos."""
        self._limits, self._clock = limits, clock
        self._photos = OrderedDict[str, StoredPhoto]()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many photos are held."""
        return len(self._photos)

    @property
    def taken(self) -> int:
        """How many bytes they take together."""
        with self._lock:
            return sum(each.taken for each in self._photos.values())

    def add(self, photo: Photo, name: str) -> StoredPhoto:
        """Hold a photo; those that were not asked for longest make room for it."""
        stored = StoredPhoto(secrets.token_urlsafe(18), name, photo, self._clock())
        with self._lock:
            self._photos[stored.id] = stored
            self._drop_old()
        return stored

    def get(self, photo_id: str) -> StoredPhoto:
        """Return a photo, which was asked for now.

        Raises:
            Refusal: It is not held, or not any more.
        """
        with self._lock:
            self._drop_old()
            stored = self._photos.get(photo_id)
            if stored is None:
                raise Refusal("no-such-photo", 410)
            self._photos.move_to_end(photo_id)
            stored.asked = self._clock()
            return stored

    def drop(self, photo_id: str) -> None:
        """Hold a photo no longer."""
        with self._lock:
            self._photos.pop(photo_id, None)

    def _drop_old(self) -> None:
        now, taken = self._clock(), sum(each.taken for each in self._photos.values())
        for stored in list(self._photos.values())[:-1]:
            idle = now - stored.asked > self._limits.idle_seconds
            if not idle and taken <= self._limits.photo_bytes:
                return
            taken -= stored.taken
            del self._photos[stored.id]
