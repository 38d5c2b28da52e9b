"""What the sequence models of this package share: batches, item vectors, losses over items, scores.

A model maps a history to an output ``(d,)`` and an item to a vector ``(d,)``; their product is the
item's score. `SequenceModel` trains on RecBole's row per prefix, at the row's last position;
`CausalModel` on user windows as well, at every position at once. Both rank all items with the exact
softmax, whose logits are never held in memory (`recbole_fmrlrec.nn.loss`), or a few with a sampled
one (`recbole_fmrlrec.nn.sampled_loss`).

Rows of a table are read by ``embedding``: the gradient of an index adds up in any order where a CPU
works with several threads, so that a training would not give the same digits again.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_fmrlrec.data.batch import Batch, LaidOut, lay_out
from recbole_fmrlrec.data.window_rows import START_TARGET, TARGETS, WindowRows
from recbole_fmrlrec.keys.schema import SAMPLED_LOSSES
from recbole_fmrlrec.model_api.protocols import VectorModel, WindowModel
from recbole_fmrlrec.models.cold_items import cold_bias, known_items
from recbole_fmrlrec.models.history_bias import HistoryBias
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.history_shift import HistoryShift
from recbole_fmrlrec.nn.loss import nested_cross_entropy
from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.nn.products import RankedItems
from recbole_fmrlrec.nn.projection import split_table
from recbole_fmrlrec.nn.sampled_loss import Candidates, CandidateSampler, sampled_cross_entropy

#: Outputs up to this width are ranked so many positions at a time on a CPU. Their products are
#: cheap beside the passes over the logits, which should find them in the cache.
NARROW_WIDTH, NARROW_ROWS = 128, 96


@dataclass
class KeptItems:
    """What an evaluation keeps of the items, and the weights that it was made of.

    Not attributes of the model itself: without features the table *is* a parameter, which a module
    would take for one of its own and write into its state.
    """

    table: Tensor | None = None
    input_projections: Tensor | None = None
    made_of: list[Any] = field(default_factory=list)


class SequenceModel(HistoryBias, VectorModel, SequentialRecommender):
    """Scores are products of an output for the history with a vector for each item.

    A subclass gives `item_vectors` and `encode_last`; where they are not the vectors of the output,
    also `output_items` and `output`.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset.

    Raises:
        ValueError: RecBole's negative sampling is on, or ``loss_type`` is none of the model's.
    """

    input_type = InputType.POINTWISE
    loss_types: ClassVar[tuple[str, ...]] = ("CE", *SAMPLED_LOSSES)
    #: Whether the first item of a history is trained, from the empty input.
    predict_first_item = False
    n_items: int
    max_seq_length: int
    cold_bias: Tensor | None
    known_items: Tensor | None

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        if config["train_neg_sample_args"]["distribution"] != "none":
            raise ValueError(
                f"{type(self).__name__} samples no negatives of RecBole's kind: set "
                "train_neg_sample_args to None; loss_type has sampled losses"
            )
        settings = ModelSettings(config, type(self).__name__)
        self.known_items = known_items(dataset)
        self.register_buffer(
            "cold_bias", cold_bias(self.known_items, self.n_items), persistent=False
        )
        self.predict_first_item = bool(settings["predict_first_item"])
        self.loss_block_size: int | None = settings["loss_block_size"]
        self.sampler = self._make_sampler(settings, dataset)
        self.add_history_bias(settings["history_bias"])
        self._kept = KeptItems()

    def _make_sampler(self, settings: ModelSettings, dataset: Any) -> CandidateSampler | None:
        """The sampler of a sampled softmax; None for another loss."""
        kind = str(settings["loss_type"])
        if kind not in self.loss_types:
            raise ValueError(f"loss_type: {kind!r} must be one of {', '.join(self.loss_types)}")
        if kind not in SAMPLED_LOSSES:
            return None
        rows = dataset.inter_feat
        if isinstance(rows, WindowRows):
            starts = [START_TARGET] if self.predict_first_item else []
            counts = rows.counts([TARGETS, *starts], self.n_items)
        else:
            targets = rows[TARGETS if TARGETS in rows else self.ITEM_ID].flatten()
            counts = torch.bincount(targets, minlength=self.n_items)
            if self.predict_first_item and START_TARGET in rows:
                counts += torch.bincount(rows[START_TARGET], minlength=self.n_items)
        number = int(settings["num_sampled_items"])
        kind = kind.removeprefix("sampled_")
        return CandidateSampler(kind, number, counts[1:], self.known_items)

    # What a subclass gives

    @abstractmethod
    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        """Vectors ``(N+1, d)`` of all items, row 0 the padding, or a row for each of ``ids``."""

    @abstractmethod
    def encode_last(self, table: Tensor, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Outputs ``(B, d)`` at the last item of right-padded rows of ``table``, ``(B, L)``."""

    def output_items(self, vectors: Tensor, ids: Tensor | None = None) -> Tensor:
        """The vectors ``(C, e)`` that outputs are multiplied with.

        Args:
            vectors: ``(C, d)`` `item_vectors`.
            ids: the items that they are of ``(C,)``; 1..N when None.
        """
        return vectors

    def output(self, hidden: Tensor) -> Tensor:
        """What `output_items` are multiplied with: from ``(T, d)`` to ``(T, e)``."""
        return hidden

    # Items in evaluation

    def train(self, mode: bool = True) -> SequenceModel:
        """Switch mode; what is kept of the items for an evaluation is dropped."""
        self._kept = KeptItems()
        super().train(mode)
        return self

    def item_table(self) -> Tensor:
        """``(N+1, d)`` item vectors; in evaluation made once and kept."""
        if self.training or torch.is_grad_enabled():
            return self.item_vectors()
        # Weights can change in evaluation too: another checkpoint, another device or precision.
        weights: list[Any] = [(p.data_ptr(), p._version) for p in self.parameters()]
        weights.append(torch.is_autocast_enabled(self.device.type))
        if self._kept.table is None or weights != self._kept.made_of:
            self._kept = self.keep_items()
            self._kept.made_of = weights
        assert self._kept.table is not None
        return self._kept.table

    def keep_items(self) -> KeptItems:
        """What an evaluation needs of the items."""
        return KeptItems(self.item_vectors())

    # Loss

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Loss of a batch of prefix rows, or of windows, as ``loss_type`` says."""
        batch, device = self._batch(interaction), interaction[self.ITEM_SEQ].device
        if self.sampler is not None:
            return self._sampled_loss(batch, device)
        return self.exact_loss(batch.to(device))

    def _batch(self, interaction: Interaction) -> Batch:
        """The layout of a batch, in the host's memory where its loader has made it there."""
        if isinstance(interaction, LaidOut) and interaction.layout is not None:
            return interaction.layout
        if TARGETS in interaction:
            names = self.ITEM_SEQ, self.ITEM_SEQ_LEN
            return lay_out(interaction, *names, starts=self.predict_first_item)
        columns = (self.ITEM_SEQ, self.ITEM_SEQ_LEN, self.POS_ITEM_ID)
        return Batch(*(interaction[name] for name in columns))

    def exact_loss(self, batch: Batch) -> Tensor:
        """The loss over all items."""
        table = self.item_vectors()
        hidden = self.encode_last(table, batch.item_seq, batch.lengths)
        items = self.output_items(table[1:])
        shift = self.history_shift(batch)
        return self.softmax_loss(self.output(hidden), items, batch.targets - 1, shift)

    def trained_outputs(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Outputs ``(T, d)`` at the positions of a batch that have a target."""
        return self.encode_last(vectors, batch.item_seq, batch.lengths)

    def softmax_loss(
        self,
        hidden: Tensor,
        items: Tensor | RankedItems,
        targets: Tensor,
        shift: HistoryShift | None = None,
    ) -> Tensor:
        """Softmax cross-entropy over all items of outputs ``(T, e)`` with targets 0..N-1."""
        sizes, rows = (hidden.shape[1],), self.loss_block_size
        if rows is None and hidden.shape[1] <= NARROW_WIDTH and hidden.device.type == "cpu":
            rows = NARROW_ROWS
        return nested_cross_entropy(hidden, items, targets, sizes, 0.0, rows, self.cold_bias, shift)

    def _sampled_loss(self, batch: Batch, device: torch.device) -> Tensor:
        """No item table: only the items that this batch reads or ranks are made."""
        assert self.sampler is not None
        candidates = self.sampler.draw(batch.targets - 1)
        read = batch.item_seq.flatten()
        wanted, place = torch.cat([read, candidates.rows + 1]).unique(return_inverse=True)
        ranked, candidates = send(place[len(read) :], device), candidates.to(device)
        shift = self.history_shift(batch.to(device))
        batch = replace(batch, item_seq=place[: len(read)].view_as(batch.item_seq)).to(device)
        vectors = self.item_vectors(wanted)
        hidden = self.trained_outputs(vectors, batch)
        items = self.output_items(nn.functional.embedding(ranked, vectors), candidates.rows + 1)
        asked = self.output(hidden), items, candidates, batch.targets - 1
        return self.sampled_softmax_loss(*asked, shift)

    def sampled_softmax_loss(
        self,
        hidden: Tensor,
        items: Tensor,
        candidates: Candidates,
        targets: Tensor,
        shift: HistoryShift | None = None,
    ) -> Tensor:
        """As `softmax_loss`, over candidates with vectors ``(C, e)``."""
        options = (hidden.shape[1],), 0.0, self.loss_block_size, shift
        return sampled_cross_entropy(hidden, items, candidates, targets, *options)

    # Scores

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Outputs ``(B, d)`` at the last item of right-padded sequences ``(B, L)``."""
        return self.encode_last(self.item_table(), item_seq, item_seq_len)

    def history_vectors(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Vectors ``(B, e)`` of right-padded histories ``(B, L)``."""
        return self.output(self.forward(item_seq, item_seq_len))

    def ranked_vectors(self) -> Tensor:
        """Vectors ``(N, e)`` of the items 1..N; their products with a history's are the scores."""
        return self.output_items(self.item_table()[1:])

    def _outputs(self, interaction: Interaction) -> Tensor:
        return self.history_vectors(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores ``(B,)`` of one item per row."""
        ids = interaction[self.ITEM_ID]
        items = self.output_items(self.item_table()[ids], ids)
        scores = (self._outputs(interaction) * items).sum(1)
        shift = self.shift_of(interaction)
        return scores if shift is None else scores + shift.of(ids - 1, 0)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores ``(B, N+1)`` of all items; the padding's is 0."""
        scores = self._outputs(interaction) @ self.ranked_vectors().t()
        if (shift := self.shift_of(interaction)) is not None:
            shift.add(scores, slice(0, len(scores)), 0)
        return nn.functional.pad(scores, (1, 0))


class CausalModel(WindowModel, SequenceModel):
    """A sequence model whose output at a position depends on the items up to it alone.

    A subclass gives `encode` in place of `encode_last`.
    """

    loss_types: ClassVar[tuple[str, ...]] = SequenceModel.loss_types

    @abstractmethod
    def encode(self, x: Tensor, packing: Packing) -> Tensor:
        """Packed item vectors ``(T, d)`` to packed outputs ``(T, d)``, from left to right."""

    def encode_last(self, table: Tensor, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Outputs ``(B, d)`` at the last item of right-padded rows of ``table``, ``(B, L)``."""
        packing = Packing.from_lengths(item_seq_len, item_seq.shape[1])
        return self.encode(nn.functional.embedding(packing.pack(item_seq), table), packing)[
            packing.last
        ]

    def trained_outputs(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Outputs ``(T, d)`` at the positions of a batch that have a target."""
        if batch.packing is None:
            return super().trained_outputs(vectors, batch)
        inputs = nn.functional.embedding(batch.packing.pack(batch.item_seq), vectors)
        return batch.trained_outputs(self.encode(inputs, batch.packing))

    def exact_loss(self, batch: Batch) -> Tensor:
        """The loss over all items."""
        if batch.packing is None:
            return super().exact_loss(batch)
        ids = batch.packing.pack(batch.item_seq)
        inputs, items = self.step_items(ids, len(batch.targets))
        hidden = batch.trained_outputs(self.encode(inputs, batch.packing))
        shift = self.history_shift(batch)
        return self.softmax_loss(self.output(hidden), items, batch.targets - 1, shift)

    def step_items(self, ids: Tensor, positions: int) -> tuple[Tensor, Tensor | RankedItems]:
        """What a step reads of the items ``(T, d)``, and all of them as its outputs rank them.

        Args:
            ids: packed items ``(T,)`` that the sequences read.
            positions: how many positions have a target.
        """
        inputs, items = split_table(self.item_vectors(), ids)
        return inputs, self.output_items(items)
