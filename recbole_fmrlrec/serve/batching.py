"""Micro-batching: what waits while one batch is computed makes the next batch; nothing waits longer
for company."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class Batcher(Generic[Job, Result]):
    """Jobs from many requests, computed together in another thread.

    Args:
        work: a result, or the exception to raise, for each job of a batch.
        executor: where it runs.
        together: jobs of a batch at most.
        lanes: batches computed at once.
        sizes: is told the size of each batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Job]], list[Result | Exception]],
        executor: Executor,
        together: int,
        lanes: int = 1,
        sizes: Callable[[int], Any] = lambda size: None,
    ) -> None:
        self._work, self._executor, self._together = work, executor, together
        self._lanes, self._sizes = lanes, sizes
        self._waiting: asyncio.Queue[tuple[Job, asyncio.Future[Result]]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to work; called in the event loop."""
        self._tasks = [asyncio.create_task(self._lane()) for _ in range(self._lanes)]

    async def stop(self) -> None:
        """Stop; what is being computed is finished first by the executor's own end."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def ask(self, job: Job) -> Result:
        """The result of a job; raises what its work raised."""
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((job, answer))
        return await answer

    async def _lane(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < self._together and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            # Whoever asked may have given up meanwhile.
            batch = [pair for pair in batch if not pair[1].done()]
            if not batch:
                continue
            self._sizes(len(batch))
            results: Sequence[Result | Exception]
            try:
                jobs = [job for job, _ in batch]
                results = await loop.run_in_executor(self._executor, self._work, jobs)
            except Exception as error:
                results = [error] * len(batch)
            for (_, answer), result in zip(batch, results, strict=True):
                if answer.done():
                    continue
                if isinstance(result, Exception):
                    answer.set_exception(result)
                else:
                    answer.set_result(result)
