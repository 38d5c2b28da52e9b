"""A raw format is one file: what lies in dataset_tools/sources is a source of `convert`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset_tools import sources
from dataset_tools.__main__ import main
from dataset_tools.errors import UsageError
from dataset_tools.sources.registry import known_sources, open_source
from tests.dataset_tools.sources.test_amazon import rows

PIPES = """
from dataset_tools import Interaction, Source


class Pipes(Source):
    name = "{name}"
    summary = "lines of user|item"
    reads = "file"
    option_names = ("sign",)
    item_columns = ()

    def __init__(self, path, sign="|"):
        super().__init__(path)
        self._sign = sign

    @classmethod
    def add_options(cls, parser):
        parser.add_argument("--sign", default="|", help="between the fields")

    def interactions(self, report):
        for line, text in enumerate(self.path.read_text().splitlines(), 1):
            yield Interaction(*text.split(self._sign), line=line)

    def items(self, report):
        yield from ()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that counts as part of dataset_tools.sources."""
    path = tmp_path / "sources"
    path.mkdir()
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(path)])
    known_sources.cache_clear()
    yield path
    known_sources.cache_clear()


def test_the_formats_that_there_are() -> None:
    assert list(known_sources()) == [
        *("amazon2014", "amazon2018", "amazon2023"),
        *("csv", "mmrec", "movielens", "p5", "parquet", "sequences"),
    ]
    assert all(source.summary for source in known_sources().values())


def test_one_file_is_a_source_of_convert(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "pipes_of_a_test.py").write_text(PIPES.format(name="pipes"))
    log = tmp_path / "log.txt"
    log.write_text("ann+mug\nann+cup\nbob+cup\n")
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    assert "pipes     lines of user|item" in capsys.readouterr().out
    assert main(["convert", "pipes", str(log), str(tmp_path / "shop"), "--sign", "+"]) == 0
    assert [list(row[:2]) for row in rows(tmp_path / "shop" / "shop.inter")] == [
        ["ann", "mug"],
        ["ann", "cup"],
        ["bob", "cup"],
    ]
    assert main(["convert", "pipes", str(folder), str(tmp_path / "other")]) == 2
    assert f"{folder}: source pipes needs a file, but this is a folder" in capsys.readouterr().err


def test_two_formats_of_one_name_are_a_mistake(folder: Path) -> None:
    (folder / "second_csv_of_a_test.py").write_text(PIPES.format(name="csv"))
    with pytest.raises(ValueError, match="both called 'csv'"):
        known_sources()


def test_an_unknown_format_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown source 'p6'; known: amazon2014, .*, sequences"):
        open_source("p6", tmp_path, {})


def test_options_of_others_are_not_handed_on(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user_id,item_id\na,b\n")
    options = {"delimiter": ",", "overwrite": True, "layout": "pairs"}
    assert open_source("csv", tmp_path / "log.csv", options).interactions_path.name == "log.csv"
