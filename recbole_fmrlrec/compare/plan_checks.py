"""Settings that a comparison's models cannot have: it makes them itself, or rows would differ."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from recbole_fmrlrec.compare.plan import Variant
from recbole_fmrlrec.config import settings as setting_rules
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.keys.known import general_keys, model_keys
from recbole_fmrlrec.keys.time_split import CHOICES, protocol
from recbole_fmrlrec.model_api.registry import is_nested

#: Settings that the comparison itself makes, and where they are said: in its file, or by which
#: option if there is no file.
ELSEWHERE = {
    "model": ("the key `models` at the top level of this file", "--model"),
    "dataset": ("the key `datasets` at the top level of this file", "--dataset"),
    "seed": ("the key `seeds` at the top level of this file", "--seeds"),
    "metrics": ("the key `metrics` at the top level of this file", "--metrics"),
    "topk": ("the key `topk` at the top level of this file", "--topk"),
    "valid_metric": ("the key `valid_metric` at the top level of this file", "--valid_metric"),
    "history": ("the key `history` at the top level of this file", "--history"),
    "mask_history": (
        "`valid_metric: masked_NDCG@10` at the top level of this file",
        "--valid_metric=masked_NDCG@10",
    ),
    "checkpoint_dir": ("the key `output` at the top level of this file", "--output"),
    "max_minutes": ("`budget: {minutes: ...}` at the top level of this file", "--max_minutes"),
}


def check_setting(
    model: str,
    key: str,
    value: Any,
    where: str,
    in_file: bool,
    models: Mapping[str, str] | None = None,
) -> None:
    """Refuse a setting that a model cannot have in a comparison.

    Args:
        key: of a configuration; with dots an entry of a mapping.
        where: its place, for the message.
        in_file: whether that is in the file of a comparison.
        models: all compared ones by their names in tables, where the setting is for all of them.

    Raises:
        UsageError: the comparison itself makes it, the model does not know it or not this value, or
            with it the test rows would not be those of the other models.
    """
    top = key.partition(".")[0]
    if top in ELSEWHERE:
        way = ELSEWHERE[top][0 if in_file else 1]
        raise UsageError(f"{where}: `{top}` is not a setting here; set it with {way}")
    values: dict[str, Any] = {}
    with told_for_some(key, value, model, models or {}):
        setting_rules.apply([setting_rules.Setting(key, value, where)], values, model)
    fault = rows_fault(values.get("eval_args") or {})
    if fault is not None:
        raise UsageError(f"{where}: {fault}")


@contextmanager
def told_for_some(key: str, value: Any, model: str, models: Mapping[str, str]) -> Iterator[None]:
    """Say of a key that is for all models, and that one of them does not know, where it can stand.

    Args:
        model: the one that is checked.
        models: all of them by their names in tables.
    """
    try:
        yield
    except UsageError as error:
        top = key.partition(".")[0]
        knowing = [name for name, other in models.items() if top in model_keys(other)]
        if not knowing or top in model_keys(model) | general_keys():
            raise
        raise UsageError(
            f"{error}; settings of some of the models stand in a comparison's file, below each of "
            f"them: `models: {{{knowing[0]}: {{settings: {{{key}: {value}}}}}}}`"
        ) from error


def rows_fault(eval_args: Mapping[str, Any]) -> str | None:
    """Why models tested so could not be compared by user; None where they can be.

    Args:
        eval_args: RecBole's, whole or in part; missing entries are not checked.
    """
    mode = eval_args.get("mode", "full")
    tested = mode.get("test", "full") if isinstance(mode, Mapping) else mode
    if tested != "full":
        return (
            f"eval_args.mode: {tested} for the test does not rank each target among all items; "
            "a comparison "
            "needs mode: full (or {valid: ..., test: full})"
        )
    split = eval_args.get("split")
    by_time = split is not None and "time" in split
    if not by_time and split is not None and split.get("LS") not in ("valid_and_test", "test_only"):
        return (
            f"eval_args.split: {split} does not leave one test item for each user; a comparison "
            "needs split: {LS: valid_and_test}, or {time: [0.8, 0.9]}"
        )
    if eval_args.get("order", "TO") != "TO":
        return (
            f"eval_args.order: {eval_args['order']} draws other test items with each seed; a "
            "comparison needs order: TO"
        )
    return None


def check_same_split(models: Sequence[Variant], eval_args: Sequence[Mapping[str, Any]]) -> None:
    """Refuse models of which each would be split or tested by time in another way.

    Args:
        eval_args: RecBole's, of each model, whole.

    Raises:
        UsageError: it names the entry, both models and their values.
    """
    ways = [_by_time(arguments) for arguments in eval_args]
    for model, way in zip(models, ways, strict=True):
        for key, value in way.items():
            if value != ways[0][key]:
                raise UsageError(
                    f"{model.where}: eval_args.{key} is {value} for {model.name} and "
                    f"{ways[0][key]} for {models[0].name}, so that their figures would not "
                    "compare: set it for all models"
                )


def _by_time(eval_args: Mapping[str, Any]) -> dict[str, Any]:
    """What says which rows a split by time has; the same for every other split."""
    moments = eval_args["split"].get("time")
    return {"split.time": moments, **(protocol(eval_args) if moments else dict.fromkeys(CHOICES))}


def check_labels(models: Sequence[Variant]) -> None:
    """Refuse names that tables or plots could not show, or could not tell apart.

    Raises:
        UsageError: a model is called as tables call a size of another, or its name begins with what
            matplotlib leaves out of its legends.
    """
    for model in models:
        if model.name.startswith("_"):
            raise UsageError(f"{model.where}: {model.name!r}: a model's name cannot begin with _")
    for nested, other in itertools.permutations(models, 2):
        label = re.escape(nested.name) + r" \d+( alone)?"
        if not re.fullmatch(label, other.name):
            continue
        if is_nested(nested.model) and not is_nested(other.model):
            raise UsageError(
                f"{other.where}: tables call a size of {nested.name} {other.name!r} too; give it "
                "another name"
            )
