"""What every request passes: an id, the token, the limits, the log; and what leaves when all else
fails."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from recbole_fmrlrec.serve.logs import LOGGER, say
from recbole_fmrlrec.serve.metrics import Metrics
from recbole_fmrlrec.serve.refused import Refused
from recbole_fmrlrec.serve.settings import Settings

#: Paths that need no token: the page, which asks for it, and what a supervisor asks.
OPEN = {"/", "/health", "/ready"}
# Asked for by supervisors also when the server is full; they do not count.
_ALWAYS = {"/health", "/ready", "/metrics"}
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

Scope = Any
App = Callable[[Scope, Any, Any], Any]


class Gate:
    """ASGI middleware around the whole application.

    Args:
        app: what answers.
        settings: token and limits.
        metrics: is told of each request.
    """

    def __init__(self, app: App, settings: Settings, metrics: Metrics) -> None:
        self._app, self._metrics, self._limits = app, metrics, settings.limits
        self._token = None if settings.token is None else settings.token.encode()
        self._running = 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, reply = time.perf_counter(), _Reply(send, _request_id(scope))
        scope.setdefault("state", {})["request_id"] = reply.id
        counted = scope["path"] not in _ALWAYS
        # Decided here: of requests that come in one moment none has been answered yet, and what is
        # turned away must not turn others away.
        full = counted and self._running >= self._limits.requests
        counted = counted and not full
        self._running += counted
        self._metrics.running.set(self._running)
        try:
            await asyncio.wait_for(
                self._answer(scope, receive, reply, full), timeout=self._limits.seconds
            )
        except Refused as refused:
            await reply.problem(refused)
        except (asyncio.TimeoutError, TimeoutError):
            seconds = f"{self._limits.seconds:g}"
            await reply.problem(Refused(503, f"this took longer than {seconds} seconds"))
        except Exception:
            LOGGER.exception("a request failed", extra={"fields": {"request_id": reply.id}})
            await reply.problem(
                Refused(500, "the server failed; its log says more under this request id")
            )
        finally:
            self._running -= counted
            self._metrics.running.set(self._running)
            self._note(scope, reply, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Any, reply: _Reply, full: bool) -> None:
        self._check_token(scope)
        if full:
            text = f"{self._limits.requests:,} requests are being answered; try again"
            raise Refused(503, text, {"Retry-After": "1"})
        body = await self._body(scope, receive)
        given = False

        async def read() -> dict[str, Any]:
            nonlocal given
            if given:
                message: dict[str, Any] = await receive()
                return message
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, read, reply)

    def _check_token(self, scope: Scope) -> None:
        if self._token is None or scope["path"] in OPEN:
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        kind, _, token = given.partition(b" ")
        right = hmac.compare_digest(token.strip(), self._token)
        if kind.lower() != b"bearer" or not right:
            text = "this server wants the header `Authorization: Bearer TOKEN`"
            raise Refused(401, text, {"WWW-Authenticate": "Bearer"})

    async def _body(self, scope: Scope, receive: Any) -> bytes:
        most = self._limits.body_bytes
        text = f"the body is longer than {most:,} bytes"
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > most:
            raise Refused(413, text, {"Connection": "close"})
        parts, total, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "the connection was closed before the body was complete")
            parts.append(message.get("body", b""))
            total += len(parts[-1])
            if total > most:
                raise Refused(413, text, {"Connection": "close"})
            more = message.get("more_body", False)
        return b"".join(parts)

    def _note(self, scope: Scope, reply: _Reply, seconds: float) -> None:
        # The template of the path, which has neither items nor sessions in it.
        route = getattr(scope.get("route"), "path", "(none)")
        method = scope["method"] if scope["method"] in _METHODS else "(other)"
        self._metrics.requests.labels(method, route, str(reply.status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        level = logging.WARNING if reply.status >= 500 else logging.INFO
        say(
            "request",
            level,
            request_id=reply.id,
            method=method,
            route=route,
            status=reply.status,
            ms=round(1000 * seconds, 2),
        )


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class _Reply:
    """``send`` of ASGI that notes the status and adds headers."""

    def __init__(self, send: Any, request_id: str) -> None:
        self._send, self.id, self.status = send, request_id, 0

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = [
                (b"x-request-id", self.id.encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"cache-control", b"no-store"),
            ]
            message = {**message, "headers": [*message.get("headers", []), *own]}
        await self._send(message)

    async def problem(self, refused: Refused) -> None:
        """Answer with a reason, unless an answer is on its way already."""
        if self.status:
            return
        body = json.dumps({"error": refused.reason, "request_id": self.id}).encode()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **refused.headers,
        }
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": refused.status, "headers": pairs})
        await self({"type": "http.response.body", "body": body})


def _request_id(scope: Scope) -> str:
    """The client's own, if it is a plain word, or a new one."""
    given: bytes = dict(scope["headers"]).get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
