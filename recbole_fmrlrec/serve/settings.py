"""What a server is started with, and the limits that it keeps to."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass, field
from pathlib import Path

from recbole_fmrlrec.serve.refused import Refused


@dataclass(frozen=True)
class Limits:
    """How much one request, and all of them together, may ask for.

    Attributes:
        body_bytes: of the body of a request.
        history: items of a history, or events of one request.
        histories: of one request to ``/recommend/batch``.
        k: items recommended.
        candidates: items to choose from.
        requests: being answered at once; more are turned away.
        seconds: for one request, its body included.
        together: requests computed in one go; 1 turns micro-batching off.
        sessions: held in memory for each model and size.
        session_events: latest events of a session that are kept.
        session_seconds: after its last event a session expires.
    """

    body_bytes: int = 2**20
    history: int = 1000
    histories: int = 256
    k: int = 100
    candidates: int = 10_000
    requests: int = 256
    seconds: float = 10.0
    together: int = 64
    sessions: int = 10_000
    session_events: int = 500
    session_seconds: float = 24 * 3600.0

    def check_length(self, name: str, values: Sized | None, most: int) -> None:
        """Refuse what is longer than ``most``.

        Raises:
            Refused: with status 422.
        """
        if values is not None and len(values) > most:
            raise Refused(422, f"{name} has {len(values):,} entries; at most {most:,} are allowed")

    def check_k(self, k: int) -> None:
        """Refuse a k above the limit.

        Raises:
            Refused: with status 422.
        """
        if k > self.k:
            raise Refused(422, f"k is {k:,}; at most {self.k:,} items are recommended")


@dataclass(frozen=True)
class Settings:
    """What a server is started with.

    Attributes:
        model_dirs: folders that ``export`` wrote: of one size, or of a family of sizes.
        token: what ``Authorization: Bearer`` must carry; None lets everybody in.
        session_store: an SQLite file or a ``redis://`` address; None keeps sessions in memory.
        watch_seconds: between two looks at the folders; 0 looks only when asked to.
        pictures: folder of files ``ITEM_ID.jpg``, ``.png``, ``.webp`` or ``.gif``.
        limits: see `Limits`.
    """

    model_dirs: tuple[Path, ...]
    token: str | None = None
    session_store: str | None = None
    watch_seconds: float = 0.0
    pictures: Path | None = None
    limits: Limits = field(default_factory=Limits)
