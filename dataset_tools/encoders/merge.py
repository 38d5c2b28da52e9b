"""Who merges the shards of several processes: the one that finds all of them there first."""

from __future__ import annotations

import os
from contextlib import suppress

from dataset_tools.encoders.shards import ShardStore
from dataset_tools.encoders.share import Share
from dataset_tools.files.unfinished import is_left_behind, partial_path

LOCK = "merging"


class Merge:
    """The right to merge the shards of a work folder, which one process has at a time.

    Args:
        share: of this process; None where it does all of the work, and needs no right.
    """

    def __init__(self, store: ShardStore, share: Share | None) -> None:
        self._store, self._share = store, share
        self._path, self._held = store.folder / LOCK, False

    def take(self, count: int, shard_size: int) -> str | None:
        """Take the right if all shards of ``count`` inputs are there; else say what is missing."""
        missing = self._store.missing(count, shard_size)
        if missing and self._store.folder.is_dir():
            return self._say(missing)
        self._held = self._lock()
        if self._held:
            return None
        return (
            f"another process merges, or has merged (if it died, delete {self._path} and start one "
            "part again)"
        )

    def _say(self, missing: list[int]) -> str:
        assert self._share is not None
        parts = sorted({number % self._share.count + 1 for number in missing})
        names = ", ".join(f"{number}/{self._share.count}" for number in parts[:8])
        more = ", ..." if len(parts) > 8 else ""
        return f"{len(missing)} shards of the parts {names}{more} are not there yet"

    def _lock(self) -> bool:
        with suppress(OSError, UnicodeError):  # a process of this machine that was killed gives way
            holder = self._path.read_text(encoding="utf-8")
            if holder and is_left_behind(self._path.with_name(holder)):
                self._path.unlink(missing_ok=True)
        try:
            handle = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except (FileExistsError, FileNotFoundError):
            return False
        with open(handle, "w", encoding="utf-8") as stream:
            stream.write(partial_path(self._path).name)
        return True

    def release(self) -> None:
        """Give the right back."""
        if self._held:
            self._path.unlink(missing_ok=True)
