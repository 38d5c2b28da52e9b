"""Ranks by counting for every trainer of RecBole whose evaluation allows it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from torch import Tensor

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation import dealing
from recbole_fmrlrec.evaluation.counting import RankCounter, read_scores
from recbole_fmrlrec.evaluation.history import Histories
from recbole_fmrlrec.evaluation.protocol import KEEP, MASK, masked_name
from recbole_fmrlrec.evaluation.rank_record import RankRecord
from recbole_fmrlrec.evaluation.ranking import can_rank, rank_metrics, whole_ranks

Metrics = dict[str, float]


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


def wanted_histories(config: Any, eval_data: Any) -> Histories | None:
    """What the rows of an evaluation leave out; None where only all items are ranked.

    That is with ``history: keep``, where negatives are sampled, and for loaders of RecBole's own.
    """
    if _shown(config) == KEEP or not isinstance(eval_data, FullSortEvalDataLoader):
        return None
    return getattr(eval_data, "histories", None)


def _shown(config: Any) -> str:
    """The key ``history``; RecBole's own Config has none, and shows the main ranking."""
    return config["history"] or (MASK if config["mask_history"] else KEEP)


def main_metrics(found: Metrics, masked: Metrics | None, config: Any) -> Metrics:
    """The metrics that a configuration shows, of both rankings, the main one first.

    Args:
        found: of the ranking of all items.
        masked: of the ranking without the history, under plain names; None where there is none.
        config: ``history`` says what is shown, ``mask_history`` which is the main one.

    Raises:
        UsageError: the ranking without the history is wanted, and there is none.
    """
    if masked is None:
        if config["mask_history"]:
            raise UsageError(
                "mask_history: True: this evaluation does not know the users' histories; it needs "
                "eval_args.mode: full and the loaders of recbole_fmrlrec.data.loaders"
            )
        return found
    named = {masked_name(name): value for name, value in masked.items()}
    if _shown(config) == MASK:
        return named
    return {**named, **found} if config["mask_history"] else {**found, **named}


class RankCollector:
    """Takes what an evaluation needs of each batch of scores: mean ranks and candidates.

    Args:
        config: metrics, cut-offs, what is shown.
        histories: what each row leaves out; None ranks all items only.
        num_sizes: K, 1 for a model without sizes.
        unranked: items that are no candidates of any row, as in `RankCounter`.
        eval_data: the loader, where its batches are dealt to several processes.
    """

    def __init__(
        self,
        config: Any,
        histories: Histories | None = None,
        num_sizes: int = 1,
        unranked: Tensor | None = None,
        eval_data: Any = None,
    ) -> None:
        self.config, self.histories, self.num_sizes = config, histories, num_sizes
        self.unranked = unranked
        self.dealt = eval_data if getattr(eval_data, "is_dealt", False) else None
        self.rows = 0 if self.dealt is None else dealing.first_row(self.dealt)
        self._starts: list[int] = []
        self._parts: list[list[Tensor]] = []
        self._whole = False  # the parts of all processes are there

    @contextmanager
    def batch(self, targets: Tensor) -> Iterator[RankCounter]:
        """What is to be shown the scores of the next batch, whose targets are ``(B,)``."""
        history = None
        if self.histories is not None:
            rows = slice(self.rows, self.rows + len(targets))
            positives = torch.arange(len(targets)), targets.cpu()
            history = self.histories.of(rows, *positives)
        counter = RankCounter(targets, self.num_sizes, history, self.unranked)
        yield counter
        self._starts.append(self.rows)
        self.rows += len(targets)
        if self.dealt is not None:
            self.rows += dealing.rows_between(self.dealt)
        found = [counter.mean_ranks(), counter.candidates()]
        if history is not None:
            found += [counter.masked_mean_ranks(), counter.masked_candidates()]
        self._parts.append([part.cpu() for part in found])

    def eval_batch_collect(
        self, scores: Tensor, interaction: Any, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        """Rank row i's target ``positive_i[i]`` in ``scores`` ``(B, N+1)``."""
        targets = positive_i.to(scores.device)
        with self.batch(targets) as reader:
            read_scores(reader, scores, targets)

    def model_collect(self, model: Any) -> None:
        """Nothing of the model itself is needed."""

    def get_data_struct(self) -> RankCollector:
        """What `evaluate` takes: this object."""
        return self

    def evaluate(self, struct: RankCollector) -> Metrics:
        """The metrics of the configuration, of a model without sizes."""
        return self.metrics()[0]

    def _columns(self) -> list[Tensor]:
        if self.dealt is not None and not self._whole:
            kinds = 2 if self.histories is None else 4
            shape = kinds, self.num_sizes, int(self.dealt.sample_size)
            self._parts = [dealing.whole_columns(self._parts, self._starts, shape)]
            self._whole = True
        return [torch.cat(parts, dim=1) for parts in zip(*self._parts, strict=True)]

    def ranks(self) -> tuple[Tensor, Tensor | None]:
        """Ranks of all rows, int32 ``(K, R)``, with the history and without it."""
        mean_ranks, _, *masked = self._columns()
        return whole_ranks(mean_ranks), whole_ranks(masked[0]) if masked else None

    def metrics(self) -> list[Metrics]:
        """The metrics of the configuration at each size."""
        config = self.config
        shown = config["metrics"], config["topk"], config["metric_decimal_place"]
        kinds = self._columns()
        found = []
        for k in range(self.num_sizes):
            kept, *masked = (
                rank_metrics(kinds[at][k], kinds[at + 1][k], *shown)
                for at in range(0, len(kinds), 2)
            )
            found.append(main_metrics(kept, masked[0] if masked else None, config))
        return found


class ListCollector:
    """RecBole's Collector and Evaluator, twice in one pass: with the history and without it.

    For what ranks cannot say: several targets in a row, metrics of whole lists.

    Args:
        collector: RecBole's.
        evaluator: RecBole's.
        config: what is shown.
        histories: what each row leaves out; None ranks all items only.
        unranked: items that are no candidates of any row; None for none.
    """

    def __init__(
        self,
        collector: Any,
        evaluator: Any,
        config: Any,
        histories: Histories | None,
        unranked: Tensor | None = None,
    ) -> None:
        self.kept = collector
        self.masked = None if histories is None else copy.deepcopy(collector)
        self.evaluator, self.config, self.histories = evaluator, config, histories
        self.unranked, self.rows = unranked, 0

    def eval_batch_collect(
        self, scores: Tensor, interaction: Any, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        """Take the lists of a batch; ``scores`` ``(B, N+1)`` are written over."""
        rows = slice(self.rows, self.rows + len(scores))
        self.rows = rows.stop
        if self.unranked is not None:
            scores[:, self.unranked.to(scores.device)] = -torch.inf
        self.kept.eval_batch_collect(scores, interaction, positive_u, positive_i)
        if self.histories is None or self.masked is None:
            return
        history = self.histories.of(rows, positive_u.cpu(), positive_i.cpu()).to(scores.device)
        scores[history.rows, history.items] = -torch.inf
        self.masked.eval_batch_collect(scores, interaction, positive_u, positive_i)

    def model_collect(self, model: Any) -> None:
        """As RecBole's."""
        self.kept.model_collect(model)
        if self.masked is not None:
            self.masked.model_collect(model)

    def get_data_struct(self) -> list[Any]:
        """RecBole's, with the history and without it."""
        kinds = (self.kept, self.masked)
        return [kind.get_data_struct() for kind in kinds if kind is not None]

    def evaluate(self, struct: list[Any]) -> Metrics:
        """The metrics of the configuration."""
        kept, *masked = (self.evaluator.evaluate(part) for part in struct)
        return main_metrics(kept, masked[0] if masked else None, self.config)


class RankEvaluation:
    """Mixin before a trainer of RecBole: its `evaluate` ranks by counting where that serves.

    Attributes:
        ranks: int32 ``(K, R)`` of the last evaluation, rows in the order of its loader, K = 1 for
            a model without sizes; None where RecBole's evaluator was used.
        masked_ranks: likewise without the users' histories; None where they were not ranked.
    """

    config: Any
    eval_collector: Any
    evaluator: Any
    ranks: Tensor | None = None
    masked_ranks: Tensor | None = None

    def evaluate(self, eval_data: Any, *args: Any, **kwargs: Any) -> Any:
        """RecBole's `evaluate`, with the same arguments and the same result."""
        self.ranks = self.masked_ranks = None
        evaluate = super().evaluate  # type: ignore[misc]
        if not eval_data:
            return evaluate(eval_data, *args, **kwargs)
        histories = wanted_histories(self.config, eval_data)
        unranked = getattr(eval_data, "unranked", None)
        theirs = self.eval_collector, self.evaluator
        ours: RankCollector | ListCollector
        if serves_ranks(self.config, eval_data):
            ours = RankCollector(self.config, histories, unranked=unranked, eval_data=eval_data)
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
            self.ranks, self.masked_ranks = ours.ranks()
        return result

    def _full_sort_batch_eval(self, batched_data: Any) -> Any:
        """RecBole's own, of all items: the history is left out afterwards."""
        rows, _, *positives = batched_data
        return super()._full_sort_batch_eval((rows, None, *positives))  # type: ignore[misc]


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
