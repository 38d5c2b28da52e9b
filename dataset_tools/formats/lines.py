"""Text files line by line: plain or gzip, with or without a byte order mark, in any encoding."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dataset_tools.errors import DatasetError, UsageError

MAX_LINE_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 1 << 20
BLOCK_BYTES = 16 << 20
# Encodings of which any lines together are decoded as each is by itself.
BLOCK_ENCODINGS = frozenset({"utf-8", "utf-8-sig", "ascii", "iso8859-1", "cp1252"})
Fault = Callable[[Path, int, str], None]
# The longer mark first: that of UTF-16 is the beginning of that of UTF-32.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def check_encoding(encoding: str) -> str:
    """The usual name of a text encoding; raises ``UsageError`` for an unknown one."""
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise UsageError(
            f"--encoding {encoding!r}: unknown encoding; common ones are utf-8, utf-16, "
            "latin-1, cp1252, shift_jis, gb18030"
        ) from None


class FileLines:
    """The lines of a file with their numbers and ends, as ``read_lines`` yields them.

    ``taken`` is how many rows of the file have been read elsewhere already: here none. Of
    ``others`` it is one of several files: that it has no good row is no reason to stop.
    """

    taken = 0
    others = False

    def __init__(self, path: Path, encoding: str = "utf-8", fault: Fault | None = None) -> None:
        self.path, self.encoding, self.fault = path, encoding, fault or _refuse

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return read_lines(self.path, self.encoding, self.fault)


def open_lines(
    path: Path,
    encoding: str = "utf-8",
    fault: Fault | None = None,
    lines: FileLines | None = None,
) -> Iterator[tuple[int, str]]:
    """As ``read_lines``, without the line ends; of ``lines`` alone, where they are given."""
    for number, text in lines or FileLines(path, encoding, fault):
        yield number, text.rstrip("\r\n")


def read_lines(
    path: Path, encoding: str = "utf-8", fault: Fault | None = None
) -> Iterator[tuple[int, str]]:
    """Yield ``(line number, line with its end)`` of a plain or gzip text file.

    The number counts from 1. Memory stays at one line. A byte order mark is left out and
    decides the encoding. A line that cannot be decoded goes to ``fault``; when that returns,
    the line is passed over.

    Raises:
        UsageError: the file does not exist, or the encoding is unknown.
        DatasetError: a gzip stream ends early or is damaged, a line is not in ``encoding``
            or is longer than 64 MiB; the message has file and line number.
    """
    if not path.is_file():
        raise UsageError(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    number = 0
    try:
        chunks = _chunks(path)
        head = next(chunks, b"")
        encoding = _true_encoding(head, encoding, path)
        pieces = _decoded(_joined(head, chunks), path, encoding, fault or _refuse)
        for number, text in pieces:
            yield number, text
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, number, error) from error


def _refuse(path: Path, number: int, detail: str) -> None:
    raise DatasetError(f"{path}, line {number}: {detail}; convert the file to UTF-8")


def _joined(head: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    yield head
    yield from chunks


def _true_encoding(head: bytes, encoding: str, path: Path) -> str:
    name = check_encoding(encoding)
    for mark, marked in _MARKS:
        if head.startswith(mark):
            return marked
    if name == "utf-8" and b"\0" in head[:2]:
        order = "be" if head[:1] == b"\0" else "le"
        raise UsageError(
            f"{path}: UTF-16 without a byte order mark, not UTF-8; give --encoding utf-16-{order}"
        )
    return name


@dataclass(frozen=True)
class Block:
    """Some megabytes of whole lines of a file, the first of which has the number ``first``.

    ``text`` is None where a line is undecodable or breaks within itself: ``lines`` tells what
    can be said of each.
    """

    path: Path
    encoding: str
    first: int
    data: bytes
    text: str | None

    def lines(self, fault: Fault) -> Iterator[tuple[int, str]]:
        """As ``read_lines``, of this block."""
        return _decoded([self.data], self.path, self.encoding, fault, self.first)

    def count(self) -> int:
        """How many lines there are, those that cannot be decoded too."""
        if self.text is not None:
            return self.data.count(b"\n") + (not self.data.endswith(b"\n"))
        wrong: list[int] = []
        return sum(1 for _ in self.lines(lambda *place: wrong.append(place[1]))) + len(wrong)


def can_read_blocks(path: Path, encoding: str = "utf-8") -> bool:
    """Whether the encoding of the file is one that ``read_blocks`` reads."""
    return path.is_file() and _true_encoding(_head(path), encoding, path) in BLOCK_ENCODINGS


def read_blocks(path: Path, encoding: str = "utf-8") -> Iterator[Block]:
    """Yield a plain or gzip text file in blocks of whole lines.

    Raises:
        DatasetError: as ``read_lines``, of the same line.
    """
    encoding, last = _true_encoding(_head(path), encoding, path), 0
    try:
        for data in _whole_lines(_chunks(path)):
            block = _block(path, encoding, last + 1, data)
            last += block.count()
            yield block
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, last, error) from error


class FileBlocks:
    """The blocks of a file, as ``read_blocks`` yields them, before a fault of it.

    So they can be asked for ahead of what is done with them; ``check`` then raises the fault.
    """

    def __init__(self, path: Path, encoding: str = "utf-8") -> None:
        self._path, self._encoding = path, encoding
        self._error: DatasetError | None = None

    def __iter__(self) -> Iterator[Block]:
        try:
            yield from read_blocks(self._path, self._encoding)
        except DatasetError as error:
            self._error = error

    def check(self) -> None:
        """Raise the ``DatasetError`` with which the file ended, if any."""
        if self._error is not None:
            raise self._error


def _head(path: Path) -> bytes:
    try:
        return next(_chunks(path), b"")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, 0, error) from error


def _damaged(path: Path, number: int, error: Exception) -> DatasetError:
    return DatasetError(
        f"{path}: damaged or cut off after line {number} ({error}); fetch the file again"
    )


def _block(path: Path, encoding: str, first: int, data: bytes) -> Block:
    encoding = encoding if first == 1 else encoding.removesuffix("-sig")
    text: str | None = None
    ends = b"\r" not in data or data.count(b"\r") == data.count(b"\r\n")
    if len(data) <= MAX_LINE_BYTES and ends:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            text = None
    return Block(path, encoding, first, data, None if text is None or "\0" in text else text)


def _whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks that end with a line; those before a fault of ``chunks`` are yielded first."""
    parts: list[bytes] = []
    size = 0
    try:
        for chunk in chunks:
            cut = chunk.rfind(b"\n") + 1
            if cut and size + cut >= BLOCK_BYTES:
                yield b"".join([*parts, chunk[:cut]])
                parts, size, chunk = [], 0, chunk[cut:]
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_LINE_BYTES:  # no line of it ends
                break
    except (EOFError, zlib.error, gzip.BadGzipFile):
        whole = b"".join(parts)
        if cut := whole.rfind(b"\n") + 1:
            yield whole[:cut]
        raise
    if size:
        yield b"".join(parts)


def _decoded(
    chunks: Iterable[bytes], path: Path, encoding: str, fault: Fault, first: int = 1
) -> Iterator[tuple[int, str]]:
    number = first - 1
    texts: Iterator[str | UnicodeDecodeError]
    if encoding.startswith(("utf-16", "utf-32")):
        texts = _wide_lines(chunks, path, encoding)
    else:
        texts = _narrow_lines(chunks, path, encoding, first)
    for text in texts:
        if isinstance(text, UnicodeDecodeError):
            number += 1
            fault(
                path,
                number,
                f"not {encoding.removesuffix('-sig')} ({text.reason} at byte {text.start})",
            )
        elif "\r" in text.rstrip("\r\n"):  # line ends of old Macs
            for part in _LINE.findall(text):
                number += 1
                yield number, part
        else:
            number += 1
            yield number, text


def _narrow_lines(
    chunks: Iterable[bytes], path: Path, encoding: str, first: int
) -> Iterator[str | UnicodeDecodeError]:
    for number, raw in enumerate(_lines(chunks), start=first):
        if len(raw) > MAX_LINE_BYTES:
            raise DatasetError(f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes")
        try:
            yield raw.decode(encoding if number == 1 else encoding.removesuffix("-sig"))
        except UnicodeDecodeError as error:
            yield error


def _wide_lines(chunks: Iterable[bytes], path: Path, encoding: str) -> Iterator[str]:
    """Lines of an encoding in which a line end is no single byte: one decoder for all."""
    decoder, rest, number = codecs.getincrementaldecoder(encoding)(), "", 0
    try:
        for chunk in chunks:
            *whole, rest = (rest + decoder.decode(chunk)).split("\n")
            number += len(whole)
            yield from (f"{text}\n" for text in whole)
        rest += decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}, after line {number}: not {encoding} ({error.reason})"
        ) from error
    if rest:
        yield rest


def _chunks(path: Path) -> Iterator[bytes]:
    """The content in pieces, gzip (of one member or several) unpacked."""
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        content = gzip.GzipFile(fileobj=stream) if packed else stream
        # What stands before a fault of the gzip stream comes first: read() would drop it.
        while piece := content.read1(CHUNK_BYTES):
            yield piece


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines with their end; what stands before a fault of ``chunks`` is yielded first."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in whole)
        if len(rest) > MAX_LINE_BYTES:
            break
    if rest:
        yield rest
