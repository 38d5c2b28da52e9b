"""The parts of a running server, from its start to its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from recbole_fmrlrec.deploy.results import Recommendations
from recbole_fmrlrec.serve.batching import Batcher
from recbole_fmrlrec.serve.logs import LOGGER, say
from recbole_fmrlrec.serve.metrics import Metrics
from recbole_fmrlrec.serve.models import Models, Outcome
from recbole_fmrlrec.serve.pictures import pictures_in
from recbole_fmrlrec.serve.questions import Question, answer
from recbole_fmrlrec.serve.session_stores import open_store
from recbole_fmrlrec.serve.session_table import Ask, SessionTable, Told
from recbole_fmrlrec.serve.settings import Settings

T = TypeVar("T")


class Service:
    """Everything that the routes use.

    Args:
        settings: what it is started with.
        clock: seconds since 1970, for the expiry of sessions.
        models: loaded from the settings' folders when None.

    Raises:
        UsageError: a model, the store or the pictures cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        models: Models | None = None,
    ) -> None:
        self.settings, self.limits = settings, settings.limits
        self.models = models or Models(settings.model_dirs)
        self.pictures = pictures_in(settings.pictures)
        self.store = open_store(settings.session_store, self.limits.session_seconds)
        self.sessions = SessionTable(self.models, self.store, self.limits, clock)
        self.metrics = Metrics(self.sessions.counts, self.sessions.in_memory)
        self._note_models()
        # One thread for questions and one for sessions, whose states only that one touches.
        self._threads = ThreadPoolExecutor(2, "compute")
        batch, together = self.metrics.batch.labels, self.limits.together
        self._questions: Batcher[Question, list[Recommendations]] = Batcher(
            answer, self._threads, together, sizes=batch("recommend").observe
        )
        self._sessions: Batcher[Ask, Told] = Batcher(
            self.sessions.work,
            self._threads,
            min(together, self.limits.sessions),
            sizes=batch("session").observe,
        )

    @asynccontextmanager
    async def running(self, app: Any) -> AsyncIterator[None]:
        """The lifespan of the application."""
        self._questions.start()
        self._sessions.start()
        watch = asyncio.create_task(self._watch()) if self.settings.watch_seconds else None
        try:
            yield
        finally:
            if watch is not None:
                watch.cancel()
                with suppress(asyncio.CancelledError):
                    await watch
            await self._questions.stop()
            await self._sessions.stop()
            self._threads.shutdown()
            if self.store is not None:
                self.store.close()

    async def recommend(self, question: Question) -> list[Recommendations]:
        """Lists for the histories of a question.

        Raises:
            DeployError: the model refuses it.
        """
        return await self._questions.ask(question)

    async def session(self, ask: Ask) -> Told:
        """What became of an ask about a session.

        Raises:
            Refused: it cannot be answered.
            DeployError: the model refuses it.
        """
        return await self._sessions.ask(ask)

    async def aside(self, work: Callable[[], T]) -> T:
        """Work of other kinds, in a thread of its own, so that it holds up nobody."""
        return await asyncio.to_thread(work)

    async def reload(self, again: bool = True) -> list[Outcome]:
        """Look at the folders again; see `Models.reload`."""
        outcomes = await self.aside(lambda: self.models.reload(again))
        for one in outcomes:
            self.metrics.reloads.labels(one.outcome).inc()
            if one.outcome != "unchanged":
                level = logging.WARNING if one.outcome == "refused" else logging.INFO
                fields = {"folder": one.folder, "outcome": one.outcome, "reason": one.reason}
                say("reload", level, **fields)
        self._note_models()
        return outcomes

    def _note_models(self) -> None:
        self.metrics.model.clear()
        for served in self.models:
            labels = served.name, str(served.size), served.version
            self.metrics.model.labels(*labels).set(served.bytes)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.settings.watch_seconds)
            try:
                await self.reload(again=False)
            except Exception:  # whatever it is, the models in memory go on
                LOGGER.exception("the folders could not be looked at")
