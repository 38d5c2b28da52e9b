"""The training that another one continues: its checkpoint, settings, ids and encoders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from dataset_tools.files.hashes import file_hash
from recbole_fmrlrec.config.settings import from_dict, from_files
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.files.checkpoint import load_checkpoint
from recbole_fmrlrec.model_api import registry
from recbole_fmrlrec.runs.checkpoint_bounds import check_bounds
from recbole_fmrlrec.runs.folder import BEST, LAST, RESULT, RunFolder, run_fingerprint
from recbole_fmrlrec.train.restore import carried_settings, check_names, saved_config
from recbole_fmrlrec.train.vocabulary import from_text, vocabulary_of


@dataclass(frozen=True)
class Parent:
    """A checkpoint that a training begins with.

    Attributes:
        file: ``best.pth`` of a run.
        key: the option that named it, for messages.
        state: its content.
    """

    file: Path
    key: str
    state: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path, key: str = "continue_from") -> Parent:
        """Read a checkpoint.

        Args:
            path: the folder of a run, or its ``best.pth``.

        Raises:
            UsageError: there is none, it is damaged, or does not say what was trained.
        """
        file = Path(path).absolute()
        file = file / BEST if file.is_dir() else file
        try:
            state = load_checkpoint(file)
        except RunError as error:
            raise UsageError(f"{key}: {error}") from error
        if "config" not in state or not isinstance(state.get("state_dict"), dict):
            raise UsageError(f"{key}: {file} holds no trained model; give the {BEST} of a run")
        check_names(file, state["config"], None)
        return cls(file, key, state)

    @property
    def config(self) -> dict[str, Any]:
        """The whole configuration of its training."""
        return dict(self.state["config"])

    @property
    def model(self) -> str:
        """The name of its model."""
        return str(self.config["model"])

    def check_model(self, model: str | type | None, where: str | None = None) -> None:
        """Refuse to continue another model than this one.

        Args:
            model: what was asked for; None for the parent's own.
            where: the place of a key ``model`` that asked for it; None for the option.

        Raises:
            UsageError: it is another one, or its class comes from outside and is not given.
        """
        if model is None:
            registry.check_recorded(self.model, str(self.file), self.config.get("model_source"))
            return
        name = registry.class_name(model) if isinstance(model, str) else model.__name__
        if name != self.model:
            said, it = (
                (f"model: {name} ({where})", "it") if where else (f"--model={name}", "--model")
            )
            raise UsageError(
                f"{self.key}: {self.file} is a {self.model}, and {said} is another model; leave "
                f"{it} out, or take over what fits with --init_from"
            )

    def identity(self) -> dict[str, Any]:
        """What a run writes down of the training that it continues."""
        return {
            "file": str(self.file),
            "sha256": file_hash(self.file),
            "dataset": self.config["dataset"],
            "epochs": int(self.state["epoch"]) + 1,
        }

    @cached_property
    def vocabulary(self) -> dict[str, list[str]]:
        """The ids of its items and users, in the order of its rows.

        Checkpoints of earlier versions do not hold them: then its dataset is read again.

        Raises:
            UsageError: that is not there, or has changed since.
        """
        stored = from_text(self.state.get("vocabulary"))
        if stored is not None:
            return stored
        from recbole_fmrlrec.data.loaders import create_dataset

        why = f"{self.key}: {self.file} is of an earlier version and does not hold its items' ids"
        config = saved_config(self.file)[0]
        if not Path(config["data_path"]).is_dir():
            raise UsageError(f"{why}, and its dataset is not in {config['data_path']} any more")
        if (recorded := self._folder()) and recorded.fingerprint != run_fingerprint(config, False):
            raise UsageError(f"{why}, and the files in {config['data_path']} are not as they were")
        return vocabulary_of(create_dataset(config))

    def _folder(self) -> RunFolder | None:
        try:
            return RunFolder.open(self.file.parent)
        except UsageError:
            return None

    @cached_property
    def features(self) -> dict[str, Any]:
        """What encoded the features that it was trained on; empty where nothing says so."""
        if isinstance(stored := self.state.get("features"), dict):
            return stored
        try:
            result = json.loads((self.file.parent / RESULT).read_text(encoding="utf-8"))
            found = {**result["features"], "corpus": self.state.get("corpus", "")}
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return found if isinstance(found.get("encoders"), dict) else {}

    def last_state(self) -> dict[str, Any]:
        """Its ``last.pth``, which has the optimiser's state.

        Raises:
            UsageError: there is none.
        """
        try:
            return load_checkpoint(self.file.parent / LAST)
        except RunError as error:
            raise UsageError(
                f"continue_optimizer: {error}; the state of the optimiser is in the {LAST} beside "
                f"{self.file.name}: leave continue_optimizer out to begin with a new one"
            ) from error


def asked_parent(
    config_files: Iterable[str | Path], *values: Mapping[str, Any] | None
) -> Parent | None:
    """The parent that settings name; None where they name none.

    Args:
        config_files: YAML files.
        values: further settings, the last of all wins.

    Raises:
        UsageError: a file cannot be read, or as `Parent.open`.
    """
    found, init = None, None
    for setting in chain(from_files(config_files), *(from_dict(one or {}, "") for one in values)):
        found = setting.value if setting.key == "continue_from" else found
        init = setting.value if setting.key == "init_from" else init
    if found in (None, "", "~", "null"):
        return None
    if init not in (None, "", "~", "null"):
        raise UsageError("init_from and continue_from: give one of them")
    return Parent.open(str(found))


def asked_model(
    config_files: Iterable[str | Path], *values: Mapping[str, Any] | None
) -> tuple[str | None, str | None]:
    """The model that the key ``model`` of settings names, the last of all, and where it stands."""
    found: tuple[str | None, str | None] = None, None
    places = (from_dict(one or {}, "config_dict") for one in values)
    for setting in chain(from_files(config_files), *places):
        if setting.key == "model":
            found = str(setting.value), setting.where
    return found


def inherited_settings(
    parent: Parent, dataset: str | None, config_files: Iterable[str | Path], *values: Any
) -> tuple[dict[str, Any], str]:
    """What a new run takes over of its parent's configuration, and where that is.

    Args:
        dataset: of the new run.
        config_files, values: its own settings, which say where its data is.

    Raises:
        UsageError: the stored configuration is of a larger model than the tensors beside it.
    """
    from recbole_fmrlrec.config.config import Config

    places: dict[str, Any] = {"use_gpu": False}
    for setting in chain(from_files(config_files), *(from_dict(one or {}, "") for one in values)):
        if setting.key in ("data_path", "dataset"):
            places[setting.key] = setting.value
    dataset = dataset or places.pop("dataset", None)
    places.pop("dataset", None)
    names = parent.model, dataset
    today = Config(*names, config_dict=places)
    carried = carried_settings(parent.config, today), f"the configuration in {parent.file}"
    config = Config(*names, config_dict=places, recorded=carried)
    check_bounds(parent.file, config, parent.state, carried[0])
    return carried
