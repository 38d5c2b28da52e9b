"""Every key that a model's configuration may have, and what to say about one that it may not."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.keys.schema import LOSSES, RULES, SAMPLED_LOSSES, SIDE_COLUMNS, TEACHERS
from recbole_fmrlrec.keys.yaml_files import load_yaml, properties_dir
from recbole_fmrlrec.model_api import outside
from recbole_fmrlrec.model_api.registry import (
    SHIPPED,
    get_model_class,
    is_known,
    nearest,
    recbole_dir,
    recbole_models,
)
from recbole_fmrlrec.rules import Rule, choice, flag, is_number, is_whole, mapping, text, whole

# Read by RecBole's code and in none of its YAML files.
_IN_CODE = ["encoding", "tail_ratio"]
_SEVERAL_DEVICES = {"nproc", "nproc_per_node", "world_size", "local_rank", "ip", "port"}
_SEVERAL_DEVICES |= {"group_offset", "offset"}
_IN_MODEL_CODE = {
    "AutoInt": ["has_residual"],
    "DiffRec": ["norm"],
    "LDiffRec": ["norm"],
    "FEARec": ["contrast", "sim", "tau", "use_filter"],
    "HRM": ["reg_weight"],
    "LightGBM": ["token_num_threshold", "lgb_early_stopping_rounds"],
    "XGBoost": ["token_num_threshold", "xgb_early_stopping_rounds"],
}
_OF_TRANSFORM = {
    "mask_itemseq": ["mask_ratio", "ft_ratio"],
    "crop_itemseq": ["eta"],
    "reorder_itemseq": ["beta"],
}
# What RecBole warns about, as it no longer has any effect, is no key here.
_GONE = {
    "neg_sampling": "train_neg_sample_args",
    "training_neg_sample_num": "train_neg_sample_args",
}
# Whole numbers in RecBole's YAML files that stand for fractions, or for several types.
_FRACTIONS = {
    "dropout_prob",
    "hidden_dropout_prob",
    "global_ratio",
    "spatial_ratio",
    "negative_weight",
    "noise_scale",
    "reg_weight",
    "w_max",
    "q",
}
_ANY = {"reranker_CAN_NUM", "xgb_verbose_eval", "fredom_type"}


def recbole_model_file(model: str) -> Path | None:
    """RecBole's YAML file of a model; ``lightgbm.yaml`` is that of ``LightGBM``."""
    for file in (recbole_dir() / "properties" / "model").glob("*.yaml"):
        if file.stem.lower() == model.lower():
            return file
    return None


def our_model_file(model: str) -> Path | None:
    """Our YAML file of a model, of ours or of RecBole's."""
    if (other := outside.find(model)) is not None:
        return other.properties
    file = properties_dir() / "model" / f"{model}.yaml"
    return file if file.is_file() else None


def model_defaults(model: str) -> dict[str, Any]:
    """Our properties of one of our models; of fMRLRec for a class that somebody derived from it."""
    return load_yaml(our_model_file(model) or properties_dir() / "model" / "fMRLRec.yaml")


#: Keys that came later: the key of the same models that was there before, and the value that says
#: what was done until then.
_LATER: dict[str, tuple[str, Any]] = {"history_bias": ("self_distillation", False)}


def later_keys(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What a whole stored configuration means by the keys that it does not know yet."""
    return {
        key: value
        for key, (beside, value) in _LATER.items()
        if beside in stored and key not in stored
    }


def dataset_properties(model: str, dataset: str) -> dict[str, Any]:
    """What our properties of a dataset set for a model on it."""
    file = properties_dir() / "dataset" / f"{dataset}.yaml"
    values = load_yaml(file) if file.is_file() else {}
    values.pop("source", None)  # where the raw files come from: for dataset_tools
    of_models = values.pop("models", None) or {}
    return values | (of_models.get(model) or {})


def capability_defaults(model_class: type) -> dict[str, Any]:
    """The keys that come with what a class declares (`model_api.protocols`), with defaults."""
    from recbole_fmrlrec.model_api.protocols import capability_keys

    keys = sorted(capability_keys(model_class))
    published = model_defaults("fMRLRec") if keys else {}
    return {key: published[key] for key in keys}


@functools.cache
def general_keys() -> frozenset[str]:
    """The keys that every model knows."""
    theirs = recbole_dir() / "properties"
    files = [theirs / "overall.yaml", theirs / "dataset" / "sample.yaml"]
    files += sorted((theirs / "quick_start_config").glob("*.yaml"))
    files.append(properties_dir() / "overall.yaml")
    keys = {key for file in files for key in load_yaml(file)}
    keys |= {*_recbole_arguments(), *_IN_CODE, "model", "dataset"}
    return frozenset(keys - _SEVERAL_DEVICES)


def _recbole_arguments() -> list[str]:
    tree = ast.parse((recbole_dir() / "utils" / "argument_list.py").read_text(encoding="utf-8"))
    lists = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    return [str(name) for names in lists for name in ast.literal_eval(names)]


@functools.cache
def model_keys(model: str) -> frozenset[str]:
    """The keys that belong to one model."""
    files = [recbole_model_file(model), our_model_file(model)]
    keys = {key for file in files if file for key in load_yaml(file)}
    return frozenset(keys | set(_IN_MODEL_CODE.get(model, [])))


def check_key(
    key: str,
    where: str,
    model: str,
    transform: str | None = None,
    own_keys: frozenset[str] | None = None,
) -> None:
    """Refuse a key that has no meaning for a model.

    Args:
        own_keys: those of a model class of the user's own, in place of the model's.
        where: where the key stands, for the message: ``command line`` or a file with its line.
        transform: the configuration's ``transform``, which has keys of its own.

    Raises:
        UsageError: it names the key, and the models that know it or else the nearest known keys.
    """
    own_keys = model_keys(model) if own_keys is None else own_keys
    if key in _SEVERAL_DEVICES:
        raise UsageError(
            f"`{key}` ({where}): torchrun starts several processes or devices, without "
            "this key: torchrun --nproc_per_node=2 run_recbole.py --model=... --dataset=...; "
            "on several machines, on each: torchrun --nnodes=2 --node_rank=0 --nproc_per_node=2 "
            "--master_addr=HOST --master_port=29500 run_recbole.py ..."
        )
    known = general_keys() | own_keys | set(_OF_TRANSFORM.get(transform or "", []))
    if key in known:
        return
    if key in _GONE:
        hint = f"`{_GONE[key]}` has replaced it"
    elif owners := _owners(key):
        shown = ", ".join(owners[:6]) + (" ..." if len(owners) > 6 else "")
        hint = f"it is a key of {shown}, not of {model}"
    elif near := nearest(key, sorted(known)):
        hint = f"the nearest known keys are {', '.join(near)}"
    else:
        hint = "no known key is similar; `--help` lists them"
    raise UsageError(f"unknown key `{key}` ({where}): {hint}")


def is_known_key(key: str) -> bool:
    """Whether it is a key of every model or of some model."""
    return key in general_keys() or bool(_owners(key))


def _owners(key: str) -> list[str]:
    return [model for model in [*SHIPPED, *recbole_models()] if key in model_keys(model)]


def rule_of(key: str, default: Any, model: str = "") -> Rule:
    """The rule of a key of a model: the schema's, else a value of its default's type."""
    if key == "loss_type" and model and model not in recbole_models():
        return choice(*_loss_types(model))
    if key == "selected_features" and model and model not in recbole_models():
        return SIDE_COLUMNS
    if key == "teacher" and model == "KD_DAGFM":  # RecBole evaluates it
        return choice(*TEACHERS)
    if key in RULES:
        return RULES[key]
    if default is None or key in _ANY:
        return Rule("anything", lambda value: True)
    if isinstance(default, bool):
        return flag()
    if isinstance(default, float) or (key in _FRACTIONS and not isinstance(default, list)):
        return Rule("a number", is_number)
    if isinstance(default, int):
        return whole()
    if isinstance(default, str):
        return text()
    return mapping("a mapping") if isinstance(default, dict) else _list_like(default)


def _loss_types(model: str) -> tuple[str, ...]:
    """The values of ``loss_type`` for a model that is not RecBole's."""
    declared = getattr(get_model_class(model), "loss_types", None) if is_known(model) else None
    return declared or (*LOSSES, *SAMPLED_LOSSES)


def _list_like(default: list[Any]) -> Rule:
    if default and all(map(is_whole, default)):
        return Rule(
            "a list of integers", lambda v: isinstance(v, list) and all(map(is_whole, v)), True
        )
    if default and all(map(is_number, default)):
        return Rule(
            "a list of numbers", lambda v: isinstance(v, list) and all(map(is_number, v)), True
        )
    return Rule("a list", lambda value: isinstance(value, list), True)
