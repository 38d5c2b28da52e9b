"""What the three editions of the Amazon review data have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from dataset_tools.dates import read_number
from dataset_tools.errors import UsageError
from dataset_tools.files import open_lines
from dataset_tools.literals import parse_json
from dataset_tools.log import Interaction
from dataset_tools.records import read_records
from dataset_tools.report import Report
from dataset_tools.sources.base import Source


class Amazon(Source):
    """Reviews and metadata of one product category.

    Args:
        path: the folder of the two files, or the review file itself.
        reviews: the review file, where the folder has several.
        meta: the metadata file, where it is elsewhere or the folder has several.

    Raises:
        UsageError: no review file is there, or it is not clear which one is meant.
    """

    review_patterns: ClassVar[Sequence[str]]
    keys: ClassVar[tuple[str, str, str, str]]  # user, item, rating, time
    meta_key: ClassVar[str]
    csv_order: ClassVar[tuple[int, int, int, int]]  # where these four stand in a ratings file

    def __init__(self, path: Path, reviews: Path | None = None, meta: Path | None = None) -> None:
        folder = path if path.is_dir() else path.parent
        if reviews is None:
            reviews = path if path.is_file() else _only(folder, self.review_patterns, "--reviews")
        self._reviews = reviews
        self._meta = meta or _only(folder, ("meta_*.json*",), "--meta", needed=False)

    def parse(self, text: str) -> dict[str, Any]:
        """One line of the files; raises ``ValueError`` when it is malformed."""
        return parse_json(text)

    def interactions(self, report: Report) -> Iterator[Interaction]:
        """Yield the reviews in file order, with their ratings and times."""
        assert self._reviews is not None
        if ".csv" in self._reviews.name:
            return self._ratings(self._reviews, report)
        return self._review_lines(self._reviews, report)

    def _review_lines(self, path: Path, report: Report) -> Iterator[Interaction]:
        user, item, rating, time = self.keys
        for line, record in read_records(path, self.parse, report, "reviews"):
            try:
                yield Interaction(
                    record[user],
                    record.get(item) or record["asin"],
                    read_number(record[time]),
                    None if record.get(rating) is None else float(record[rating]),
                )
            except (KeyError, ValueError, TypeError):
                report.skip(f"reviews without {user}, {item} or {time}", path, line)

    def _ratings(self, path: Path, report: Report) -> Iterator[Interaction]:
        for line, text in open_lines(path):
            fields = text.split(",")
            try:
                user, item, rating, time = (fields[at] for at in self.csv_order)
                yield Interaction(user, item, read_number(time), float(rating))
            except (IndexError, ValueError):
                if line > 1:  # the first line may be a header
                    report.skip("malformed ratings", path, line)

    def items(self, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the metadata records in file order."""
        if self._meta is None:
            return
        for line, record in read_records(self._meta, self.parse, report, "metadata records"):
            if record.get(self.meta_key):
                yield str(record[self.meta_key]), self.item_values(record, report)
            else:
                report.skip(f"metadata records without {self.meta_key}", self._meta, line)

    def item_values(self, record: Mapping[str, Any], report: Report) -> dict[str, str]:
        """Text columns and ``image`` of one metadata record."""
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


def first_text(values: object, *keys: str) -> str:
    """The first text in a list, or under the first present key of its first mapping."""
    for value in values if isinstance(values, list) else [values]:
        if isinstance(value, dict):
            value = next((value[key] for key in keys if value.get(key)), None)
        if isinstance(value, str) and value:
            return value
    return ""
