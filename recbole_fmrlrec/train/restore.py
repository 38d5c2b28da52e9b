"""A trained model rebuilt from its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_fmrlrec import compat
from recbole_fmrlrec.console import say
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.files.trust import FILE_KEYS
from recbole_fmrlrec.keys.known import later_keys
from recbole_fmrlrec.model_api import registry

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config


def saved_config(
    path: Path,
    data_path: str | None = None,
    settings: Mapping[str, Any] | None = None,
    machine: Mapping[str, str] | None = None,
    dataset: str | None = None,
) -> tuple[Config, dict[str, Any]]:
    """The configuration of a checkpoint, on the CPU, and its content.

    Args:
        path: ``best.pth`` of a run.
        data_path: the folder that holds the dataset, where it is not where training had it.
        settings: changes that leave the shape of the model alone.
        machine: changes of where and how it runs, as text of the command line.
        dataset: other data than that of the training, with the training's split.

    Raises:
        UsageError: a checkpoint that is missing or damaged, or one that holds no configuration.
    """
    compat.apply()
    from recbole_fmrlrec.files.checkpoint import load_checkpoint
    from recbole_fmrlrec.runs.checkpoint_bounds import check_bounds

    try:
        state = load_checkpoint(path)
    except RunError as error:  # in a resumed run it is a failure; here the user names the file
        raise UsageError(f"--checkpoint: {error}") from error
    if "config" not in state:
        raise UsageError(f"{path}: does not say which model it is; give the best.pth of that run")
    check_names(path, state["config"], data_path)
    saved = state["config"]
    registry.check_recorded(saved["model"], str(path), saved.get("model_source"))
    if dataset is None or dataset == saved["dataset"]:
        config = _config(saved, path, data_path, settings or {}, machine or {})
    else:
        config = _elsewhere(saved, path, data_path, dataset, settings or {}, machine or {})
    check_bounds(path, config, state)
    return config, state


def check_names(path: Path, saved: Any, data_path: str | None) -> None:
    """Check that a stored configuration says what is asked of it.

    Raises:
        UsageError: it does not.
    """
    for key in ("model", "dataset", *([] if data_path else ["dataset_root"])):
        value = saved.get(key) if isinstance(saved, dict) else None
        if not isinstance(value, str) or not value:
            raise UsageError(f"{path}: damaged: its configuration does not say its {key}")


def saved_model(path: Path, config: Config, state: dict[str, Any], train_data: Any) -> Any:
    """The model of a checkpoint, in evaluation mode on the configuration's device.

    Rows of items and users go by their ids, which may stand in another order than in the training.

    Raises:
        UsageError: the dataset's items or features have changed since the training.
    """
    from recbole_fmrlrec.files.checkpoint import load_model_state
    from recbole_fmrlrec.train.row_places import Misfit

    model = config.model_class(config, train_data._dataset).to(config["device"])
    try:
        load_model_state(model, _by_id(path, model, config, state, train_data._dataset))
    except (Misfit, RuntimeError) as error:
        raise UsageError(
            f"{path} does not fit {config['dataset']} in {config['data_path']}: its items or "
            "users, their columns or the width of their features have changed since the training "
            f"({error})"
        ) from None
    corpus = state.get("corpus")
    if corpus and corpus != model.feature_info.get("corpus"):
        raise UsageError(
            f"{path} does not fit {config['dataset']} in {config['data_path']}: its TF-IDF "
            "features were made again, from other texts, since the training; train the model again"
        )
    return model.eval()


def _by_id(
    path: Path, model: Any, config: Config, state: dict[str, Any], dataset: Any
) -> dict[str, Any]:
    """The content of a checkpoint, its rows in the order of a dataset's items and users.

    Raises:
        Misfit: they cannot be put so, or there are others.
    """
    from recbole_fmrlrec.train.row_mapping import RowMapping
    from recbole_fmrlrec.train.row_places import Misfit, id_places, moved, unmatched
    from recbole_fmrlrec.train.vocabulary import from_text, match, vocabulary_of

    stored = from_text(state.get("vocabulary"))
    matches = match(stored, vocabulary_of(dataset)) if stored else {}
    if not moved(matches, config, state, dataset):
        return state
    if why := unmatched(config):
        raise Misfit(f"ids or values have other numbers here, and {config['model']} {why}")
    places = id_places(model, config, state, dataset)
    with_rows = {axis.kind for axes in places.values() for axis in axes}
    for kind in sorted(with_rows & matches.keys()):
        if (found := matches[kind]).has_changed:
            raise Misfit(f"{kind}: {found.new:,} are new and {len(found.gone):,} gone")
    if state["state_dict"].keys() != model.state_dict().keys():
        return state  # loading it says what is not there
    taken = RowMapping(matches, places).take_all(model, state["state_dict"])
    if any(not matches[kind].is_same for kind in with_rows & matches.keys()):
        say(f"{path}: items or users stand in another order here; their rows are matched by id")
    # Other parameters are what a model keeps of its tensors until they change.
    return {**state, "state_dict": taken, "other_parameter": {}}


def _config(
    saved: dict[str, Any],
    path: Path,
    data_path: str | None,
    settings: Mapping[str, Any],
    machine: Mapping[str, str],
) -> Config:
    """The configuration of a checkpoint: what in it differs from the defaults of today."""
    from recbole_fmrlrec.config.config import NOT_IN_FINGERPRINT, Config

    names = saved["model"], saved["dataset"]
    places = _places(saved, data_path)
    today = Config(*names, config_dict=places).effective()
    skipped = {"model", "dataset", *NOT_IN_FINGERPRINT}
    changed = {
        key: value
        for key, value in {**later_keys(saved), **saved}.items()
        if key not in skipped and key in today and today[key] != value
    }
    recorded = changed, f"the configuration in {path}"
    now = {**places, **settings}
    return Config(*names, config_dict=now, cli_args=machine, recorded=recorded)


def _places(saved: dict[str, Any], data_path: str | None) -> dict[str, Any]:
    if data_path and not Path(data_path).is_dir():
        raise UsageError(f"--data_path: there is no folder {Path(data_path).absolute()}")
    return {"data_path": data_path or saved["dataset_root"], "use_gpu": False}


def _elsewhere(
    saved: dict[str, Any],
    path: Path,
    data_path: str | None,
    dataset: str,
    settings: Mapping[str, Any],
    machine: Mapping[str, str],
) -> Config:
    """The configuration of a checkpoint's model on other data, which is split as its own was."""
    from recbole_fmrlrec.config.config import Config

    names, places = (saved["model"], dataset), _places(saved, data_path)
    carried = carried_settings(saved, Config(*names, config_dict=places))
    recorded = {**carried, "eval_args": saved["eval_args"]}, f"the configuration in {path}"
    now = {**places, **settings}
    return Config(*names, config_dict=now, cli_args=machine, recorded=recorded)


def carried_settings(saved: Mapping[str, Any], today: Config) -> dict[str, Any]:
    """The settings of a stored configuration that belong to the model and its training.

    Those of the data, the evaluation and the machine are left to the new run.

    Args:
        saved: the whole stored configuration.
        today: the configuration of the same model on the new data, as it is without them.
    """
    from recbole_fmrlrec.config.config import NOT_IN_FINGERPRINT
    from recbole_fmrlrec.keys.schema import DATASET, EVALUATION, GENERAL

    elsewhere = {*DATASET, *EVALUATION, *GENERAL, *NOT_IN_FINGERPRINT, *FILE_KEYS}
    elsewhere |= {"model", "dataset", "feature_path", "continue_from", "continue_optimizer"}
    elsewhere -= {"MAX_ITEM_LIST_LENGTH"}
    now = today.effective()
    return {
        key: value
        for key, value in {**later_keys(saved), **saved}.items()
        if key in now and key not in elsewhere and now[key] != value
    }
