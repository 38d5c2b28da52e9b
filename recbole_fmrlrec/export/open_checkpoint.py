"""A finished training as an export needs it: model, items, titles, test rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recbole_fmrlrec import compat
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.rules import is_number, is_whole
from recbole_fmrlrec.runs.folder import BEST, RESULT

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config
    from recbole_fmrlrec.evaluation.collected_lists import Catalogue
    from recbole_fmrlrec.evaluation.history import Histories

#: Columns of a ``.item`` file with titles of items; the first that is there is used.
TITLE_COLUMNS = ("title", "movie_title", "name", "item_name")


@dataclass(frozen=True)
class Rows:
    """Evaluation rows: ``(B, L)`` right-padded items, ``(B,)`` lengths, ``(B,)`` targets 1..N.

    Attributes:
        histories: all that the users had before the targets; None where that is not asked for.
        unranked: ids of items that are not ranked, ascending; None for none.
        catalogue: what metrics of recommended items need to know.
    """

    items: Tensor
    lengths: Tensor
    targets: Tensor
    histories: Histories | None
    unranked: Tensor | None = None
    catalogue: Catalogue | None = None


@dataclass(frozen=True)
class Trained:
    """A trained model with what belongs to it.

    Attributes:
        model: the RecBole model, in evaluation mode on the CPU.
        config: the configuration it was trained with.
        ids: item ids in the order of the item table, padding left out.
        titles: a title or None for each.
        test: the test rows.
        recorded: test metrics by size that the run wrote down; empty where it wrote none.
    """

    model: Any
    config: Config
    ids: list[str]
    titles: list[str | None]
    test: Rows
    recorded: dict[int, dict[str, float]]

    @property
    def ranked(self) -> int:
        """How many items an evaluation ranks."""
        unranked = self.test.unranked
        return len(self.ids) - (0 if unranked is None else len(unranked))


def open_checkpoint(path: Path, data_path: str | None = None) -> Trained:
    """Rebuild a trained model from its checkpoint and its dataset.

    Args:
        path: ``best.pth`` of a run.
        data_path: the folder that holds the dataset, where it is not where training had it.

    Raises:
        UsageError: the checkpoint is missing or damaged, it is not a model with sizes, or the
            dataset's items or features have changed.
    """
    compat.apply()
    from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
    from recbole_fmrlrec.model_api.protocols import ExportableModel
    from recbole_fmrlrec.train.restore import saved_config, saved_model

    config, state = saved_config(path, data_path)
    if not issubclass(config.model_class, ExportableModel):
        raise UsageError(
            f"{path}: a checkpoint of {config['model']}, which cannot be exported: only fMRLRec, "
            "fMRLRecID and models derived from them can"
        )
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    model = saved_model(path, config, state, loaders[0])
    ids = [str(token) for token in dataset.field2id_token[dataset.iid_field][1:]]
    titles = read_titles(Path(dataset.dataset_path) / f"{dataset.dataset_name}.item", ids)
    recorded = _recorded_metrics(path)
    return Trained(model, config, ids, titles, _rows(config, model, loaders[2]), recorded)


def read_titles(path: Path, ids: Sequence[str]) -> list[str | None]:
    """A title for each item from a ``.item`` file; None where there is none."""
    from dataset_tools.files.dataset_folder import stored_form
    from dataset_tools.formats.atomic_files import read_item_table

    if stored_form(path) is None:
        return [None] * len(ids)
    columns, rows = read_item_table(path)
    names = [column.name for column in columns]
    column = next((name for name in TITLE_COLUMNS if name in names), None)
    if column is None:
        getLogger().warning("%s has no column %s: no titles", path, " or ".join(TITLE_COLUMNS))
        return [None] * len(ids)
    titles = {row["item_id"]: row[column].strip() or None for row in rows}
    return [titles.get(item) for item in ids]


def _rows(config: Config, model: Any, loader: Any) -> Rows:
    from recbole_fmrlrec.evaluation.trainer_mixin import wanted_histories

    parts = []
    for interaction, _, _, targets in loader:
        lengths = interaction[model.ITEM_SEQ_LEN]
        parts.append((interaction[model.ITEM_SEQ], lengths, targets))
    items, lengths, targets = (torch.cat(column) for column in zip(*parts, strict=True))
    histories = wanted_histories(config, loader)
    about = (getattr(loader, name, None) for name in ("unranked", "catalogue"))
    return Rows(items, lengths, targets, histories, *about)


def _recorded_metrics(checkpoint: Path) -> dict[int, dict[str, float]]:
    """Test metrics by size in the ``result.json`` beside ``best.pth``."""
    file = checkpoint.parent / RESULT
    if checkpoint.name != BEST or not file.is_file():
        return {}
    try:
        test = json.loads(file.read_text(encoding="utf-8")).get("test", [])
        found = {row["size"]: row["metrics"] for row in test if row.get("size")}
        if not all(
            is_whole(size) and all(isinstance(n, str) and is_number(v) for n, v in row.items())
            for size, row in found.items()
        ):
            raise TypeError("its metrics are not numbers by name")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{file}: damaged ({type(error).__name__}: {error}); remove it, or move "
            f"{checkpoint.name} to another folder: the export goes without it"
        ) from error
    return found
