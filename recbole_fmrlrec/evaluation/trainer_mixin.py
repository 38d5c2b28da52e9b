"""Ranks by counting for every trainer of RecBole whose evaluation allows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from torch import Tensor

from recbole_fmrlrec.evaluation.rank_record import RankRecord
from recbole_fmrlrec.evaluation.ranking import can_rank, rank_metrics, score_ranks, whole_ranks


def serves_ranks(config: Any, eval_data: Any) -> bool:
    """Whether an evaluation is one of ranks alone; RecBole's own evaluator does the others.

    It is with full ranking, one target in every row, metrics of `evaluation.RANK_METRICS`, in one
    process.
    """
    if not isinstance(eval_data, FullSortEvalDataLoader) or not config["single_spec"]:
        return False
    one_target = eval_data.is_sequential or bool(
        (eval_data.uid2items_num[eval_data.uid_list] == 1).all()
    )
    return one_target and can_rank(config["metrics"])


class RankCollector:
    """Stands for RecBole's Collector and its Evaluator during one evaluation.

    It keeps two numbers of each row of scores where theirs keeps a list of the largest ones.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.mean_ranks: list[Tensor] = []
        self.candidates: list[Tensor] = []

    def eval_batch_collect(
        self, scores: Tensor, interaction: Any, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        """Rank row i's target ``positive_i[i]`` in ``scores`` ``(B, N+1)``."""
        ranks, candidates = score_ranks(scores, positive_i.to(scores.device))
        self.mean_ranks.append(ranks.cpu())
        self.candidates.append(candidates.cpu())

    def model_collect(self, model: Any) -> None:
        """Nothing of the model itself is needed."""

    def get_data_struct(self) -> tuple[Tensor, Tensor]:
        """All rows' mean ranks and numbers of candidates, ``(R,)`` each."""
        return torch.cat(self.mean_ranks), torch.cat(self.candidates)

    def evaluate(self, struct: tuple[Tensor, Tensor]) -> dict[str, float]:
        """The metrics of the configuration."""
        config = self.config
        shown = config["metrics"], config["topk"], config["metric_decimal_place"]
        return rank_metrics(*struct, *shown)


class RankEvaluation:
    """Mixin before a trainer of RecBole: its `evaluate` ranks by counting where that serves.

    Attributes:
        ranks: int32 ``(K, R)`` of the last evaluation, rows in the order of its loader, K = 1 for
            a model without sizes; None where RecBole's evaluator was used.
    """

    config: Any
    eval_collector: Any
    evaluator: Any
    ranks: Tensor | None = None

    def evaluate(self, eval_data: Any, *args: Any, **kwargs: Any) -> Any:
        """RecBole's `evaluate`, with the same arguments and the same result."""
        self.ranks = None
        evaluate = super().evaluate  # type: ignore[misc]
        if not eval_data or not serves_ranks(self.config, eval_data):
            return evaluate(eval_data, *args, **kwargs)
        theirs = self.eval_collector, self.evaluator
        ours = RankCollector(self.config)
        self.eval_collector = self.evaluator = ours
        try:
            result = evaluate(eval_data, *args, **kwargs)
        finally:
            self.eval_collector, self.evaluator = theirs
        self.ranks = whole_ranks(ours.get_data_struct()[0])[None]
        return result


def rank_record(ranks: Tensor, sizes: tuple[int, ...], eval_data: Any) -> RankRecord:
    """Ranks ``(K, R)`` with the tokens of the rows of a full-ranking loader, in its order.

    Args:
        ranks: as `RankEvaluation.ranks`.
        sizes: nested sizes, K of them; empty for a model without.
        eval_data: the loader that was evaluated.
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
    )
