"""How a recommender searches: exactly, in two stages, or as measurements choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recbole_fmrlrec.deploy.description import Description, TwoStage
from recbole_fmrlrec.deploy.errors import DeployError, check_count
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.deploy.retrieval import (
    Choice,
    ExactSearch,
    Search,
    TwoStageSearch,
    fastest,
    measure_choices,
)

if TYPE_CHECKING:
    from recbole_fmrlrec.deploy.faiss_index import Kind

#: Item ids, the oldest first.
History = Sequence[str]

#: Sample histories drawn where none are given.
SAMPLES = 256


class SearchSettings:
    """The part of `Recommender` that says how the best items are found.

    The description has the settings, so that a folder that is saved searches in the same way.
    """

    description: Description
    items: ItemTable
    _search: Search

    def encode_rows(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """Outputs ``(B, s)`` after histories given as table rows."""
        raise NotImplementedError

    @property
    def search(self) -> Search:
        """How the best items are found; exactly unless asked otherwise."""
        return self._search

    @property
    def is_exact(self) -> bool:
        """Whether every item is scored, so that the first k of a list do not depend on k."""
        return self.description.search is None

    def use_exact(self) -> None:
        """Score every item."""
        self._search = ExactSearch(self.items.vectors)
        self.description = replace(self.description, search=None)

    def _use_described(self) -> None:
        """Search as the description says.

        Raises:
            DeployError: it needs faiss, which is not installed.
        """
        if (stored := self.description.search) is None:
            self.use_exact()
            return
        settings: dict[str, Any] = asdict(stored)
        try:
            self.use_two_stage(**settings)
        except DeployError as error:
            raise DeployError(
                f"the model was saved with a search that cannot be set up here: {error}; or load "
                "it with exact=True"
            ) from error

    def use_two_stage(
        self,
        prefix: int,
        shortlist: int,
        faiss: Kind | None = None,
        copy_prefix: bool = False,
        effort: int | None = None,
    ) -> None:
        """Shortlist by the first ``prefix`` dimensions, rank the shortlist by all.

        Args:
            prefix: one of ``description.sizes``, below the last.
            shortlist: items handed on, 1 or more.
            faiss: ``"ivf"`` for an approximate first stage.
            copy_prefix: keep a copy of the first dimensions, which is read several times faster.
            effort: of faiss, see `FaissShortlister`: more finds more.

        Raises:
            DeployError: another prefix, no shortlist, an effort below 1 or without faiss, another
                kind of faiss index, or faiss is not installed.
        """
        smaller = self.description.sizes[:-1]
        if prefix not in smaller:
            raise DeployError(f"prefix must be one of {list(smaller)}, not {prefix!r}")
        check_count("prefix", prefix)
        check_count("shortlist", shortlist)
        if effort is not None:
            check_count("effort", effort)
            if faiss is None:
                raise DeployError('effort is for faiss="ivf"')
        shortlister = None
        if faiss is not None:
            from recbole_fmrlrec.deploy.faiss_index import FaissShortlister, check_kind

            check_kind(faiss)
            shortlister = FaissShortlister(self.items.vectors, prefix, effort)
        self._search = TwoStageSearch(
            self.items.vectors, prefix, shortlist, shortlister, copy_prefix
        )
        chosen = TwoStage(prefix, shortlist, faiss, copy_prefix, effort)
        self.description = replace(self.description, search=chosen)

    @torch.no_grad()
    def choose_search(
        self,
        recall: float = 0.99,
        histories: Sequence[History] | None = None,
        k: int = 10,
        copy_prefix: bool = False,
    ) -> Choice:
        """Measure and use the fastest search that finds ``recall`` of the exact top k.

        Args:
            recall: wanted share, above 0 and at most 1.
            histories: sample histories, best a few hundred real ones; when None, histories of one
                item each, drawn at random, which differ from real ones.
            k: length of the list.
            copy_prefix: allow a copy of the first dimensions, which is read several times faster.

        Raises:
            DeployError: an impossible recall, or too few histories.
        """
        if histories is None:
            drawn = torch.randperm(len(self.items), generator=torch.Generator().manual_seed(0))
            rows = [[row + 1] for row in drawn[:SAMPLES].tolist()]
        else:
            rows = [self.items.rows(items, "skip")[0] for items in histories]
        queries = self.encode_rows(rows)
        sizes = self.description.sizes
        chosen = fastest(
            measure_choices(self.items.vectors, sizes, queries, recall, k, copy_prefix)
        )
        if chosen.prefix is None or chosen.shortlist is None:
            self.use_exact()
        else:
            self.use_two_stage(chosen.prefix, chosen.shortlist, copy_prefix=copy_prefix)
        return chosen
