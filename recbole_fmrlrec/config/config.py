"""RecBole's ``Config`` with our properties, our models, and a check of every key and value."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole.config import Config as RecBoleConfig

from recbole_fmrlrec import compat, torchrun
from recbole_fmrlrec.config import evaluation_checks, settings
from recbole_fmrlrec.config.history_checks import settle_history
from recbole_fmrlrec.config.needed_columns import load_needed
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation.protocol import BOTH, plain_name
from recbole_fmrlrec.files import trust
from recbole_fmrlrec.files.names import check_name
from recbole_fmrlrec.keys.class_keys import class_keys
from recbole_fmrlrec.keys.known import (
    capability_defaults,
    dataset_properties,
    our_model_file,
    recbole_model_file,
)
from recbole_fmrlrec.keys.schema import VALUE_METRICS
from recbole_fmrlrec.keys.yaml_files import Loader, load_yaml, properties_dir
from recbole_fmrlrec.model_api import outside, registry
from recbole_fmrlrec.model_api.protocols import FeatureModel, WindowModel

if TYPE_CHECKING:
    import torch

# What the user's environment shows of the GPUs, before RecBole's Config overwrites it.
_VISIBLE_GPUS = os.environ.get("CUDA_VISIBLE_DEVICES")

# Settings that say where and how loudly a run happens; the outcome does not depend on them.
_PLACES = {
    "model_source",
    "data_path",
    "dataset_root",
    "checkpoint_dir",
    "dataset_save_path",
    "save_dataset",
}
_PLACES |= {"dataloaders_save_path", "save_dataloaders", "log_wandb", "wandb_project"}
_MACHINE = {"gpu_id", "use_gpu", "device", "worker", "num_threads", "single_spec", "local_rank"}
_MACHINE |= {"interaction_memory_mb", "shard_items", "nproc", "world_size", "ip", "port", "offset"}
_DISPLAY = {"show_progress", "state", "loss_decimal_place"}
NOT_IN_FINGERPRINT = _PLACES | _MACHINE | _DISPLAY
#: Keys that earlier versions lack: without a value they say what was done before there was the key.
_ADDED = ("allow_tf32", "adam_beta2", "continue_from", "continue_optimizer", "history_bias")
_EVALUATION = ("eval_args", "metrics", "topk", "valid_metric")


class Config(RecBoleConfig):
    """The configuration of one model on one dataset.

    Later ones win: RecBole's properties, our ``overall.yaml``, ``model/NAME.yaml``,
    ``dataset/NAME.yaml`` and its section for the model, files, ``config_dict``, ``cli_args``. Keys
    with dots change one entry of a mapping. ``sys.argv`` is not read.

    Args:
        model: name or class; without it the one that the user's settings name, else our default.
        dataset: name; found in the same way.
        config_file_list: YAML files.
        config_dict: keys and values.
        cli_args: keys and values of the command line; text is read as YAML.
        recorded: keys and values out of a checkpoint or a run folder, and where that is, between
            the files and ``config_dict``. They are data: none of them names a file that can
            execute (see `trust`).
        inherited: likewise, of a run that this one continues, before the files.

    Attributes:
        notes: what the user may want to know and nobody has logged yet.

    Raises:
        UsageError: an unknown key or model, an impossible value, a file that cannot be read.
    """

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: Iterable[str | Path] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        cli_args: Mapping[str, Any] | None = None,
        recorded: tuple[Mapping[str, Any], str] | None = None,
        inherited: tuple[Mapping[str, Any], str] | None = None,
    ) -> None:
        compat.apply()
        self._settings = [
            *settings.from_dict(*(inherited or ({}, "")), recorded=True),
            *settings.from_files(config_file_list or []),
            *settings.from_dict(*(recorded or ({}, "")), recorded=True),
            *settings.from_dict(config_dict or {}, "config_dict"),
            *settings.from_dict(cli_args or {}, "command line", is_text=True),
        ]
        self._given = {setting.top for setting in self._settings}
        self._overrides: dict[str, Any] = {}
        self.notes: list[str] = []
        super().__init__(model, dataset)
        settings.check_together(self.final_config_dict)
        evaluation_checks.check_time_split(self.final_config_dict)
        evaluation_checks.check_masking(self.final_config_dict)
        evaluation_checks.check_names(self.final_config_dict)
        evaluation_checks.check_training(self.final_config_dict, self.model, self.model_class)
        # Taken now: RecBole's models and transforms add entries of their own to a Config.
        kept = {k: v for k, v in self.effective().items() if k not in NOT_IN_FINGERPRINT}
        if kept.get("history") == BOTH:  # so that runs of versions without the key are found
            del kept["history"]
        for key in _ADDED:
            if not kept.get(key):
                kept.pop(key, None)
        self._fingerprint = hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]

    # RecBole's own steps, in the order in which its __init__ takes them.

    def _init_parameters_category(self) -> None:
        super()._init_parameters_category()
        # RecBole would add the keys of a dataset to the list that all its Configs share.
        shared: dict[str, list[str]] = vars(self)["parameters"]
        self.parameters = {name: list(keys) for name, keys in shared.items()}

    def _build_yaml_loader(self) -> type:
        return Loader

    def _load_cmd_line(self) -> dict[str, Any]:
        return {}

    def _merge_external_config_dict(self) -> None:
        self.external_config_dict = {setting.key: setting.value for setting in self._settings}

    def _get_model_and_dataset(
        self, model: str | type | None, dataset: str | None
    ) -> tuple[str, type, str]:
        defaults = load_yaml(properties_dir() / "overall.yaml") | self.external_config_dict
        model, dataset = model or defaults["model"], dataset or defaults["dataset"]
        check_name("dataset", dataset, "data_path")
        if isinstance(model, str):
            name = registry.class_name(model)
            return name, registry.get_model_class(name), str(dataset)
        check_name("the model class", model.__name__, "checkpoint_dir")
        return model.__name__, model, str(dataset)

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        super()._load_internal_config_dict(model, model_class, dataset)
        values = self.internal_config_dict
        file = recbole_model_file(model)
        if file and file.stem != model:  # lightgbm.yaml: RecBole looks for LightGBM.yaml in vain
            values.update(load_yaml(file))
        overall = load_yaml(properties_dir() / "overall.yaml")
        if all(metric.lower() in VALUE_METRICS for metric in values["metrics"]):
            # It predicts clicks: RecBole's labelled evaluation belongs to its training data.
            overall = {key: value for key, value in overall.items() if key not in _EVALUATION}
        values.update(overall)
        values.update(capability_defaults(model_class))
        if ours := our_model_file(model):
            values.update(load_yaml(ours))
        values.update(dataset_properties(model, dataset))

    def _get_final_config_dict(self) -> dict[str, Any]:
        values = copy.deepcopy(self.internal_config_dict)
        shipped = registry.is_shipped(self.model)
        own_keys = None if shipped else class_keys(self.model_class)
        any_key = own_keys is None and not shipped
        settings.apply(self._settings, values, self.model, any_key=any_key, own_keys=own_keys)
        trust.check_sources(self._settings, values)
        if (other := outside.find(self.model)) is not None:
            values["model_source"] = other.spec
        self._overrides = {key: copy.deepcopy(values[key]) for key in sorted(self._given)}
        return values

    def _set_default_parameters(self) -> None:
        values = self.final_config_dict
        evaluation_checks.check_modes(values)
        settle_history(values, self._given)
        self._order_by_time()
        self._first_items()
        self._load_timestamps()
        self._train_without_negatives()
        if "show_progress" not in self._given and not sys.stderr.isatty():
            values["show_progress"] = False
        values["dataset_root"] = values["data_path"]
        for key in ("field_separator", "seq_separator"):
            values[key] = values[key].replace("\\t", "\t")  # as it is typed in a shell
        try:
            super()._set_default_parameters()
        except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
            raise UsageError(str(error)) from error
        values["valid_metric_bigger"] = self._bigger_is_better()
        values["data_path"] = self._data_path(values["dataset_root"])
        load_needed(values, self._given, self.dataset)

    def _bigger_is_better(self) -> bool:
        """RecBole's own answer for valid_metric, of ``masked_GiniIndex@10`` as of GiniIndex."""
        from recbole.evaluator import smaller_metrics

        name = plain_name(self.final_config_dict["valid_metric"]).partition("@")[0]
        return name.lower() not in smaller_metrics

    def _order_by_time(self) -> None:
        """A split by time is in order of time, whatever RecBole's default for the model is."""
        arguments = self.final_config_dict["eval_args"]
        if "time" in (arguments.get("split") or {}) and not any(
            setting.key == "eval_args.order"
            or (setting.key == "eval_args" and "order" in setting.value)
            for setting in self._settings
        ):
            arguments["order"] = "TO"

    def _first_items(self) -> None:
        """Rows of prefixes begin at a history's second item: none predicts the first."""
        values = self.final_config_dict
        if not values.get("predict_first_item") or values.get("training_windows") != "prefix":
            return
        what = "the rows of training_windows = prefix predict no first item of a history"
        if self._overrides.get("predict_first_item"):
            raise UsageError(f"predict_first_item = True: {what}; set it to overlap or latest")
        values["predict_first_item"] = False
        self.notes.append(f"{what}: predict_first_item is off")

    def _load_timestamps(self) -> None:
        """Load the column that gives the order; RecBole's sample.yaml leaves it out."""
        values = self.final_config_dict
        columns = (values["load_col"] or {}).get("inter")
        if columns is None or values["eval_args"].get("order") != "TO" or "load_col" in self._given:
            return
        if values["TIME_FIELD"] not in columns:
            columns.append(values["TIME_FIELD"])

    def _train_without_negatives(self) -> None:
        """A softmax over all items samples no negatives: RecBole refuses its own default there."""
        values = self.final_config_dict
        by_itself = issubclass(self.model_class, WindowModel)
        loss = values.get("loss_type")
        if not by_itself and (hasattr(self.model_class, "input_type") or loss != "CE"):
            return
        asked = self._overrides.get("train_neg_sample_args")
        if asked and asked.get("distribution", "uniform") not in (None, "none", "None"):
            way_out = "" if by_itself else ", or set loss_type to BPR if the model has it"
            raise UsageError(
                f"train_neg_sample_args: {self.model} ranks all items in its loss and samples no "
                f"negatives; leave the key out{way_out}"
            )
        values["train_neg_sample_args"] = None

    def _data_path(self, root: str) -> str:
        """The dataset's folder; for ml-100k RecBole's copy where the user has none."""
        own = os.path.join(root, self.dataset)
        if self.dataset != "ml-100k":
            return own
        if os.path.isfile(os.path.join(own, "ml-100k.inter")):
            self.notes.append(f"ml-100k is read from {own}, not from RecBole's own copy")
            return own
        return str(registry.recbole_dir() / "dataset_example" / "ml-100k")

    def _init_device(self) -> None:
        values = self.final_config_dict
        if "gpu_id" not in self._given and _VISIBLE_GPUS is not None:
            values["gpu_id"] = _VISIBLE_GPUS  # RecBole would show GPU 0 instead
        elif "gpu_id" not in self._given and torchrun.size() > 1:
            values["gpu_id"] = ",".join(map(str, range(torchrun.local_size())))
        super()._init_device()
        import torch

        if not values["use_gpu"]:  # RecBole reads the key elsewhere, and not here
            values["device"] = torch.device("cpu")
        elif torchrun.size() > 1 and values["device"].type == "cuda":
            values["device"] = self._own_gpu()

    def _own_gpu(self) -> torch.device:
        """The GPU of this process of torchrun, by its number on the machine."""
        import torch

        found, wanted = torch.cuda.device_count(), torchrun.local_size()
        if found < wanted:
            raise UsageError(
                f"torchrun started {wanted} processes on this machine, which shows {found} GPU(s): "
                f"give --nproc_per_node={found}, more ids in gpu_id or CUDA_VISIBLE_DEVICES, or "
                "--use_gpu=False"
            )
        torch.cuda.set_device(torchrun.local_rank())
        return torch.device("cuda", torchrun.local_rank())

    @property
    def reads_features(self) -> bool:
        """Whether the model reads item features in this configuration."""
        return issubclass(self.model_class, FeatureModel) and self["use_features"] is not False

    def overrides(self) -> dict[str, Any]:
        """What the user set; as ``config_dict`` it makes this configuration again."""
        return {k: _plain(v) for k, v in self._overrides.items() if k not in ("model", "dataset")}

    def effective(self) -> dict[str, Any]:
        """The final configuration, in values that JSON knows."""
        return {key: _plain(value) for key, value in sorted(self.final_config_dict.items())}

    def fingerprint(self) -> str:
        """A hash, 16 hexadecimal digits, of all settings on which the outcome of a run depends."""
        return self._fingerprint


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): _plain(below) for key, below in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(_plain(below) for below in value)
    if isinstance(value, list | tuple):
        return [_plain(below) for below in value]
    return value if isinstance(value, bool | int | float | str | type(None)) else str(value)
