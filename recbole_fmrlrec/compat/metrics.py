"""Metrics that RecBole 1.2.1 does not know: a part of :mod:`recbole_fmrlrec.compat`."""

from __future__ import annotations

from typing import Any, ClassVar

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation.list_metrics import Lists, list_metrics


def more_metrics() -> None:
    """Novelty and IntraListDiversity are refused: RecBole's metrics are those of one module.

    Obsolete when RecBole takes metrics from outside.
    """
    from recbole.evaluator import register
    from recbole.evaluator.base_metric import AbstractMetric
    from recbole.utils import EvaluatorType

    class Novelty(AbstractMetric):
        """As `list_metrics.self_information`, where RecBole's own evaluator has the lists."""

        metric_type = EvaluatorType.RANKING
        metric_need: ClassVar[list[str]] = ["rec.items", "data.count_items", "data.num_items"]

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.topk = config["topk"]

        def calculate_metric(self, dataobject: Any) -> dict[str, float]:
            counts = _counts(dataobject.get("data.count_items"), dataobject.get("data.num_items"))
            lists = Lists(dataobject.get("rec.items").numpy(), counts)
            return list_metrics(lists, ["Novelty"], self.topk, self.decimal_place)

    class IntraListDiversity(AbstractMetric):
        """RecBole's evaluator knows no features: `RankCollector` measures it."""

        metric_type = EvaluatorType.RANKING
        metric_need: ClassVar[list[str]] = ["rec.items"]

        def calculate_metric(self, dataobject: Any) -> dict[str, float]:
            raise UsageError(
                "IntraListDiversity needs the loaders of recbole_fmrlrec.data.loaders, with one "
                "target per row and eval_args.mode: full; leave it out of metrics"
            )

    for metric in (Novelty, IntraListDiversity):
        name = metric.__name__.lower()
        register.metrics_dict[name] = metric
        register.metric_information[name] = metric.metric_need
        register.metric_types[name] = metric.metric_type


def _counts(counter: Any, num_items: int) -> Any:
    import numpy as np

    found = np.zeros(num_items, dtype=np.int64)
    for item, count in counter.items():
        found[item] = count
    return found
