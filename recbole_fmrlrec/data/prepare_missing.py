"""A public dataset that is not there yet: downloaded, converted and encoded before the run."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_fmrlrec.atomic_files.parquet import is_there
from recbole_fmrlrec.errors import RunError, UsageError

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config


def prepare_missing(config: Config) -> None:
    """Run ``dataset_tools prepare`` for a dataset that is not there and says where it comes from.

    Nothing is asked; what is done is said on standard error. Features are encoded only for a
    model that reads them. A name that no description knows is left to the loading of the data,
    whose error says where it looked.

    Raises:
        UsageError: ``data_path`` is given and there is no such folder.
        RunError: a source or an encoder cannot be reached; the message has the ways out.
    """
    _require_data_path(config)
    if not _can_be_prepared(config):
        return
    from dataset_tools.errors import DatasetError
    from dataset_tools.fetch.descriptions import read_description
    from dataset_tools.fetch.public_dataset import Choices, explain, prepare

    name = config["dataset"]
    description, choices = read_description(name), Choices(root=Path(config["dataset_root"]))
    if not config.reads_features:
        choices = replace(choices, text_model="none", image_model="none")
    _say(f"{name} is not in {choices.root.absolute()}: preparing it from {description.path}")
    try:
        prepare(description, choices, _say)
    except DatasetError as error:
        raise RunError(explain(error, description, choices)) from error


def _require_data_path(config: Config) -> None:
    """A folder that somebody names is there, or its name is mistyped; the default one is made."""
    folder = Path(config["dataset_root"])
    if "data_path" in config.overrides() and not folder.is_dir():
        raise UsageError(
            f"data_path: there is no folder {folder.absolute()}; create it first if you want a "
            "new one"
        )


def require_dataset(config: Config) -> None:
    """Make sure that a dataset is there or that `prepare_missing` knows it; nothing is changed.

    Raises:
        DataError: neither; the message says where it was looked for, and what to do.
    """
    from recbole_fmrlrec.data.exact_order import require_files

    if not (config["dataset_save_path"] or _can_be_prepared(config)):
        folder = Path(config["data_path"])
        require_files(config["dataset"], folder, config["benchmark_filename"])


def _can_be_prepared(config: Config) -> bool:
    """Whether the dataset is not there and a description says where it comes from."""
    name = config["dataset"]
    if config["benchmark_filename"] or is_there(Path(config["data_path"]) / f"{name}.inter"):
        return False
    from dataset_tools.fetch.descriptions import known_names

    return name in known_names()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
