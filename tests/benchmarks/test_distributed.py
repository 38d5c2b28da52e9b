"""The arithmetic of ``benchmarks distributed``."""

from __future__ import annotations

from typing import Any

from benchmarks.distributed import table


def test_the_ideal_and_what_is_reached() -> None:
    rows = [
        {"processes": 1, "batch": 128, "wall": 0.1, "cpu": 0.1, "bytes": 0},
        {"processes": 1, "batch": 64, "wall": 0.05, "cpu": 0.05, "bytes": 0},
        {"processes": 2, "batch": 64, "wall": 0.0625, "cpu": 0.06, "bytes": 2_500_000},
    ]
    lines = table(rows).splitlines()
    assert lines[4].split() == ["2", "64", "62.5", "60.0", "2.50"]
    assert lines[5] == "times as fast as one process: 1.60; ideal 2.00"
    assert lines[6] == "of the ideal step: 80% by the clock, 83% by CPU time"


def test_projections_by_shards_and_without() -> None:
    rows: list[dict[str, Any]] = [
        {"processes": 1, "batch": 128, "wall": 0.1, "cpu": 0.1, "bytes": 0},
        {"processes": 1, "batch": 64, "wall": 0.08, "cpu": 0.08, "bytes": 0},
        {"processes": 2, "batch": 64, "wall": 0.05, "cpu": 0.05, "bytes": 9e6, "by_shards": True},
        {"processes": 2, "batch": 64, "wall": 0.09, "cpu": 0.08, "bytes": 1e6, "by_shards": False},
    ]
    lines = table(rows).splitlines()
    assert lines[2].split() == ["1", "128", "100.0", "100.0", "0.00"]
    assert lines[4].split() == ["2", "64", "50.0", "50.0", "9.00", "yes"]
    assert lines[5].split() == ["2", "64", "90.0", "80.0", "1.00", "no"]
    # More than the ideal, which is one process that projects everything for its windows.
    assert lines[6] == "times as fast as one process: 2.00; ideal 1.25"
