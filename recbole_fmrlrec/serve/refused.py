"""A request that is turned away, with its status and the reason."""

from __future__ import annotations


class Refused(Exception):
    """A request cannot be answered as asked: a status of HTTP, and a reason for the client."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers or {}
