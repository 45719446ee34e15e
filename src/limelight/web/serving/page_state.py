"""What all requests share: settings, queue, photos, networks and what they looked at last."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from limelight.web.requests import LookRequest
from limelight.web.serving.counters import Counters
from limelight.web.serving.threads import PhotoThreads
from limelight.web.serving.work_queue import WorkQueue
from limelight.web.settings import PageSettings
from limelight.web.subjects.document_store import DocumentStore
from limelight.web.subjects.looks import Look, Looks
from limelight.web.subjects.networks import ServedNetworks
from limelight.web.subjects.photo_store import PhotoStore, StoredPhoto

#: How often photos and documents that nobody asks for are dropped, in seconds.
_DROP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class PageState:
    """What all requests share."""

    settings: PageSettings
    networks: ServedNetworks
    queue: WorkQueue
    photos: PhotoStore
    looks: Looks
    documents: DocumentStore
    counters: Counters
    threads: PhotoThreads

    @classmethod
    def begin(cls, settings: PageSettings, networks: ServedNetworks) -> PageState:
        """Begin with no photos."""
        limits, counters, looks = settings.limits, Counters(), Looks(settings.limits)
        photos = PhotoStore(limits, dropped=looks.drop)
        queue = WorkQueue(limits, counters.count_job)
        return cls(
            settings, networks, queue, photos, looks, DocumentStore(), counters, PhotoThreads()
        )

    async def drop_idle(self) -> None:
        """Drop photos and documents that nobody asks for, from time to time, until cancelled.

        Other requests drop them too, but there may be none.
        """
        while True:
            await asyncio.sleep(_DROP_SECONDS)
            self.photos.drop_idle()
            self.documents.drop_idle()

    def close(self) -> None:
        """End the work in hand, and the threads."""
        self.queue.close()
        self.threads.close()

    def look(self, stored: StoredPhoto, asked: LookRequest) -> Look:
        """Return a photo as the network saw it that a request names.

        Raises:
            Refusal: There is no such network.
            LimelightError: It cannot be loaded, or the page cannot show it.
        """
        return self.looks.get(stored, self.networks.get(asked.network, asked.texts))
