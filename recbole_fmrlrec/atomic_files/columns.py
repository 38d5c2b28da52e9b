"""What an atomic file must have: the columns that keys name, and cells that mean something."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from recbole.utils import FeatureSource, FeatureType

from recbole_fmrlrec.atomic_files.lines import Column, Lines
from recbole_fmrlrec.errors import DataError


def check_asked(
    dataset: Any,
    filepath: str | Path,
    columns: Sequence[Column],
    load_col: set[str] | None,
    unload_col: set[str] | None,
    source: FeatureSource | str,
) -> None:
    """Refuse names in ``load_col`` and ``unload_col`` that a file does not have.

    The columns of users, items and times have keys of their own, which later checks name.

    Raises:
        DataError: it names the key, the file and the columns that there are.
    """
    there = {column.field for column in columns}
    own = {
        FeatureSource.USER: ("USER_ID_FIELD", dataset.uid_field),
        FeatureSource.ITEM: ("ITEM_ID_FIELD", dataset.iid_field),
    }
    key, field = own.get(source, ("", None))
    if field is not None and field not in there:
        raise DataError(
            f"{filepath}, line 1: no column {field}:token, which the key {key} names; the columns "
            f"are {', '.join(column.field for column in columns)}"
        )
    elsewhere = {dataset.uid_field, dataset.iid_field, dataset.time_field}
    for key, asked in (("load_col", load_col), ("unload_col", unload_col)):
        unknown = sorted(set(asked or ()) - there - elsewhere)
        if unknown:
            raise DataError(
                f"{key} names {', '.join(map(repr, unknown))}, and {Path(filepath).absolute()} has "
                f"only the columns {', '.join(column.field for column in columns)}"
            )


def check_cells(
    dataset: Any,
    frame: pd.DataFrame,
    columns: Sequence[Column],
    source: FeatureSource | str,
    lines: Lines,
) -> pd.DataFrame:
    """Refuse numbers that would spoil a run; say how many cells and rows are passed over.

    Args:
        dataset: which has the names of the fields, and a logger for what is passed over.

    Returns:
        The table without rows that have no id.

    Raises:
        DataError: a number that is infinite, or a time that is missing where times give the order;
            an item with two entities, or the other way about.
    """
    ids: dict[FeatureSource | str, tuple[str, ...]] = {
        FeatureSource.INTERACTION: (dataset.uid_field, dataset.iid_field),
        FeatureSource.USER: (dataset.uid_field,),
        FeatureSource.ITEM: (dataset.iid_field,),
    }
    if hasattr(dataset, "head_entity_field"):
        entities = dataset.head_entity_field, dataset.relation_field, dataset.tail_entity_field
        ids |= {FeatureSource.KG: entities, "link": (dataset.iid_field, dataset.entity_field)}
    for column in columns:
        if column.kind == FeatureType.FLOAT:
            is_time = source == FeatureSource.INTERACTION and column.field == dataset.time_field
            by_time = dataset.config["eval_args"]["order"] == "TO"
            _check_numbers(dataset, frame[column.field], column, lines, is_time and by_time)
    own = [field for field in ids.get(source, ()) if field in frame]
    frame = _with_ids(dataset, frame, own, lines)
    if source in (FeatureSource.USER, FeatureSource.ITEM) and own:
        _say_doubles(dataset, frame, own[0], lines)
    if source == "link" and len(own) == 2:
        _refuse_second_links(frame, own, lines)
    return frame.reset_index(drop=True)


def _check_numbers(
    dataset: Any, cells: pd.Series, column: Column, lines: Lines, needed: bool
) -> None:
    values = cells.to_numpy()
    infinite = np.flatnonzero(np.isinf(values))
    missing = np.flatnonzero(np.isnan(values))
    for rows, what in ((infinite, "not a finite number"), (missing, "no number")):
        if len(rows) and (needed or rows is infinite or len(rows) == len(values)):
            why = "; the key TIME_FIELD makes it the order of the interactions" if needed else ""
            raise DataError(
                f"{lines.filepath}, line {lines.number(int(rows[0]))}, column {column.header}: "
                f"{what} ({len(rows)} such rows){why}; correct or remove them"
            )
    if len(missing):
        dataset.logger.warning(
            f"{lines.filepath}, column {column.header}: {len(missing)} cells without a number, the "
            f"first on line {lines.number(int(missing[0]))}, get the mean of the others"
        )


def _with_ids(
    dataset: Any, frame: pd.DataFrame, fields: Sequence[str], lines: Lines
) -> pd.DataFrame:
    for field in fields:
        missing = frame[field].isna()
        if missing.all():
            raise DataError(f"{lines.filepath}: no row has a {field}")
        if missing.any():
            first = lines.number(int(frame.index[missing][0]))
            dataset.logger.warning(
                f"{lines.filepath}: {int(missing.sum())} rows without {field} are left out, the "
                f"first of them line {first}"
            )
            frame = frame[~missing]
    return frame


def _refuse_second_links(frame: pd.DataFrame, own: Sequence[str], lines: Lines) -> None:
    """RecBole makes one id of an item and its entity, which a second link of either breaks."""
    pairs = frame.drop_duplicates(own)
    for field, other in (own, own[::-1]):
        again = pairs[field].duplicated()
        if again.any():
            row = pairs.index[again][0]
            raise DataError(
                f"{lines.filepath}, line {lines.number(int(row))}: {field} {pairs[field][row]} has "
                f"another {other} on an earlier line ({int(again.sum())} such rows); an item has "
                "one entity, and an entity one item: keep one of the rows"
            )


def _say_doubles(dataset: Any, frame: pd.DataFrame, field: str, lines: Lines) -> None:
    again = frame[field].duplicated()
    if again.any():
        row = frame.index[again][0]
        dataset.logger.warning(
            f"{lines.filepath}, line {lines.number(int(row))}: {field} {frame[field][row]} is "
            f"on an earlier line too, which is the one used ({int(again.sum())} such rows)"
        )
