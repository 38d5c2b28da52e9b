"""One rule for the unit of time: in order, filters, inspection and what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset_tools.__main__ import main
from dataset_tools.errors import UsageError
from dataset_tools.formats.date_texts import AmbiguousDate
from dataset_tools.formats.dates import read_bound, read_time, unit_of
from tests.dataset_tools.sources.test_amazon import rows

DAY = 1609459200  # date -d 2021-01-01T00:00Z +%s
OPTIONS = ["--user", "u", "--item", "i", "--time", "t"]


def convert(tmp_path: Path, stamps: list[object], *options: str) -> int:
    log = tmp_path / "log.csv"
    log.write_text("u,i,t\n" + "".join(f"u,i{n},{t}\n" for n, t in enumerate(stamps)))
    return main(["convert", "csv", str(log), str(tmp_path / "out"), *OPTIONS, *options])


def stamps(tmp_path: Path) -> list[tuple[str, str]]:
    return [row[1:] for row in rows(tmp_path / "out" / "out.inter")]


@pytest.mark.parametrize(
    ("number", "unit"),
    [(17, None), (DAY, "s"), (DAY * 10**3, "ms"), (DAY * 10**6, "us"), (DAY * 10**9, "ns")],
)
def test_the_unit_is_told_by_size(number: int, unit: str | None) -> None:
    assert unit_of(number) == unit


@pytest.mark.parametrize(
    ("factor", "name"),
    [(1, "seconds"), (10**3, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")],
)
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (["--since", "2021-01-02"], "i1 i2"),
        (["--until", "2021-01-02"], "i0 i1"),
        (["--since", str((DAY + 86_400) * 1000), "--until", str(DAY + 86_400)], "i1"),
    ],
)
def test_filters_know_the_unit_of_the_column(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    factor: int,
    name: str,
    options: list[str],
    kept: str,
) -> None:
    assert convert(tmp_path, [(DAY + day * 86_400) * factor for day in range(3)], *options) == 0
    assert " ".join(item for item, _ in stamps(tmp_path)) == kept
    assert f"timestamps count {name} since 1970" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert f"in {name} since 1970" in said and "time: 2021-01-0" in said


def test_mixed_units_come_into_one_and_are_ordered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = [(DAY + 2) * 1000 + 5, "2021-01-01 00:00:01", DAY + 3]
    assert convert(tmp_path, mixed) == 0
    assert stamps(tmp_path) == [
        ("i0", "1609459202005"),
        ("i1", "1609459201000"),
        ("i2", "1609459203000"),
    ]
    said = capsys.readouterr().out
    assert "2 timestamps in seconds, turned into milliseconds" in said
    assert "timestamps count milliseconds since 1970, 2021-01-01 00:00" in said


def test_fractions_of_seconds_become_whole_milliseconds(tmp_path: Path) -> None:
    assert convert(tmp_path, [f"{DAY}.25", DAY * 1000 + 7]) == 0
    assert [stamp for _, stamp in stamps(tmp_path)] == ["1609459200250", "1609459200007"]


def test_inspection_says_that_units_are_mixed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").mkdir()
    head = "user_id:token\titem_id:token\ttimestamp:float\n"
    (tmp_path / "x" / "x.inter").write_text(f"{head}u\ti\t{DAY}\nu\tj\t{(DAY - 86400) * 1000}\n")
    assert main(["inspect", str(tmp_path / "x")]) == 0
    said = capsys.readouterr().out
    assert "time: 2020-12-31 00:00 to 2021-01-01 00:00, in seconds and milliseconds" in said
    assert "not all timestamps are in one unit" in said
    (tmp_path / "x" / "x.inter").write_text(f"{head}u\ti\t{DAY}\nu\tj\tsoon\n")
    assert main(["inspect", str(tmp_path / "x")]) == 2
    assert "x.inter, interaction 2: timestamp 'soon' is not a number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("2014", "'2014' is not a time; the timestamps are seconds since 1970"),
        ("01/02/2021", "neither a number nor a date"),
    ],
)
def test_a_bound_that_is_no_time_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, words: str
) -> None:
    assert convert(tmp_path, [DAY, DAY + 1], "--since", option) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_date_for_numbers_that_are_no_times_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for bound in ("2021-01-01", str(DAY)):
        assert convert(tmp_path, [1, 2, 3], "--until", bound) == 2
        assert "numbers from 1 to 3, not dates" in capsys.readouterr().err
    assert convert(tmp_path, [1, 2, 3], "--until", "2") == 0
    assert len(stamps(tmp_path)) == 2


def test_bounds_between_units() -> None:
    assert read_bound("2021-01-01", "ns", end=False) == DAY * 10**9
    assert read_bound(str(DAY * 1000), "s", end=True) == DAY
    assert read_bound("150", "s", end=True, span=(100, DAY)) == 150
    with pytest.raises(UsageError, match=r"numbers.*, not dates"):
        read_bound(str(DAY), None, end=False, span=(1, 3))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2021-01-01 00:00:01 UTC", DAY + 1),
        ("2021/1/1", DAY),
        ("2021-01-01T01:00+0100", DAY),
        ("2021-01-01T00:00:00,250", DAY + 0.25),
        ("1 Jan 2021", DAY),
        ("01-JAN-2021 12:00 AM", DAY),
        ("January 1st, 2021 1:30 pm", DAY + 13 * 3600 + 1800),
        ("Fri, 01 Jan 2021 00:00:00 GMT", DAY),
    ],
)
def test_dates_with_one_reading_are_read(text: str, seconds: float) -> None:
    assert read_time(text) == seconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("03/04/2024", "3 Apr 2024 or 4 Mar 2024; say which with --time-format '%d/%m/%Y' or"),
        ("03.04.2024 10:00", "or --time-format '%m.%d.%Y %H:%M'"),
        ("13/02/24 1:05 PM", "13 Feb 24.*'%d/%m/%y %I:%M %p'"),
        ("02-13-2024 10:00:00.5", "13 Feb 2024.*'%m-%d-%Y %H:%M:%S.%f'"),
    ],
)
def test_dates_of_numbers_alone_show_their_readings(text: str, words: str) -> None:
    with pytest.raises(AmbiguousDate, match=words):
        read_time(text)


@pytest.mark.parametrize("text", ["31/31/2024", "2021-02-30", "2021-13-01", "1 Foo 2021", "x"])
def test_no_dates(text: str) -> None:
    with pytest.raises(ValueError):
        read_time(text)


def test_day_first_with_its_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(tmp_path, ["03/04/2024", "04/04/2024"], "--skip-bad-rows") == 2
    said = capsys.readouterr().err
    assert "log.csv, line 2: t '03/04/2024' could be 3 Apr 2024 or 4 Mar 2024" in said
    assert convert(tmp_path, ["03/04/2024", "04/04/2024"], "--time-format", "%d/%m/%Y") == 0
    assert [stamp for _, stamp in stamps(tmp_path)] == ["1712102400", "1712188800"]


def test_a_format_that_fits_nothing_is_to_blame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ([], ["--skip-bad-rows"]):
        assert convert(tmp_path, ["2024-04-03"], "--time-format", "%d/%m/%Y", *options) == 2
        said = capsys.readouterr().err
        assert "'2024-04-03' is not written as --time-format '%d/%m/%Y' says" in said
        assert "line 2" in said


@pytest.mark.parametrize("bound", ["31 July 2014", "July 31, 2014", "2014-07-31", "2014-W31-4"])
def test_a_day_ends_with_its_last_fraction_of_a_second(tmp_path: Path, bound: str) -> None:
    # date -d 2014-08-01T00:00Z +%s = 1406851200
    assert convert(tmp_path, ["1406801999.5", "1406851199.5", 1406851200], "--until", bound) == 0
    assert [item for item, _ in stamps(tmp_path)] == ["i0", "i1"]


def test_a_bound_with_a_time_of_day_is_that_moment(tmp_path: Path) -> None:
    moments = ["2014-07-31 10:00", "2014-07-31 10:01"]
    assert convert(tmp_path, moments, "--until", "2014-07-31T12:00+02:00") == 0
    assert [item for item, _ in stamps(tmp_path)] == ["i0"]


@pytest.mark.parametrize("day", ["1965-01-02", "9999-12-31"])
def test_dates_far_from_now_are_shown_as_dates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], day: str
) -> None:
    assert convert(tmp_path, [day, day]) == 0
    assert f"seconds since 1970, {day} 00:00 to {day} 00:00 UTC" in capsys.readouterr().out


def test_dates_that_nanoseconds_do_not_reach(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(tmp_path, ["9999-12-31", DAY * 10**9]) == 2
    assert "9999-12-31 00:00 beside stamps in nanoseconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        ("03/04/2024", "day and month could change places; write the year first"),
        ("2024-02-30", "'2024-02-30' is not a date: day is out of range for month"),
    ],
)
def test_a_bound_that_is_no_date_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bound: str, said: str
) -> None:
    assert convert(tmp_path, ["2024-01-01"], "--since", bound) == 2
    err = capsys.readouterr().err
    assert said in err and "--time-format" not in err
    assert convert(tmp_path, [bound]) == 2
    assert f"log.csv, line 2: t '{bound}'" in capsys.readouterr().err
