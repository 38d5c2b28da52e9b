"""What a comparison is: datasets, models, seeds, metrics and budget, out of a YAML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recbole_fmrlrec.evaluation.list_metric_names import LIST_METRICS, is_diversity, is_of_lists
from recbole_fmrlrec.evaluation.list_record import KeepLists
from recbole_fmrlrec.evaluation.protocol import BOTH, plain_name, shown_names

#: Metrics that follow from the rank of the one target of a test row, and those of the lists.
METRICS = ("NDCG", "Recall", "Hit", "MRR", "MAP", "Precision", *LIST_METRICS)


@dataclass(frozen=True)
class Variant:
    """One model of a comparison under a name of its own.

    Attributes:
        name: what the tables call it.
        model: our model or RecBole's.
        settings: what differs from the model's defaults.
        sizes: nested sizes that the tables show (``show_sizes`` of the file), None for all; the
            settings say which are trained.
        independent: also train a separate model for each size.
        baseline: whether the others are compared with it.
        tuned: what its settings were chosen by, in words; None where nothing was tuned.
        where: file and line.
    """

    name: str
    model: str
    settings: dict[str, Any] = field(default_factory=dict)
    sizes: tuple[int, ...] | None = None
    independent: bool = False
    baseline: bool = False
    tuned: str | None = None
    where: str = "command line"


@dataclass(frozen=True)
class Plan:
    """A whole comparison.

    Attributes:
        datasets: settings by dataset, which hold for all models on it.
        seeds: each model is trained with each.
        metrics: names in small letters, of `METRICS`.
        topk: cut-offs.
        valid_metric: stops training, and is the metric of plots and slices: ``NDCG@10``, or
            ``masked_NDCG@10`` of the rankings without the users' histories.
        settings: hold for all models on all datasets.
        epochs: epochs of every model whose own settings do not say; None for its default.
        minutes: training stops after the first epoch that ends later than this.
        overrides: settings of the command line, which override the file's.
        bootstrap: resamples behind a confidence interval.
        output: folder of cells, tables and plots.
        history: which rankings the tables show, of `HISTORY`; the cells hold both.
        launcher_options: of the jobs that compute cells, where a launcher submits them.
        places: file and line of what a message may be about, by ``datasets/NAME`` and
            ``sizes/VARIANT``.
    """

    name: str
    datasets: dict[str, dict[str, Any]]
    models: tuple[Variant, ...]
    output: Path
    seeds: tuple[int, ...] = (2020,)
    metrics: tuple[str, ...] = ("ndcg", "recall")
    topk: tuple[int, ...] = (5, 10)
    valid_metric: str = "NDCG@10"
    settings: dict[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    minutes: float | None = None
    bootstrap: int = 2000
    overrides: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    history: str = BOTH
    launcher_options: dict[str, Any] = field(default_factory=dict)

    def line_of(self, kind: str, name: str) -> str:
        """File and line of an entry, see ``places``."""
        return self.places.get(f"{kind}/{name}", "command line")

    @property
    def columns(self) -> list[str]:
        """Metrics with their cut-offs, ``ndcg@10``, in the order of the tables."""
        plain = [f"{metric}@{k}" for k in self.topk for metric in self.metrics]
        return shown_names(plain, self.history)

    @property
    def main(self) -> str:
        """The metric of plots and slices, ``ndcg@10``."""
        return self.valid_metric.lower()

    @property
    def mains(self) -> list[str]:
        """The main metric, and the same one of the other ranking where both are shown."""
        return list(dict.fromkeys([self.main, *shown_names([plain_name(self.main)], self.history)]))

    @property
    def keep_lists(self) -> KeepLists | None:
        """The lists that the metrics need of each cell; None where they need none."""
        return lists_for([*self.columns, *self.mains])

    def settings_of(self, dataset: str, variant: Variant) -> dict[str, Any]:
        """All settings of a model on a dataset, the seed left out."""
        budget: dict[str, Any] = {}
        if self.epochs is not None:
            budget["epochs"] = self.epochs
        if self.minutes is not None:
            budget["max_minutes"] = self.minutes
        metric, _, k = plain_name(self.valid_metric).partition("@")
        watched = {"metrics": [metric], "topk": [int(k)], "valid_metric": self.valid_metric}
        listed = {**budget, **self.settings, **self.datasets[dataset], **variant.settings}
        # In the order in which they are applied: `a.b` must come after an `a` that it changes.
        return {**self.in_force(listed), **self.overrides, **watched}

    def in_force(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Those of some settings that the command line does not replace."""
        return {key: value for key, value in settings.items() if key not in self.overrides}

    def to_json(self) -> dict[str, Any]:
        """Values that JSON knows."""
        return {**asdict(self), "output": str(self.output)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], output: Path) -> Plan:
        """The inverse of `to_json`; ``output`` is where the folder is now."""
        listed = ("seeds", "metrics", "topk")
        models = [
            Variant(**{**model, "sizes": None if model["sizes"] is None else tuple(model["sizes"])})
            for model in content["models"]
        ]
        changed = {key: tuple(content[key]) for key in listed}
        return cls(**{**content, **changed, "models": tuple(models), "output": output})


def lists_for(columns: Iterable[str]) -> KeepLists | None:
    """The lists that metrics such as ``itemcoverage@10`` need; None where none is of lists."""
    of_lists = [column for column in columns if is_of_lists(column)]
    if not of_lists:
        return None
    longest = max(int(column.partition("@")[2]) for column in of_lists)
    return KeepLists(longest, any(map(is_diversity, of_lists)))
