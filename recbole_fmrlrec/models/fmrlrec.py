"""fMRLRec as a RecBole sequential recommender.

Source: Wang et al., "Train Once, Deploy Anywhere: Matryoshka Representation Learning for
Multimodal Recommendation", Findings of EMNLP 2024 (arXiv 2409.16627).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_fmrlrec.evaluation.counting import ScoreReader
from recbole_fmrlrec.evaluation.ranking import nested_scores
from recbole_fmrlrec.model_api.protocols import ExportableModel, NestedModel, ShardedItems
from recbole_fmrlrec.models.feature_input import FeatureInput
from recbole_fmrlrec.models.sequence_model import CausalModel, KeptItems
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.history_shift import HistoryShift
from recbole_fmrlrec.nn.loss import nested_cross_entropy
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.nn.products import RankedItems
from recbole_fmrlrec.nn.sampled_loss import Candidates, sampled_cross_entropy

#: Above this size what items add to the recurrence is not kept for an evaluation.
PROJECTIONS_BYTES = 512 * 2**20


class fMRLRec(NestedModel, ShardedItems, FeatureInput, CausalModel, ExportableModel):
    """One model whose first s dimensions are a model of their own, for every nested size s.

    Trains on rows of user windows (`recbole_fmrlrec.data.loaders.UserWindowDataset`) and, without
    change, on the row-per-prefix datasets of RecBole itself.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its item vocabulary and feature files.

    Raises:
        ValueError: RecBole's negative sampling is on, or ``loss_type`` is none of ours.
    """

    network: FMRLRecNetwork

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        self.self_distillation = float(settings["self_distillation"])
        self.network = FMRLRecNetwork(
            settings["sizes"],
            self.feature_width,
            num_id_items=self.n_items if settings["use_id_embedding"] else 0,
            num_blocks=settings["num_blocks"],
            dropout=settings["dropout_prob"],
            input_dropout=settings["input_dropout_prob"],
            r_min=settings["r_min"],
            r_max=settings["r_max"],
        )
        self.size = self.network.width
        self.add_history_bias(settings["history_bias"], len(self.sizes))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The nested sizes, ascending."""
        return self.network.sizes

    def parameter_count(self, size: int) -> int:
        """Numbers learned by the model cut to ``size``."""
        return self.network.parameter_count(size) + (self.history_bias is not None)

    def history_shifts(self) -> Tensor | None:
        """What each size adds to the scores of the items of a history, ``(K,)``."""
        shifts = super().history_shifts()
        return None if shifts is None else shifts[: len(self.sizes)]

    @contextmanager
    def at_size(self, size: int) -> Iterator[None]:
        """The model cut to one of its sizes, meanwhile."""
        network, whole = self.network, self.size
        self.network, self.size = network.cut(size).eval(), size
        self.eval()  # drops what the model keeps for an evaluation
        try:
            yield
        finally:
            self.network, self.size = network, whole
            self.eval()

    def no_decay_parameters(self) -> list[nn.Parameter]:
        """Biases, norms and the recurrence's nu, theta, gamma: weight decay leaves them alone."""
        return [p for p in self.parameters() if p.ndim < 2]

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Old checkpoints of a model of ids alone hold its table a second time: pass over it."""
        state_dict.pop(prefix + "_table", None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def item_products(self) -> tuple[int, int]:
        """F for each of N d numbers, in a step with the exact loss."""
        return 0 if self.sampler else self.feature_width, self.n_items * self.network.width

    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        """Vectors ``(N+1, d)`` of all items, row 0 the empty input, or rows for ``ids``."""
        return self.network.item_table(self.features, ids, self.step_shards)

    def keep_items(self) -> KeptItems:
        """Item vectors, and what each adds to the recurrence's state where that is small."""
        table = self.item_vectors()
        small = 2 * table.nbytes <= PROJECTIONS_BYTES
        return KeptItems(table, self.network.item_input_projections(table) if small else None)

    def encode(self, x: Tensor, packing: Packing) -> Tensor:
        """Packed item vectors ``(T, d)`` to packed outputs ``(T, d)``."""
        return self.network.encode(x, packing)

    def encode_last(self, table: Tensor, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Outputs ``(B, d)`` at the last item of right-padded rows of ``table``, ``(B, L)``."""
        projections = None if torch.is_grad_enabled() else self._kept.input_projections
        return self.network.encode_last(table, item_seq, item_seq_len, projections)

    def step_items(self, ids: Tensor, positions: int) -> tuple[Tensor, Tensor | RankedItems]:
        """What a step reads of the items ``(T, d)``, and all of them as the loss ranks them."""
        return self.network.step_items(self.features, ids, positions, self.step_shards)

    def softmax_loss(
        self,
        hidden: Tensor,
        items: Tensor | RankedItems,
        targets: Tensor,
        shift: HistoryShift | None = None,
    ) -> Tensor:
        """Nested cross-entropy over all items."""
        options = self.sizes, self.self_distillation, self.loss_block_size
        return nested_cross_entropy(hidden, items, targets, *options, self.cold_bias, shift)

    def sampled_softmax_loss(
        self,
        hidden: Tensor,
        items: Tensor,
        candidates: Candidates,
        targets: Tensor,
        shift: HistoryShift | None = None,
    ) -> Tensor:
        """Nested cross-entropy over candidates."""
        options = self.sizes, self.self_distillation, self.loss_block_size, shift
        return sampled_cross_entropy(hidden, items, candidates, targets, *options)

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores ``(B,)`` of one item per row, at the size ``self.size``."""
        ids = interaction[self.ITEM_ID]
        hidden = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        scores = (hidden[:, : self.size] * self.item_table()[ids][:, : self.size]).sum(1)
        if (shift := self.shift_of(interaction)) is not None:
            scores = scores + shift.of(ids - 1, self._place)
        return scores

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores ``(B, N+1)`` of all items, at the size ``self.size``."""
        hidden = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        scores = hidden[:, : self.size] @ self.item_table()[:, : self.size].t()
        if (shift := self.shift_of(interaction)) is not None:
            shift.add(scores[:, 1:], slice(0, len(scores)), self._place)
        return scores

    @property
    def _place(self) -> int:
        return self.sizes.index(self.size)

    @torch.no_grad()
    def full_sort_scores(
        self, reader: ScoreReader, interaction: Interaction, targets: Tensor
    ) -> None:
        """Show a reader the scores of all items at every size, from one encoding."""
        hidden = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        shift = self.shift_of(interaction)
        nested_scores(reader, hidden, self.item_table()[1:], targets - 1, self.sizes, shift)


class fMRLRecID(fMRLRec):
    """fMRLRec with a learned vector per item added to the projected features."""
