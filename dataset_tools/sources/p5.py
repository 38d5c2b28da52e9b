"""The layout of P5 and of the published fMRLRec code.

``datamaps.json`` (ids as text), ``sequential_data.txt`` (a user a line, items in time order),
where there are texts ``meta.json.gz`` (a Python literal a line; ``meta.json`` too) and, where
there are pictures, ``item2img_dict.pkl``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset_tools.errors import DatasetError, UsageError
from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.lines import open_lines
from dataset_tools.formats.literals import clean_text, parse_literal, plain_id
from dataset_tools.formats.pickles import read_plain_pickle
from dataset_tools.formats.records import read_records
from dataset_tools.interactions.interaction import Interaction
from dataset_tools.sources.base import TEXT_COLUMNS, Source

FILES = ("datamaps.json", "sequential_data.txt")
META_FILES = ("meta.json.gz", "meta.json")
KNOWN_KEYS = {"asin", "title", "brand", "categories", "category", "price", "description", "imUrl"}


class P5(Source):
    """A folder in the P5 layout; users and items keep their original names.

    Raises:
        UsageError: a file of the layout is missing.
        DatasetError: a file is damaged; the message has file and line.
    """

    name = "p5"
    summary = (
        "the P5 layout: datamaps.json, sequential_data.txt, and meta.json.gz where there is one"
    )
    reads = "folder"
    keeps_cold_items = True

    def __init__(self, folder: Path) -> None:
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise UsageError(
                f"{folder}: no {', '.join(missing)}; a P5 folder has {' and '.join(FILES)}, and "
                f"{META_FILES[0]} where its items have texts"
            )
        self._folder = folder
        maps = _read_maps(folder / FILES[0])
        self._user_of = _names_by_id(maps, "user", folder / FILES[0])
        self._item_of = _names_by_id(maps, "item", folder / FILES[0])
        self._records: dict[str, dict[str, Any]] | None = None
        self._meta = next((folder / name for name in META_FILES if (folder / name).is_file()), None)

    @property
    def interactions_path(self) -> Path:
        """``sequential_data.txt``."""
        return self._folder / FILES[1]

    def feature_items(self) -> list[str]:
        """Rows of a ready matrix stand in the order of the numeric ids."""
        return [self._item_of[number] for number in sorted(self._item_of, key=int)]

    def interactions(self, report: Report) -> Iterator[Interaction]:
        """Yield each user's items with timestamps 1, 2, 3, ..."""
        path = self.interactions_path
        first_line: dict[str, int] = {}
        for line, text in open_lines(path, fault=report.undecodable):
            user, *items = text.split() or [""]
            if not user:
                continue
            if user in first_line:
                raise DatasetError(
                    f"{path}, line {line}: user {user} is already on line {first_line[user]}; "
                    "join the two lines in time order or remove one"
                )
            first_line[user] = line
            if user not in self._user_of:
                report.bad("users that datamaps.json does not know", path, line)
                continue
            if not items:
                report.bad("users without items", path, line)
            yield from self._events(user, items, report, path, line)

    def _events(
        self, user: str, items: list[str], report: Report, path: Path, line: int
    ) -> Iterator[Interaction]:
        turn = 0
        for item in items:
            if item not in self._item_of:
                report.bad("interactions with an item that datamaps.json lacks", path, line)
                continue
            turn += 1
            yield Interaction(self._user_of[user], self._item_of[item], turn, line=line)

    @property
    def item_columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """The usual text columns; in files without any, the text keys that there are."""
        records = self._read_records(Report())
        if any(record.get(name) for record in records.values() for name in TEXT_COLUMNS):
            return Source.item_columns
        keys = {key for record in records.values() for key in record} - {"image"}
        return tuple(f"{key}:token_seq" for key in sorted(keys))

    def items(self, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the items in the order of their numeric ids; all of them, described or not."""
        self._records = None
        records = self._read_records(report)
        images = _read_images(self._folder / "item2img_dict.pkl")
        for item in self.feature_items():
            values = records.get(item)
            if values is None:
                report.skip("items without any metadata")
            yield item, {"image": images.get(item), **(values or {})}

    def _read_records(self, report: Report) -> dict[str, dict[str, Any]]:
        if self._records is None:
            self._records = dict(self._parse_records(report))
        return self._records

    def _parse_records(self, report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
        path = self._meta
        if path is None:
            return
        lenient = replace(report, skip_bad_rows=True)
        known, seen = set(self._item_of.values()), set()
        for line, record in read_records(path, parse_literal, lenient, "metadata records"):
            item = plain_id(record.get("asin"))
            if item not in known:
                report.skip("metadata records of unknown items or without asin", path, line)
            elif item in seen:
                report.skip("further metadata records of the same item", path, line)
            else:
                seen.add(item)
                yield item, _columns(record)


def _columns(record: Mapping[str, Any]) -> dict[str, str]:
    columns = {name: clean_text(record.get(name)) for name in TEXT_COLUMNS}
    columns["categories"] = columns["categories"] or clean_text(record.get("category"))
    others = {
        key: clean_text(value)
        for key, value in record.items()
        if key not in KNOWN_KEYS and key.isidentifier() and isinstance(value, str)
    }
    return {key: text for key, text in {**others, **columns}.items() if text}


def _read_maps(path: Path) -> dict[str, Any]:
    try:
        maps = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not JSON ({error})") from None
    if not isinstance(maps, dict):
        raise DatasetError(f"{path}: not a JSON object")
    return maps


def _names_by_id(maps: Mapping[str, Any], kind: str, path: Path) -> dict[str, str]:
    """Numeric id -> original name, from ``id2KIND`` or, where that is missing, ``KIND2id``."""
    direct, inverse = maps.get(f"id2{kind}"), maps.get(f"{kind}2id")
    if isinstance(direct, dict):
        pairs = [(plain_id(number), plain_id(name)) for number, name in direct.items()]
    elif isinstance(inverse, dict):
        pairs = [(plain_id(number), plain_id(name)) for name, number in inverse.items()]
    else:
        raise DatasetError(f"{path}: neither 'id2{kind}' nor '{kind}2id' is there")
    names = dict(pairs)
    for number, _ in pairs:
        if not number.isdecimal():
            raise DatasetError(f"{path}: {kind} id {number!r} is not a number")
    if len(names) < len(pairs) or len(set(names.values())) < len(names):
        raise DatasetError(f"{path}: two {kind}s share an id or a name")
    return names


def _read_images(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    content = read_plain_pickle(path)
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: not a dictionary of item -> picture")
    images = {}
    for item, image in content.items():
        if not isinstance(image, str):  # lists of lists of one list would be endless as a text
            raise DatasetError(f"{path}: the picture of {item[:80]!r} is not text")
        images[item] = image
    return images
