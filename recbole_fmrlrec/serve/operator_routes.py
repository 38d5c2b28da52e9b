"""Models and their exchange, health, metrics, the page."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import asdict
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse, Response

from recbole_fmrlrec.serve import schemas
from recbole_fmrlrec.serve.refused import Refused
from recbole_fmrlrec.serve.service import Service
from recbole_fmrlrec.serve.session_stores import StoreError

_PROMETHEUS = "text/plain; version=1.0.0; charset=utf-8"


def operator_routes(service: Service) -> APIRouter:
    """Routes for those who run the server."""
    router = APIRouter()

    @router.get("/models", response_model=schemas.ModelList, tags=["models"])
    async def models() -> Response:
        """Every model at every size: bytes, items, test metrics; and the limits of requests."""
        found = [served.to_json() for served in service.models]
        return JSONResponse({"models": found, "limits": asdict(service.limits)})

    @router.post(
        "/models/reload",
        response_model=schemas.Reloaded,
        responses={409: {"model": schemas.Reloaded, "description": "A folder was refused."}},
        tags=["models"],
    )
    async def reload() -> Response:
        """Load what has changed on disk; a damaged model is refused and the old one goes on."""
        outcomes = [asdict(one) for one in await service.reload()]
        refused = any(one["outcome"] == "refused" for one in outcomes)
        return JSONResponse({"folders": outcomes}, 409 if refused else 200)

    @router.get("/health", response_model=schemas.State, tags=["operation"])
    async def health() -> Response:
        """That the server is there."""
        return JSONResponse({"status": "up"})

    @router.get("/ready", response_model=schemas.State, tags=["operation"])
    async def ready() -> Response:
        """That requests can be answered: models are loaded and the store answers."""
        if service.store is not None:
            try:
                await service.aside(service.store.count)
            except StoreError as error:
                raise Refused(503, str(error)) from None
        return JSONResponse({"status": "ready"})

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
        tags=["operation"],
    )
    async def metrics() -> Response:
        """Counters in Prometheus' text format."""
        return Response(service.metrics.text(), media_type=_PROMETHEUS)

    @router.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> Response:
        """The page."""
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})

    return router


def _policy(page: str) -> str:
    """Nothing but the page's own script and style runs, and nothing is read from elsewhere."""
    hashes = {}
    for tag in ("script", "style"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[tag] = f"'sha256-{digest}'"
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "connect-src 'self'; img-src blob: data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


_PAGE = files("recbole_fmrlrec.serve").joinpath("page.html").read_text(encoding="utf-8")
_POLICY = _policy(_PAGE)
