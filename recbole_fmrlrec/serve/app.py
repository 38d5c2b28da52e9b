"""The application: routes, what a refusal looks like, OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.serve.gate import Gate
from recbole_fmrlrec.serve.operator_routes import operator_routes
from recbole_fmrlrec.serve.refused import Refused
from recbole_fmrlrec.serve.routes import ask_routes, item_routes
from recbole_fmrlrec.serve.schemas import Problem
from recbole_fmrlrec.serve.service import Service
from recbole_fmrlrec.serve.session_routes import session_routes
from recbole_fmrlrec.version import __version__

_REASONS = {
    400: "The request is not one.",
    401: "The token is missing or wrong.",
    404: "There is no such model, item or session.",
    410: "A stored session is damaged.",
    413: "The body is too long.",
    422: "Something in the request cannot be used.",
    503: "Too much to do, too slow, or the session store is away.",
}


def build_app(service: Service) -> FastAPI:
    """The application of a service."""
    app = FastAPI(
        title="fMRLRec",
        description="Recommendations of models deployed at one or several nested sizes.",
        version=__version__,
        lifespan=service.running,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
        responses={
            status: {"model": Problem, "description": text} for status, text in _REASONS.items()
        },
    )
    routers = (ask_routes, session_routes, item_routes, operator_routes)
    for routes in routers:
        app.include_router(routes(service))
    _add_handlers(app)
    app.state.service = service
    app.add_middleware(Gate, settings=service.settings, metrics=service.metrics)
    if service.settings.token is not None:
        _ask_for_token(app)
    return app


def _problem(
    request: Request, status: int, reason: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    content = {"error": reason, "request_id": request.state.request_id}
    return JSONResponse(content, status, headers)


def _add_handlers(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        return _problem(request, error.status, error.reason, error.headers)

    @app.exception_handler(DeployError)
    async def deploy_error(request: Request, error: DeployError) -> JSONResponse:
        return _problem(request, 422, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # Only what pydantic says is wrong, and where: not the values, which it has as well.
        first, *more = error.errors()
        rest = f" (and {len(more)} more)" if more else ""
        return _problem(request, 422, _encodable(_reason(first) + rest))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers) if error.headers else None
        return _problem(request, error.status_code, str(error.detail), headers)


def _reason(fault: Mapping[str, Any]) -> str:
    """What is wrong with a request, of an entry of pydantic's."""
    place = fault["loc"]
    if fault["type"] == "json_invalid":
        what = fault.get("ctx", {}).get("error", fault["msg"])
        return f"the body is not JSON ({what}, character {place[-1]})"
    if place == ("body",):  # all of it: curl, for one, sends a form unless told otherwise
        return "the body must be a JSON object, sent with Content-Type: application/json"
    return f"{'.'.join(str(part) for part in place[1:])}: {fault['msg']}"


def _encodable(text: str) -> str:
    """Half characters, which JSON can name and UTF-8 cannot write, as question marks."""
    return text.encode("utf-8", "replace").decode()


def _ask_for_token(app: FastAPI) -> None:
    """Say in OpenAPI that the routes want a token."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        parts = schema.setdefault("components", {})
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
