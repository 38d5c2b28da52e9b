"""Reading text line by line and writing files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from dataset_tools.errors import DatasetError, DiskFullError, UsageError
from dataset_tools.owners import partial_path

MAX_LINE_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 1 << 20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
T = TypeVar("T")


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file beside ``path`` and rename it to ``path`` when the block ends well.

    Text is UTF-8 with unchanged line ends. After an error the old file still stands.

    Raises:
        DiskFullError: the disk, or the user's share of it, is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    options: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with open(partial, mode, **options) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        if isinstance(error.__context__, DiskFullError):  # closing tried to write once more
            raise error.__context__ from None
        if error.errno in FULL:
            raise disk_full(path, partial) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def disk_full(path: Path, partial: Path | None = None, needed: int | None = None) -> DiskFullError:
    """The error for a file that there is no room for: what it needs, what there was."""
    written = partial.stat().st_size if partial is not None and partial.exists() else 0
    free = shutil.disk_usage(path.parent).free
    need = f"{needed:,} bytes are needed" if needed else f"more than {written:,} bytes are needed"
    return DiskFullError(
        f"{path}: no room for this file: {need}, {free + written:,} are free there; free some "
        "space, or write to another place (the OUTPUT of a command, or its option --output)"
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def open_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yield ``(line number, line without its end)`` of a plain or gzip text file.

    The number counts from 1. Memory stays at one line.

    Raises:
        UsageError: the file does not exist.
        DatasetError: a gzip stream ends early or is damaged, a line is not in ``encoding``
            or is longer than 64 MiB; the message has file and line number.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    number = 0
    try:
        for number, raw in enumerate(_lines(_chunks(path)), start=1):
            yield number, _decode(raw, path, number, encoding)
    except (EOFError, zlib.error) as error:
        raise DatasetError(
            f"{path}: damaged or cut off after line {number} ({error}); fetch the file again"
        ) from error


def _chunks(path: Path) -> Iterator[bytes]:
    """The content in pieces, gzip (of one member or several) unpacked."""
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        unpacker = zlib.decompressobj(31)
        while piece := stream.read(CHUNK_BYTES):
            if not packed:
                yield piece
            while packed and piece:
                yield unpacker.decompress(piece, CHUNK_BYTES)
                piece = unpacker.unconsumed_tail
                if unpacker.eof:
                    piece = unpacker.unused_data.lstrip(b"\0")
                    unpacker = zlib.decompressobj(31) if piece else unpacker
        if packed and not unpacker.eof:
            raise EOFError("the gzip stream has no end")


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their end; what stands before a fault of ``chunks`` is yielded first."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        if len(rest) > MAX_LINE_BYTES:
            break
    if rest:
        yield rest


def _decode(raw: bytes, path: Path, number: int, encoding: str) -> str:
    if len(raw) > MAX_LINE_BYTES:
        raise DatasetError(f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}, line {number}: not {encoding} ({error.reason} at byte {error.start}); "
            "convert the file to UTF-8"
        ) from error
    return text.removeprefix("\ufeff").rstrip("\r") if number == 1 else text.rstrip("\r")


def progress(rows: Iterable[T], what: str, unit: str, total: int | None = None) -> Iterable[T]:
    """Show a progress bar on standard error, or nothing where that is no terminal."""
    if not sys.stderr.isatty():
        return rows
    from tqdm import tqdm

    return tqdm(rows, desc=what, unit=f" {unit}", total=total, file=sys.stderr, leave=False)


@contextmanager
def needing(path: Path, size: int) -> Iterator[None]:
    """Say of a full disk how many bytes ``path`` needed, where they are known beforehand."""
    try:
        yield
    except DiskFullError as error:
        raise disk_full(path, needed=size) from error
