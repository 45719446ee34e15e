"""The photos that were uploaded, by ids that nobody can guess; those not asked for are dropped."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image

from limelight.photos.memory import bytes_to_hold
from limelight.photos.raster import Photo, Raster
from limelight.web.serving.refusals import Refusal
from limelight.web.settings import Limits

#: About how many bytes a photo takes besides its pixels.
_BYTES_BESIDES = 10_000


@dataclass(eq=False)
class StoredPhoto:
    """An uploaded photo.

    Attributes:
        id: What requests call it: whoever knows it may ask about the photo.
        name: Its name, to be shown.
        photo: The photo, decoded and upright.
        owner: The address that it came from.
        held: Whether it is held still.
        asked: When it was last asked for, as `time.monotonic` tells it.
    """

    id: str
    name: str
    photo: Photo
    owner: str = ""
    held: bool = True
    asked: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.photo.width, self.photo.height

    @property
    def taken(self) -> int:
        """How many bytes it takes."""
        photo = self.photo
        numbers = photo.values.nbytes if isinstance(photo, Raster) else bytes_to_hold(photo)
        return numbers + _BYTES_BESIDES

    def picture(self, longest: int) -> bytes:
        """Return the photo as a WebP picture whose longer side has at most so many pixels.

        Its pixels are drawn anew: nothing of the file that was uploaded is in it.
        """
        photo = self.photo
        picture = photo.picture() if isinstance(photo, Raster) else photo
        scale = min(1.0, longest / max(picture.size))
        size = max(1, round(scale * picture.width)), max(1, round(scale * picture.height))
        # Reduced first, and never copied as a whole.
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3).convert("RGB")
        buffer = BytesIO()
        picture.save(buffer, "WEBP", quality=88)
        return buffer.getvalue()


class PhotoStore:
    """Uploaded photos, bounded in bytes and in time."""

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        dropped: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Begin without photos.

        Args:
            limits: How many bytes they may take, and for how long one is held that nobody asks for.
            clock: Tells the time.
            dropped: Called with the id of a photo that is held no longer.
        """
        self._limits, self._clock, self._dropped = limits, clock, dropped
        self._photos = OrderedDict[str, StoredPhoto]()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many photos are held."""
        return len(self._photos)

    @property
    def taken(self) -> int:
        """How many bytes they take together."""
        with self._lock:
            return self._taken()

    def add(self, photo: Photo, name: str, owner: str = "") -> StoredPhoto:
        """Hold a photo.

        Where there is too little room, the address that holds most makes room, by the photo that it
        did not ask for longest.

        Args:
            photo: The photo.
            name: Its name, to be shown.
            owner: The address that it came from.
        """
        stored = StoredPhoto(secrets.token_urlsafe(18), name, photo, owner, asked=self._clock())
        with self._lock:
            self._photos[stored.id] = stored
            old = self._drop_idle()
            while self._taken() > self._limits.photo_bytes and len(self._photos) > 1:
                old.append(self._drop_of_fullest(stored))
        self._tell(old)
        return stored

    def get(self, photo_id: str) -> StoredPhoto:
        """Return a photo, which was asked for now.

        Raises:
            Refusal: It is not held, or not any more.
        """
        with self._lock:
            old = self._drop_idle()
            stored = self._photos.get(photo_id)
            if stored is not None:
                self._photos.move_to_end(photo_id)
                stored.asked = self._clock()
        self._tell(old)
        if stored is None:
            raise Refusal("no-such-photo", 410)
        return stored

    def drop(self, photo_id: str) -> None:
        """Hold a photo no longer."""
        with self._lock:
            stored = self._photos.pop(photo_id, None)
        self._tell([] if stored is None else [stored])

    def drop_idle(self) -> None:
        """Drop the photos that nobody asked for in a long time."""
        with self._lock:
            old = self._drop_idle()
        self._tell(old)

    def _taken(self) -> int:
        return sum(each.taken for each in self._photos.values())

    def _drop_idle(self) -> list[StoredPhoto]:
        """Drop and return the photos that nobody asked for in a long time."""
        oldest = self._clock() - self._limits.idle_seconds
        old = [each for each in self._photos.values() if each.asked < oldest]
        for stored in old:
            del self._photos[stored.id]
        return old

    def _drop_of_fullest(self, kept: StoredPhoto) -> StoredPhoto:
        """Drop and return the oldest photo, other than `kept`, of the address that holds most."""
        taken = Counter[str]()
        for stored in self._photos.values():
            taken[stored.owner] += stored.taken
        others = [each for each in self._photos.values() if each is not kept]
        # Where the address of `kept` holds most, and nothing else, the next makes room.
        fullest = max((each.owner for each in others), key=lambda owner: taken[owner])
        stored = next(each for each in others if each.owner == fullest)
        del self._photos[stored.id]
        return stored

    def _tell(self, old: list[StoredPhoto]) -> None:
        for stored in old:
            stored.held = False
            self._dropped(stored.id)
