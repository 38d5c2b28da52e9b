"""Numbers of a stored configuration, held against the tensors beside it before a model is built."""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.keys.known import model_keys
from recbole_fmrlrec.model_api.protocols import ExportableModel
from recbole_fmrlrec.rules import is_whole

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config

# Whole numbers that say how long something lasts, how much it weighs, or how much is drawn, read or
# held at once. All others say how large a part of a model is, or how often it is applied.
_NO_EXTENT = re.compile(
    r"anneal|batch_size|block_size|epoch|interval|memory_mb|negatives|sampled_items|save_step|"
    r"stopping|train_|warm|weight|verbose"
)
# RecBole's own defaults go to 1,000: so much is no reason to refuse a small model.
_LEAST = 1024


def check_bounds(
    path: Path, config: Config, state: Mapping[str, Any], stored: Collection[str] | None = None
) -> None:
    """Refuse a checkpoint whose configuration asks for a larger model than its tensors are.

    Of our models width and number of blocks must be those of the tensors; no extent of a model of
    RecBole's may exceed the count of all numbers in them.

    Args:
        stored: the keys whose values come from the checkpoint; all when None.

    Raises:
        UsageError: it has the number and what the tensors say.
    """
    tensors = state.get("state_dict")
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise UsageError(f"{path}: damaged: its state_dict holds no tensors by name")
    if issubclass(config.model_class, ExportableModel):
        _check_network(path, config, tensors)
    else:
        total = sum(tensor.numel() for tensor in tensors.values())
        for key, value in _extents(config):
            if stored is not None and key not in stored:
                continue
            if tensors and value > max(total, _LEAST):
                raise UsageError(
                    f"{path}: damaged: its configuration has {key} = {value:,}, and its tensors "
                    f"have {total:,} numbers in all"
                )
    _check_length(path, config)


def _check_network(path: Path, config: Config, tensors: Mapping[str, Tensor]) -> None:
    blocks = {name.split(".")[2] for name in tensors if name.startswith("network.blocks.")}
    first = tensors.get("network.blocks.0.norm_recurrence.weight")
    width = 0 if first is None else first.numel()
    for key, said, found in (
        ("num_blocks", config["num_blocks"], len(blocks)),
        ("the largest of sizes", config["sizes"][-1], width),
    ):
        if said != found:
            raise UsageError(
                f"{path}: damaged: its configuration has {key} = {said:,}, its tensors {found:,}"
            )


def _extents(config: Config) -> Iterator[tuple[str, int]]:
    for key in sorted(model_keys(config["model"])):
        value = config[key]
        values = value if isinstance(value, list) else [value]
        if not _NO_EXTENT.search(key):
            yield from ((key, one) for one in values if is_whole(one))


def _check_length(path: Path, config: Config) -> None:
    """A history has no more events than its files have lines, of four bytes at least."""
    name = glob.escape(config["dataset"])
    files = [file for file in Path(config["data_path"]).glob(f"{name}*.inter") if file.is_file()]
    length, events = config["MAX_ITEM_LIST_LENGTH"], sum(file.stat().st_size // 4 for file in files)
    if files and is_whole(length) and length > max(1000, events):
        raise UsageError(
            f"{path}: damaged: its configuration has MAX_ITEM_LIST_LENGTH = {length:,}, and the "
            f"interactions in {config['data_path']} are at most {events:,}"
        )
