"""The process: a socket, signals, uvicorn."""

from __future__ import annotations

import signal
import socket

import uvicorn

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.serve.app import build_app
from recbole_fmrlrec.serve.logs import log_to_stderr, say
from recbole_fmrlrec.serve.service import Service
from recbole_fmrlrec.serve.settings import Settings


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, which let running requests finish.

    Args:
        settings: models, store, limits.
        host: address to listen at.
        port: 0 takes a free one, which the log names.

    Raises:
        UsageError: a model, the store or the address cannot be used.
        KeyboardInterrupt: after SIGINT, when all is closed.
    """
    bound = bind(host, port)
    log_to_stderr()
    run(Service(settings), bound)


def run(service: Service, bound: socket.socket) -> None:
    """Answer at a bound socket, which is closed at the end.

    Raises:
        KeyboardInterrupt: after SIGINT, when all is closed.
    """
    config = uvicorn.Config(
        build_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        # What is being answered ends within its own limit.
        timeout_graceful_shutdown=round(service.limits.seconds) + 1,
    )
    # uvicorn sends itself the signal again when it has closed everything; done is done.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    names = [f"{served.name}/{served.size}" for served in service.models]
    host, port = bound.getsockname()[:2]
    place = f"[{host}]" if ":" in host else host
    say("serving", url=f"http://{place}:{port}/", models=names)
    with bound:
        uvicorn.Server(config).run(sockets=[bound])
    say("stopped")


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UsageError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, asyncio turns off the delay of small packets (40 ms on every answer).
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        # Not only by uvicorn: a second server on the port is refused before models are loaded.
        bound.listen(2048)
    except (OSError, OverflowError) as error:
        bound.close()
        raise UsageError(f"--host, --port: cannot listen at {host}:{port}: {error}") from None
    return bound
