"""The file that describes a search: our YAML, or RecBole's range file, with line numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from recbole_fmrlrec.config.model_names import model_name
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.keys.schema import RULES
from recbole_fmrlrec.keys.yaml_files import EntryPath, load_with_entry_lines
from recbole_fmrlrec.model_api.registry import nearest
from recbole_fmrlrec.rules import Rule, choice, mapping, null_or, number, shown, text, whole
from recbole_fmrlrec.tuning.ranges import read_ranges
from recbole_fmrlrec.tuning.space import KINDS, Parameter

SAMPLERS = ("grid", "random", "tpe")
# Each with the settings that it has.
PRUNERS: dict[str, tuple[str, ...]] = {
    "none": (),
    "median": ("startup_trials", "warmup_epochs"),
    "halving": ("warmup_epochs",),
    "hyperband": ("warmup_epochs",),
}

_PRUNER = mapping(
    "a mapping with the keys name, startup_trials, warmup_epochs",
    {"name": choice(*PRUNERS), "startup_trials": whole(0), "warmup_epochs": whole(0)},
    open=False,
)
_BUDGET = mapping(
    "a mapping with trials, hours or both",
    {"trials": null_or(whole(1)), "hours": null_or(number(0, above=True))},
    open=False,
)
_OF_MODEL: dict[str, Rule] = {
    "settings": mapping("a mapping of keys and values"),
    "parameters": mapping("a mapping of parameters, as in `learning_rate: {choice: [0.01]}`"),
    "sampler": choice(*SAMPLERS),
    "pruner": Rule(
        f"one of {', '.join(PRUNERS)}, or {_PRUNER.says}",
        lambda value: value in PRUNERS if isinstance(value, str) else isinstance(value, dict),
        inner=_PRUNER.inner,
        open=False,
    ),
    "budget": _BUDGET,
}
_TOP: dict[str, Rule] = {
    "model": text("the name of a model"),
    "models": mapping("a mapping of models, each with `parameters`"),
    "dataset": text("the name of a dataset"),
    "study": text("the name of the study"),
    "objective": RULES["valid_metric"],
    "seed": RULES["seed"],
    "launcher_options": mapping("a mapping of options of jobs, as in `{partition: gpu}`"),
    **_OF_MODEL,
}


@dataclass(frozen=True)
class Draft:
    """One search as the file has it: its form is right, its keys and values are not checked yet.

    Attributes:
        settings: fixed keys: value and place.
        text_values: choices of text are read as the command line reads them (RecBole's files).
        launcher_options: of the jobs that work on it, where a launcher submits them.
    """

    file: Path
    study: str
    model: str | None
    dataset: str | None
    settings: dict[str, tuple[Any, str]]
    parameters: list[Parameter]
    sampler: str | None = None
    pruner: dict[str, Any] = field(default_factory=lambda: {"name": "none"})
    seed: int = 2020
    trials: int | None = None
    hours: float | None = None
    text_values: bool = False
    launcher_options: dict[str, Any] = field(default_factory=dict)


def read_drafts(path: Path) -> list[Draft]:
    """The searches of a file, one a model.

    Raises:
        UsageError: no such file, no YAML, a key that has no meaning, a value that cannot be.
    """
    if path.suffix == ".test":
        return [Draft(path, path.stem, None, None, {}, read_ranges(path), text_values=True)]
    content, lines = load_with_entry_lines(path)
    return _Reader(path, lines).drafts(content)


@dataclass(frozen=True)
class _Reader:
    path: Path
    lines: Mapping[EntryPath, int]

    def where(self, *keys: str | int) -> str:
        """The file and the line of a key, or of the nearest one around it."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return f"{self.path}, line {self.lines.get(keys, 1)}"

    def drafts(self, content: dict[str, Any]) -> list[Draft]:
        self.check(content, _TOP, ())
        if "models" not in content:
            return [self.draft(content, (), self._class_name(content.get("model")))]
        for key in ("model", "parameters"):
            if key in content:
                raise UsageError(
                    f"`{key}` ({self.where(key)}): with `models`, each model has its own"
                )
        drafts = []
        for model, own in content["models"].items():
            at, name = ("models", str(model)), self._class_name(str(model))
            if not isinstance(own, dict):
                raise UsageError(f"models.{model} ({self.where(*at)}) must be a mapping")
            self.check(own, _OF_MODEL, at)
            merged = {**content, **own, "settings": own.get("settings")}
            common = self.settings(content, ())
            drafts.append(self.draft(merged, at, name, common, f"-{name}"))
        if not drafts:
            raise UsageError(f"models ({self.where('models')}): there is none")
        return drafts

    def _class_name(self, model: str | None) -> str | None:
        return None if model is None else model_name(str(model), self.path)

    def check(self, content: Mapping[str, Any], rules: Mapping[str, Rule], at: EntryPath) -> None:
        for key, value in content.items():
            if key not in rules:
                near = nearest(str(key), list(rules), 3) or list(rules)
                raise UsageError(
                    f"unknown key `{key}` ({self.where(*at, str(key))}): there is "
                    + ", ".join(near)
                    + "; keys of the model belong under `settings` or `parameters`"
                )
            if problem := rules[key].problem(value, key):
                path, wrong, what = problem
                place = self.where(*at, *path.split("."))
                raise UsageError(f"{path} = {shown(wrong)} ({place}): {path} {what}")

    def draft(
        self,
        content: dict[str, Any],
        at: EntryPath,
        model: str | None,
        common: Mapping[str, tuple[Any, str]] = MappingProxyType({}),
        suffix: str = "",
    ) -> Draft:
        budget = content.get("budget") or {}
        settings = {**common, **self.settings(content, at)}
        if "objective" in content:
            settings["valid_metric"] = (content["objective"], self.where("objective"))
        parameters = content.get("parameters")
        if not parameters:
            raise UsageError(f"{self.where(*at)}: `parameters` is missing: there is nothing to try")
        return Draft(
            self.path,
            content.get("study", self.path.stem) + suffix,
            model,
            content.get("dataset"),
            settings,
            [self.parameter(str(name), spec, at) for name, spec in parameters.items()],
            content.get("sampler"),
            self.pruner(content.get("pruner", "none"), at),
            content.get("seed", 2020),
            budget.get("trials"),
            budget.get("hours"),
            launcher_options=dict(content.get("launcher_options") or {}),
        )

    def pruner(self, given: Any, at: EntryPath) -> dict[str, Any]:
        pruner = {"name": given} if isinstance(given, str) else {"name": "median", **given}
        for key in pruner:
            if key != "name" and key not in PRUNERS[pruner["name"]]:
                where = self.where(*(at if (*at, "pruner") in self.lines else ()), "pruner", key)
                raise UsageError(f"pruner.{key} ({where}): {pruner['name']} has no such setting")
        return pruner

    def settings(self, content: Mapping[str, Any], at: EntryPath) -> dict[str, tuple[Any, str]]:
        return {
            str(key): (value, self.where(*at, "settings", str(key)))
            for key, value in (content.get("settings") or {}).items()
        }

    def parameter(self, name: str, spec: Any, at: EntryPath) -> Parameter:
        where = self.where(*at, "parameters", name)
        kinds = [kind for kind in KINDS if isinstance(spec, dict) and kind in spec]
        if len(kinds) != 1 or set(spec) - {kinds[0], "when"}:
            raise UsageError(
                f"{name} ({where}) must be one of {{choice: [...]}}, {{uniform: [low, high]}}, "
                "{loguniform: [low, high]}, {int: [low, high]}, with or without "
                "`when: {PARAMETER: VALUE}`"
            )
        values, when = spec[kinds[0]], spec.get("when", {})
        if not isinstance(values, list) or not isinstance(when, dict):
            raise UsageError(f"{name} ({where}): {kinds[0]} needs a list, and `when` a mapping")
        conditions = {
            str(key): tuple(value) if isinstance(value, list) else (value,)
            for key, value in when.items()
        }
        return Parameter(name, kinds[0], tuple(values), conditions, where)
