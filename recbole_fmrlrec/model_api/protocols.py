"""What a model can do beyond RecBole's own contract.

A class declares a capability by inheriting from it; the rest of the package asks for the capability
that it needs, with ``issubclass`` or ``isinstance``, and never for the place where a class lives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from recbole_fmrlrec.evaluation.counting import RankCounter, ScoreReader, read_scores
from recbole_fmrlrec.nn.shards import RowShards


class NestedModel(ABC):
    """A model whose first s dimensions are a model of their own, for every nested size s.

    It is ranked, tabulated and measured at every size.

    Attributes:
        size: the size at which ``predict`` and ``full_sort_predict`` score.
    """

    size: int

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, ...]:
        """The nested sizes, ascending."""

    @abstractmethod
    def parameter_count(self, size: int) -> int:
        """Numbers that the model of that size has learned."""

    @contextmanager
    def at_size(self, size: int) -> Iterator[None]:
        """The model as it would be deployed at one of its sizes, meanwhile."""
        before, self.size = self.size, size
        try:
            yield
        finally:
            self.size = before

    @torch.no_grad()
    def full_sort_scores(self, reader: ScoreReader, interaction: Any, targets: Tensor) -> None:
        """Show a reader the scores of all items at every size.

        Args:
            reader: is shown a block of scores at a time.
            interaction: a batch of rows.
            targets: their target items, (B,).
        """
        for place, size in enumerate(self.sizes):
            with self.at_size(size):
                scores = self.full_sort_predict(interaction)  # type: ignore[attr-defined]
            scores = scores.view(len(targets), -1)
            scores[:, 0] = -torch.inf  # the padding is not a candidate
            read_scores(reader, scores, targets, place)

    def full_sort_mean_ranks(self, interaction: Any, targets: Tensor) -> Tensor:
        """Mean ranks ``(K, B)`` of the target items ``(B,)`` among all items, at every size."""
        counter = RankCounter(targets, len(self.sizes))
        self.full_sort_scores(counter, interaction, targets)
        return counter.mean_ranks()


class FeatureModel:
    """A model that reads item features (`recbole_fmrlrec.data.item_features.load_item_features`).

    The files of the features belong to what a run is: its fingerprint, the key of its cell, the
    preparation of a dataset. The key ``use_features: False`` turns that off.

    Attributes:
        feature_info: what was read: encoders, widths, numbers of missing items.
        own_keys: the keys that come with it.
    """

    feature_info: dict[str, Any]
    own_keys: ClassVar[tuple[str, ...]] = (
        *("use_features", "modalities", "feature_path", "feature_scale", "feature_memory_mb"),
        *("feature_block_size", "max_missing_features"),
    )


class ShardedItems(ABC):
    """A model that makes all items in a step, of which the processes of a training may each make
    some.

    Attributes:
        item_shards: the processes that do; None where each makes all.
    """

    item_shards: RowShards | None = None

    @abstractmethod
    def item_products(self) -> tuple[int, int]:
        """How many products a number of an item's vector takes, and how many numbers all items
        have; 0 products where a step makes only some of the items, or has nothing to make."""

    @property
    def step_shards(self) -> RowShards | None:
        """`item_shards` in a step of training: an evaluation is not one that all take part in."""
        return self.item_shards if torch.is_grad_enabled() else None


class WindowModel:
    """A model trained on user windows as well as on RecBole's row per prefix.

    Every target is ranked by the model's own loss: RecBole draws no negatives for it, and its
    sequences are computed without their padding.

    Attributes:
        loss_types: the values that the key ``loss_type`` may have.
        own_keys: the keys that come with it.
    """

    loss_types: ClassVar[tuple[str, ...]] = ("CE",)
    own_keys: ClassVar[tuple[str, ...]] = ("training_windows", "MAX_ITEM_LIST_LENGTH", "loss_type")


class TextModel:
    """A model that reads items as text, by an encoder in the folder of the key ``encoder``.

    The encoder's files belong to what a run is.
    """


class StagedModel:
    """A model that is trained in stages.

    A stage is over when validation stops it (``stopping_step``), or after the last of its epochs.
    Where another one follows, that one goes on from the best weights so far, with the same
    optimizer and schedule.

    Attributes:
        stages: how many there are.
        stage: the present one, from 0.
        last_epoch_of_stage: epochs of the training at which the present one is over; None for no
            such limit.
    """

    stages: int
    stage: int = 0
    last_epoch_of_stage: int | None = None


class VectorModel(ABC):
    """A model whose score of an item is a product: of a vector of the history and one of the item.

    Both may be wider than the model by what a bias of the item takes.
    """

    @abstractmethod
    def history_vectors(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Vectors ``(B, e)`` of right-padded histories ``(B, L)`` of items 1..N."""

    @abstractmethod
    def ranked_vectors(self) -> Tensor:
        """Vectors ``(N, e)`` of the items 1..N."""


class ExportableModel(ABC):
    """A nested model that `recbole_fmrlrec.deploy` can serve: its network is an `FMRLRecNetwork`.

    Attributes:
        network: item side and encoder.
        predict_first_item: whether the first item of a history was trained from an empty input.
    """

    network: nn.Module
    predict_first_item: bool

    @abstractmethod
    def item_table(self) -> Tensor:
        """``(N+1, d)`` item vectors, row 0 the empty input."""

    def history_shifts(self) -> Tensor | None:
        """What each size adds to the scores of the items of a history, ``(K,)``; None for none."""
        return None


def capability_keys(model_class: type) -> frozenset[str]:
    """The keys that come with what a class declares; `fMRLRec.yaml` has their defaults."""
    declared = (kind for kind in (FeatureModel, WindowModel) if issubclass(model_class, kind))
    return frozenset(key for kind in declared for key in kind.own_keys)


@runtime_checkable
class SparesDecay(Protocol):
    """A model some of whose parameters weight decay leaves alone."""

    def no_decay_parameters(self) -> list[nn.Parameter]:
        """The parameters that do not decay."""


@runtime_checkable
class ReadsCodes(Protocol):
    """A model whose items are codes, numbers that mean something for certain features alone."""

    def tensors_of_other_codes(self, info: Mapping[str, Any] | None) -> tuple[str, ...]:
        """The names of the tensors that go with the codes of a checkpoint, if these are others.

        Args:
            info: ``feature_info`` of the model in the checkpoint; None where it holds none.
        """
