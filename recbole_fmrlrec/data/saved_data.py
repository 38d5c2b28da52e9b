"""Datasets and loaders in files: RecBole's ``save_dataset`` and ``save_dataloaders``, and back.

Saving writes a file and changes nothing; a run from the file is the run without it. So random
sources are saved as they are and put back, and of saved loaders only data and samplers are taken:
the loaders themselves are rebuilt from the settings of the run.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from recbole.utils import dataset_arguments

from recbole_fmrlrec.errors import DataError
from recbole_fmrlrec.files.atomic import replacing
from recbole_fmrlrec.nn.random_state import random_state, set_random_state

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config

#: Settings that make the rows of a dataset, beside those that RecBole compares.
_ROWS = (*dataset_arguments, "seed", "repeatable", "dataset", "eval_args", "discretization")
_ROWS += (
    "numerical_features",
    "kg_reverse_r",
    "entity_kg_num_interval",
    "relation_kg_num_interval",
)
_ROWS += ("convert_token_to_onehot", "token_num_threshold", "encoding", "training_windows")
#: Settings that make the samplers.
_SAMPLERS = ("train_neg_sample_args", "valid_neg_sample_args", "test_neg_sample_args")
#: The state of the random sources when an object was saved: an attribute of it.
_RANDOM = "random_state_when_saved"


class _Pickler(pickle.Pickler):
    """Takes random generators along, as their state: torch's cannot be pickled everywhere."""

    def reducer_override(self, value: Any) -> Any:
        """How to make a generator again; any other object goes its ordinary way."""
        if isinstance(value, torch.Generator):
            return _generator, (value.get_state(),)
        return NotImplemented


def _generator(state: torch.Tensor) -> torch.Generator:
    generator = torch.Generator()
    generator.set_state(state)
    return generator


def _save(path: Path, owner: Any, content: Any) -> None:
    setattr(owner, _RANDOM, random_state(None))
    stream = io.BytesIO()
    _Pickler(stream, protocol=4).dump(content)
    with replacing(path) as beside:
        beside.write_bytes(stream.getbuffer())
    getLogger().info("saved %s", path)


def save_dataset(config: Config, dataset: Any) -> None:
    """Write a dataset to ``DATASET-CLASS.pth`` in the folder ``checkpoint_dir``."""
    name = f"{config['dataset']}-{type(dataset).__name__}.pth"
    _save(Path(config["checkpoint_dir"]) / name, dataset, dataset)


def save_loaders(config: Config, loaders: tuple[Any, Any, Any]) -> None:
    """Write three loaders to ``DATASET-for-MODEL-dataloader.pth`` in ``checkpoint_dir``.

    In RecBole's layout: a list of loaders, each with the state of its generator.
    """
    name = f"{config['dataset']}-for-{config['model']}-dataloader.pth"
    states = [getattr(loader, "generator", None) for loader in loaders]
    content = [
        (loader, None if state is None else state.get_state())
        for loader, state in zip(loaders, states, strict=True)
    ]
    _save(Path(config["checkpoint_dir"]) / name, loaders[0], content)


def saved_dataset(config: Config, chosen: type) -> Any:
    """The dataset that ``dataset_save_path`` names; None where it does not fit, or none is named.

    Args:
        config: of the run.
        chosen: the class that the run needs.

    Raises:
        DataError: there is no such file, or it holds no dataset.
    """
    dataset = _load("dataset_save_path", config)
    if dataset is None:
        return None
    _require("dataset_save_path", config, hasattr(dataset, "inter_feat"), "dataset")
    if not _fits("dataset_save_path", config, chosen, dataset, _ROWS):
        return None
    dataset.config = config
    return _continued(dataset)


def saved_parts(config: Config, chosen: type) -> tuple[Any, Any, Any] | None:
    """The loaders that ``dataloaders_save_path`` names, to be rebuilt from their parts.

    Args, Raises: as `saved_dataset`.
    """
    key = "dataloaders_save_path"
    content = _load(key, config)
    if content is None:
        return None
    entries = content if isinstance(content, list) else []
    loaders = [e[0] for e in entries if isinstance(e, tuple) and hasattr(e[0], "_dataset")]
    _require(key, config, len(loaders) == 3, "three loaders")
    if not _fits(key, config, chosen, loaders[0]._dataset, _ROWS + _SAMPLERS):
        return None
    for loader in loaders:
        loader._dataset.config = config
    _continued(loaders[0])
    return loaders[0], loaders[1], loaders[2]


def _load(key: str, config: Config) -> Any:
    path = config[key]
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            return pickle.load(file)
    except OSError as error:
        raise DataError(f"{key}: {error}") from None
    except Exception as error:  # damaged bytes make pickle raise almost anything
        raise DataError(
            f"{key}: {path} cannot be read ({type(error).__name__}: {error})"
        ) from error


def _require(key: str, config: Config, is_there: bool, what: str) -> None:
    if not is_there:
        raise DataError(f"{key}: {config[key]} does not hold a saved {what}; leave the key out")


def _fits(key: str, config: Config, chosen: type, dataset: Any, settings: Iterable[str]) -> bool:
    other = [name for name in settings if config[name] != dataset.config[name]]
    if type(dataset) is not chosen:
        other.insert(0, f"a dataset of class {type(dataset).__name__}, not {chosen.__name__}")
    if other:
        getLogger().warning(
            "%s: %s was saved with other settings (%s), and is not used: the data are prepared "
            "again",
            *(key, config[key], ", ".join(other)),
        )
    return not other


def _continued(owner: Any) -> Any:
    """Let random sources continue from where they were when an object was saved."""
    state = vars(owner).get(_RANDOM)
    if state is not None:  # RecBole's own files, and older ones of ours, have none
        set_random_state(state, None)
    return owner
