"""A search whose every key and value has been checked against the model's keys."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.names import check_name
from recbole_fmrlrec.program import command_name
from recbole_fmrlrec.tuning.search_file import Draft
from recbole_fmrlrec.tuning.space import Parameter, Space

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config

# The trials would no longer be measured alike.
_MEASURE = {"valid_metric", "valid_metric_bigger", "eval_args", "metrics", "topk", "repeatable"}
_MEASURE |= {"history", "mask_history"}


#: The entry of a definition in which the rest of the configuration and the data are summed up.
FINGERPRINT = "the data, or defaults of the package"


@dataclass(frozen=True)
class Plan:
    """One study: what is searched, on what, how, and for how long.

    Attributes:
        settings: fixed keys of every trial.
        metric: the validation metric that is optimised; ``maximize`` says in which direction.
        output: folder of the study's files and runs.
        fingerprint: a hash of defaults, fixed settings and data.
        epochs: of a trial, if no parameter says otherwise.
        sampler_named: whether the file names the sampler; else it follows from the budget.
        trials: how many; None for no limit.
        hours: hours of all trials together; None for no limit.
        launcher_options: of the jobs that work on it, where a launcher submits them.
    """

    study: str
    model: str
    dataset: str
    settings: dict[str, Any]
    space: Space
    sampler: str
    pruner: dict[str, Any]
    seed: int
    trials: int | None
    hours: float | None
    metric: str
    maximize: bool
    epochs: int
    output: Path
    fingerprint: str = ""
    sampler_named: bool = True
    launcher_options: dict[str, Any] = field(default_factory=dict)

    def points(self) -> list[dict[str, Any]]:
        """The points of the grid, by the slot of the trial that takes them; a fixed shuffle.

        In the order of the file, a part of them would leave the first parameters at their first
        values. The order does not depend on the budget, which may change when a study is continued.
        """
        numbers = random.Random(self.seed)  # `random()` alone is the same in every Python
        return sorted(self.space.points(), key=lambda _: numbers.random())

    def definition(self) -> dict[str, Any]:
        """What a stored study must agree in with the file, in values that JSON knows."""
        from recbole_fmrlrec.config.config import NOT_IN_FINGERPRINT

        kept = {k: v for k, v in self.settings.items() if k not in NOT_IN_FINGERPRINT}
        content = {
            "model": self.model,
            "dataset": self.dataset,
            "settings": kept,
            "parameters": {p.name: p.to_json() for p in self.space.parameters},
            "sampler": self.sampler,
            "pruner": self.pruner,
            "seed": self.seed,
            **({"order": "shuffled"} if self.sampler == "grid" else {}),
            FINGERPRINT: self.fingerprint,
        }
        plain: dict[str, Any] = json.loads(json.dumps(content))
        return plain

    def first_config(self) -> Any:
        """The configuration of the first value of each parameter."""
        from recbole_fmrlrec.config.config import Config

        values = {**self.settings, **self.space.first()}
        return Config(self.model, self.dataset, config_dict=values)

    def run_root(self, slot: int) -> Path:
        """The folder of the run of one trial."""
        return self.output / "trials" / f"{slot:04d}"


@dataclass(frozen=True)
class Given:
    """What the command line adds: names, YAML files below the file, keys (text) above it."""

    model: str | None = None
    dataset: str | None = None
    study: str | None = None
    output: Path | None = None
    config_files: tuple[str, ...] = ()
    keys: Mapping[str, str] | None = None


def make_plan(draft: Draft, given: Given) -> Plan:
    """Check a draft, and put what the command line says over it.

    Raises:
        UsageError: no model is named, a key that the model does not know, a value that the key
            cannot have, a parameter that changes how trials are measured, no validation data.
    """
    from recbole_fmrlrec.config.config import Config

    model, dataset, settings = _names_and_settings(draft, given)
    defaults = Config(model, dataset).final_config_dict
    fixed, values = _fixed(settings, defaults, model)
    space = _space(draft, fixed, values, model)
    config = Config(model, dataset, config_dict={**fixed, **space.first()})
    _need_validation(config)
    name = given.study or draft.study
    check_name("study", name, "checkpoint_dir")
    sampler = draft.sampler or ("grid" if space.covered_by(draft.trials) else "tpe")
    return Plan(
        study=name,
        model=config["model"],
        dataset=config["dataset"],
        settings=fixed,
        space=space,
        sampler=sampler,
        pruner=draft.pruner,
        seed=draft.seed,
        trials=_trials(draft, space, sampler),
        hours=draft.hours,
        metric=config["valid_metric"],
        maximize=bool(config["valid_metric_bigger"]),
        epochs=int(config["epochs"]),
        output=given.output or Path(fixed.get("checkpoint_dir", "saved")) / "tune" / name,
        sampler_named=draft.sampler is not None,
        launcher_options=draft.launcher_options,
    )


def with_data(plan: Plan) -> Plan:
    """The plan with its fingerprint, after the dataset was made where it was not there.

    Raises:
        RunError: the dataset cannot be made.
    """
    from recbole_fmrlrec.data.prepare_missing import prepare_missing
    from recbole_fmrlrec.runs.folder import run_fingerprint

    config = plan.first_config()
    prepare_missing(config)
    return replace(plan, fingerprint=run_fingerprint(config))


def _names_and_settings(draft: Draft, given: Given) -> tuple[str, str | None, list[Any]]:
    from recbole_fmrlrec.config.settings import Setting, from_dict, from_files

    settings = [*from_files(given.config_files)]
    settings += [Setting(key, value, where) for key, (value, where) in draft.settings.items()]
    settings += from_dict(given.keys or {}, "command line", is_text=True)
    named = {s.key: s.value for s in settings if s.key in ("model", "dataset")}
    if draft.model and given.model and given.model != draft.model:
        raise UsageError(
            f"--model={given.model}: {draft.file} searches the parameters of {draft.model}"
        )
    model = given.model or draft.model or named.get("model")
    if model is None:
        line = "" if draft.file.suffix == ".test" else "write `model: NAME` into it, or "
        raise UsageError(
            f"{draft.file} names no model: {line}give --model=NAME; `{command_name()} models` "
            "lists them"
        )
    return (
        model,
        given.dataset or draft.dataset or named.get("dataset"),
        [s for s in settings if s.key not in ("model", "dataset")],
    )


def _fixed(
    settings: Iterable[Any], defaults: Mapping[str, Any], model: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fixed keys with their values, and the configuration that they make."""
    from recbole_fmrlrec.config.settings import apply

    values, settings = dict(defaults), list(settings)
    apply(settings, values, model)
    return {setting.top: values[setting.top] for setting in settings}, values


def _space(draft: Draft, fixed: Mapping[str, Any], values: Mapping[str, Any], model: str) -> Space:
    parameters = [_checked(p, values, model, text=draft.text_values) for p in draft.parameters]
    for parameter in parameters:
        if parameter.name in fixed and not parameter.when:
            raise UsageError(
                f"{parameter.name} ({parameter.where}) is a parameter and a fixed setting too"
            )
    return Space.of(parameters)


def _checked(
    parameter: Parameter, values: Mapping[str, Any], model: str, *, text: bool
) -> Parameter:
    """The parameter with its values as its key means them."""
    from recbole_fmrlrec.config.config import NOT_IN_FINGERPRINT
    from recbole_fmrlrec.config.settings import Setting, apply, read
    from recbole_fmrlrec.keys.known import rule_of

    name, top = parameter.name, parameter.name.partition(".")[0]
    if top == "seed":
        raise UsageError(
            f"{name} ({parameter.where}) cannot be a parameter: the best seed is luck; set it "
            "below "
            f"`settings`, and see how far results differ by seed with `{command_name()} compare`"
        )
    if top in _MEASURE or top in NOT_IN_FINGERPRINT or top in ("model", "dataset"):
        raise UsageError(
            f"{name} ({parameter.where}) cannot be a parameter: trials that differ in it cannot be "
            "compared, or do not differ; set it below `settings`"
        )
    if text and parameter.kind == "choice":
        rule = rule_of(top, values.get(top))
        read_values = [read(rule, v, is_text=isinstance(v, str)) for v in parameter.values]
        parameter = replace(parameter, values=tuple(read_values))
    for value in parameter.examples():
        apply([Setting(name, value, parameter.where)], dict(values), model)
    return parameter


def _need_validation(config: Config) -> None:
    split = config["eval_args"]["split"]
    shares = split.get("RS") or split.get("TS")
    if split.get("LS") == "test_only" or (shares and not shares[1]):
        raise UsageError(
            f"eval_args.split = {split} has no validation part, and tuning goes by nothing else"
        )


def _trials(draft: Draft, space: Space, sampler: str) -> int | None:
    if sampler == "grid":
        points = len(space.points())
        return min(points, draft.trials or points)
    if draft.trials is None and draft.hours is None:
        raise UsageError(
            f"{draft.file}: how long? Write `budget: {{trials: 50}}` or `budget: {{hours: 8}}`, "
            "or give --trials=50 or --hours=8"
        )
    return draft.trials
