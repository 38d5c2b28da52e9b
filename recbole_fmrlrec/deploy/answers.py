"""The part of `Recommender` that says what is like an item, and why an item is recommended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, overload

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from recbole_fmrlrec.deploy.description import Description
from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.deploy.explanation import Explanation, leave_one_out
from recbole_fmrlrec.deploy.items import ItemTable, Unknown
from recbole_fmrlrec.deploy.new_items import unit_features
from recbole_fmrlrec.deploy.ranking import Filter, rank_items
from recbole_fmrlrec.deploy.results import Reason, Recommendations
from recbole_fmrlrec.deploy.search_settings import History
from recbole_fmrlrec.deploy.similarity import CosineSearch
from recbole_fmrlrec.nn.network import FMRLRecNetwork

#: Positions encoded at once where several blocks read the history again for each event.
POSITIONS = 2**17


class Answers:
    """Similar items, and reasons."""

    description: Description
    items: ItemTable
    network: FMRLRecNetwork
    max_history: int | None

    def encode_rows(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """Outputs ``(B, s)`` after histories given as table rows."""
        raise NotImplementedError

    def width(self, size: int | None) -> int:
        """A nested size of the model; its largest when None.

        Raises:
            DeployError: the model does not have the size.
        """
        sizes = self.description.sizes
        if size is not None and size not in sizes:
            raise DeployError(f"size = {size}: this model has the sizes {list(sizes)}")
        return size or self.description.size

    @overload
    def similar(  # type: ignore[overload-overlap]  # a text is a sequence of texts: it is one item
        self,
        item: str,
        k: int = ...,
        size: int | None = ...,
        filter: Filter | None = ...,
        features: ArrayLike | Mapping[str, ArrayLike] | None = ...,
    ) -> Recommendations: ...

    @overload
    def similar(
        self,
        item: Sequence[str],
        k: int = ...,
        size: int | None = ...,
        filter: Filter | None = ...,
        features: ArrayLike | Mapping[str, ArrayLike] | None = ...,
    ) -> list[Recommendations]: ...

    @torch.no_grad()
    def similar(
        self,
        item: Any,
        k: int = 10,
        size: int | None = None,
        filter: Filter | None = None,
        features: ArrayLike | Mapping[str, ArrayLike] | None = None,
    ) -> Any:
        """The k items whose vectors point most nearly where an item's own does; not the item.

        The scores are cosines ``<e_i[:s], e_j[:s]> / (|e_i[:s]| |e_j[:s]|)``. The model's vectors
        say which items are followed by the same ones; the raw features beside them say which are
        described alike.

        Args:
            item: an item id; or a batch, a sequence of them.
            k: how many items.
            size: s, a nested size of the model; its largest when None.
            filter: whether an item id may be among them.
            features: compare these instead of the model's vectors, which is all that a deployed
                folder holds: as in `Recommender.add_items`, with a row for every item in the order
                of ``items.ids``. Each modality is scaled to length 1.

        Returns:
            Recommendations with cosines as scores, or for a batch a list of them.

        Raises:
            DeployError: an unknown item, a size that the model does not have, ``size`` together
                with ``features``, or features that do not fit the model.
        """
        single = isinstance(item, str | Integral)
        rows, _ = self.items.rows([item] if single else item, "error")
        if features is not None and size is not None:
            raise DeployError("size cuts the model's vectors; features have no sizes")
        if features is None:
            vectors = self.items.vectors[:, : self.width(size)]
        else:
            own = unit_features(self.description, features, len(self.items))
            vectors = torch.cat([own.new_zeros(1, own.shape[1]), own])
        search = CosineSearch(vectors)
        directions = search.of_rows(rows)
        found = rank_items(self.items, search, directions, k, [{row} for row in rows], None, filter)
        return found[0] if single else found

    @overload
    def explain(  # type: ignore[overload-overlap]
        self, history: History, item: str, unknown: Unknown = ...
    ) -> Explanation: ...

    @overload
    def explain(
        self, history: History, item: Sequence[str], unknown: Unknown = ...
    ) -> list[Explanation]: ...

    @torch.no_grad()
    def explain(self, history: History, item: Any, unknown: Unknown = "skip") -> Any:
        """How much each event of the history added to an item's score: leave one event out.

        The contribution of event t to item i is

            ``scores(history)[i] - scores(history without event t)[i]``

        exactly. A model of one block does not read the history again for it (see
        `recbole_fmrlrec.deploy.explanation.leave_one_out`), one of several blocks does, once for
        each event. `recommend` reads the latest ``max_history`` events: those before them
        contribute 0, and where one of the latest is left out the one before them moves up.

        Args:
            history: item ids, the oldest first.
            item: an item id; or several, such as ``recommend(history).ids``.
            unknown: ``"skip"`` leaves unknown ids of the history out and names them in the result;
                ``"error"`` refuses them.

        Returns:
            Explanation, or for several items a list of them.

        Raises:
            DeployError: the item is unknown, or one of the history with ``unknown="error"``.
        """
        single = isinstance(item, str | Integral)
        wanted, _ = self.items.rows([item] if single else item, "error")
        events, missing = self.items.rows(history, unknown)
        scores, added = self._contributions(events, wanted)
        names = [self.items.ids[row - 1] for row in events]
        titles = [self.items.titles[row - 1] for row in events]
        found = [
            Explanation(
                self.items.ids[row - 1],
                self.items.titles[row - 1],
                score,
                list(names),
                list(titles),
                own,
                list(missing),
            )
            for row, score, own in zip(wanted, scores.tolist(), added.t().tolist(), strict=True)
        ]
        return found[0] if single else found

    def _contributions(self, events: list[int], wanted: list[int]) -> tuple[Tensor, Tensor]:
        """Scores ``(m,)`` of table rows after events, and what each event added, ``(n, m)``."""
        vectors = self.items.vectors[torch.tensor(wanted, dtype=torch.int64)].t()
        hidden = self.encode_rows([events])
        scores, added = (hidden @ vectors)[0], vectors.new_zeros(len(events), len(wanted))
        count = min(len(events), self.max_history or len(events))
        if count:
            added[-count:] = (hidden - self._without_each(events, count)) @ vectors
        if bias := self.description.history_bias:
            held, lost = _held(events, wanted, count)
            scores = scores + bias * held
            added += bias * lost
        return scores, added

    def _without_each(self, events: list[int], count: int) -> Tensor:
        """Outputs ``(count, s)``, each without one of the latest ``count`` events."""
        kept = events[-count - 1 :]
        if len(self.network.blocks) == 1:
            older, window = kept[:-count], kept[-count:]
            return leave_one_out(self.network, self.items.vectors, older, window)
        first = len(kept) - count
        step = max(1, POSITIONS // len(kept))
        parts = []
        for at in range(first, len(kept), step):
            these = range(at, min(at + step, len(kept)))
            parts.append(self.encode_rows([kept[:out] + kept[out + 1 :] for out in these]))
        return torch.cat(parts)

    def with_reasons(self, history: History, result: Recommendations) -> Recommendations:
        """Recommendations with the event of the history that added most to each; see `explain`."""
        if not len(result):
            return result
        found = self.explain(history, result.ids)
        reasons: list[Reason | None] = [next(iter(one.reasons()), None) for one in found]
        return replace(result, reasons=reasons)


def _held(events: list[int], wanted: list[int], count: int) -> tuple[Tensor, Tensor]:
    """Which items the latest ``count`` events hold, and which they lose without an event.

    Returns:
        ``(m,)``: 1 for an item that is held. ``(n, m)``: 1 where it no longer is without that
        event, and -1 where the event that moves up brings it.
    """
    first = len(events) - count
    held = torch.tensor([float(row in events[first:]) for row in wanted])
    lost = torch.zeros(len(events), len(wanted))
    for out in range(first, len(events)):
        kept = (events[:out] + events[out + 1 :])[-count:]
        lost[out] = held - torch.tensor([float(row in kept) for row in wanted])
    return held, lost
