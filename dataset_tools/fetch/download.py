"""Downloads that go on where they stopped and never leave part of a file under its name."""

from __future__ import annotations

import errno
import http.client
import json
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_tools.errors import DatasetError, UsageError
from dataset_tools.fetch.urls import HttpOnly, check_url
from dataset_tools.files.atomic_write import FULL, disk_full, replacing
from dataset_tools.files.hashes import file_hash

CHUNK = 1 << 16
NAMELESS_TRIES = 2  # a host name that is not known is seldom known a minute later
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
AGENT = "dataset-tools/1 (+research use)"


@dataclass(frozen=True)
class Policy:
    """How hard to try. Times in seconds; the pause doubles after every failure."""

    tries: int = 6
    pause: float = 1.0
    longest_pause: float = 30.0
    timeout: float = 30.0
    max_bytes: int | None = None


class DownloadError(DatasetError):
    """A file could not be fetched; the message says which and where to put it by hand."""

    exit_code = 1


class _Passing(Exception):
    """A failure that may be gone at the next try.

    ``wait`` is what the server asks for; ``last`` is the try after which to give up early.
    """

    def __init__(self, reason: str, wait: float = 0.0, last: int | None = None) -> None:
        super().__init__(reason)
        self.wait, self.last = wait, last


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    policy: Policy | None = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> bool:
    """Fetch ``url`` to ``path``; False when it was there already.

    What came before a break is kept in ``.NAME.part`` and asked for no second time.

    Args:
        size: the number of bytes, where it is known.
        checksum: ``md5:...`` or ``sha256:...`` in hexadecimal, where it is known.
        progress: hears the bytes there are and the total, if known.

    Raises:
        UsageError: another kind of url.
        DownloadError: it cannot be had, or is not what was announced.
        DiskFullError: there is no room for it.
    """
    check_url(url)
    policy = policy or Policy()
    if path.is_file() and (size is None or path.stat().st_size == size):
        return False
    part = Part(path)
    for attempt in range(1, policy.tries + 1):
        try:
            part.fetch(url, size, policy, progress)
            _check(part.path, url, path, checksum)
            part.finish()
            return True
        except _Passing as error:
            if attempt >= min(policy.tries, error.last or policy.tries):
                raise _failure(url, path, f"{error}, after {attempt} tries") from error
            pause = policy.pause * 2 ** (attempt - 1)
            time.sleep(max(error.wait, min(pause, policy.longest_pause)))
    raise _failure(url, path, "no attempt was allowed")


def _failure(url: str, path: Path, reason: str) -> DownloadError:
    return DownloadError(f"{url}: {reason}. Fetch it by other means and put it at {path}")


def _check(part: Path, url: str, path: Path, checksum: str | None) -> None:
    if checksum is None:
        return
    kind, _, wanted = checksum.partition(":")
    if kind not in ("md5", "sha256"):
        raise UsageError(f"checksum {checksum!r}: write md5:... or sha256:...")
    found = file_hash(part, kind)
    if found != wanted.lower():
        part.unlink()
        raise _failure(url, path, f"its {kind} is {found}, not {wanted}")


class Part:
    """The unfinished file beside ``path``, with what the server said of the whole."""

    def __init__(self, path: Path) -> None:
        self._final = path
        self.path = path.with_name(f".{path.name}.part")
        self._note = path.with_name(f".{path.name}.part.json")
        path.parent.mkdir(parents=True, exist_ok=True)

    def finish(self) -> None:
        """Give the file its name."""
        self.path.replace(self._final)
        self._note.unlink(missing_ok=True)

    def _noted(self) -> dict[str, Any]:
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def _state(self, url: str) -> tuple[int, dict[str, Any]]:
        """Bytes that are there, and the note on them; nothing for a part of another url."""
        note = self._noted()
        if note.get("url") != url or not self.path.is_file():
            return 0, {}
        return self.path.stat().st_size, note

    def fetch(
        self,
        url: str,
        size: int | None,
        policy: Policy,
        progress: Callable[[int, int | None], None],
    ) -> None:
        """One try to get all bytes that are missing; raises ``_Passing`` or ``DownloadError``."""
        have, note = self._state(url)
        headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if note.get("tag"):
                headers["If-Range"] = note["tag"]
        request = urllib.request.Request(url, headers=headers)
        opener = urllib.request.build_opener(HttpOnly)
        try:
            with opener.open(request, timeout=policy.timeout) as answer:
                start, total = self._where(answer, have)
                self._begin(url, answer.headers, start, total, size, policy)
                self._copy(answer, start, total, policy, progress)
        except urllib.error.HTTPError as error:
            self._refused(error, url, have, note)
        except urllib.error.URLError as error:
            nameless = isinstance(error.reason, socket.gaierror)
            last = NAMELESS_TRIES if nameless else None
            raise _Passing(f"cannot be reached ({error.reason})", last=last) from error
        except (http.client.HTTPException, OSError) as error:
            self._check_room(error)
            raise _Passing(f"the connection broke ({error or type(error).__name__})") from error

    def _check_room(self, error: Exception) -> None:
        """Raise what retrying cannot fix: a full disk, or a folder that refuses files."""
        code = getattr(error, "errno", None)
        if code in FULL:
            total = self._noted().get("total")
            raise disk_full(self._final, self.path, total) from error
        if code in (errno.EACCES, errno.EPERM, errno.EROFS) and getattr(error, "filename", None):
            reason = getattr(error, "strerror", None)
            raise UsageError(f"{self._final.parent}: cannot be written ({reason})") from error

    def _where(self, answer: Any, have: int) -> tuple[int, int | None]:
        """Where the answer's bytes start, and the size of the whole file."""
        length = answer.headers.get("Content-Length")
        if answer.status != 206:
            return 0, int(length) if length and length.isdigit() else None
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if not found or int(found[1]) != have:
            self.path.unlink(missing_ok=True)
            raise _Passing("the server sent another range than the requested one")
        return have, int(found[2]) if found[2].isdigit() else None

    def _begin(
        self,
        url: str,
        headers: Mapping[str, str],
        start: int,
        total: int | None,
        size: int | None,
        policy: Policy,
    ) -> None:
        if total is not None and size is not None and total != size:
            raise _failure(url, self._final, f"has {total:,} bytes, not {size:,}")
        if policy.max_bytes is not None and (total or 0) > policy.max_bytes:
            raise _failure(url, self._final, f"{total:,} bytes are too many")
        tag = headers.get("ETag") or headers.get("Last-Modified")
        if tag and tag.startswith("W/"):
            tag = headers.get("Last-Modified")  # a weak tag does not promise equal bytes
        with replacing(self._note) as stream:
            json.dump({"url": url, "tag": tag, "total": total or size}, stream)
        with open(self.path, "ab") as stream:
            stream.truncate(start)

    def _copy(
        self,
        answer: Any,
        start: int,
        total: int | None,
        policy: Policy,
        progress: Callable[[int, int | None], None],
    ) -> None:
        done = start
        with open(self.path, "ab") as stream:
            while piece := answer.read(CHUNK):
                stream.write(piece)
                done += len(piece)
                progress(done, total)
                if policy.max_bytes is not None and done > policy.max_bytes:
                    raise DownloadError(f"{self._final.name}: more than {policy.max_bytes:,} bytes")
        if total is not None and done != total:
            raise _Passing(f"{done:,} of {total:,} bytes came")

    def _refused(
        self, error: urllib.error.HTTPError, url: str, have: int, note: Mapping[str, Any]
    ) -> None:
        """416 on a complete part is success; passing faults are tried again; others end it."""
        if error.code == 416 and have:
            if have == note.get("total"):
                return
            self.path.unlink(missing_ok=True)
            raise _Passing("the server does not have this range; starting over") from error
        reason = f"{error.code} {error.reason}"
        if error.code in PASSING:
            wait = error.headers.get("Retry-After", "")
            raise _Passing(reason, min(float(wait), 60.0) if wait.isdigit() else 0.0) from error
        raise _failure(url, self._final, reason) from error
