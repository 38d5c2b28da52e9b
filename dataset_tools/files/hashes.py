"""Hashes of files and of lists of texts.

What deploys goes without this package, and hashes its files by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20


def file_hash(path: Path, kind: str = "sha256") -> str:
    """The hash of a file's bytes, in hexadecimal digits; ``kind`` as `hashlib` names it."""
    digest = hashlib.new(kind)
    add_file(digest, path)
    return digest.hexdigest()


def add_file(digest: Any, path: Path) -> None:
    """Take a file's bytes into a hash of `hashlib`."""
    with open(path, "rb") as stream:
        while piece := stream.read(CHUNK_BYTES):
            digest.update(piece)


def digest_of(parts: Iterable[str]) -> str:
    """SHA-256 over texts, each with its length, so that no two lists look the same."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()
