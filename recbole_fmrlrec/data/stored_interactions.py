"""Interactions that stay on disk: sorted by user and time in a file without a name, mapped.

What a training on user windows reads of its interactions are stretches of a user's items. Where all
of them take more memory than ``interaction_memory_mb`` allows, they are written once to a file in
the folder of runs, ids as int32 and numbers as the float32 that RecBole makes of them, and mapped
from there: the system holds the pages that are in use, and takes them back when it needs room. The
file has no name: it is gone when the process ends, however it ends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType

from recbole_fmrlrec.data.ordering import stable_order
from recbole_fmrlrec.errors import DataError, RunError

KEY = "interaction_memory_mb"
_BLOCK = 1 << 22
_TYPES = {FeatureType.TOKEN: np.int32, FeatureType.FLOAT: np.float32}


def exceed_memory(config: Any, rows: int, columns: int) -> bool:
    """Whether interactions take more than the key allows, at 8 bytes a number."""
    limit = config[KEY]
    return limit is not None and 8 * rows * columns > limit * 2**20


def keep_on_disk(dataset: Any) -> bool:
    """Whether the interactions of a dataset of user windows go to disk.

    Where they should and cannot, it is refused if the user has set the key; else they stay in
    memory, and a warning says why.

    Raises:
        DataError: the reason, and the way out.
    """
    config, frame = dataset.config, dataset.inter_feat
    if not exceed_memory(config, *frame.shape):
        return False
    why = _hindrance(dataset)
    if why is None:
        return True
    size = f"{8 * frame.size / 2**20:,.0f} MiB of interactions exceed {KEY}: {config[KEY]}"
    if KEY in getattr(config, "_given", ()):
        raise DataError(f"{size}, and cannot stay on disk: {why}; change that, or raise the key")
    dataset.logger.warning(f"{size}, and stay in memory all the same: {why}")
    return False


def _hindrance(dataset: Any) -> str | None:
    """What reads interactions in a way that needs them in memory."""
    config, fields = dataset.config, list(dataset.inter_feat)
    how = config["eval_args"]
    modes = how["mode"] if isinstance(how["mode"], dict) else {"all": how["mode"]}
    if dataset.benchmark_filename_list is not None:
        return "benchmark_filename has splits of its own"
    if "time" in (how["split"] or {}):
        return "eval_args.split is one by time"
    if any(mode != "full" for mode in modes.values()):
        return f"eval_args.mode: {how['mode']} draws negatives for each user"
    for key in ("save_dataset", "save_dataloaders", "dataloaders_save_path"):
        if config[key]:
            return f"{key} would copy them"
    kinds = {field: dataset.field2type[field] for field in fields}
    lists = [field for field, kind in kinds.items() if kind not in _TYPES]
    lists += [field for field in fields if field in (config["numerical_features"] or ())]
    if lists:
        return f"column {lists[0]} is not one number an interaction"
    return None


def store(dataset: Any, frame: pd.DataFrame) -> Interaction:
    """Write interactions to disk by user, those of a user in their order, and map them.

    Args:
        dataset: which has types of the columns, and the folder of runs.
        frame: in order of exact time.

    Returns:
        Columns (M,) of int32 ids and of float32 numbers.

    Raises:
        RunError: there is no room on the disk.
    """
    types = {field: _TYPES[dataset.field2type[field]] for field in frame}
    order = stable_order(frame[dataset.uid_field].to_numpy())
    folder = Path(dataset.config["checkpoint_dir"])
    columns = {}
    with _unnamed_file(folder, 4 * frame.size) as file:
        for number, (field, kind) in enumerate(types.items()):
            place = 4 * len(frame) * number
            mapped = np.memmap(file, kind, "r+", offset=place, shape=(len(frame),))
            values = frame[field].to_numpy()
            for rows in _blocks(len(frame)):
                mapped[rows] = values[order[rows]]
            mapped.flush()
            columns[field] = torch.from_numpy(mapped)
    dataset.logger.info(f"interactions on disk: {4 * frame.size / 2**20:,.0f} MiB in {folder}")
    return Interaction(columns)


def _unnamed_file(folder: Path, size: int) -> IO[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the caller closes it
    try:
        os.posix_fallocate(file.fileno(), 0, size)  # a full disk would kill a process that maps it
    except OSError as error:
        file.close()
        raise RunError(
            f"{folder}: {KEY}: interactions need {size:,} bytes on disk ({error.strerror}); free "
            "some space, choose another checkpoint_dir, or raise the key"
        ) from error
    return file


def _blocks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _BLOCK):
        yield slice(start, min(start + _BLOCK, rows))


def user_totals(users: torch.Tensor, number: int) -> torch.Tensor:
    """How many interactions each user of sorted ``users`` (M,) has, those without any left out.

    Args:
        number: above every user id.
    """
    found = np.zeros(number, dtype=np.int64)
    for rows in _blocks(len(users)):
        found += np.bincount(users[rows].numpy(), minlength=number)
    return torch.from_numpy(found[found > 0])
