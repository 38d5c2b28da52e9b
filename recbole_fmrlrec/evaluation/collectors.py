"""What takes the scores of an evaluation, batch by batch, and makes metrics of them at its end."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
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
from recbole_fmrlrec.evaluation.ranking import rank_metrics, whole_ranks

Metrics = dict[str, float]


def shown_rankings(config: Any) -> str:
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
    if shown_rankings(config) == MASK:
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
