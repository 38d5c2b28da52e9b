"""What SQL reads of a file is what Python reads of it, and Python gets the rest with its lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset_tools.__main__ import main
from dataset_tools.formats import lines
from dataset_tools.formats.bad_rows import Report
from dataset_tools.interactions.database import Database
from dataset_tools.interactions.line_scan import RAW, LeftLines, is_whole_record
from dataset_tools.sources.csv import CSVSource

ROWS = [
    *("ann,a,4.1,1600000000", "bob,100.0,5,2021-01-01", "Zoë,a b,0.5,1600000000.0"),
    *(",a,5,1600000000", "NA,a,5,1600000000", " cid ,a,5,1600000000", "dan,1.2E+12,5,1600000000"),
    *('"eve","say ""hi""",5,1600000000', "fay,a,1e2,1600000000", "gus,a,5,2021-02-30"),
    *("hal,a", "ida,a,5,1600000000,", "jan,\u00a0a,5,1600000000", "kim,x\x85y,5,2021-01-01T10:00"),
    *("lea,-0.0,5,1600000000.25", '"max"x,a,5,1600000000', "", "ned,a,nan,1600000000"),
]
BROKEN = ['odd,"a', 'b",5,1600000000', "pat,a,5,1600000001", 'q"x,a,5,1600000002']


def source(tmp_path: Path, rows: list[str], end: str = "\n") -> CSVSource:
    path = tmp_path / "log.csv"
    path.write_bytes(end.join(["user_id,item_id,stars,t", *rows, ""]).encode())
    return CSVSource(path, time="t", rating="stars")


def left_of(log: CSVSource) -> tuple[list[int], int]:
    """The lines that SQL does not take, and how many it takes."""
    scan, database = log.line_scan(), Database()
    assert scan is not None
    database.run(f"CREATE TABLE raw ({RAW})")
    left = LeftLines(scan, database, Report().undecodable)
    numbers = [number for number, _ in left]
    assert database.value("SELECT count(*) FROM raw") == left.taken
    return numbers, left.taken


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [8 << 20, 40])
def test_plain_lines_are_taken_and_the_others_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, size: int
) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", size)
    monkeypatch.setattr(lines, "CHUNK_BYTES", size)
    log = source(tmp_path, [*ROWS[:15], *ROWS[16:]], end)  # without text after a closing quote
    # Line 2 is the first row: plain are ann, bob, Zoë, eve and lea.
    plain = {2, 3, 4, 9, 16}
    assert left_of(log) == ([number for number in range(2, 19) if number not in plain], 5)


def test_from_a_record_of_several_lines_on_all_are_left(tmp_path: Path) -> None:
    assert left_of(source(tmp_path, [ROWS[0], *BROKEN])) == ([2, 3, 4, 5, 6], 0)


@pytest.mark.parametrize("size", [8 << 20, 40])
def test_both_ways_write_and_say_the_same(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    size: int,
) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", size)
    monkeypatch.setattr(lines, "CHUNK_BYTES", size)
    source(tmp_path, [*ROWS, *BROKEN, *ROWS[:3]])
    options = ["--time", "t", "--rating", "stars", "--skip-bad-rows", "--overwrite"]
    found = []
    for _ in range(2):
        assert main(["convert", "csv", f"{tmp_path}/log.csv", f"{tmp_path}/out", *options]) == 0
        written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        found.append((written, capsys.readouterr().out))
        monkeypatch.setattr(CSVSource, "line_scan", lambda _: None)
    assert found[0] == found[1]
    assert b"ann\ta\t4.1\t1600000000.0\nbob\t100\t5.0\t1609459200.0\n" in found[0][0]["out.inter"]


@pytest.mark.parametrize(
    ("line", "whole"),
    [("a,b", True), ('"a,b",c\r\n', True), ('"a""b"', True), ('"a', False), ('a"b,c', False)],
)
def test_what_is_a_record_by_itself(line: str, whole: bool) -> None:
    assert is_whole_record(line, ",") is whole


@pytest.mark.parametrize("size", ["4", "much", "-1GB"])
def test_a_memory_limit_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    source(tmp_path, ROWS[:1])
    arguments = ["convert", "csv", f"{tmp_path}/log.csv", f"{tmp_path}/out"]
    assert main([*arguments, f"--memory-limit={size}"]) == 2
    assert f"--memory-limit {size!r}: write a size such as 4GB" in capsys.readouterr().err
    assert main([*arguments, "--memory-limit=200MB", "--threads=1"]) == 0


def test_a_bad_row_is_named_while_others_are_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", 4000)
    monkeypatch.setattr(lines, "CHUNK_BYTES", 4000)
    source(tmp_path, ["ann,mug,3,never", *(f"u{n},i{n},3,{n}" for n in range(20_000))])
    options = ["--time", "t", "--rating", "stars", "--threads", "4"]
    for _ in range(5):  # which of them are at work then is chance
        assert main(["convert", "csv", f"{tmp_path}/log.csv", f"{tmp_path}/out", *options]) == 2
        assert capsys.readouterr().err.startswith(f"error: {tmp_path}/log.csv, line 2: t 'never' ")
