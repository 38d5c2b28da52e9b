"""Whose files may execute: only such as the user names in this command, or this process wrote.

RecBole reads some files with pickle, which runs whatever such a file says. Their names are values
of configuration keys; a checkpoint, a run folder or a deployed folder holds such values too, and
what comes out of these is data. docs/security.md is the page about it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from recbole_fmrlrec.errors import UsageError

#: Keys whose value is a file that RecBole reads with something that can execute, and for what.
FILE_KEYS: dict[str, str] = {
    "dataset_save_path": "a saved dataset",
    "dataloaders_save_path": "saved dataloaders",
    "mf_pretrain_path": "a pretrained part of NeuMF",
    "mlp_pretrain_path": "a pretrained part of NeuMF",
    "pretrain_path": "a pretrained model for NAIS",
    "pre_model_path": "a pretrained model for S3Rec, ConvNCF and RaCT",
    "warm_up": "a pretrained model for KD_DAGFM",
    "xgb_model": "a model of XGBoost",
}


class Setting(Protocol):
    """A key that was set: where, and whether what set it was stored by an earlier command."""

    @property
    def top(self) -> str:
        """The key before the first dot."""

    @property
    def where(self) -> str:
        """The place, for a message."""

    @property
    def recorded(self) -> bool:
        """Whether it comes from a stored file."""


_named: set[str] = set()
_written: dict[str, tuple[int, ...]] = {}


def check_sources(settings: Iterable[Setting], values: Mapping[str, Any]) -> None:
    """Let the files be read that the user names now; refuse those that only a stored file names.

    Args:
        settings: what was set, the last one of a key counts.
        values: the configuration that came out of it.

    Raises:
        UsageError: the name of such a file comes from a checkpoint or a run folder.
    """
    last = {setting.top: setting for setting in settings}
    given = {key: value for key in FILE_KEYS if (value := values.get(key))}
    refused = [key for key in given if key in last and last[key].recorded]
    if refused:
        found = " and ".join(
            f"{key} = {str(given[key])[:200]!r} ({last[key].where}) names {FILE_KEYS[key]}"
            for key in refused
        )
        raise UsageError(
            f"{found}, and RecBole reads such a file in a way that can run code from it. Stored "
            "values are not trusted with that: such a key is used only when it is given with "
            "this command. If you know the file and trust it, give "
            + " ".join(f"--{key}=FILE" for key in refused)
        )
    for value in given.values():
        if isinstance(value, str | Path):
            name(value)


def name(path: str | Path) -> None:
    """Record that the user has named a file in this command, so that RecBole may unpickle it."""
    _named.add(os.path.realpath(path))


def wrote(path: str | Path) -> None:
    """Record that this process has written a file."""
    _written[os.path.realpath(path)] = _state(path)


def may_execute(path: Any) -> bool:
    """Whether a file was named by the user, or written by this process and not changed since."""
    if not isinstance(path, str | Path):
        return False
    real = os.path.realpath(path)
    try:
        return real in _named or (real in _written and _written[real] == _state(real))
    except OSError:
        return False


def _state(path: str | Path) -> tuple[int, ...]:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
