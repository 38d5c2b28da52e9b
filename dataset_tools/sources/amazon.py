"""What the three editions of the Amazon review data have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from dataset_tools.errors import UsageError
from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.dates import read_number, read_stamp
from dataset_tools.formats.lines import FileLines, can_read_blocks, open_lines
from dataset_tools.formats.literals import NO_TEXT, parse_json, plain_id, texts_of
from dataset_tools.formats.record_blocks import map_records
from dataset_tools.formats.records import read_records
from dataset_tools.interactions.interaction import Interaction
from dataset_tools.interactions.line_scan import LineScan, delimited_scan, json_scan
from dataset_tools.sources.base import Source, is_header

MAX_PRICE = 40
_COLUMNS = ("user", "item", "rating", "time")


class Amazon(Source):
    """Reviews and metadata of one product category.

    Args:
        path: the folder of the two files, or the review file itself.
        reviews: the review file, where the folder has several.
        meta: the metadata file, where it is elsewhere or the folder has several.

    Raises:
        UsageError: no review file is there, or it is not clear which one is meant.
    """

    option_names = ("reviews", "meta")
    review_patterns: ClassVar[Sequence[str]]
    keys: ClassVar[tuple[str, str, str, str]]  # user, item, rating, time
    meta_key: ClassVar[str]
    csv_order: ClassVar[tuple[int, int, int, int]]  # where these four stand in a ratings file
    json_start: ClassVar[str] = ""  # how a line begins that can be nothing but JSON

    def __init__(self, path: Path, reviews: Path | None = None, meta: Path | None = None) -> None:
        folder = path if path.is_dir() else path.parent
        if reviews is None:
            reviews = path if path.is_file() else _only(folder, self.review_patterns, "--reviews")
        self._reviews = reviews
        self._meta = meta or _only(folder, ("meta_*.json*",), "--meta", needed=False)

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add the options that name the two files."""
        parser.add_argument("--reviews", type=Path, help="the review file, if several fit")
        parser.add_argument("--meta", type=Path, help="the metadata file, if elsewhere")

    def parse(self, text: str) -> dict[str, Any]:
        """One line of the files; raises ``ValueError`` when it is malformed."""
        return parse_json(text)

    @property
    def interactions_path(self) -> Path:
        """The review file, or the file of ratings."""
        assert self._reviews is not None
        return self._reviews

    def line_scan(self) -> LineScan | None:
        """Reviews and ratings are read by SQL."""
        path = self.interactions_path
        if not can_read_blocks(path):
            return None
        if ".csv" in path.name:
            return delimited_scan(path, ",", dict(zip(_COLUMNS, self.csv_order, strict=True)))
        keys = dict(zip(_COLUMNS, self.keys, strict=True))
        return json_scan(path, keys, start=self.json_start)

    def interactions(self, report: Report) -> Iterator[Interaction]:
        """Yield the reviews in file order, with their ratings and times."""
        return self.left_interactions(report)

    def left_interactions(
        self, report: Report, lines: FileLines | None = None
    ) -> Iterator[Interaction]:
        """As ``interactions``, of ``lines`` alone where they are given."""
        if ".csv" in self.interactions_path.name:
            return self._ratings(self.interactions_path, report, lines)
        return self._review_lines(self.interactions_path, report, lines)

    def _review_lines(
        self, path: Path, report: Report, lines: FileLines | None
    ) -> Iterator[Interaction]:
        user, item, rating, time = self.keys
        for line, record in read_records(path, self.parse, report, "reviews", lines=lines):
            who, what = plain_id(record.get(user)), plain_id(record.get(item) or record.get("asin"))
            if not who or not what or record.get(time) is None:
                report.bad(f"reviews without {user}, {item} or {time}", path, line)
                continue
            try:
                stars = record.get(rating)
                stars = None if stars is None else read_number(stars)
                stamp, dated = read_stamp(record[time])
            except ValueError as error:
                report.bad(f"reviews with an unreadable {rating} or {time}", path, line, str(error))
                continue
            if stars is None:
                report.skip(f"reviews without {rating}, kept", path, line)
            yield Interaction(who, what, stamp, stars, dated=dated, line=line)

    def _ratings(
        self, path: Path, report: Report, lines: FileLines | None
    ) -> Iterator[Interaction]:
        for line, text in open_lines(path, fault=report.undecodable, lines=lines):
            fields = [field.strip() for field in text.split(",")]
            if not any(fields):
                continue
            try:
                user, item, rating, time = (fields[at] for at in self.csv_order)
                stars, stamp = read_number(rating), read_number(time)
            except (IndexError, ValueError) as error:
                if not is_header(line, fields):
                    report.bad("malformed ratings", path, line, f"malformed: {error}")
                continue
            yield Interaction(plain_id(user), plain_id(item), stamp, stars, line=line)

    def items(self, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the metadata records in file order."""
        path = self._meta
        if path is None:
            return iter(())
        # Whatever a catalogue says of one item, the others and the interactions stand.
        what = "metadata records"
        return map_records(path, self.parse, self._item, report, what, self.processes)

    def _item(
        self, line: int, record: Mapping[str, Any], report: Report
    ) -> tuple[str, Mapping[str, Any]] | None:
        assert self._meta is not None
        item = plain_id(record.get(self.meta_key))
        if item:
            return item, self.item_values(record, RecordTexts(report, self._meta, line))
        report.skip(f"metadata records without {self.meta_key}", self._meta, line)
        return None

    def item_values(self, record: Mapping[str, Any], texts: RecordTexts) -> dict[str, str]:
        """Text columns and ``image`` of one metadata record; what cannot be read is noted."""
        raise NotImplementedError


def _only(folder: Path, patterns: Sequence[str], option: str, needed: bool = True) -> Path | None:
    """The one file of the first pattern that fits any."""
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if pattern != "meta_*.json*":
            found = [path for path in found if not path.name.startswith("meta_")]
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise UsageError(f"{folder}: several files fit ({names}); choose one with {option}")
        if found:
            return found[0]
    if needed:
        raise UsageError(f"{folder}: no file like {' or '.join(patterns)}; name it with {option}")
    return None


class RecordTexts:
    """The texts of one metadata record; a field that holds none is counted with its line."""

    def __init__(self, report: Report, path: Path, line: int) -> None:
        self._place = (path, line)
        self._report = report

    def say(self, reason: str) -> None:
        """Count this record under ``reason``."""
        self._report.skip(reason, *self._place)

    def text(self, record: Mapping[str, Any], *names: str, joiner: str = ", ") -> str:
        """The texts of the first of these fields that has any."""
        for name in names:
            if (value := record.get(name)) is None:
                continue
            try:
                texts = [text for text in texts_of(value) if text not in NO_TEXT]
            except TypeError:
                self.say(f"metadata fields {name!r} that are not text")
                continue
            if texts:
                return joiner.join(texts)
        return ""

    def price(self, record: Mapping[str, Any]) -> str:
        """The price as it is written; page code in its place is dropped."""
        price = self.text(record, "price")
        if any(map(str.isdigit, price)) and len(price) <= MAX_PRICE and not set("{};") & set(price):
            return price
        if price and price != "—":
            self.say("prices that are not numbers")
        return ""
