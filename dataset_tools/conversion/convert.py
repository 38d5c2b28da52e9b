"""The conversion that all raw formats share: a source to a dataset's files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dataset_tools.conversion.publish import publish, staging
from dataset_tools.errors import DatasetError, FeatureError, UsageError
from dataset_tools.features import attach_features, list_modalities, read_items
from dataset_tools.files.dataset_folder import (
    FEATURES_NAME,
    IMAGES_NAME,
    PARQUET_SUFFIX,
    parquet_form,
)
from dataset_tools.formats.atomic_files import (
    MAX_FIELD,
    clean_token,
    read_item_table,
    write_lines,
    write_table,
)
from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.dates import UNIT_NAMES, show_stamp
from dataset_tools.interactions.database import Database, Resources, open_database
from dataset_tools.interactions.filters import Filters
from dataset_tools.interactions.log import InteractionLog, LogFile
from dataset_tools.progress import progress
from dataset_tools.sources.base import Source

PARTS = ("train", "valid", "test")
# Where the database may put what memory cannot hold, inside the staged folder.
SPILL_NAME = ".spill"


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
    times: str = ""
    kept_features: tuple[str, ...] = ()
    removed_copies: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The summary for the user."""
        cold = f" and {self.cold_items:,} without interactions" if self.cold_items else ""
        lines = [
            f"{self.folder}: {self.users:,} users, {self.items:,} items{cold}, "
            f"{self.interactions:,} interactions"
        ]
        if self.times:
            lines.append(f"  {self.times}")
        if self.images:
            lines.append(f"  {self.images:,} items with a picture, listed in {IMAGES_NAME}")
        if self.modalities:
            lines.append(f"  features: {', '.join(self.modalities)}")
        if self.kept_features:
            names = ", ".join(self.kept_features)
            lines.append(
                f"  kept from before: the features {names}; where texts, pictures or items have "
                "changed, encode them again with --overwrite"
            )
        if self.removed_copies:
            lines.append(
                f"  removed, since they held the older rows: {', '.join(self.removed_copies)}; "
                f"`python -m dataset_tools parquet {self.folder}` makes new ones"
            )
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
    overwrite: bool = False,
    skip_bad_rows: bool | None = None,
    resources: Resources | None = None,
) -> Summary:
    """Write ``output/NAME.inter``, ``output/NAME.item``, the list of pictures, attached features.

    All of it appears at once, or nothing does and what was there stays.

    Args:
        source: the raw data set.
        output: the folder of the new data set; its name is the default ``name``.
        filters: which interactions to keep.
        features: modality -> ready ``.npy`` file with rows in the order of the source's items.
        all_items: also write items without interactions; default: as the source has it.
        overwrite: replace a data set of that name; features stay unless new ones are attached.
        skip_bad_rows: count rows that cannot be used; default: as the source has it.
        resources: the memory and threads that reading and choosing interactions may use, and the
            processes that read a large catalogue.

    Raises:
        UsageError: the data set is already there, or a bad row is not skipped.
        DatasetError: the raw files are damaged, or nothing is left after filtering.
        MemoryLimitError: neither memory nor disk suffice.
    """
    name = check_name(name or output.resolve().name)
    skipping = source.skips_bad_rows if skip_bad_rows is None else skip_bad_rows
    report = Report(skip_bad_rows=skipping, skip_undecodable=bool(skip_bad_rows))
    resources = resources or Resources()
    source.processes = resources.processes
    check_free(output, name, overwrite)
    with (
        staging(output) as stage,
        open_database(stage.folder / SPILL_NAME, resources) as database,
    ):
        log = _read_log(source, filters or Filters(), report, database)
        cold_too = source.keeps_cold_items if all_items is None else all_items
        warm = log.item_tokens()
        features = {**source.feature_files(), **(features or {})}
        with _meanwhile(database, lambda: _write_interactions(log, stage.folder, name)):
            items_path = stage.folder / f"{name}.item"
            total, images = _write_items(source, items_path, warm, cold_too, report)
        kept = _attach_all(source, features, stage.folder, name, output / FEATURES_NAME)
        check_free(output, name, overwrite)
        replaced = [path.name for path in dataset_files(output, name)]
        summary = Summary(
            output,
            name,
            log.user_count(),
            len(warm),
            len(log),
            total - len(warm),
            images,
            tuple(features),
            report,
            _times(log),
            kept,
            tuple(name for name in replaced if name.endswith(PARQUET_SUFFIX)),
        )
        database.close()
        shutil.rmtree(stage.folder / SPILL_NAME, ignore_errors=True)
        publish(stage, replaced)
    return summary


def dataset_files(folder: Path, name: str) -> list[Path]:
    """The files of a data set that a conversion takes the place of and that are there.

    That is what it writes, features aside, and Parquet forms, which would be those of other rows.
    """
    atomic = [f"{name}.inter", f"{name}.item", *(f"{name}.{part}.inter" for part in PARTS)]
    names = [*atomic, *(parquet_form(file).name for file in atomic), IMAGES_NAME]
    return [path for path in (folder / file for file in names) if path.is_file()]


def check_free(folder: Path, name: str, overwrite: bool) -> None:
    """Raise ``UsageError`` where a data set would be replaced and that was not asked for."""
    there = [] if overwrite else dataset_files(folder, name)
    if there:
        modalities = ", ".join(list_modalities(folder / FEATURES_NAME))
        stay = f"; its features ({modalities}) stay as they are" if modalities else ""
        raise UsageError(
            f"{there[0]}: already there; --overwrite replaces "
            f"{', '.join(path.name for path in there)}{stay}"
        )


def _read_log(
    source: Source, filters: Filters, report: Report, database: Database
) -> InteractionLog:
    log = InteractionLog(_log_files(source, report, database), report, database)
    if not len(log):
        said = "; ".join(report.lines()) or "it has none"
        raise DatasetError(f"the source has no usable interaction: {said}")
    filters.apply(log, report)
    if not len(log):
        raise DatasetError("the filters leave no interaction: " + "; ".join(report.lines()))
    return log


def _log_files(source: Source, report: Report, database: Database) -> Iterator[LogFile]:
    start = 0
    for part in source.parts():
        said = replace(report, unit=part.unit)  # counts are shared
        scanned = part.scanned(database, said, start)
        found = part.interactions(said) if scanned is None else scanned
        rows = progress(found, "interactions", "rows")
        yield LogFile(rows, said, part.interactions_path, scanned is not None, start)
        last = database.value("SELECT max(seq) FROM raw WHERE seq >= ?", start)
        start = start if last is None else last + 1


def _times(log: InteractionLog) -> str:
    first, last = log.span()
    if log.time_unit is None:
        return f"timestamps are numbers, not dates: {first:.15g} to {last:.15g}"
    unit = UNIT_NAMES[log.time_unit]
    return (
        f"timestamps count {unit} since 1970, {show_stamp(first, log.time_unit)} to "
        f"{show_stamp(last, log.time_unit)} UTC"
    )


def _attach_all(
    source: Source, features: Mapping[str, Path], folder: Path, name: str, store: Path
) -> tuple[str, ...]:
    """Attach the ready matrices; returns the modalities of ``store`` that stay as they are."""
    kept = tuple(modality for modality in list_modalities(store) if modality not in features)
    if not features:
        return kept
    order = source.feature_items() or _item_order(folder / f"{name}.item")
    if kept and read_items(store) != order:
        raise FeatureError(
            f"{store}: {', '.join(kept)} was made there for another item list; delete that folder, "
            "or attach all modalities at once"
        )
    for modality, path in features.items():
        attach_features(folder / FEATURES_NAME, modality, path, order)
    return kept


@contextmanager
def _meanwhile(database: Database, work: Callable[[], None]) -> Iterator[None]:
    """Do ``work`` on the database in a thread beside the block, which leaves the database alone.

    At the end both are done, or have ended: with the error of ``work`` where both have one.
    """
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        try:
            yield
            done.result()
        except Exception:
            done.result()
            raise
        except BaseException:
            database.interrupt()
            raise


def _write_interactions(log: InteractionLog, folder: Path, name: str) -> None:
    """All interactions, and each part of a given split for ``benchmark_filename``."""
    texts = progress(log.texts(), "write", "blocks")
    write_lines(folder / f"{name}.inter", log.columns(), texts)
    for number, part in enumerate(PARTS):
        if log.part_size(number):
            write_lines(folder / f"{name}.{part}.inter", log.columns(), log.texts(number))


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
        seen = ""
        for item, values in progress(source.items(report), "items", "items"):
            token = clean_token(item)
            seen = seen or token
            if not token:
                report.skip("item records without an id")
            elif token in written:
                report.add("item records for an item already seen", 1, f"item {token!r}")
            elif token in waiting or cold_too:
                waiting.pop(token, None)
                written.add(token)
                if values.get("image"):
                    images[token] = str(values["image"])
                yield [token, *_fields(values, names, token, report)]
        if seen and len(waiting) == len(warm):
            ours = next(iter(warm))
            report.add("catalogue of which no item is in the log", 1, f"{seen!r}, not {ours!r}")
        for token in waiting:
            report.skip("items without any metadata")
            yield [token, *(None for _ in names)]

    total = write_table(path, ["item_id:token", *source.item_columns], rows(), drop_empty=True)
    if images:
        image_columns = ["item_id:token", "image:token"]
        write_table(path.parent / IMAGES_NAME, image_columns, images.items())
    return total, len(images)


def _fields(
    values: Mapping[str, Any], names: list[str], token: str, report: Report
) -> list[object]:
    fields = [values.get(name) for name in names]
    for name, value in zip(names, fields, strict=True):
        if isinstance(value, str) and len(value) > MAX_FIELD:
            report.add(f"texts cut to {MAX_FIELD:,} characters", 1, f"{name} of item {token!r}")
    return fields
