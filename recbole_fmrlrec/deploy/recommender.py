"""A deployed model that answers: histories in, recommendations out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any, overload

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from recbole_fmrlrec.deploy.answers import Answers
from recbole_fmrlrec.deploy.description import Description
from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.deploy.items import ItemTable, Unknown
from recbole_fmrlrec.deploy.model_folder import copy_checked, load_model, save_model
from recbole_fmrlrec.deploy.new_items import project
from recbole_fmrlrec.deploy.ranking import Filter, HistoryBias, rank_items
from recbole_fmrlrec.deploy.real_arithmetic import RealStep
from recbole_fmrlrec.deploy.results import Recommendations
from recbole_fmrlrec.deploy.retrieval import Search
from recbole_fmrlrec.deploy.search_settings import History, SearchSettings
from recbole_fmrlrec.deploy.selection import Selection
from recbole_fmrlrec.deploy.session import Session, Sessions
from recbole_fmrlrec.nn.network import FMRLRecNetwork

#: Histories encoded at once.
BATCH = 1024


class Recommender(SearchSettings, Answers):
    """One deployed model: the sequence encoder and the item table of one size.

    Item vectors are held as float32, however they are stored.

    Attributes:
        description: what the model is, with its metrics.
        network: the sequence encoder and the projector of features.
        items: ids, titles and vectors; row 0 is the empty input.
        max_history: `recommend` reads this many of the latest items, as training did; None reads
            the whole history, as sessions always do.
    """

    def __init__(self, description: Description, network: FMRLRecNetwork, items: ItemTable) -> None:
        self.description, self.network, self.items = description, network, items
        self.max_history: int | None = description.max_history
        self._search: Search
        self._use_described()
        self._folder: Path | None = None

    @classmethod
    def load(cls, folder: str | Path, exact: bool = False) -> Recommender:
        """Read the folder that ``run_recbole.py export`` or `save` wrote.

        Args:
            exact: score every item, whatever search the model was saved with.

        Raises:
            DeployError: it is missing, damaged, of another format version, or holds code; or its
                search needs faiss, which is not installed.
        """
        description, network, items = load_model(Path(folder))
        found = cls(replace(description, search=None) if exact else description, network, items)
        found._folder = Path(folder)
        return found

    def save(self, folder: str | Path, table_dtype: str | None = None) -> None:
        """Write the model with the items that were added and the search that is used.

        ONNX files of the folder that the model was loaded from go with it: their graphs take item
        vectors, so that they serve added items and every type of table.

        Args:
            folder: where to; a model in it is replaced.
            table_dtype: ``float32``, ``float16`` or ``int8``; as it was loaded when None.

        Raises:
            DeployError: the ONNX files are not as they were when the model was loaded.
        """
        about, folder = self.description, Path(folder)
        graphs: tuple[str, ...] = ()
        if self._folder is not None:
            graphs = tuple(name for name in about.files if name.endswith(".onnx"))
        for name in graphs:
            assert self._folder is not None
            copy_checked(self._folder / name, folder / name, about.files[name])
        onnx = about.onnx if graphs else None
        changed = replace(about, table_dtype=table_dtype or about.table_dtype, onnx=onnx)
        self.description = save_model(folder, changed, self.network, self.items, graphs)
        self._folder = folder

    @property
    def size(self) -> int:
        """Width of the model, s."""
        return self.description.size

    @overload
    def recommend(  # type: ignore[overload-overlap]  # a text is a sequence of texts; it is refused
        self,
        history: History,
        k: int = ...,
        exclude_seen: bool = ...,
        candidates: Sequence[str] | None = ...,
        filter: Filter | None = ...,
        unknown: Unknown = ...,
        explain: bool = ...,
        diversify: float = ...,
        max_per_group: int | None = ...,
        group_by: str | None = ...,
    ) -> Recommendations: ...

    @overload
    def recommend(
        self,
        history: Sequence[History],
        k: int = ...,
        exclude_seen: bool = ...,
        candidates: Sequence[str] | None = ...,
        filter: Filter | None = ...,
        unknown: Unknown = ...,
        explain: bool = ...,
        diversify: float = ...,
        max_per_group: int | None = ...,
        group_by: str | None = ...,
    ) -> list[Recommendations]: ...

    @torch.no_grad()
    def recommend(
        self,
        history: Any,
        k: int = 10,
        exclude_seen: bool = True,
        candidates: Sequence[str] | None = None,
        filter: Filter | None = None,
        unknown: Unknown = "skip",
        explain: bool = False,
        diversify: float = 0.0,
        max_per_group: int | None = None,
        group_by: str | None = None,
    ) -> Any:
        """The k items most likely to be next.

        An empty history, or one of unknown items only, gives the output for the empty input
        (a zero feature) alone. ``description.start_trained`` says whether the
        training learned it (``predict_first_item``).

        Args:
            history: item ids, the oldest first; or a batch, a sequence of such sequences. ``[]``
                is one empty history.
            k: how many items.
            exclude_seen: leave out the items of the whole history.
            candidates: item ids to choose from; all when None.
            filter: whether an item id may be recommended.
            unknown: ``"skip"`` leaves unknown ids out and names them in the result; ``"error"``
                refuses them.
            explain: name for each item the event of the history that added most to its score; see
                `explain`.
            diversify: 0 for the best items, up to 1 for the most varied ones, by maximal marginal
                relevance over the item vectors; see `Selection`.
            max_per_group: items at most that share a value of the column ``group_by``.
            group_by: a column of items, see `add_column`.

        Returns:
            Recommendations, or for a batch a list of them.

        Raises:
            DeployError: an unknown item with ``unknown="error"``, or an impossible argument.
        """
        selection = Selection(self.items, diversify, max_per_group, group_by)
        batch = _is_batch(history)
        histories = history if batch else [history]
        known = [self.items.rows(items, unknown) for items in histories]
        rows = [found for found, _ in known]
        excluded = [set(found) if exclude_seen else set() for found in rows]
        results = rank_items(
            self.items,
            self._search,
            self.encode_rows(rows),
            k,
            excluded,
            candidates,
            filter,
            unknown,
            selection,
            HistoryBias(self.description.history_bias, [self.read(found) for found in rows]),
        )
        if explain:
            results = [self.with_reasons(*pair) for pair in zip(histories, results, strict=True)]
        named = [
            replace(result, unknown=missing)
            for result, (_, missing) in zip(results, known, strict=True)
        ]
        return named if batch else named[0]

    @torch.no_grad()
    def scores(self, history: History, unknown: Unknown = "skip") -> Tensor:
        """Scores ``(N,)`` of all items for one history, in the order of ``items.ids``."""
        rows, _ = self.items.rows(history, unknown)
        scores = self.encode_rows([rows])[0] @ self.items.vectors[1:].t()
        if bias := self.description.history_bias:
            scores[torch.tensor(self.read(rows), dtype=torch.int64) - 1] += bias
        return scores

    @torch.no_grad()
    def item_vectors(self, ids: Sequence[str] | None = None, size: int | None = None) -> Tensor:
        """Vectors ``(n, s)`` of items, for your own index.

        An item's score for a user is the product of its vector with the user's; for an item of
        the user's history ``description.history_bias`` is added.

        Args:
            ids: items; all in the order of ``items.ids`` when None.
            size: a nested size of the model; its largest when None.

        Raises:
            DeployError: an unknown item, or a size that the model does not have.
        """
        width = self.width(size)
        if ids is None:
            return self.items.vectors[1:, :width].clone()
        rows, _ = self.items.rows(ids, "error")
        return self.items.vectors[torch.tensor(rows, dtype=torch.int64), :width].clone()

    @torch.no_grad()
    def user_vector(
        self, history: History, size: int | None = None, unknown: Unknown = "skip"
    ) -> Tensor:
        """The vector ``(s,)`` of a user with this history; see `item_vectors` and `recommend`.

        Raises:
            DeployError: an unknown item with ``unknown="error"``, or a size that the model does not
                have.
        """
        width = self.width(size)
        rows, _ = self.items.rows(history, unknown)
        return self.encode_rows([rows])[0, :width].clone()

    @torch.no_grad()
    def encode_rows(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """Outputs ``(B, s)`` after histories given as table rows."""
        if not histories:
            return self.items.vectors.new_empty(0, self.size)
        cut = [self.read(rows) or [0] for rows in histories]
        parts = [self._encode(cut[at : at + BATCH]) for at in range(0, len(cut), BATCH)]
        return torch.cat(parts)

    def read(self, rows: Sequence[int]) -> list[int]:
        """Those of a history's rows that `recommend` reads: the latest ones."""
        return list(rows[-self.max_history if self.max_history else None :])

    def _encode(self, histories: list[list[int]]) -> Tensor:
        lengths = torch.tensor([len(rows) for rows in histories])
        padded = torch.zeros(len(histories), int(lengths.max()), dtype=torch.int64)
        for at, rows in enumerate(histories):
            padded[at, : len(rows)] = torch.tensor(rows)
        return self.network.encode_last(self.items.vectors, padded, lengths)

    # Streaming

    @cached_property
    def step(self) -> RealStep:
        """The network in the form that takes one event of many sequences."""
        return RealStep(self.network)

    def session(self) -> Session:
        """A session of one user: feed it events, ask it at any time."""
        return Session(self)

    def sessions(self, count: int) -> Sessions:
        """Sessions of ``count`` users, updated together."""
        return Sessions(self, count)

    # New items

    @torch.no_grad()
    def add_items(
        self,
        ids: Sequence[str],
        features: ArrayLike | Mapping[str, ArrayLike],
        titles: Sequence[str | None] | None = None,
    ) -> None:
        """Add items that did not exist in training, from their features alone.

        The exported projector makes their vectors. In a model with ids a new item has no learned
        vector: that part is zero. Search is exact afterwards.

        Args:
            ids: n new item ids.
            features: a matrix ``(n, width)`` for each modality by name; or one matrix ``(n, F)``
                with the modalities side by side in the order of ``description.modalities``. A
                modality left out counts as missing. Rows need no normalisation.
            titles: n titles.

        Raises:
            DeployError: the model has no features, an id is already in it, a width is wrong, or a
                value is not finite.
        """
        names = [str(item) for item in ids]
        vectors = project(self.description, self.network, features, len(names))
        given = [None] * len(names) if titles is None else list(titles)
        if len(given) != len(names):
            raise DeployError(f"{len(given)} titles for {len(names)} items")
        self.items.append(names, given, vectors)
        self.description = replace(self.description, num_items=len(self.items))
        self.use_exact()

    def add_column(self, name: str, values: Mapping[str, str | Sequence[str] | None]) -> None:
        """Give the items a column such as a brand or genres; `save` keeps it.

        Args:
            name: of the column; one of that name is replaced.
            values: by item id a text, or a list of texts where there are several. Items that are
                not named have none; ids that are not in the model are left out.

        Raises:
            DeployError: no name, a value of another kind, or values for none of the items.
        """
        self.items.set_column(name, values)


def _is_batch(history: Any) -> bool:
    if isinstance(history, str | bytes):
        raise DeployError(f"a history is a list of item ids, as in [{history!r}], not one text")
    return len(history) > 0 and not isinstance(history[0], str | bytes | Integral)
