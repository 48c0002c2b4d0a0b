"""Jobs of many requests are done together, in the order in which they came. Never imports torch."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class BusyError(Exception):
    """So many jobs wait that no more are taken."""


class Batcher(Generic[Job, Answer]):
    """Collects jobs while others are done, and does them in batches, on one thread.

    Args:
        work: does a batch; it gives one answer for each job, or an exception in the place of one.
        most: jobs of a batch.
        wait_seconds: that a job waits for others where nothing else is to be done.
        room: jobs that may wait, those included whose places are kept.
        note: told of the size of each batch.
    """

    def __init__(
        self,
        work: Callable[[list[Job]], Sequence[Answer | Exception]],
        *,
        most: int,
        wait_seconds: float,
        room: int,
        note: Callable[[int], None] = lambda size: None,
    ):
        self.work, self.most, self.wait_seconds, self.room, self.note = work, most, wait_seconds, room, note
        self.waiting: deque[tuple[Job, asyncio.Future[Answer]]] = deque()
        self.arrived = asyncio.Event()
        self.kept = 0
        self.is_closing = False
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="rain-batches")
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work; in a running event loop."""
        self.task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Take no more jobs, and finish those that were taken."""
        self.is_closing = True
        self.arrived.set()
        if self.task:
            await self.task
        self.thread.shutdown()

    @property
    def crowd(self) -> int:
        """How many jobs wait, those included whose places are kept."""
        return len(self.waiting) + self.kept

    @contextmanager
    def places(self, count: int) -> Iterator[None]:
        """Keep places for jobs that are still being made; ``ask`` right after it finds them free.

        Raises:
            BusyError: there is no room for so many, or the service stops.
        """
        if self.is_closing or self.crowd + count > self.room:
            raise BusyError
        self.kept += count
        try:
            yield
        finally:
            self.kept -= count

    async def ask(self, jobs: Sequence[Job]) -> list[Answer]:
        """Have jobs done, all or none.

        Raises:
            BusyError: there is no room for them, or the service stops.
            Exception: what ``work`` gave, or raised, for one of them.
        """
        if self.is_closing or self.crowd + len(jobs) > self.room:
            raise BusyError
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Answer]] = [loop.create_future() for _ in jobs]
        self.waiting.extend(zip(jobs, futures, strict=True))
        self.arrived.set()
        try:
            return list(await asyncio.gather(*futures))
        finally:
            # Whoever is gone needs no answers to the rest.
            for future in futures:
                future.cancel()

    async def _run(self) -> None:
        while await self._gathered():
            batch = self._next_batch()
            if batch:
                await self._do(batch)

    async def _gathered(self) -> bool:
        """Wait until there is a batch; False where there will be none any more."""
        while not self.waiting and not self.is_closing:
            self.arrived.clear()
            await self.arrived.wait()
        end = asyncio.get_running_loop().time() + self.wait_seconds
        while len(self.waiting) < self.most and not self.is_closing:
            left = end - asyncio.get_running_loop().time()
            self.arrived.clear()
            try:
                await asyncio.wait_for(self.arrived.wait(), max(0.0, left))
            except TimeoutError:
                break
        return bool(self.waiting) or not self.is_closing

    def _next_batch(self) -> list[tuple[Job, "asyncio.Future[Answer]"]]:
        batch: list[tuple[Job, asyncio.Future[Answer]]] = []
        while self.waiting and len(batch) < self.most:
            job, future = self.waiting.popleft()
            if not future.done():
                batch.append((job, future))
        return batch

    async def _do(self, batch: list[tuple[Job, "asyncio.Future[Answer]"]]) -> None:
        self.note(len(batch))
        loop = asyncio.get_running_loop()
        jobs = [job for job, _ in batch]
        answers: Sequence[Any]
        try:
            answers = await loop.run_in_executor(self.thread, self.work, jobs)
        except Exception as error:  # the next batch may be better
            answers = [error] * len(jobs)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
