"""MovieLens (Harper and Konstan 2015): the layouts of ml-100k, ml-1m and ml-10m, ml-latest."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dataset_tools.errors import UsageError
from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.dates import read_number
from dataset_tools.formats.delimited import allow_long_fields
from dataset_tools.formats.lines import FileLines, can_read_blocks, open_lines
from dataset_tools.formats.literals import clean_text, plain_id
from dataset_tools.interactions.interaction import Interaction
from dataset_tools.interactions.line_scan import LineScan, delimited_scan
from dataset_tools.sources.base import Source, is_header

Split = Callable[[str], list[str]]


def _split_csv(text: str) -> list[str]:
    allow_long_fields()
    return next(csv.reader([text]), [])


# ratings file -> film file, how a line of each is split
LAYOUTS: dict[str, tuple[str, Split, Split]] = {
    "u.data": ("u.item", lambda text: text.split("\t"), lambda text: text.split("|")),
    "ratings.dat": ("movies.dat", lambda text: text.split("::"), lambda text: text.split("::")),
    "ratings.csv": ("movies.csv", _split_csv, _split_csv),
}
DELIMITERS = {"u.data": "\t", "ratings.dat": "::", "ratings.csv": ","}


class MovieLens(Source):
    """A MovieLens folder; times are in seconds.

    Raises:
        UsageError: the folder has none of the three layouts.
    """

    name = "movielens"
    summary = "a MovieLens folder: ml-100k, ml-1m, ml-10m, ml-latest"
    reads = "folder"
    item_columns = ("title:token_seq", "categories:token_seq")

    def __init__(self, folder: Path) -> None:
        for ratings, (films, split_rating, split_film) in LAYOUTS.items():
            if (folder / ratings).is_file():
                self._ratings, self._films = folder / ratings, folder / films
                self._split_rating, self._split_film = split_rating, split_film
                return
        raise UsageError(f"{folder}: contains none of {', '.join(LAYOUTS)}")

    @property
    def interactions_path(self) -> Path:
        """The file of ratings."""
        return self._ratings

    def line_scan(self) -> LineScan | None:
        """Ratings are read by SQL."""
        if not can_read_blocks(self._ratings):
            return None
        columns = {"user": 0, "item": 1, "rating": 2, "time": 3}
        return delimited_scan(self._ratings, DELIMITERS[self._ratings.name], columns)

    def interactions(self, report: Report) -> Iterator[Interaction]:
        """Yield the ratings in file order."""
        return self.left_interactions(report)

    def left_interactions(
        self, report: Report, lines: FileLines | None = None
    ) -> Iterator[Interaction]:
        """As ``interactions``, of ``lines`` alone where they are given."""
        for line, text in open_lines(self._ratings, fault=report.undecodable, lines=lines):
            fields = self._split_rating(text)
            try:
                user, item, rating, time = fields[:4]
                stars, stamp = read_number(rating), read_number(time)
            except ValueError as error:
                if text.strip() and not is_header(line, fields):
                    report.bad("malformed ratings", self._ratings, line, f"malformed: {error}")
                continue
            yield Interaction(plain_id(user), plain_id(item), stamp, stars, line=line)

    def items(self, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the films with title and genres."""
        if not self._films.is_file():
            return
        genres = _genre_names(self._films.with_name("u.genre"))
        for line, text in open_lines(self._films, _encoding(self._films)):
            fields = self._split_film(text)
            if len(fields) < 3 or not fields[0].isdigit():
                if text.strip() and line > 1:
                    report.skip("malformed films", self._films, line)
                continue
            if self._films.name == "u.item":
                kinds = [
                    name for name, flag in zip(genres, fields[5:], strict=False) if flag == "1"
                ]
            else:
                kinds = [kind for kind in fields[-1].split("|") if kind != "(no genres listed)"]
            yield fields[0], {"title": clean_text(fields[1]), "categories": ", ".join(kinds)}


def _encoding(path: Path) -> str:
    """The older releases are Latin-1, the newer ones UTF-8."""
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _genre_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    rows = [text.split("|") for _, text in open_lines(path, _encoding(path)) if "|" in text]
    numbered = [row for row in rows if len(row) == 2 and row[1].strip().isdecimal()]
    return [name for name, _ in sorted(numbered, key=lambda row: int(row[1]))]
