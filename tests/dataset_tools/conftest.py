"""Shared inputs: the real data where it is on this machine, and a small P5 folder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "datasets"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not on this machine: no {SHARED}")
    return SHARED


RECORDS = [
    {"asin": "B01", "title": "Red\tpolish &amp;amp; remover", "brand": "OPI", "price": 9.99},
    {"asin": "B02", "title": "Two\nlines", "categories": [["Beauty", "Nails"]], "imUrl": "x"},
    {"asin": "B03"},
]


@pytest.fixture
def p5_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a P5 folder of two users and three items; each part can be replaced."""

    def write(
        sequences: str = "1 1 2 3\n2 3 1\n",
        maps: dict[str, Any] | None = None,
        meta: str | None = None,
    ) -> Path:
        folder = tmp_path / "p5"
        folder.mkdir(exist_ok=True)
        default = {
            "id2user": {"1": "ann", "2": "bob smith"},
            "id2item": {"1": "B01", "2": "B02", "3": "B03"},
        }
        (folder / "datamaps.json").write_text(json.dumps(default if maps is None else maps))
        (folder / "sequential_data.txt").write_text(sequences)
        text = "".join(f"{record!r}\n" for record in RECORDS) if meta is None else meta
        (folder / "meta.json.gz").write_bytes(gzip.compress(text.encode()))
        return folder

    return write
