"""What a trained cell is measured for beside its ranks: cost, and what slices of users need."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from recbole_fmrlrec.compare.cells import COST, ROWS
from recbole_fmrlrec.evaluation.latency import (
    by_clock,
    by_processor,
    least_median,
    processor_name,
)
from recbole_fmrlrec.files.atomic import replacing, write_json
from recbole_fmrlrec.model_api.protocols import NestedModel
from recbole_fmrlrec.runs.folder import BEST

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config

#: Users whose answer is timed one by one, in several rounds, after those that warm up.
TIMED, WARM_UP = 30, 5


def measure(config: Config, folder: Path) -> None:
    """Write ``rows.npz``, then ``cost.json``, into a run folder whose model is trained and tested.

    Raises:
        RunError: the checkpoint is damaged.
    """
    from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
    from recbole_fmrlrec.files.checkpoint import load_checkpoint
    from recbole_fmrlrec.train.restore import saved_model

    dataset = create_dataset(config)
    counts = count_interactions(dataset)
    loaders = data_preparation(config, dataset)
    write_arrays(folder / ROWS, describe_rows(config, dataset, counts, loaders))
    checkpoint = folder / BEST
    if not checkpoint.is_file():  # a trainer of RecBole's own, whose files are pickles
        note = "not measured: this model's trainer keeps no checkpoint that can be read safely"
        write_json(folder / COST, {"by_size": {}, "note": note})
        return
    state = load_checkpoint(checkpoint, config["device"])
    model = saved_model(checkpoint, config, state, loaders[0])
    write_json(folder / COST, _cost(model, loaders[2]))


#: Interactions of each user id and of each item id.
Counts = tuple[np.ndarray, np.ndarray]


def count_interactions(dataset: Any) -> Counts:
    """Count the interactions of a dataset that is not split yet: splitting makes rows of them."""
    fields = dataset.uid_field, dataset.iid_field
    users, items = (
        np.bincount(np.asarray(dataset.inter_feat[field]), minlength=dataset.num(field))
        for field in fields
    )
    return users, items


def describe_rows(
    config: Config, dataset: Any, counts: Counts, loaders: Sequence[Any], part: str = "test"
) -> dict[str, np.ndarray]:
    """What is known of each row of a part before the evaluation.

    Args:
        counts: of all interactions, from `count_interactions`.
        loaders: of training, validation and test.
        part: ``valid`` or ``test``.

    Returns:
        Arrays (R,): ``users``, ``targets`` (tokens), ``history``, the interactions that the target
        is predicted from, ``popularity``, how often training saw the target, ``new_user``, whether
        it never saw the user, where the split is one by time, and ``without_MODALITY``, whether
        the target has nothing of it; and ``item_counts`` (N,), those of training, in descending
        order.
    """
    user, item = dataset.uid_field, dataset.iid_field
    own = loaders[1 + ("valid", "test").index(part)]._dataset
    users, targets = (own.inter_feat[field].numpy() for field in (user, item))
    past = getattr(own, "past", None)
    if past is None:
        before, trained = _left_in(counts, loaders, user, item, part)
        more = {"history": before[users]}
    else:
        trained = past.item_counts.numpy()
        more = {"history": past.length.numpy(), "new_user": past.of_new_users.numpy()}
    found = {
        "users": dataset.id2token(user, users).astype(str),
        "targets": dataset.id2token(item, targets).astype(str),
        "popularity": trained[targets].astype(np.int32),
        "item_counts": np.sort(trained[1:])[::-1].astype(np.int32),
        **{name: column.astype(np.int32) for name, column in more.items()},
    }
    tokens = dataset.field2id_token[item].astype(str)
    for name, empty in _without_features(config, tokens).items():
        found[f"without_{name}"] = empty[targets]
    return found


def _left_in(counts: Counts, loaders: Sequence[Any], user: str, item: str, part: str) -> Counts:
    """Interactions of each user before a part and of each item in training, by leave-one-out."""
    before, trained = (column.copy() for column in counts)
    for at, loader in enumerate(loaders[1:]):
        rows = loader._dataset.inter_feat
        np.subtract.at(trained, rows[item].numpy(), 1)
        if part == "valid" or at == 1:
            np.subtract.at(before, rows[user].numpy(), 1)
    return before, trained


def _without_features(config: Config, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Whether each item has nothing of a modality, by modality."""
    from dataset_tools.features import list_modalities, read_items, read_manifest
    from recbole_fmrlrec.data.item_features import find_features

    folder = find_features(config)
    if folder is None:
        return {}
    items = set(read_items(folder))
    found = {}
    for name in list_modalities(folder):
        has = items - set(read_manifest(folder, name)["empty_items"])
        found[name] = np.array([token not in has for token in tokens])
    return found


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed ``.npz``."""
    with replacing(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


# Cost


def _cost(model: Any, loader: Any) -> dict[str, Any]:
    users = _single_rows(loader, TIMED)
    by_size = {}
    for size in model.sizes if isinstance(model, NestedModel) else [0]:
        with _at_size(model, size):
            by_size[str(size)] = {
                "latency_ms": _latency(model, users),
                "bytes_per_item": 4 * size if size else _bytes_per_item(model),
            }
    device = next(model.parameters(), torch.zeros(0)).device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    return {"by_size": by_size, "device": name, "threads": torch.get_num_threads(), "note": None}


def _at_size(model: Any, size: int) -> AbstractContextManager[None]:
    """The model cut to one of its sizes, as it would be deployed; others as they are."""
    return model.at_size(size) if isinstance(model, NestedModel) else nullcontext()


def _single_rows(loader: Any, count: int) -> list[Any]:
    rows: list[Any] = []
    for interaction, *_ in loader:
        rows += [interaction[at : at + 1] for at in range(min(len(interaction), count - len(rows)))]
        if len(rows) >= count:
            break
    return rows


@torch.no_grad()
def _latency(model: Any, users: Sequence[Any]) -> float | None:
    """Milliseconds from one user's row to the ten best of all items, see `least_median`.

    None for a model that scores pairs only.
    """
    device = next(model.parameters(), torch.zeros(0)).device

    def answer(row: Any) -> None:
        scores = model.full_sort_predict(row).view(-1)
        scores.topk(min(10, len(scores))).indices.cpu()

    answers = [functools.partial(answer, row.to(device)) for row in users]
    try:
        for warm_up in answers[:WARM_UP]:
            warm_up()
    except NotImplementedError:
        return None
    timer = by_processor if device.type == "cpu" else by_clock
    return least_median(answers[:TIMED], timer)


def _bytes_per_item(model: Any) -> float:
    """Bytes of all arrays that have a row for each item, by the number of items."""
    rows = {model.n_items, model.n_items + 1}  # BERT4Rec has one for its mask
    arrays = [*model.parameters(), *model.buffers(), *model.other_parameter().values()]
    shaped = {
        id(a): a for a in arrays if hasattr(a, "shape") and len(a.shape) and a.shape[0] in rows
    }
    return sum(map(_size_of, shaped.values())) / model.n_items


def _size_of(array: Any) -> int:
    if isinstance(array, torch.Tensor):
        return array.numel() * array.element_size()
    if hasattr(array, "nnz"):  # scipy: values and a column number each
        return int(array.nnz * (array.dtype.itemsize + 4))
    return int(array.nbytes)
