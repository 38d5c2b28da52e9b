"""What every raw format offers, and the conversion that all of them share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_tools.atomic import clean_token, read_item_table, write_atomic
from dataset_tools.errors import DatasetError, UsageError
from dataset_tools.features import attach_features
from dataset_tools.files import progress
from dataset_tools.filters import Filters
from dataset_tools.log import Interaction, InteractionLog
from dataset_tools.report import Report

TEXT_COLUMNS = ("title", "brand", "categories", "price", "description")
IMAGES_NAME = "images.tsv"
PARTS = ("train", "valid", "test")


class Source:
    """A raw data set. A format is a subclass with the two iterators below."""

    item_columns: tuple[str, ...] = tuple(f"{name}:token_seq" for name in TEXT_COLUMNS)
    # Whether items without interactions are written unless the user asks otherwise.
    keeps_cold_items: bool = False
    # Unit of the timestamps (a key of dates.UNITS), or None where they only count up.
    time_unit: str | None = None

    def interactions(self, report: Report) -> Iterator[Interaction]:
        """Yield the interactions in file order; what is skipped goes to ``report``."""
        raise NotImplementedError

    def items(self, report: Report) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield ``(item token, values by column name)``; key ``image`` is a path or a url."""
        raise NotImplementedError

    def feature_items(self) -> list[str] | None:
        """The item that each row of an attached matrix belongs to, where the format says so."""
        return None

    def feature_files(self) -> dict[str, Path]:
        """Ready feature matrices that come with the data, by modality."""
        return {}


@dataclass(frozen=True)
class Summary:
    """What a conversion wrote."""

    folder: Path
    name: str
    users: int
    items: int
    interactions: int
    cold_items: int
    images: int
    modalities: tuple[str, ...]
    report: Report

    def lines(self) -> list[str]:
        """The summary for people."""
        cold = f" and {self.cold_items:,} without interactions" if self.cold_items else ""
        lines = [
            f"{self.folder}: {self.users:,} users, {self.items:,} items{cold}, "
            f"{self.interactions:,} interactions"
        ]
        if self.images:
            lines.append(f"  {self.images:,} items with a picture, listed in {IMAGES_NAME}")
        if self.modalities:
            lines.append(f"  features: {', '.join(self.modalities)}")
        return lines + [f"  left out or noted: {line}" for line in self.report.lines()]


def check_name(name: str) -> str:
    """A data set name that is safe as a file name; raises ``UsageError`` otherwise."""
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        raise UsageError(f"name {name!r}: use letters, digits and . _ + - only")
    return name


def convert(
    source: Source,
    output: Path,
    name: str | None = None,
    filters: Filters | None = None,
    features: Mapping[str, Path] | None = None,
    all_items: bool | None = None,
) -> Summary:
    """Write ``output/NAME.inter``, ``output/NAME.item``, pictures' places, attached features.

    Args:
        source: the raw data set.
        output: the folder of the new data set; its name is the default ``name``.
        filters: which interactions to keep.
        features: modality -> ready ``.npy`` file with rows in the order of the source's items.
        all_items: also write items without interactions; default: as the source has it.

    Raises:
        DatasetError: the raw files are damaged, or nothing is left after filtering.
    """
    name, report = check_name(name or output.resolve().name), Report()
    log = InteractionLog(progress(source.interactions(report), "interactions", "rows"), report)
    if not len(log):
        raise DatasetError("the source has no usable interaction: " + "; ".join(report.lines()))
    (filters or Filters()).apply(log, report)
    if not len(log):
        raise DatasetError("the filters leave no interaction: " + "; ".join(report.lines()))
    cold_too = source.keeps_cold_items if all_items is None else all_items
    warm = log.item_tokens()
    _write_interactions(log, output, name)
    features = {**source.feature_files(), **(features or {})}
    total, images = _write_items(source, output / f"{name}.item", warm, cold_too, report)
    for modality, path in features.items():
        order = source.feature_items() or _item_order(output / f"{name}.item")
        attach_features(output / "features", modality, path, order)
    return Summary(
        output,
        name,
        log.user_count(),
        len(warm),
        len(log),
        total - len(warm),
        images,
        tuple(features),
        report,
    )


def _write_interactions(log: InteractionLog, output: Path, name: str) -> None:
    """All interactions, and each part of a given split for ``benchmark_filename``."""
    write_atomic(output / f"{name}.inter", log.columns(), progress(log.rows(), "write", "rows"))
    for number, part in enumerate(PARTS):
        path = output / f"{name}.{part}.inter"
        if (log.part == number).any():
            write_atomic(path, log.columns(), log.rows(number))
        else:
            path.unlink(missing_ok=True)


def _item_order(item_path: Path) -> list[str]:
    return [row["item_id"] for row in read_item_table(item_path)[1]]


def _write_items(
    source: Source, path: Path, warm: Mapping[str, None], cold_too: bool, report: Report
) -> tuple[int, int]:
    """Write the ``.item`` file and the picture list; returns the numbers of their rows."""
    names = [column.rpartition(":")[0] for column in source.item_columns]
    images: dict[str, str] = {}

    def rows() -> Iterator[list[object]]:
        waiting = dict(warm)
        written: set[str] = set()
        for item, values in progress(source.items(report), "items", "items"):
            token = clean_token(item)
            if not token or token in written:
                report.skip("item records without an id or for an item already seen")
            elif token in waiting or cold_too:
                waiting.pop(token, None)
                written.add(token)
                if values.get("image"):
                    images[token] = str(values["image"])
                yield [token, *(values.get(column) for column in names)]
        for token in waiting:
            report.skip("items without any metadata")
            yield [token, *(None for _ in names)]

    spool = path.with_name(f".{path.name}.spool")
    try:
        total = write_atomic(spool, ["item_id:token", *source.item_columns], rows())
        _copy_used_columns(spool, path)
    finally:
        spool.unlink(missing_ok=True)
    image_path = path.parent / IMAGES_NAME
    if images:
        write_atomic(image_path, ["item_id:token", "image:token"], images.items())
    else:
        image_path.unlink(missing_ok=True)
    return total, len(images)


def _copy_used_columns(spool: Path, path: Path) -> None:
    columns, rows = read_item_table(spool)
    used = {"item_id"}
    for row in rows:
        used.update(name for name, text in row.items() if text)
    kept = [column for column in columns if column.name in used]
    _, rows = read_item_table(spool)
    write_atomic(path, list(map(str, kept)), ([row[c.name] for c in kept] for row in rows))
