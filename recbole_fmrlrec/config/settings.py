"""What the user set in files, a dict and the command line: checked, and merged in order."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation.list_metric_names import is_diversity
from recbole_fmrlrec.evaluation.protocol import plain_name
from recbole_fmrlrec.keys.known import check_key, rule_of
from recbole_fmrlrec.keys.yaml_files import load_with_lines, parse_value
from recbole_fmrlrec.rules import Rule, shown


@dataclass(frozen=True)
class Setting:
    """One key, which may have dots, with its value and the place where it was set."""

    key: str
    value: Any
    where: str
    is_text: bool = False  # from the command line, still to be read by the key's rule
    recorded: bool = False  # out of a checkpoint or a run folder: not said by the user now

    @property
    def top(self) -> str:
        """The key before the first dot."""
        return self.key.partition(".")[0]


def from_files(files: Iterable[Any]) -> Iterator[Setting]:
    """The settings of YAML files, in order.

    Raises:
        UsageError: a file cannot be read.
    """
    for file in files:
        values, lines = load_with_lines(file)
        for key, value in values.items():
            yield Setting(key, value, f"{file}, line {lines[key]}")


def from_dict(
    values: Mapping[str, Any], where: str, *, is_text: bool = False, recorded: bool = False
) -> Iterator[Setting]:
    """The settings of a dict; with ``is_text`` its strings are read as YAML.

    Args:
        recorded: they come out of a checkpoint or a run folder, see `trust`.
    """
    for key, value in values.items():
        yield Setting(str(key), value, where, is_text and isinstance(value, str), recorded)


def apply(
    settings: Iterable[Setting],
    values: dict[str, Any],
    model: str,
    *,
    any_key: bool = False,
    own_keys: frozenset[str] | None = None,
) -> None:
    """Put settings into a configuration, the later ones over the earlier.

    A key with dots changes one entry of a mapping; a mapping given as a whole takes the place of
    the old one, as in RecBole.

    Args:
        values: the configuration so far; it is changed.
        any_key: let unknown keys pass: for a model class of the user's own whose keys are unknown.
        own_keys: the keys of a model class of the user's own, where they are known.

    Raises:
        UsageError: a key that the model does not know, or a value that the key cannot have.
    """
    defaults = dict(values)
    settings = list(settings)
    transform = next((s.value for s in reversed(settings) if s.key == "transform"), None)
    for setting in settings:
        if not any_key:
            chosen = transform or values.get("transform")
            check_key(setting.top, setting.where, model, chosen, own_keys)
        rule = rule_of(setting.top, defaults.get(setting.top), model)
        path = setting.key.split(".")
        try:
            value = read(_rule_below(rule, path[1:]), setting.value, is_text=setting.is_text)
        except UsageError as error:
            raise UsageError(f"{setting.key} ({setting.where}): {error}") from error
        if len(path) > 1:
            value = with_entry(values.get(setting.top), path, value, setting.where)
        _check(rule, setting, value)
        values[setting.top] = value


def _check(rule: Rule, setting: Setting, value: Any) -> None:
    problem = rule.problem(value, setting.top)
    if problem:
        path, wrong, what = problem
        raise UsageError(f"{path} = {shown(wrong)} ({setting.where}): {path} {what}")


def _rule_below(rule: Rule, path: list[str]) -> Rule:
    for part in path:
        rule = rule.inner.get(part) or Rule("anything", lambda value: True)
    return rule


def read(rule: Rule, value: Any, *, is_text: bool = False) -> Any:
    """A value as its rule means it: text is parsed, and a single value becomes a list if need be.

    ``"None"`` is null, as RecBole has it.
    """
    if is_text and not rule.text:
        value = parse_value(value)
    if value == "None" or (is_text and value in ("~", "null")):
        value = None if rule.accepts(None) else value
    if not rule.listed or value is None or isinstance(value, list) or rule.accepts(value):
        return copy.deepcopy(value)
    if is_text and isinstance(value, str):
        return [parse_value(part.strip()) for part in value.split(",")]
    return list(value) if isinstance(value, tuple) else [value]


def with_entry(old: Any, path: list[str], value: Any, where: str) -> dict[str, Any]:
    """A copy of a mapping in which the entry at ``path[1:]`` has a new value.

    Two of RecBole's own: ``eval_args.mode`` may be one text for both phases, and
    ``eval_args.split`` holds exactly one entry.

    Raises:
        UsageError: there is a value on the way that is not a mapping.
    """
    if isinstance(old, str) and path[0] == "mode":
        old = {"valid": old, "test": old}
    if old is None or path[0] == "split":
        old = {}
    if not isinstance(old, dict):
        raise UsageError(
            f"`{'.'.join(path)}` ({where}): `{path[0]}` is {old!r}, which has no entries"
        )
    new = copy.deepcopy(old)
    if len(path) > 2:
        value = with_entry(old.get(path[1]), path[1:], value, where)
    new[path[1]] = value
    return new


def check_together(values: Mapping[str, Any]) -> None:
    """Refuse settings that are each possible, but not together.

    Raises:
        UsageError: it names the keys and a way out.
    """
    _check_metrics(values)
    if "r_min" in values and "r_max" in values and not values["r_min"] < values["r_max"]:
        raise UsageError(
            f"r_min = {values['r_min']} must be below r_max = {values['r_max']}: the "
            "eigenvalues of the recurrence start in the ring between them"
        )
    if values.get("use_features") is False and values.get("use_id_embedding") is False:
        raise UsageError(
            "use_features and use_id_embedding are both False: items would have neither "
            "features nor ids"
        )


def _check_metrics(values: Mapping[str, Any]) -> None:
    wanted, metrics, topk = values["valid_metric"], values["metrics"], values["topk"]
    name, at, k = plain_name(wanted).partition("@")
    if name.lower() not in {metric.lower() for metric in metrics}:
        raise UsageError(
            f"valid_metric is {wanted} but metrics is {metrics}: add {name} to metrics, or set "
            "valid_metric to one of them"
        )
    if at and int(k) not in topk:
        raise UsageError(
            f"valid_metric is {wanted} but topk is {topk}: add {k} to topk, or set valid_metric "
            f"to, for example, {name}@{topk[0]}"
        )
    if is_diversity(name) and int(k or topk[0]) == 1:
        raise UsageError(
            f"valid_metric is {wanted}: a list of one item has no pair of items to compare; set "
            "valid_metric to one with a larger K"
        )
