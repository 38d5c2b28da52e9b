"""A server on 127.0.0.1 that misbehaves as told."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.patience import patience


class Server:
    """Serves ``files`` (path -> bytes). ``faults`` (path -> list) are used up one a request:

    a number is a status code; ``cut N`` sends N bytes and closes; ``long`` announces one byte too
    many; ``whole`` ignores the range; ``shift`` answers another range; ``changed`` a new tag.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[int | str]] = {}
        self.redirects: dict[str, str] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.tag = '"one"'
        self.url = ""
        self.lock = threading.Lock()
        self.active = self.most_active = 0
        self.together = 1  # so many requests must be there at a time before the first is answered
        self.met = threading.Condition(self.lock)


@contextmanager
def running() -> Iterator[Server]:
    """A server for one test."""
    state = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    state.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def handler(state: Server) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            with state.lock:
                state.requests.append((self.path, self.headers.get("Range")))
                faults = state.faults.get(self.path, [])
                fault = faults.pop(0) if faults else ""
                state.active += 1
                state.most_active = max(state.most_active, state.active)
                state.met.notify_all()
                state.met.wait_for(lambda: state.most_active >= state.together, patience(20))
            try:
                self.answer(fault)
            finally:
                with state.lock:
                    state.active -= 1

        def answer(self, fault: int | str) -> None:
            if isinstance(fault, int):
                self.send_response(fault)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if self.path in state.redirects:
                self.send_response(302)
                self.send_header("Location", state.redirects[self.path])
                self.end_headers()
                return
            if self.path not in state.files:
                self.send_error(404)
                return
            self.send(state.files[self.path], fault)

        def send(self, data: bytes, fault: str) -> None:
            if fault == "changed":
                state.tag = '"two"'
            found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            same = self.headers.get("If-Range") in (None, state.tag)
            start = int(found[1]) if found and same and fault != "whole" else 0
            if found and start >= len(data):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            part = data[start:]
            self.send_response(206 if start else 200)
            shown = start + (fault == "shift")
            if start:
                end = f"{len(data) - 1}/{len(data)}"
                self.send_header("Content-Range", f"bytes {shown}-{end}")
            self.send_header("Content-Length", str(len(part) + (fault == "long")))
            self.send_header("ETag", state.tag)
            self.end_headers()
            self.wfile.write(part[: int(fault[4:])] if fault.startswith("cut") else part)

    return Handler
