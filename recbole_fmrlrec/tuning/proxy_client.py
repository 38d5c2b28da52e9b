"""The storage of a worker that asks a gRPC proxy, ``--storage=grpc://HOST:PORT``."""

from __future__ import annotations

from urllib.parse import urlsplit

from optuna.storages import GrpcStorageProxy

from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.tuning.study import without_experimental_warnings

PREFIX, PORT = "grpc://", 13000
#: Seconds until a proxy that does not answer is given up.
PATIENCE = 10.0


def proxy_address(storage: str) -> tuple[str, int] | None:
    """Host and port of ``--storage=grpc://HOST:PORT``; None of another storage.

    Raises:
        UsageError: it names no host, or no port that there is.
    """
    if not storage.startswith(PREFIX):
        return None
    try:
        parts = urlsplit(storage)
        host, port = parts.hostname, parts.port or PORT
    except ValueError:
        host = None
    if not host or parts.path.strip("/") or parts.username:
        raise UsageError(f"--storage={storage}: must be grpc://HOST:PORT, as grpc://db1:{PORT}")
    return (f"[{host}]" if ":" in host else host), port


def open_proxy(host: str, port: int) -> GrpcStorageProxy:
    """The storage behind a proxy.

    Raises:
        ModuleNotFoundError: grpcio is not installed.
        RunError: nothing answers.
    """
    import grpc  # noqa: F401  # Optuna would say that it is missing later, and at length

    with without_experimental_warnings():
        storage = GrpcStorageProxy(host=host, port=port)
    try:
        storage.wait_server_ready(timeout=PATIENCE)
    except ConnectionError as error:
        storage.close()
        raise RunError(
            f"--storage={PREFIX}{host}:{port}: nothing answers there; start the proxy with "
            f"`python -m recbole_fmrlrec.tuning.proxy STORAGE --host={host} --port={port}`"
        ) from error
    return storage
