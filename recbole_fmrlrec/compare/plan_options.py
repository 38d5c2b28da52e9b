"""A comparison as the command line gives it: without a file, or overriding one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recbole_fmrlrec.config.command_line import check_options, names, parse, whole_numbers
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.launch.workers import OPTIONS

if TYPE_CHECKING:
    from recbole_fmrlrec.compare.plan import Plan

#: Options with a text for their value.
_VALUED = ("dataset", "seeds", "metrics", "topk", "valid_metric", "history", "output")
_OPTIONS = ["model", *_VALUED, "only", "redo", *OPTIONS, "list", "debug"]


def plan_from_options(options: argparse.Namespace, rest: Sequence[str]) -> Plan:
    """The plan of a command line without a file, the same as that of a file with these entries.

    Args:
        options: those of `QUICK`, and ``output``.
        rest: other words: settings of all models, ``--KEY=VALUE``.

    Raises:
        UsageError: no model is given, or a name or value cannot be used.
    """
    from recbole_fmrlrec.compare.plan_file import plan_from_values
    from recbole_fmrlrec.config.model_names import model_name

    if not options.model:
        raise UsageError(
            "compare needs a file, as in `compare properties/comparison/ml-100k-quick.yaml`, or "
            "models, as in `compare --model=fMRLRec,SASRec --dataset=ml-100k`"
        )
    models = [model_name(name) for name in names(options.model)]
    datasets = names(options.dataset or "ml-100k")
    check_options(rest, models, "compare", _OPTIONS)
    settings = _settings(options, rest)
    named = {model: model for model in models}
    values: dict[str, Any] = {
        "name": "-".join([*models, *datasets]),
        "models": models,
        "datasets": datasets,
        **_evaluation_keys(options, settings),
    }
    if "max_minutes" in settings:
        values["budget"] = {"minutes": _typed("max_minutes", settings.pop("max_minutes"), named)}
    values["settings"] = {key: _typed(key, text, named) for key, text in settings.items()}
    return plan_from_values(values)


def plan_from_file(options: argparse.Namespace, rest: Sequence[str]) -> Plan:
    """The plan of a file, with what the command line overrides.

    Args:
        options: ``file``, and those of `plan_from_options`.
        rest: other words: settings of all models, ``--KEY=VALUE``.

    Raises:
        UsageError: the file, a name or a value cannot be used, or a model is named.
    """
    from recbole_fmrlrec.compare.plan_checks import check_setting
    from recbole_fmrlrec.compare.plan_file import read_plan

    if options.model:
        check_options(
            rest, names(options.model), "compare", _OPTIONS
        )  # `--worker 2` makes 2 the file
        raise UsageError(
            "--model and a file: the file says which models are compared; --only=NAME,.. chooses "
            "some of them"
        )
    settings = _settings(options, rest)
    said = _evaluation_keys(options, settings)
    if options.dataset:
        said["datasets"] = names(options.dataset)
    plan = read_plan(options.file, said)
    named = {variant.name: variant.model for variant in plan.models}
    models = list(named.values())
    check_options(rest, models, "compare", _OPTIONS)
    minutes = plan.minutes
    if "max_minutes" in settings:
        minutes = _typed("max_minutes", settings.pop("max_minutes"), named)
    overrides = {key: _typed(key, text, named) for key, text in settings.items()}
    for key, value in overrides.items():
        for model in models:
            check_setting(model, key, value, "command line", in_file=False)
    return replace(plan, minutes=minutes, overrides=overrides)


def _settings(options: argparse.Namespace, rest: Sequence[str]) -> dict[str, str]:
    """The settings among the words of the command line.

    Raises:
        UsageError: an option has no value, or is one of single runs.
    """
    for name in _VALUED:
        if (value := getattr(options, name)) is not None and not str(value).strip():
            raise UsageError(f"--{name}= has no value")
    found = parse(rest)
    if found.config_files or found.resume:
        raise UsageError(
            "compare has no --config_files and no --resume: its file holds settings, and the same "
            "command continues a comparison"
        )
    return found.keys


def _evaluation_keys(options: argparse.Namespace, settings: dict[str, str]) -> dict[str, Any]:
    """Seeds, metrics and the like that are given; ``--seed`` is taken out of the settings."""
    found: dict[str, Any] = {}
    seeds = options.seeds
    if "seed" in settings:
        if seeds:
            raise UsageError("--seed and --seeds: give one of them")
        seeds = settings.pop("seed")
    if seeds:
        found["seeds"] = whole_numbers("--seeds", seeds)
    if options.topk:
        found["topk"] = whole_numbers("--topk", options.topk)
    if options.metrics:
        found["metrics"] = names(options.metrics.strip("[]() "))
    if options.valid_metric:
        found["valid_metric"] = options.valid_metric
    if options.history:
        found["history"] = options.history
    if options.output:
        found["output"] = options.output
    return found


def _typed(key: str, text: str, models: Mapping[str, str]) -> Any:
    """The value that a text means as a setting of the models, which are given by name.

    Raises:
        UsageError: one of them does not know the key, or cannot have the value.
    """
    from recbole_fmrlrec.compare.plan_checks import ELSEWHERE, told_for_some
    from recbole_fmrlrec.config.settings import Setting, apply
    from recbole_fmrlrec.model_api.registry import check_model_name

    value: Any = text
    for model in models.values():
        check_model_name(model)
        values: dict[str, Any] = {}
        if key not in ELSEWHERE or key == "max_minutes":
            with told_for_some(key, text, model, models):
                apply([Setting(key, text, "command line", is_text=True)], values, model)
            value = values
            for part in key.split("."):
                value = value[part]
    return value
