"""Plain sequence files: the three layouts, and how they are told apart."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from dataset_tools.__main__ import main
from tests.dataset_tools.sources.test_amazon import rows


def convert(tmp_path: Path, text: str, *options: object, name: str = "Beauty.txt") -> int:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    out = tmp_path / "beauty"
    arguments = ["convert", "sequences", str(path), str(out), "--overwrite"]
    return main([*arguments, *map(str, options)])


def written(tmp_path: Path) -> list[tuple[str, ...]]:
    return rows(tmp_path / "beauty" / "beauty.inter")


EVENTS = [("1", "5", "1"), ("1", "3", "2"), ("1", "5", "3"), ("2", "3", "1"), ("2", "7", "2")]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("1 5 3 5\n2 3 7\n", []),
        ("\ufeff1\t5\t3\t5\r\n2\t3\t7\r\n", []),
        ("1 5,3,5\n\n2 3,7\n", ["--layout", "users"]),
        ("1 5\n1 3\n1 5\n2 3\n2 7\n", []),
        ("1 5\n2 3\n1 3\n2 7\n1 5\n", ["--layout", "pairs"]),
        ("5 3 5\n3 7\n", ["--layout", "items"]),
    ],
)
@pytest.mark.parametrize("name", ["Beauty.txt", "Beauty.txt.gz"])
def test_each_layout(tmp_path: Path, text: str, options: list[str], name: str) -> None:
    assert convert(tmp_path, text, *options, name=name) == 0
    assert sorted(written(tmp_path)) == sorted(EVENTS)


def test_two_fields_without_a_user_again_are_users(tmp_path: Path) -> None:
    assert convert(tmp_path, "1 5\n2 5\n") == 0
    assert written(tmp_path) == [("1", "5", "1"), ("2", "5", "1")]


def test_a_catalogue_gives_texts(tmp_path: Path) -> None:
    catalogue = tmp_path / "items.csv"
    catalogue.write_text("id,name\n5,Mug\n9,Cup\n")
    more = ["--items", catalogue, "--item-id", "id", "--columns", "title=name"]
    assert convert(tmp_path, "1 5 3\n", *more) == 0
    out = tmp_path / "beauty" / "beauty.item"
    assert rows(out) == [("5", "Mug"), ("9", "Cup"), ("3", "")]


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("1 5 3\n2\n", [], "line 2: users without items"),
        (
            "1 5\n1 3 4\n",
            ["--layout", "pairs"],
            "line 2: 3 fields instead of two, a user and an item",
        ),
    ],
)
def test_lines_that_are_none(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    options: list[str],
    words: str,
) -> None:
    assert convert(tmp_path, text, *options) == 2
    assert words in capsys.readouterr().err
    assert convert(tmp_path, text, *options, "--skip-bad-rows") == 0
    assert "(first: Beauty.txt line 2)" in capsys.readouterr().out


def test_a_user_on_two_lines_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(tmp_path, "1 5 3\n2 4 4\n1 7\n") == 2
    said = capsys.readouterr().err
    assert "Beauty.txt, line 3: user 1 is already on line 1" in said and "--layout" in said


def test_a_folder_or_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "sequences", str(tmp_path), str(tmp_path / "x")]) == 2
    assert "needs a file, but this is a folder" in capsys.readouterr().err
    assert convert(tmp_path, "\n\n") == 2
    assert "no usable interaction: it has none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ('{"1": [5, 3]}\n', "'{\"1\":'"),
        ("1 [5, 3]\n", "'[5'"),
        ("1: 5 3\n", "'1:'"),
        ("1 '5' '3'\n", "\"'5'\""),
    ],
)
def test_another_notation_is_no_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, sign: str
) -> None:
    assert convert(tmp_path, text) == 2
    assert f"Beauty.txt, line 1: {sign} has a bracket" in capsys.readouterr().err


@pytest.mark.parametrize("header", ["user_id item_id", "UserID\tItemID", "uid,sid"])
def test_a_header_is_no_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], header: str
) -> None:
    assert convert(tmp_path, f"{header}\n1 5\n1 3\n") == 0
    assert written(tmp_path) == [("1", "5", "1"), ("1", "3", "2")]
    assert "1 header (first: Beauty.txt line 1)" in capsys.readouterr().out


def test_a_table_of_events_is_told_from_a_list_of_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(tmp_path, "1 5 4.0\n1 3 3.0\n") == 2
    assert "read by 'convert csv'" in capsys.readouterr().err
