"""Where sessions are kept so that they survive a restart: an SQLite file, or Redis."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from recbole_fmrlrec.errors import UsageError


class StoreError(Exception):
    """The store cannot be read or written now."""


class Store(Protocol):
    """Records of sessions by their id.

    Attributes:
        shared: other servers may write to it, so that nothing read from it stays true.
    """

    shared: bool

    def read(self, ids: Iterable[str], now: float) -> dict[str, bytes]:
        """The records of some ids; one that is not there, or has expired, is left out.

        Args:
            now: seconds since 1970.
        """

    def write(self, records: Mapping[str, bytes], now: float) -> None:
        """Write records; they live for the store's time from ``now``."""

    def delete(self, session: str) -> bool:
        """Remove a record; whether there was one."""

    def purge(self, now: float) -> None:
        """Remove what has expired."""

    def count(self) -> int | None:
        """How many records there are; None where that is not known cheaply."""

    def close(self) -> None:
        """Let go of it."""


class SQLiteStore:
    """Records in an SQLite file, which one server has to itself.

    Args:
        file: made if need be.
        seconds: after which a record expires.

    Raises:
        UsageError: the file cannot be used, or another server uses it.
    """

    shared = False

    def __init__(self, file: Path, seconds: float) -> None:
        self._seconds = seconds
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(file, timeout=1, check_same_thread=False)
            # The lock is taken by the first write and kept. A transaction that a power cut undoes
            # loses the latest events, never the file.
            self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = NORMAL")
            with self._base:
                self._base.execute(
                    "CREATE TABLE IF NOT EXISTS sessions "
                    "(id TEXT PRIMARY KEY, record BLOB NOT NULL, used REAL NOT NULL)"
                )
                self._base.execute("CREATE INDEX IF NOT EXISTS by_use ON sessions (used)")
        except (sqlite3.Error, OSError) as error:
            raise UsageError(
                f"--session_store: {file}: {error}; another server may have it open, or it is "
                "not an SQLite file: give another one"
            ) from None

    def read(self, ids: Iterable[str], now: float) -> dict[str, bytes]:
        """See `Store`."""
        names = list(ids)
        found: dict[str, bytes] = {}
        with _said("read"):
            for at in range(0, len(names), 500):  # SQLite allows about 1,000 marks
                part = names[at : at + 500]
                rows = self._base.execute(
                    "SELECT id, record FROM sessions WHERE used > ? AND id IN "
                    f"({', '.join('?' * len(part))})",
                    (now - self._seconds, *part),
                )
                found |= dict(rows.fetchall())
        return found

    def write(self, records: Mapping[str, bytes], now: float) -> None:
        """See `Store`."""
        rows = [(session, record, now) for session, record in records.items()]
        with _said("written"), self._base:
            self._base.executemany("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)", rows)

    def delete(self, session: str) -> bool:
        """See `Store`."""
        with _said("written"), self._base:
            done = self._base.execute("DELETE FROM sessions WHERE id = ?", (session,))
            return done.rowcount > 0

    def purge(self, now: float) -> None:
        """See `Store`."""
        with _said("written"), self._base:
            self._base.execute("DELETE FROM sessions WHERE used <= ?", (now - self._seconds,))

    def count(self) -> int | None:
        """See `Store`."""
        with _said("read"):
            return int(self._base.execute("SELECT COUNT(*) FROM sessions").fetchone()[0])

    def close(self) -> None:
        """See `Store`."""
        self._base.close()


class RedisStore:
    """Records in Redis, which several servers may share.

    Args:
        url: such as ``redis://127.0.0.1:6379/0``.
        seconds: after which a record expires.

    Raises:
        UsageError: the address is no address, or nothing answers there.
    """

    shared = True
    _PREFIX = "fmrlrec:session:"

    def __init__(self, url: str, seconds: float) -> None:
        import redis

        self._milliseconds = max(1, round(1000 * seconds))
        try:
            self._redis: Any = redis.Redis.from_url(
                url, socket_timeout=2, socket_connect_timeout=2, decode_responses=False
            )
            self._redis.ping()
        except (redis.RedisError, ValueError) as error:
            raise UsageError(f"--session_store: cannot reach Redis: {error}") from None

    def read(self, ids: Iterable[str], now: float) -> dict[str, bytes]:
        """See `Store`; Redis goes by its own clock."""
        names = list(ids)
        if not names:
            return {}
        with _said("read"):
            found = self._redis.mget([self._PREFIX + name for name in names])
        return {name: record for name, record in zip(names, found, strict=True) if record}

    def write(self, records: Mapping[str, bytes], now: float) -> None:
        """See `Store`; Redis goes by its own clock."""
        with _said("written"):
            pipe = self._redis.pipeline(transaction=True)
            for name, record in records.items():
                pipe.set(self._PREFIX + name, record, px=self._milliseconds)
            pipe.execute()

    def delete(self, session: str) -> bool:
        """See `Store`."""
        with _said("written"):
            return bool(self._redis.delete(self._PREFIX + session))

    def purge(self, now: float) -> None:
        """Nothing: Redis does it."""

    def count(self) -> int | None:
        """None: other keys may be in the same base."""
        with _said("read"):
            self._redis.ping()
        return None

    def close(self) -> None:
        """See `Store`."""
        self._redis.close()


@contextmanager
def _said(done: str) -> Iterator[None]:
    """Errors of either store as a `StoreError`, which does not name the store's address."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"the session store cannot be {done} now ({error})") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "redis":
            raise
        raise StoreError(f"the session store cannot be {done} now") from error


def open_store(address: str | None, seconds: float) -> Store | None:
    """The store at an address: ``redis://...``, or a file for SQLite; None for none.

    Raises:
        UsageError: it cannot be used.
    """
    if address is None:
        return None
    if address.startswith(("redis://", "rediss://", "unix://")):
        return RedisStore(address, seconds)
    if "://" in address:
        raise UsageError(
            f"--session_store: {address.partition('://')[0]}:// is not known; give a file for "
            "SQLite, or redis://HOST:PORT/NUMBER"
        )
    return SQLiteStore(Path(address), seconds)
