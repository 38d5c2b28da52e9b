"""The YAML file of a comparison: read, checked, and every error with its line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from recbole_fmrlrec.compare.plan import METRICS, Plan, Variant
from recbole_fmrlrec.compare.plan_checks import check_labels, check_setting
from recbole_fmrlrec.compare.plan_values import PlanValues
from recbole_fmrlrec.config.model_names import model_name
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation.protocol import (
    BOTH,
    HISTORY,
    KEEP,
    MASK,
    MASKED,
    is_masked,
    masked_name,
    plain_name,
)
from recbole_fmrlrec.keys.schema import MAX_SEED
from recbole_fmrlrec.keys.yaml_files import EntryPath, load_with_entry_lines
from recbole_fmrlrec.model_api.registry import check_model_name, is_nested
from recbole_fmrlrec.rules import is_number, is_whole, shown

#: Keys of the file.
KEYS: tuple[str, ...] = ("name", "datasets", "models", "seeds", "metrics", "topk", "valid_metric")
KEYS += ("settings", "budget", "output", "bootstrap", "history")
KEYS += ("launcher_options",)
#: Keys of one model in it.
MODEL_KEYS = ("model", "settings", "show_sizes", "independent", "baseline", "tuned")
#: What `show_sizes` was called before, too like the setting `sizes`, which says what is trained.
OLD_SIZES = "sizes"


def read_plan(path: Path, said: Mapping[str, Any] | None = None) -> Plan:
    """Read the file of a comparison.

    Args:
        path: of the file.
        said: keys of the file in whose place the command line says something else; of
            ``datasets`` names alone, whose settings are still the file's.

    Raises:
        UsageError: it cannot be read, or a key, a value or a name in it cannot be; the message has
            the line.
    """
    values, lines = load_with_entry_lines(path)
    said = dict(said or {})
    if "datasets" in said and isinstance(values.get("datasets"), dict):
        said["datasets"] = {name: values["datasets"].get(name) for name in said["datasets"]}
    return _Reader(path, {**values, **said}, lines, frozenset(said)).plan()


def plan_from_values(values: dict[str, Any]) -> Plan:
    """The plan of what a file would hold, given on the command line.

    Raises:
        UsageError: as `read_plan`, without a line.
    """
    return _Reader(None, values, {}).plan()


class _Reader(PlanValues):
    def plan(self) -> Plan:
        self.check_keys(self.values, KEYS, ())
        for key in ("datasets", "models"):
            if not self.values.get(key):
                raise self.wrong((), f"`{key}` is missing; it names the {key} to compare")
        stem = self.path.stem if self.path else None
        name = self.name(("name",), self.values.get("name", stem))
        budget = self.mapping(("budget",), self.values.get("budget"))
        self.check_keys(budget, ("epochs", "minutes"), ("budget",))
        datasets, models = self._datasets(), self._models()
        plan = Plan(
            name=name,
            datasets=datasets,
            models=models,
            output=Path(self.text(("output",), self.values.get("output", f"comparisons/{name}"))),
            seeds=tuple(self.wholes("seeds", [2020], 0, MAX_SEED)),
            metrics=self._metrics(),
            topk=tuple(self.wholes("topk", [5, 10], 1)),
            valid_metric=self._valid_metric(),
            history=self._history(),
            settings=self.mapping(("settings",), self.values.get("settings")),
            epochs=self._budget(budget, "epochs", is_whole, "an integer of at least 1"),
            minutes=self._budget(budget, "minutes", is_number, "a number above 0"),
            bootstrap=self._bootstrap(),
            launcher_options=self.mapping(
                ("launcher_options",), self.values.get("launcher_options")
            ),
            places=self._places(datasets, models),
        )
        check_labels(models)
        self._check_settings(plan)
        return plan

    def _places(self, datasets: Iterable[str], models: Iterable[Variant]) -> dict[str, str]:
        listed = self.values["datasets"]
        places = {
            f"datasets/{name}": self.where(
                ("datasets", listed.index(name) if isinstance(listed, list) else name)
            )
            for name in datasets
        }
        sizes = {
            f"sizes/{v.name}": self.where(("models", v.name, key))
            for v in models
            for key in (OLD_SIZES, "show_sizes")
            if ("models", v.name, key) in self.lines
        }
        return {**places, **sizes}

    # Parts of the file

    def _datasets(self) -> dict[str, dict[str, Any]]:
        given = self.values["datasets"]
        if isinstance(given, dict):
            for name in given:
                self.folder_name(("datasets", str(name)), str(name))
            return {str(k): self.mapping(("datasets", str(k)), v) for k, v in given.items()}
        names = given if isinstance(given, list) else [given]
        for at, name in enumerate(names):
            self.folder_name(("datasets", at), name)
            if name in names[:at]:
                raise self.wrong(("datasets", at), f"duplicate dataset {name}")
        return {name: {} for name in names}

    def _models(self) -> tuple[Variant, ...]:
        given = self.values["models"]
        if isinstance(given, list):
            for at, name in enumerate(given):
                if name in given[:at]:
                    raise self.wrong(("models", at), f"duplicate model {name}")
            return tuple(self._variant(("models", at), n, None) for at, n in enumerate(given))
        entries = self.mapping(("models",), given).items()
        return tuple(self._variant(("models", name), name, value) for name, value in entries)

    def _variant(self, at: EntryPath, name: Any, value: Any) -> Variant:
        entry = self.mapping(at, value)
        self.check_keys(entry, (*MODEL_KEYS, OLD_SIZES), at)
        model = self.text((*at, "model"), entry.get("model", name))
        try:
            known = model_name(model, self.path)
            check_model_name(known)
        except UsageError as error:
            raise self.wrong((*at, "model"), str(error)) from None
        name = self.name(at, known if name == model else name)
        model = known
        nested = is_nested(model)
        about_sizes = [key for key in ("show_sizes", OLD_SIZES) if key in entry]
        if not nested and (entry.get("independent") or about_sizes):
            key = [*about_sizes, "independent"][0]
            raise self.wrong((*at, key), f"`{key}` is for models with sizes; {model} has none")
        return Variant(
            name=name,
            model=model,
            settings=self.mapping((*at, "settings"), entry.get("settings")),
            sizes=self._sizes(at, entry, about_sizes),
            independent=self.flag((*at, "independent"), entry.get("independent", False)),
            baseline=self.flag((*at, "baseline"), entry.get("baseline", not nested)),
            tuned=None if not entry.get("tuned") else self.text((*at, "tuned"), entry["tuned"]),
            where=self.where(at),
        )

    def _sizes(
        self, at: EntryPath, entry: dict[str, Any], keys: list[str]
    ) -> tuple[int, ...] | None:
        if not keys:
            return None
        key, *more = keys
        at, value = (*at, key), entry[key]
        if more:
            raise self.wrong(at, f"`{key}` and `{more[0]}` say the same: leave `{more[0]}` out")
        if value == "all":
            return None
        if not (isinstance(value, list) and value and all(map(is_whole, value))):
            raise self.wrong(at, f"{key} = {shown(value)}: must be all, or a list such as [16, 64]")
        if key == OLD_SIZES:
            self.note(
                at,
                f"`sizes: {value}` under a model chooses what the tables show, and the model is "
                f"trained at all its sizes. Write `show_sizes: {value}` for that, or `settings: "
                f"{{sizes: {value}}}` to train these sizes only",
            )
        return tuple(sorted(set(value)))

    def _metrics(self) -> tuple[str, ...]:
        known = {metric.lower() for metric in METRICS}
        given = self.values.get("metrics", ["NDCG", "Recall"])
        given = given if isinstance(given, list) else [given]
        if not given:
            raise self.wrong(("metrics",), "`metrics` is empty")
        for at, metric in enumerate(given):
            if not isinstance(metric, str) or metric.lower() not in known:
                raise self.wrong(
                    ("metrics", at),
                    f"the metric {shown(metric)}: must be one of {', '.join(METRICS)}",
                )
        return tuple(dict.fromkeys(metric.lower() for metric in given))

    def _valid_metric(self) -> str:
        given = self.values.get("valid_metric", "NDCG@10")
        name, _, k = plain_name(str(given)).partition("@")
        if name.lower() not in {m.lower() for m in METRICS} or not k.isdecimal() or int(k) < 1:
            raise self.wrong(
                ("valid_metric",),
                f"valid_metric = {shown(given)}: must be a metric with its K, such as NDCG@10, or "
                f"{MASKED}NDCG@10 for the ranking without the user's history",
            )
        if is_masked(str(given)) and self.values.get("history") == KEEP:
            raise self.wrong(
                ("valid_metric",),
                f"valid_metric = {shown(given)} is of rankings without the user's history, which "
                "`history: keep` does not show: set history to both or mask",
            )
        return masked_name(str(given)) if self.values.get("history") == MASK else str(given)

    def _history(self) -> str:
        given = self.values.get("history", BOTH)
        if given not in HISTORY:
            says = "keep (the user's history is ranked too), mask (it is left out) or both"
            raise self.wrong(("history",), f"history = {shown(given)}: must be {says}")
        return str(given)

    def _bootstrap(self) -> int:
        found = self.wholes("bootstrap", [2000], 100)
        if len(found) > 1:
            raise self.wrong(("bootstrap",), "`bootstrap` is one number of resamples")
        return found[0]

    def _budget(
        self, budget: dict[str, Any], key: str, accepts: Callable[[Any], bool], says: str
    ) -> Any:
        value = budget.get(key)
        if value is not None and not (accepts(value) and value > 0):
            raise self.wrong(("budget", key), f"budget.{key} = {shown(value)}: must be {says}")
        return value

    # Settings of models are checked as those of a single run are, with the line of this file.

    def _check_settings(self, plan: Plan) -> None:
        models = {variant.name: variant.model for variant in plan.models}
        for variant in plan.models:
            own: EntryPath = ("models", variant.name, "settings")
            self._check_model(variant.model, own, variant.settings)
            self._check_model(variant.model, ("settings",), plan.settings, models)
            for name, values in plan.datasets.items():
                self._check_model(variant.model, ("datasets", name), values, models)

    def _check_model(
        self,
        model: str,
        at: EntryPath,
        values: dict[str, Any],
        models: Mapping[str, str] | None = None,
    ) -> None:
        for key, value in values.items():
            where = self.where((*at, key))
            check_setting(model, key, value, where, self.path is not None, models)
