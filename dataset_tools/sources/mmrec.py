"""The MMRec toolbox (Zhou 2023): ``NAME.inter`` with its split, and ``*_feat.npy`` matrices.

Row i of a feature matrix is item number i. Where ``i_id_mapping.csv`` and ``u_id_mapping.csv``
are there, users and items get their original names back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dataset_tools.errors import DatasetError, UsageError
from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.dates import read_number
from dataset_tools.formats.lines import open_lines
from dataset_tools.formats.literals import clean_text, plain_id
from dataset_tools.formats.tables import read_rows
from dataset_tools.interactions.interaction import Interaction
from dataset_tools.sources.base import TEXT_COLUMNS, Source

NEEDED = ("userID", "itemID")


class MMRec(Source):
    """A data folder of MMRec.

    Raises:
        UsageError: not exactly one ``.inter`` file is there.
        DatasetError: its header lacks a column, or a mapping file is malformed.
    """

    name = "mmrec"
    summary = "a data folder of the MMRec toolbox, with its split and its *_feat.npy"
    reads = "folder"
    keeps_cold_items = True

    def __init__(self, folder: Path) -> None:
        found = sorted(folder.glob("*.inter"))
        if len(found) != 1:
            raise UsageError(f"{folder}: {len(found)} files end in .inter, one is needed")
        self._path, self._folder = found[0], folder
        self._users = _names(folder / "u_id_mapping.csv", "userID")
        self._items = _names(folder / "i_id_mapping.csv", "itemID")

    @property
    def interactions_path(self) -> Path:
        """``NAME.inter``."""
        return self._path

    def interactions(self, report: Report) -> Iterator[Interaction]:
        """Yield the rows with their part: 0 training, 1 validation, 2 test."""
        header: list[str] = []
        for line, text in open_lines(self._path, fault=report.undecodable):
            if not text.strip():
                continue
            fields = text.split("\t")
            if not header:
                header = [name.partition(":")[0] for name in fields]
                missing = [name for name in NEEDED if name not in header]
                if missing:
                    raise DatasetError(f"{self._path}, line 1: no column {', '.join(missing)}")
                continue
            try:
                if len(fields) != len(header):
                    raise ValueError(f"{len(fields)} fields, the header has {len(header)}")
                yield self._interaction(dict(zip(header, fields, strict=True)), line)
            except ValueError as error:
                report.bad("malformed interactions", self._path, line, f"malformed: {error}")

    def _interaction(self, row: Mapping[str, str], line: int) -> Interaction:
        part = int(read_number(row["x_label"])) if "x_label" in row else None
        user, item = plain_id(row["userID"]), plain_id(row["itemID"])
        if part not in (None, 0, 1, 2):
            raise ValueError(f"x_label {part}")
        return Interaction(
            self._users.get(user, user),
            self._items.get(item, item),
            read_number(row["timestamp"]) if "timestamp" in row else None,
            read_number(row["rating"]) if "rating" in row else None,
            part,
            line=line,
        )

    def feature_files(self) -> dict[str, Path]:
        """``text_feat.npy``, ``image_feat.npy`` and the like, by modality."""
        return {
            path.name.removesuffix("_feat.npy"): path
            for path in sorted(self._folder.glob("*_feat.npy"))
        }

    def feature_items(self) -> list[str]:
        """The item of each row, by number."""
        if not self._items:
            lenient = Report(skip_undecodable=True)  # what is wrong was said when it was read
            numbers = [int(row.item) for row in self.interactions(lenient) if row.item.isdecimal()]
            return [str(number) for number in range(1 + max(numbers, default=-1))]
        return [self._items[number] for number in sorted(self._items, key=int)]

    def items(self, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the items in the order of the matrix rows, with texts from ``meta-*.csv``."""
        texts: dict[str, dict[str, str]] = {}
        for path in sorted(self._folder.glob("meta-*.csv")):
            for _, row in read_rows(path, report):
                number = plain_id(row.get("itemID"))
                item = plain_id(row.get("asin")) or self._items.get(number, number)
                texts[item] = {name: clean_text(row.get(name)) for name in TEXT_COLUMNS}
        for item in self.feature_items():
            yield item, texts.get(item, {})


def _names(path: Path, number_column: str) -> dict[str, str]:
    if not path.is_file():
        return {}
    names: dict[str, str] = {}
    for line, row in read_rows(path, Report(skip_bad_rows=False)):
        number = plain_id(row.pop(number_column, None))
        if not number.isdecimal() or not row:
            raise DatasetError(f"{path}, line {line}: no number under {number_column}, or no name")
        names[number] = plain_id(next(iter(row.values())))
    return names
