"""Records that several processes read: the same as one process finds, in order."""

from __future__ import annotations

import gzip
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from dataset_tools.errors import DatasetError, MemoryLimitError, UsageError
from dataset_tools.formats import lines, records
from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.literals import parse_json
from dataset_tools.formats.record_blocks import map_records


def name_of(line: int, record: dict[str, Any], report: Report) -> tuple[int, str] | None:
    """Stands for a source: records without a name are noted, and make nothing."""
    name = record.get("name")
    if name is None:
        report.skip("records without a name", Path("x"), line)
        return None
    return line, name


def write_names(path: Path, count: int = 400, wrong: str = "") -> Path:
    texts = [json.dumps({"name": f"item {one}"}) for one in range(count)]
    texts[7], texts[count // 2] = '{"other": 1}', '{"other": 2}'
    if wrong:
        texts[count // 3] = wrong
    path.write_bytes(gzip.compress("\n".join(texts).encode("utf-8", "surrogateescape")))
    return path


def found(path: Path, processes: int, report: Report) -> list[tuple[int, str]]:
    return list(map_records(path, parse_json, name_of, report, "records", processes))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(lines, "CHUNK_BYTES", 300)


@pytest.mark.parametrize("processes", [1, 2])
def test_records_come_in_order_with_what_is_said_of_them(tmp_path: Path, processes: int) -> None:
    path, report = write_names(tmp_path / "a.json.gz", wrong="no record"), Report()
    assert len(list(lines.read_blocks(path))) > 5
    made = found(path, processes, report)
    assert made == [(n + 1, f"item {n}") for n in range(400) if n not in (7, 133, 200)]
    assert report.lines() == [
        "2 records without a name (first: x line 8)",
        "1 malformed records (first: a.json.gz line 134)",
    ]


@pytest.mark.parametrize("processes", [1, 2])
def test_faults_are_raised_behind_what_is_before_them(tmp_path: Path, processes: int) -> None:
    path = write_names(tmp_path / "a.json.gz", wrong="\udcff")
    with pytest.raises(UsageError, match="line 134: not utf-8"):
        found(path, processes, Report(skip_bad_rows=False))
    report = Report(skip_undecodable=True)
    assert len(found(path, processes, report)) == 397
    assert report.counts["lines in another encoding"] == 1

    path.write_bytes(write_names(path, 40_000).read_bytes()[:-2000])
    made: list[tuple[int, str]] = []
    with pytest.raises(DatasetError, match=r"damaged or cut off after line \d+"):
        made.extend(map_records(path, parse_json, name_of, Report(), "records", processes))


@pytest.mark.parametrize("processes", [1, 2])
def test_a_file_without_any_record_is_refused(tmp_path: Path, processes: int) -> None:
    path = tmp_path / "a.json"
    path.write_text("not one\n" * 500)
    with pytest.raises(DatasetError, match=r"no readable record among 500 \(line 1: "):
        found(path, processes, Report())


def test_what_was_read_before_a_fault_can_be_used(tmp_path: Path) -> None:
    path = write_names(tmp_path / "a.json.gz", wrong="\udcff")
    made = []
    with pytest.raises(UsageError):
        for one in map_records(path, parse_json, name_of, Report(), "records", 2):
            made.append(one)
    assert made[:3] == [(1, "item 0"), (2, "item 1"), (3, "item 2")]
    assert len(made) > 80


def end_at_133(line: int, record: dict[str, Any], report: Report) -> int:
    """Stands for what the system does where memory runs out."""
    if line == 133:
        os.kill(os.getpid(), signal.SIGKILL)
    return line


def test_a_process_that_is_killed_ends_the_reading_with_a_message(tmp_path: Path) -> None:
    path = write_names(tmp_path / "a.json.gz")
    with pytest.raises(MemoryLimitError, match=r"a\.json\.gz: a process .* lower --threads"):
        list(map_records(path, parse_json, end_at_133, Report(), "records", 2))


def test_counts_of_two_parts() -> None:
    tally = records.Tally(good=1)
    tally.add(records.Tally(bad=2, problem="line 5: no"))
    tally.add(records.Tally(bad=1, problem="line 9: no"))
    assert tally == records.Tally(1, 3, "line 5: no")
