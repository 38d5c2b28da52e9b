"""What a finished training left, as an export needs it: model, items, titles, test rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_fmrlrec import compat
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.rules import is_number, is_whole
from recbole_fmrlrec.run_folder import BEST, RESULT

#: Columns of a ``.item`` file that name an item for people, the first that is there.
TITLE_COLUMNS = ("title", "movie_title", "name", "item_name")


@dataclass(frozen=True)
class Rows:
    """Evaluation rows: ``(B, L)`` right-padded items, ``(B,)`` lengths, ``(B,)`` targets 1..N."""

    items: Tensor
    lengths: Tensor
    targets: Tensor


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
    config: Any
    ids: list[str]
    titles: list[str | None]
    test: Rows
    recorded: dict[int, dict[str, float]]


def open_checkpoint(path: Path, data_path: str | None = None) -> Trained:
    """Put a trained model together again from its checkpoint and its dataset.

    Args:
        path: ``best.pth`` of a run.
        data_path: the folder that holds the dataset, where it is not where training had it.

    Raises:
        UsageError: the checkpoint is missing or damaged, it is no model with sizes, or the
            dataset's items or features have changed.
    """
    compat.apply()
    from recbole_fmrlrec.data import create_dataset, data_preparation
    from recbole_fmrlrec.registry import OUR_MODELS

    config, state = saved_config(path, data_path, only=tuple(OUR_MODELS))
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    model = saved_model(path, config, state, loaders[0])
    ids = [str(token) for token in dataset.field2id_token[dataset.iid_field][1:]]
    titles = read_titles(Path(dataset.dataset_path) / f"{dataset.dataset_name}.item", ids)
    recorded = _recorded_metrics(path)
    return Trained(model, config, ids, titles, _rows(model, loaders[2]), recorded)


def saved_config(
    path: Path,
    data_path: str | None = None,
    only: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    machine: Mapping[str, str] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """The configuration of a checkpoint, our model's or RecBole's, on the CPU, and its content.

    Args:
        path: ``best.pth`` of a run.
        data_path: the folder that holds the dataset, where it is not where training had it.
        only: models that will do; any when empty.
        settings: changes that leave the shape of the model alone.
        machine: likewise, as text of the command line.

    Raises:
        UsageError: a checkpoint that is missing, damaged or of another model, or one that holds no
            configuration.
    """
    compat.apply()
    from recbole_fmrlrec.checkpoint import load_checkpoint
    from recbole_fmrlrec.checkpoint_bounds import check_bounds

    try:
        state = load_checkpoint(path)
    except RunError as error:  # of a run that goes on it is a failure; here the user names the file
        raise UsageError(f"--checkpoint: {error}") from error
    if "config" not in state:
        raise UsageError(f"{path}: says nothing of its model; give the best.pth of that run")
    name = _checked_names(path, state["config"], data_path)
    if only and name not in only:
        raise UsageError(
            f"{path}: a checkpoint of {name}; only {' and '.join(only)} can be exported"
        )
    config = _config(state["config"], path, data_path, settings or {}, machine or {})
    check_bounds(path, config, state)
    return config, state


def _checked_names(path: Path, saved: Any, data_path: str | None) -> str:
    """The model of a stored configuration, which has everything that is asked of it below."""
    for key in ("model", "dataset", *([] if data_path else ["dataset_root"])):
        value = saved.get(key) if isinstance(saved, dict) else None
        if not isinstance(value, str) or not value:
            raise UsageError(f"{path}: damaged: its configuration does not say its {key}")
    return str(saved["model"])


def saved_model(path: Path, config: Any, state: dict[str, Any], train_data: Any) -> Any:
    """The model of a checkpoint, in evaluation mode on the configuration's device.

    Raises:
        UsageError: the dataset's items or features have changed since the training.
    """
    from recbole_fmrlrec.checkpoint import load_model_state

    model = config.model_class(config, train_data._dataset).to(config["device"])
    try:
        load_model_state(model, state)
    except RuntimeError as error:
        raise UsageError(
            f"{path} does not fit {config['dataset']} in {config['data_path']}: its items or the "
            f"width of their features have changed since the training ({error})"
        ) from None
    corpus = state.get("corpus")
    if corpus and corpus != model.feature_info.get("corpus"):
        raise UsageError(
            f"{path} does not fit {config['dataset']} in {config['data_path']}: its TF-IDF "
            "features were made anew, from other texts, since the training; train the model anew"
        )
    return model.eval()


def _config(
    saved: dict[str, Any],
    path: Path,
    data_path: str | None,
    settings: Mapping[str, Any],
    machine: Mapping[str, str],
) -> Any:
    """The configuration of a checkpoint: what in it differs from the defaults of today."""
    from recbole_fmrlrec.config import NOT_IN_FINGERPRINT, Config

    if data_path and not Path(data_path).is_dir():
        raise UsageError(f"--data_path: there is no folder {Path(data_path).absolute()}")
    names = saved["model"], saved["dataset"]
    places = {"data_path": data_path or saved["dataset_root"], "use_gpu": False}
    today = Config(*names, config_dict=places).effective()
    skipped = {"model", "dataset", *NOT_IN_FINGERPRINT}
    changed = {
        key: value
        for key, value in saved.items()
        if key not in skipped and key in today and today[key] != value
    }
    recorded = changed, f"the configuration in {path}"
    now = {**places, **settings}
    return Config(*names, config_dict=now, cli_args=machine, recorded=recorded)


def read_titles(path: Path, ids: Sequence[str]) -> list[str | None]:
    """A title for each item from a ``.item`` file; None where there is none."""
    from dataset_tools.atomic import read_item_table

    if not path.is_file():
        return [None] * len(ids)
    columns, rows = read_item_table(path)
    names = [column.name for column in columns]
    column = next((name for name in TITLE_COLUMNS if name in names), None)
    if column is None:
        getLogger().warning("%s has no column %s: no titles", path, " or ".join(TITLE_COLUMNS))
        return [None] * len(ids)
    titles = {row["item_id"]: row[column].strip() or None for row in rows}
    return [titles.get(item) for item in ids]


def _rows(model: Any, loader: Any) -> Rows:
    parts = []
    for interaction, _, _, targets in loader:
        lengths = interaction[model.ITEM_SEQ_LEN]
        parts.append((interaction[model.ITEM_SEQ], lengths, targets))
    items, lengths, targets = (torch.cat(column) for column in zip(*parts, strict=True))
    return Rows(items, lengths, targets)


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
            raise TypeError("its metrics are no numbers by name")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{file}: damaged ({type(error).__name__}: {error}); remove it, or move "
            f"{checkpoint.name} to another folder: the export goes without it"
        ) from error
    return found
