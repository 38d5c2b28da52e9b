"""Ranks by counting for every trainer of RecBole whose evaluation allows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from torch import Tensor

from recbole_fmrlrec.evaluation.collectors import (
    ListCollector,
    RankCollector,
    main_metrics,
    shown_rankings,
)
from recbole_fmrlrec.evaluation.history import Histories
from recbole_fmrlrec.evaluation.list_metric_names import is_of_lists
from recbole_fmrlrec.evaluation.list_record import KeepLists, ListRecord
from recbole_fmrlrec.evaluation.protocol import KEEP
from recbole_fmrlrec.evaluation.rank_record import RankRecord
from recbole_fmrlrec.evaluation.ranking import can_rank


def serves_ranks(config: Any, eval_data: Any) -> bool:
    """Whether an evaluation is one of ranks alone; RecBole's own evaluator does the others.

    It is with full ranking, one target in every row, metrics of ranks (`ranking.RANK_METRICS`) and
    of lists (`list_metrics.LIST_METRICS`), in one process. Metrics of lists need to know the
    training: the ``catalogue`` that our loaders have.
    """
    if not isinstance(eval_data, FullSortEvalDataLoader) or not config["single_spec"]:
        return False
    one_target = eval_data.is_sequential or bool(
        (eval_data.uid2items_num[eval_data.uid_list] == 1).all()
    )
    others = [metric for metric in config["metrics"] if not can_rank([metric])]
    known = getattr(eval_data, "catalogue", None) is not None
    return one_target and (not others or (known and all(map(is_of_lists, others))))


def wanted_histories(config: Any, eval_data: Any) -> Histories | None:
    """What the rows of an evaluation leave out; None where only all items are ranked.

    That is with ``history: keep``, where negatives are sampled, and for loaders of RecBole's own.
    """
    if shown_rankings(config) == KEEP or not isinstance(eval_data, FullSortEvalDataLoader):
        return None
    return getattr(eval_data, "histories", None)


class RankEvaluation:
    """Mixin before a trainer of RecBole: its `evaluate` ranks by counting where that serves.

    Attributes:
        ranks: int32 ``(K, R)`` of the last evaluation, rows in the order of its loader, K = 1 for
            a model without sizes; None where RecBole's evaluator was used.
        masked_ranks: likewise without the users' histories; None where they were not ranked.
        keep_lists: lists that the evaluations to come are to keep, whatever the metrics.
        lists: those of the last evaluation; None where none were kept.
    """

    config: Any
    eval_collector: Any
    evaluator: Any
    ranks: Tensor | None = None
    masked_ranks: Tensor | None = None
    keep_lists: KeepLists | None = None
    lists: ListRecord | None = None
    _ranked_last: Tensor | None = None

    def evaluate(self, eval_data: Any, *args: Any, **kwargs: Any) -> Any:
        """RecBole's `evaluate`, with the same arguments and the same result."""
        self.ranks = self.masked_ranks = self.lists = None
        evaluate = super().evaluate  # type: ignore[misc]
        if not eval_data:
            return evaluate(eval_data, *args, **kwargs)
        histories = wanted_histories(self.config, eval_data)
        unranked = getattr(eval_data, "unranked", None)
        self._ranked_last = getattr(eval_data, "ranked_last", None)
        theirs = self.eval_collector, self.evaluator
        ours: RankCollector | ListCollector
        if serves_ranks(self.config, eval_data):
            ours = self._rank_collector(eval_data, 1)
        elif histories is not None or unranked is not None:
            ours = ListCollector(*theirs, self.config, histories, unranked)
        else:
            return main_metrics(evaluate(eval_data, *args, **kwargs), None, self.config)
        self.eval_collector = self.evaluator = ours
        try:
            result = evaluate(eval_data, *args, **kwargs)
        finally:
            self.eval_collector, self.evaluator = theirs
        if isinstance(ours, RankCollector):
            self._take(ours, ())
        return result

    def _rank_collector(self, eval_data: Any, num_sizes: int) -> RankCollector:
        """What takes ranks, and lists where they are wanted, of a loader's rows."""
        return RankCollector(
            self.config,
            wanted_histories(self.config, eval_data),
            num_sizes,
            unranked=getattr(eval_data, "unranked", None),
            catalogue=getattr(eval_data, "catalogue", None),
            keep=self.keep_lists,
            eval_data=eval_data,
        )

    def _can_deal(self, eval_data: Any) -> bool:
        """Whether several processes may rank a loader's rows together: lists are made by one."""
        lists = self.keep_lists is not None or any(map(is_of_lists, self.config["metrics"]))
        return serves_ranks(self.config, eval_data) and not lists

    def _take(self, collector: RankCollector, sizes: tuple[int, ...]) -> None:
        """Keep what is more than metrics."""
        self.ranks, self.masked_ranks = collector.ranks()
        self.lists = collector.lists(sizes)

    def _full_sort_batch_eval(self, batched_data: Any) -> Any:
        """RecBole's own, of all items: the history is left out afterwards."""
        rows, _, *positives = batched_data
        return super()._full_sort_batch_eval((rows, None, *positives))  # type: ignore[misc]

    def _neg_sample_batch_eval(self, batched_data: Any) -> Any:
        """RecBole's own, with the loader's ``ranked_last`` behind all others that were drawn."""
        rows, scores, *positives = super()._neg_sample_batch_eval(batched_data)  # type: ignore[misc]
        if self._ranked_last is not None and scores.dim() == 2:
            items = self._ranked_last.to(scores.device)
            low = torch.finfo(scores.dtype).min
            scores[:, items] = scores[:, items].clamp(max=low)  # those not drawn stay at -inf
        return rows, scores, *positives


def rank_record(
    ranks: Tensor, sizes: tuple[int, ...], eval_data: Any, masked_ranks: Tensor | None = None
) -> RankRecord:
    """Ranks ``(K, R)`` with the tokens of the rows of a full-ranking loader, in its order.

    Args:
        ranks: as `RankEvaluation.ranks`.
        sizes: nested sizes, K of them; empty for a model without.
        eval_data: the loader that was evaluated.
        masked_ranks: as `RankEvaluation.masked_ranks`.
    """
    dataset = eval_data._dataset
    if eval_data.is_sequential:
        users = dataset.inter_feat[dataset.uid_field]
        targets = dataset.inter_feat[dataset.iid_field]
    else:
        users = eval_data.uid_list
        targets = torch.cat(list(eval_data.uid2positive_item[users.numpy()]))
    return RankRecord(
        users=dataset.id2token(dataset.uid_field, users.numpy()).astype(str),
        targets=dataset.id2token(dataset.iid_field, targets.numpy()).astype(str),
        sizes=np.array(sizes or (0,), dtype=np.int64),
        ranks=ranks.numpy(),
        masked_ranks=None if masked_ranks is None else masked_ranks.numpy(),
    )
