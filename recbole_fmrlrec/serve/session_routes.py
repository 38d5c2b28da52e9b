"""Sessions: created, fed, asked, exported, deleted."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response

from recbole_fmrlrec.serve import schemas
from recbole_fmrlrec.serve.refused import Refused
from recbole_fmrlrec.serve.routes import checked_options, list_of, no_model, use_session
from recbole_fmrlrec.serve.service import Service
from recbole_fmrlrec.serve.session_table import Ask, Told


def session_routes(service: Service) -> APIRouter:
    """Routes about sessions."""
    router, limits = APIRouter(tags=["sessions"]), service.limits

    @router.post("/sessions", response_model=schemas.SessionAnswer, status_code=201)
    async def create(asked: schemas.SessionRequest) -> Response:
        """A new session; its id is a secret of whoever asked for it."""
        limits.check_length("history", asked.history, limits.history)
        if asked.exported is not None:
            no_model(asked)
            if asked.history:
                raise Refused(422, "an exported session has its history; leave out history")
            ask = Ask("open", record=asked.exported)
        else:
            served = service.models.get(asked.model, asked.size)
            ask = Ask("open", model=served.key, items=asked.history)
        return JSONResponse(_answer(await service.session(ask), service), 201)

    @router.post("/sessions/{session_id}/events", response_model=schemas.SessionAnswer)
    async def events(session_id: str, asked: schemas.EventsRequest) -> Response:
        """Add events; with a k, answer with the list after them."""
        limits.check_length("items", asked.items, limits.history)
        options = checked_options(asked, limits)
        ask = Ask("use", session_id, items=asked.items, k=asked.k, options=options)
        return JSONResponse(_answer(await use_session(service, ask), service))

    @router.get("/sessions/{session_id}/top", response_model=schemas.SessionAnswer)
    async def top(
        session_id: str,
        k: int = Query(10, ge=1),
        exclude_seen: bool = True,
        explain: bool = False,
    ) -> Response:
        """The k items most likely to be next."""
        asked = schemas.Options(k=k, exclude_seen=exclude_seen, explain=explain)
        ask = Ask("use", session_id, k=k, options=checked_options(asked, limits))
        return JSONResponse(_answer(await use_session(service, ask), service))

    @router.get("/sessions/{session_id}", response_model=dict[str, Any])
    async def export(session_id: str) -> Response:
        """All that is kept of a session; POST /sessions takes it as `exported`."""
        return JSONResponse((await service.session(Ask("export", session_id))).record)

    @router.delete("/sessions/{session_id}", status_code=204, response_class=Response)
    async def delete(session_id: str) -> Response:
        """Forget a session, here and in the store."""
        await service.session(Ask("close", session_id))
        return Response(status_code=204)

    return router


def _answer(told: Told, service: Service) -> dict[str, Any]:
    assert told.served is not None
    answer = {**told.served.says(), "session_id": told.session, "events": told.events}
    if told.replayed:
        answer["replayed"] = told.replayed
    if told.gone:
        answer["gone"] = told.gone
    if told.top is not None:
        answer |= list_of(told.top, service)
    # Of the events; `unknown` of the list itself is always empty.
    return {**answer, **({"unknown": told.unknown} if told.unknown else {})}
