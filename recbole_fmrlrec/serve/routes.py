"""Recommendations, similar items, explanations, the catalogue."""

from __future__ import annotations

import math
from typing import Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, JSONResponse, Response

from recbole_fmrlrec.deploy.results import Recommendations
from recbole_fmrlrec.serve import schemas
from recbole_fmrlrec.serve.models import Served
from recbole_fmrlrec.serve.pictures import KINDS
from recbole_fmrlrec.serve.questions import Question
from recbole_fmrlrec.serve.refused import Refused
from recbole_fmrlrec.serve.service import Service
from recbole_fmrlrec.serve.session_table import Ask, Told
from recbole_fmrlrec.serve.settings import Limits


def list_of(result: Recommendations, service: Service) -> dict[str, Any]:
    """A list for an answer; items that have a picture say so.

    Raises:
        Refused: a score is not a number, which only an imported session can bring about.
    """
    if not all(map(math.isfinite, result.scores)):
        raise Refused(422, "the session's numbers are impossible: its scores are not finite")
    answer = result.to_json()
    if service.pictures:
        for item in answer["items"]:
            item["picture"] = item["item_id"] in service.pictures
    return answer


def checked_options(asked: schemas.Options, limits: Limits) -> dict[str, Any]:
    """Options of `recommend` other than k: those that differ from their defaults.

    Raises:
        Refused: one is above a limit.
    """
    limits.check_k(asked.k or 1)
    limits.check_length("candidates", asked.candidates, limits.candidates)
    names = ("candidates", "diversify", "max_per_group", "group_by", "explain")
    plain = schemas.Options()
    given = {name: getattr(asked, name) for name in names}
    changed = {name: value for name, value in given.items() if value != getattr(plain, name)}
    return {"exclude_seen": asked.exclude_seen, **changed}


async def use_session(service: Service, ask: Ask) -> Told:
    """Ask a session; reasons, which need its events, are worked out beside it."""
    options = dict(ask.options)
    explain = options.pop("explain", False)
    told = await service.session(Ask(**{**vars(ask), "options": options}))
    if explain and told.top is not None and told.served is not None:
        recommender, top = told.served.recommender, told.top
        told.top = await service.aside(lambda: recommender.with_reasons(told.history, top))
    return told


def one_of(history: Any, session: str | None) -> None:
    """Refuse both, and neither.

    Raises:
        Refused: with status 422.
    """
    if (history is None) == (session is None):
        raise Refused(422, "give either history or session_id")


def no_model(asked: schemas.Which) -> None:
    """Refuse a model or size beside a session, which has its own.

    Raises:
        Refused: with status 422.
    """
    if asked.model is not None or asked.size is not None:
        raise Refused(422, "a session has its model and size; leave out model and size")


def ask_routes(service: Service) -> APIRouter:
    """Routes that recommend and explain."""
    router, limits = APIRouter(), service.limits

    @router.post("/recommend", response_model=schemas.Answer, tags=["recommend"])
    async def recommend(asked: schemas.RecommendRequest) -> Response:
        """The k items most likely to be next after a history, or in a session."""
        one_of(asked.history, asked.session_id)
        options = checked_options(asked, limits)
        if asked.session_id is not None:
            no_model(asked)
            ask = Ask("use", asked.session_id, k=asked.k, options=options)
            told = await use_session(service, ask)
            assert told.served is not None and told.top is not None
            return JSONResponse({**told.served.says(), **list_of(told.top, service)})
        limits.check_length("history", asked.history, limits.history)
        served = service.models.get(asked.model, asked.size)
        question = Question(served, [asked.history or []], asked.k, options)
        (result,) = await service.recommend(question)
        return JSONResponse({**served.says(), **list_of(result, service)})

    @router.post("/recommend/batch", response_model=schemas.BatchAnswer, tags=["recommend"])
    async def recommend_batch(asked: schemas.BatchRequest) -> Response:
        """A list for each of several histories."""
        limits.check_length("histories", asked.histories, limits.histories)
        for at, history in enumerate(asked.histories):
            limits.check_length(f"histories.{at}", history, limits.history)
        options = checked_options(asked, limits)
        served = service.models.get(asked.model, asked.size)
        found = await service.recommend(Question(served, asked.histories, asked.k, options))
        return JSONResponse(
            {**served.says(), "results": [list_of(result, service) for result in found]}
        )

    @router.post("/explain", response_model=schemas.ExplainAnswer, tags=["recommend"])
    async def explain(asked: schemas.ExplainRequest) -> Response:
        """How much each event of a history, or of a session's latest, added to items' scores."""
        one_of(asked.history, asked.session_id)
        limits.check_length("items", asked.items, limits.k)
        history = asked.history or []
        if asked.session_id is not None:
            no_model(asked)
            told = await service.session(Ask("use", asked.session_id))
            assert told.served is not None
            served, history = told.served, told.history
        else:
            limits.check_length("history", history, limits.history)
            served = service.models.get(asked.model, asked.size)
        _known(served, asked.items)
        recommender = served.recommender
        found = [
            one.to_json()
            for one in await service.aside(lambda: recommender.explain(history, asked.items))
        ]
        unknown: list[str] = next((one["unknown"] for one in found if "unknown" in one), [])
        explanations = [{k: v for k, v in one.items() if k != "unknown"} for one in found]
        more = {"unknown": unknown} if unknown else {}
        return JSONResponse({**served.says(), "explanations": explanations, **more})

    return router


def item_routes(service: Service) -> APIRouter:
    """Routes about the items."""
    router, limits = APIRouter(tags=["items"]), service.limits

    @router.get("/items", response_model=schemas.FoundItems)
    async def search(
        title: str = Query("", max_length=200, description="Part of a title; case is ignored."),
        limit: int = Query(20, ge=1),
        model: str | None = None,
        size: int | None = None,
    ) -> Response:
        """Items whose title holds a text: first those whose title begins with it."""
        limits.check_k(limit)
        served = service.models.get(model, size)
        found = await service.aside(lambda: served.find(title, limit))
        items = [_found(service, name, text) for name, text in found]
        return JSONResponse({**served.says(), "items": items})

    @router.get("/items/{item_id:path}/similar", response_model=schemas.Answer)
    async def similar(
        item_id: str, k: int = Query(10, ge=1), model: str | None = None, size: int | None = None
    ) -> Response:
        """Items whose vectors point most nearly where the item's own does; scores are cosines."""
        limits.check_k(k)
        served = service.models.get(model, size)
        _known(served, [item_id])
        recommender = served.recommender
        result = await service.aside(lambda: recommender.similar(item_id, k))
        return JSONResponse({**served.says(), **list_of(result, service)})

    @router.get(
        "/items/{item_id:path}/picture",
        response_class=FileResponse,
        responses={200: {"content": {kind: {} for kind in sorted(set(KINDS.values()))}}},
    )
    async def picture(item_id: str) -> Response:
        """The picture of an item."""
        file = service.pictures.get(item_id)
        if file is None or not file.is_file():
            raise Refused(404, "there is no picture of this item")
        return FileResponse(file, media_type=KINDS[file.suffix.lower()])

    return router


def _found(service: Service, item: str, title: str | None) -> dict[str, Any]:
    return {"item_id": item, "title": title, "picture": item in service.pictures}


def _known(served: Served, items: list[str]) -> None:
    for item in items:
        if item not in served.recommender.items.row_of:
            raise Refused(404, f"model {served.name} has no item {item!r}")
