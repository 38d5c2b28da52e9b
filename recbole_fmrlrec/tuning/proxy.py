"""Optuna's gRPC proxy: one process has the database, thousands of workers ask it.

    python -m recbole_fmrlrec.tuning.proxy STORAGE [--host=HOST] [--port=PORT]

Who reaches the port can read and change every study: it asks for no password.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence

from recbole_fmrlrec.config.command_line import Parser
from recbole_fmrlrec.errors import RunError, UsageError, missing_package
from recbole_fmrlrec.tuning.proxy_client import PORT, PREFIX


def build_parser() -> Parser:
    """The options of the proxy."""
    parser = Parser(
        prog="python -m recbole_fmrlrec.tuning.proxy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("storage", metavar="STORAGE", help="the database, as --storage of tune names it")
    add("--host", default="localhost", help="on which address (localhost: this machine alone)")
    add("--port", type=int, default=PORT, help=f"on which port ({PORT})")
    add("--threads", type=int, default=10, metavar="N", help="requests at a time (10)")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Serve a storage until the process is ended; returns the exit code."""
    try:
        options = build_parser().parse_args(words)
        serve(options.storage, options.host, options.port, options.threads)
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        print(f"error: {missing_package(error)}", file=sys.stderr)
        return 2
    except (UsageError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def serve(storage: str, host: str, port: int, threads: int) -> None:
    """Serve a database.

    Raises:
        UsageError: it is none, or the port is taken.
        RunError: it cannot be used.
    """
    from concurrent.futures import ThreadPoolExecutor

    import optuna

    from recbole_fmrlrec.tuning.journal import journal_file
    from recbole_fmrlrec.tuning.storage import open_storage
    from recbole_fmrlrec.tuning.study import without_experimental_warnings

    if storage.startswith(PREFIX) or journal_file(storage) is not None:
        raise UsageError(f"{storage}: Optuna's proxy stands before a database, such as sqlite:///F")
    opened = optuna.storages.get_storage(open_storage(storage))
    _need_port(host, port)
    print(f"serving on {PREFIX}{host}:{port}", file=sys.stderr, flush=True)
    with without_experimental_warnings():
        pool = ThreadPoolExecutor(max_workers=threads)
        optuna.storages.run_grpc_proxy_server(opened, host=host, port=port, thread_pool=pool)


def _need_port(host: str, port: int) -> None:
    """Refuse a port that is taken: gRPC would share it, and half of all requests with it."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"--host={host} --port={port}: {reason}; choose another port") from error


if __name__ == "__main__":
    sys.exit(main())
