"""The item table of a deployed model: ids, titles, vectors, and how vectors are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.deploy.tensor_files import Shapes
from recbole_fmrlrec.rules import shown

Unknown = Literal["skip", "error"]
#: What an item has in a column.
Values = tuple[str, ...]
_TYPES = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}


class ItemTable:
    """Items by row: row 0 is the empty input, row i the item ``ids[i - 1]``.

    Args:
        ids: N item ids.
        titles: a title or None for each.
        vectors: ``(N+1, s)`` float32.
        columns: what else is known of the items, by name: for each item its values, none or
            several.

    Raises:
        DeployError: lengths differ, or an id occurs twice.
    """

    def __init__(
        self,
        ids: Sequence[str],
        titles: Sequence[str | None],
        vectors: Tensor,
        columns: Mapping[str, Sequence[Values]] | None = None,
    ) -> None:
        if not len(ids) == len(titles) == len(vectors) - 1:
            raise DeployError(
                f"{len(ids)} item ids, {len(titles)} titles, {len(vectors) - 1} vectors: "
                "there must be one of each for every item"
            )
        self.ids, self.titles, self.vectors = list(ids), list(titles), vectors
        self.columns = {name: list(values) for name, values in (columns or {}).items()}
        self.row_of = {item: row for row, item in enumerate(self.ids, start=1)}
        self._hashes: dict[int, str] = {}
        if len(self.row_of) != len(self.ids):
            raise DeployError(f"item {_first_twice(self.ids)!r} occurs twice in the item table")

    def __len__(self) -> int:
        return len(self.ids)

    def vectors_hash(self, count: int) -> str:
        """The first 16 digits of a SHA-256 of the empty input and the first ``count`` vectors.

        Items that are appended do not change it.
        """
        if count not in self._hashes:
            read = self.vectors[: count + 1].contiguous().numpy()
            self._hashes[count] = hashlib.sha256(read.tobytes()).hexdigest()[:16]
        return self._hashes[count]

    def rows(self, items: Iterable[object], unknown: Unknown) -> tuple[list[int], list[str]]:
        """Rows of items, and the ids that are not in the table.

        Raises:
            DeployError: ``unknown`` is ``"error"`` and there are such ids, or is another word;
                ``items`` is one text where a list of ids is asked for.
        """
        if unknown not in ("skip", "error"):
            raise DeployError(f"unknown must be 'skip' or 'error', not {unknown!r}")
        if isinstance(items, str | bytes):
            raise DeployError(f"items are a list of ids, as in [{items!r}], not one text")
        names = [str(item) for item in items]
        missing = [name for name in names if name not in self.row_of]
        if missing and unknown == "error":
            shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
            raise DeployError(
                f"{len(missing)} unknown item(s): {shown}; leave them out, add them with "
                "add_items, or pass unknown='skip'"
            )
        return [self.row_of[name] for name in names if name in self.row_of], missing

    def column(self, name: str) -> list[Values]:
        """The values of every item in a column, in the order of ``ids``.

        Raises:
            DeployError: there is no such column.
        """
        if name not in self.columns:
            known = f"it has {list(self.columns)}" if self.columns else "it has none"
            raise DeployError(
                f"the model has no column {name!r} of items ({known}); add_column gives it one"
            )
        return self.columns[name]

    def set_column(self, name: str, values: Mapping[str, str | Sequence[str] | None]) -> None:
        """Give items their values in a column; an item that is not named has none.

        Raises:
            DeployError: no name, a value that is neither a string nor a list of strings, or values
                for none of the items.
        """
        if not isinstance(name, str) or not name:
            raise DeployError(f"a column's name must be a string, not {name!r}")
        if self.ids and not any(item in values for item in self.ids):
            raise DeployError(f"column {name}: none of the {len(values)} ids is one of the model's")
        self.columns[name] = [_values(name, item, values.get(item)) for item in self.ids]

    def append(self, ids: Sequence[str], titles: Sequence[str | None], vectors: Tensor) -> None:
        """Add items with their ``(n, s)`` vectors.

        Raises:
            DeployError: an id is in the table already, or occurs twice.
        """
        for item in ids:
            if item in self.row_of:
                raise DeployError(f"item {item!r} is already in the model")
        if len(set(ids)) != len(ids):
            raise DeployError(f"item {_first_twice(ids)!r} occurs twice among the new items")
        self.row_of |= {item: row for row, item in enumerate(ids, start=len(self.ids) + 1)}
        self.ids += ids
        self.titles += titles
        for values in self.columns.values():
            values += [()] * len(ids)
        self.vectors = torch.cat([self.vectors, vectors])


def _values(column: str, item: str, given: object) -> Values:
    if given is None or given == "":
        return ()
    values = (given,) if isinstance(given, str) else given
    if not isinstance(values, Sequence) or not all(isinstance(value, str) for value in values):
        raise DeployError(
            f"column {column}, item {item!r}: {shown(given)} is neither a string nor a list of "
            "strings"
        )
    return tuple(values)


def _first_twice(ids: Sequence[str]) -> str:
    seen: set[str] = set()
    return next(item for item in ids if item in seen or seen.add(item))  # type: ignore[func-returns-value]


def table_shapes(num_items: int, size: int, dtype: str) -> Shapes:
    """What ``items.safetensors`` must hold."""
    shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
        "start": (torch.float32, (size,)),
        "vectors": (_TYPES[dtype], (num_items, size)),
    }
    if dtype == "int8":
        shapes["scale"] = (torch.float32, (num_items,))
    return shapes


def table_bytes(num_items: int, size: int, dtype: str) -> int:
    """Bytes of the tensors in ``items.safetensors``."""
    scale = 4 * num_items if dtype == "int8" else 0
    return 4 * size + _TYPES[dtype].itemsize * num_items * size + scale


def store_vectors(vectors: Tensor, dtype: str) -> dict[str, Tensor]:
    """Vectors ``(N+1, s)`` as they are stored: ``start`` (row 0), ``vectors`` and, for int8, one
    float32 ``scale`` per item, the largest absolute value over 127.

    Raises:
        DeployError: a value is too large for float16, or a vector too small for it.
    """
    start, rows = vectors[0].float().clone(), vectors[1:]
    if dtype != "int8":
        stored = rows.to(_TYPES[dtype])
        lost = ~stored.bool().any(dim=1) & rows.bool().any(dim=1)
        if lost.any() or not torch.isfinite(stored).all():
            raise DeployError(f"item vectors do not fit {dtype}; store them as float32")
        return {"start": start, "vectors": stored}
    scale = rows.abs().amax(dim=1) / 127
    steps = rows / torch.where(scale > 0, scale, 1.0)[:, None]
    return {"start": start, "vectors": steps.round().to(torch.int8), "scale": scale.float()}


def restore_vectors(tensors: Mapping[str, Tensor]) -> Tensor:
    """Vectors ``(N+1, s)`` float32 from what `store_vectors` gave."""
    rows = tensors["vectors"].float()
    if "scale" in tensors:
        rows = rows * tensors["scale"][:, None]
    return torch.cat([tensors["start"][None], rows])
