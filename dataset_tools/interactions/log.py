"""The interactions of a data set as arrays: 22 bytes a row, each user and item name once."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from dataset_tools.errors import DatasetError
from dataset_tools.formats.atomic_files import clean_token
from dataset_tools.formats.bad_rows import Report
from dataset_tools.formats.dates import (
    END_SECOND,
    FIRST_SECOND,
    MAX_STAMP,
    UNIT_NAMES,
    UNITS,
    show_stamp,
)
from dataset_tools.interactions.interaction import Interaction

MAX_RATING = float(np.finfo(np.float32).max)
NO_ID = "interactions without a user or an item (or with one named NA, null)"


def _no_id(row: Interaction) -> str:
    what, value = ("item", row.item) if clean_token(row.user) else ("user", row.user)
    return f"{what} {value!r} is empty or read as missing by pandas"


def one_unit(
    stamps: np.ndarray, dated: np.ndarray, report: Report
) -> tuple[np.ndarray, str | None]:
    """Stamps (rows,) in one unit, and which; by the rule of ``dates``.

    Where several units stand together, the coarser ones are turned into the finest. Rows of
    ``dated`` (rows,) count seconds, whatever their size. Raises ``DatasetError`` for dates that
    the finest unit cannot count.
    """
    unit = np.full(len(stamps), -1, dtype=np.int8)
    for code, factor in enumerate(UNITS.values()):
        unit[(stamps >= FIRST_SECOND * factor) & (stamps < END_SECOND * factor)] = code
    unit[dated] = 0
    there = np.unique(unit[unit >= 0])
    if not len(there):
        return stamps, None
    names, factors = list(UNITS), list(UNITS.values())
    finest = names[there[-1]]
    for code in there[:-1].tolist():
        rows = unit == code
        if np.abs(stamps[rows]).max() > MAX_STAMP // (factors[there[-1]] // factors[code]):
            raise DatasetError(
                f"dates from {show_stamp(stamps[rows].min().item(), names[code])} to "
                f"{show_stamp(stamps[rows].max().item(), names[code])} beside stamps in "
                f"{UNIT_NAMES[finest]}, which do not reach so far; write all times in one unit"
            )
        stamps = np.where(rows, stamps * (factors[there[-1]] // factors[code]), stamps)
        old, new = UNIT_NAMES[names[code]], UNIT_NAMES[finest]
        report.add(f"timestamps in {old}, turned into {new}", int(rows.sum()))
    if stamps.dtype.kind == "f" and (stamps == np.floor(stamps)).all():
        stamps = stamps.astype(np.int64)
    loose = f"timestamps that are not times, among {UNIT_NAMES[finest]}; kept unchanged"
    report.add(loose, int((unit < 0).sum()))
    return stamps, finest


class InteractionLog:
    """Interactions in file order.

    ``user`` and ``item`` (rows,) are codes into ``users`` and ``items``; ``timestamp`` (rows,)
    is int64 where all stamps are whole numbers, else float64, all in ``time_unit`` (None where
    they are no times); ``rating`` (rows,) is NaN and ``part`` (rows,) -1 where there is none.
    """

    def __init__(
        self, rows: Iterable[Interaction], report: Report, path: Path = Path("input")
    ) -> None:
        user_code: dict[str, int] = {}
        item_code: dict[str, int] = {}
        user, item, rating, part = array("i"), array("i"), array("f"), array("b")
        stamps: array = array("q")
        dated = array("b")
        turns: dict[int, int] = {}
        for row in rows:
            user_token, item_token = clean_token(row.user), clean_token(row.item)
            if not user_token or not item_token:
                report.bad(NO_ID, path, row.line, _no_id(row))
                continue
            stamp = row.timestamp
            if stamp is not None and not abs(stamp) < MAX_STAMP:
                report.bad("interactions with an infinite timestamp", path, row.line)
                continue
            if row.rating is not None and abs(row.rating) > MAX_RATING:
                report.bad("interactions with an endless rating", path, row.line)
                continue
            code = user_code.setdefault(user_token, len(user_code))
            user.append(code)
            item.append(item_code.setdefault(item_token, len(item_code)))
            rating.append(float("nan") if row.rating is None else row.rating)
            part.append(-1 if row.part is None else row.part)
            dated.append(row.dated)
            if stamp is None:
                stamp = turns[code] = turns.get(code, 0) + 1
            if isinstance(stamp, float) and stamps.typecode == "q":
                if stamp.is_integer():
                    stamp = int(stamp)
                else:
                    stamps = array("d", stamps)
            stamps.append(stamp)
        self.users, self.items = list(user_code), list(item_code)
        self.user, self.item, self.part = np.array(user), np.array(item), np.array(part)
        self.rating = np.array(rating)
        self.timestamp, self.time_unit = one_unit(np.array(stamps), np.array(dated, bool), report)

    def __len__(self) -> int:
        return len(self.user)

    @property
    def has_ratings(self) -> bool:
        """Whether any interaction has a rating."""
        return bool(np.isfinite(self.rating).any())

    def select(self, keep: np.ndarray) -> None:
        """Keep only some rows: a mask (rows,) or row numbers in ascending order."""
        self.user, self.item = self.user[keep], self.item[keep]
        self.rating, self.timestamp = self.rating[keep], self.timestamp[keep]
        self.part = self.part[keep]

    def item_tokens(self) -> dict[str, None]:
        """The items that still have an interaction, in the order they first occurred."""
        return {self.items[code]: None for code in np.unique(self.item)}

    def user_count(self) -> int:
        """Number of users that still have an interaction."""
        return len(np.unique(self.user))

    def columns(self) -> list[str]:
        """Typed column names of the ``.inter`` file."""
        rated = ["rating:float"] if self.has_ratings else []
        return ["user_id:token", "item_id:token", *rated, "timestamp:float"]

    def rows(self, part: int | None = None) -> Iterator[tuple[object, ...]]:
        """Rows for ``columns()``, in file order; of one part of the split, or all."""
        rated = self.has_ratings
        chosen = np.arange(len(self)) if part is None else np.flatnonzero(self.part == part)
        for start in range(0, len(chosen), 65_536):
            block = chosen[start : start + 65_536]
            # float32 4.1 prints as 4.099999904632568 when widened; six digits give it back.
            ratings = [float(f"{value:.6g}") for value in self.rating[block].tolist()]
            rows = zip(
                self.user[block].tolist(),
                self.item[block].tolist(),
                ratings,
                self.timestamp[block].tolist(),
                strict=True,
            )
            for user, item, rating, stamp in rows:
                ids = (self.users[user], self.items[item])
                yield (*ids, rating, stamp) if rated else (*ids, stamp)
