"""Threads for photos: so many are decoded or drawn at the same time, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

R = TypeVar("R")

#: How many photos are decoded or drawn at the same time.
_COUNT = 4


class PhotoThreads:
    """Decodes and draws photos, a few at a time, whoever asks for how many."""

    def __init__(self) -> None:
        """Begin without threads; they start when they are needed."""
        self._pool = ThreadPoolExecutor(_COUNT, thread_name_prefix="limelight-photos")

    async def run(self, work: Callable[..., R], *values: object) -> R:
        """Return what work returns, when a thread has done it."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *values))

    def close(self) -> None:
        """Begin no more; what is in hand ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
