"""``run_recbole.py serve``: deployed models over HTTP."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from recbole_fmrlrec.config.command_line import Parser
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.program import usage_name

DESCRIPTION = """\
Serve deployed models over HTTP: lists for histories and sessions, similar items, explanations, and
a page to try them at /. The address /openapi.json describes every request.
"""
MODEL_HELP = "what `export` wrote: the folder of one size, or one that holds several"
STORE_HELP = """\
keep sessions over a restart: an SQLite file (sessions.sqlite if none is named), or
redis://HOST:PORT/NUMBER; without this option they are in memory only
"""
TOKEN_HELP = """\
file with the token that requests must carry as `Authorization: Bearer TOKEN`; the variable
FMRLREC_TOKEN does the same
"""
TOKEN_VARIABLE = "FMRLREC_TOKEN"
#: Options that are limits: the field of `Limits`, its type, and what it is.
LIMITS: dict[str, tuple[str, type, str]] = {
    "max_body": ("body_bytes", int, "bytes of a request's body (1048576)"),
    "max_history": ("history", int, "items of a history (1000)"),
    "max_batch": ("histories", int, "histories of a batch request (256)"),
    "max_k": ("k", int, "items recommended (100)"),
    "max_candidates": ("candidates", int, "candidates of a request (10000)"),
    "max_requests": ("requests", int, "requests answered at once; more are turned away (256)"),
    "max_seconds": ("seconds", float, "seconds for a request (10)"),
    "max_sessions": ("sessions", int, "sessions in memory for each model and size (10000)"),
    "max_session_events": ("session_events", int, "latest events kept of a session (500)"),
    "session_seconds": ("session_seconds", float, "a session's life after its last event (86400)"),
    "together": ("together", int, "requests computed together; 1: each by itself (64)"),
}


def build_parser() -> Parser:
    """The parser; imports nothing heavy."""
    parser = Parser(prog=f"{usage_name()} serve", description=DESCRIPTION)
    add = parser.add_argument
    add(
        "--model_dir",
        type=Path,
        required=True,
        nargs="+",
        action="extend",
        metavar="DIR",
        help=MODEL_HELP,
    )
    add("--host", default="127.0.0.1", help="address to listen at (127.0.0.1: this machine only)")
    add("--port", type=int, default=8080, help="port (8080); 0 takes a free one")
    add("--token_file", type=Path, metavar="FILE", help=TOKEN_HELP)
    store = "sessions.sqlite"
    add("--session_store", nargs="?", const=store, metavar="FILE|URL", help=STORE_HELP)
    add(
        "--watch_seconds",
        type=float,
        default=0.0,
        help="look for changed models this often; 0: only at POST /models/reload (0)",
    )
    add("--pictures", type=Path, metavar="DIR", help="pictures of items: ITEM_ID.jpg, .png, .webp")
    add("--num_threads", type=int, help="threads of torch (one for each core)")
    limits = parser.add_argument_group("limits")
    for option, (_, kind, text) in LIMITS.items():
        limits.add_argument(f"--{option}", type=kind, metavar="N", help=text)
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(words: Sequence[str]) -> int:
    """Run the command; returns 0 when it was told to stop.

    Raises:
        UsageError: an option, a model, the store or the address cannot be used.
    """
    options = build_parser().parse_args(words)
    _check(options)
    token = _token(options.token_file)
    if token is None and options.host not in ("127.0.0.1", "::1", "localhost"):
        print(
            f"warning: whoever reaches {options.host}:{options.port} can use this server; "
            "--token_file asks for a token",
            file=sys.stderr,
        )
    import torch

    from recbole_fmrlrec.serve.server import serve
    from recbole_fmrlrec.serve.settings import Limits, Settings

    if options.num_threads is not None:
        torch.set_num_threads(options.num_threads)
    given = {field: getattr(options, option) for option, (field, _, _) in LIMITS.items()}
    settings = Settings(
        model_dirs=tuple(options.model_dir),
        token=token,
        session_store=options.session_store,
        watch_seconds=options.watch_seconds,
        pictures=options.pictures,
        limits=Limits(**{name: value for name, value in given.items() if value is not None}),
    )
    serve(settings, options.host, options.port)
    return 0


def _check(options: Namespace) -> None:
    if not 0 <= options.port <= 65535:
        raise UsageError(f"--port must be from 0 to 65535, not {options.port}")
    if not 0 <= options.watch_seconds < float("inf"):
        raise UsageError(f"--watch_seconds must be 0 or more, not {options.watch_seconds}")
    for option in (*LIMITS, "num_threads"):
        value = getattr(options, option)
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"--{option} must be above 0, not {value}")


def _token(file: Path | None) -> str | None:
    """The token; it is not given on the command line, which every user of the machine can read."""
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token_file: {error}") from None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"--token_file: {file} must hold one word of printable ASCII characters")
    return token
