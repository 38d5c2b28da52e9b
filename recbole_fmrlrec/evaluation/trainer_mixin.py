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
from recbole_fmrlrec.evaluation.collected_lists import Catalogue, CountAndList, wanted_lists
from recbole_fmrlrec.evaluation.counting import RankCounter, ScoreReader, read_scores
from recbole_fmrlrec.evaluation.history import Histories
from recbole_fmrlrec.evaluation.list_metric_names import is_of_lists
from recbole_fmrlrec.evaluation.list_metrics import list_metrics
from recbole_fmrlrec.evaluation.list_record import KeepLists, ListRecord
from recbole_fmrlrec.evaluation.protocol import KEEP, MASK, masked_name
from recbole_fmrlrec.evaluation.rank_record import RankRecord
from recbole_fmrlrec.evaluation.ranking import can_rank, rank_metrics, whole_ranks

Metrics = dict[str, float]


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
    """Takes what an evaluation needs of each batch of scores: mean ranks, candidates, lists.

    Args:
        config: metrics, cut-offs, what is shown.
        histories: what each row leaves out; None ranks all items only.
        num_sizes: K, 1 for a model without sizes.
        unranked: items that are no candidates of any row, as in `RankCounter`.
        catalogue: the items, for metrics of lists.
        keep: lists to be kept whatever the metrics.
        eval_data: the loader, where its batches are dealt to several processes.

    Raises:
        UsageError: as `wanted_lists`.
    """

    def __init__(
        self,
        config: Any,
        histories: Histories | None = None,
        num_sizes: int = 1,
        unranked: Tensor | None = None,
        catalogue: Catalogue | None = None,
        keep: KeepLists | None = None,
        eval_data: Any = None,
    ) -> None:
        self.config, self.histories, self.num_sizes = config, histories, num_sizes
        self.unranked = unranked
        self._lists = wanted_lists(config, catalogue, num_sizes, keep)
        self.dealt = eval_data if getattr(eval_data, "is_dealt", False) else None
        self.rows = 0 if self.dealt is None else dealing.first_row(self.dealt)
        self._starts: list[int] = []
        self._parts: list[list[Tensor]] = []
        self._whole = False  # the parts of all processes are there

    @contextmanager
    def batch(self, targets: Tensor) -> Iterator[ScoreReader]:
        """What is to be shown the scores of the next batch, whose targets are ``(B,)``."""
        history = None
        if self.histories is not None:
            rows = slice(self.rows, self.rows + len(targets))
            positives = torch.arange(len(targets)), targets.cpu()
            history = self.histories.of(rows, *positives)
        counter = RankCounter(targets, self.num_sizes, history, self.unranked)
        if self._lists is None:
            yield counter
        else:
            best = self._lists.reader(counter)
            yield CountAndList(counter, best)
            self._lists.add(best)
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

    def lists(self, sizes: tuple[int, ...]) -> ListRecord | None:
        """The lists of all rows at the nested sizes; None where none were kept."""
        return None if self._lists is None else self._lists.record(sizes)

    def metrics(self) -> list[Metrics]:
        """The metrics of the configuration at each size."""
        kinds, found = self._columns(), []
        for k in range(self.num_sizes):
            kept, *masked = (
                self._metrics(k, kinds[at][k], kinds[at + 1][k], masked=at > 0)
                for at in range(0, len(kinds), 2)
            )
            found.append(main_metrics(kept, masked[0] if masked else None, self.config))
        return found

    def _metrics(self, size: int, ranks: Tensor, candidates: Tensor, masked: bool) -> Metrics:
        """Those of one ranking, in the order of the configuration."""
        shown = self.config["topk"], self.config["metric_decimal_place"]
        lists = None if self._lists is None else self._lists.lists(size, masked)
        found: Metrics = {}
        for metric in self.config["metrics"]:
            if lists is not None and is_of_lists(metric):
                found |= list_metrics(lists, [metric], *shown)
            else:
                found |= rank_metrics(ranks, candidates, [metric], *shown)
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

    def evaluate(self, eval_data: Any, *args: Any, **kwargs: Any) -> Any:
        """RecBole's `evaluate`, with the same arguments and the same result."""
        self.ranks = self.masked_ranks = self.lists = None
        evaluate = super().evaluate  # type: ignore[misc]
        if not eval_data:
            return evaluate(eval_data, *args, **kwargs)
        histories = wanted_histories(self.config, eval_data)
        unranked = getattr(eval_data, "unranked", None)
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
