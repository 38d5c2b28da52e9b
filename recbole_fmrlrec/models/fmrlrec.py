"""fMRLRec as a RecBole sequential recommender.

Source: Wang et al., "Train Once, Deploy Anywhere: Matryoshka Representation Learning for
Multimodal Recommendation", Findings of EMNLP 2024 (arXiv 2409.16627).
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_fmrlrec.evaluation import nested_mean_ranks
from recbole_fmrlrec.features import load_item_features
from recbole_fmrlrec.keys import model_defaults
from recbole_fmrlrec.loss import nested_cross_entropy
from recbole_fmrlrec.network import FMRLRecNetwork
from recbole_fmrlrec.recurrence import Packing
from recbole_fmrlrec.windows import START_TARGET, TARGETS


class _Settings:
    """A model's settings: what the configuration holds, else the defaults of our properties.

    RecBole's own Config does not read our properties; the model works with it all the same.
    """

    def __init__(self, config: Any, model: str) -> None:
        self.config, self.defaults = config, model_defaults(model)

    def __getitem__(self, key: str) -> Any:
        return self.config[key] if key in self.config else self.defaults.get(key)

    def __contains__(self, key: str) -> bool:
        return key in self.config or key in self.defaults


class fMRLRec(SequentialRecommender):
    """One model whose first s dimensions are a model of their own, for every nested size s.

    Trains on rows of user windows (`recbole_fmrlrec.data.UserWindowDataset`) and, without
    change, on the row-per-prefix datasets of RecBole itself.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its item vocabulary and feature files.

    Raises:
        ValueError: negative sampling is on; the loss ranks all items and needs none.
    """

    input_type = InputType.POINTWISE

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        if config["train_neg_sample_args"]["distribution"] != "none":
            raise ValueError(
                f"{type(self).__name__} trains on all items and samples no negatives: set "
                "train_neg_sample_args to None"
            )
        settings = _Settings(config, type(self).__name__)
        self.self_distillation = float(settings["self_distillation"])
        self.predict_first_item = bool(settings["predict_first_item"])
        self.loss_block_size = settings["loss_block_size"]
        self._load_features(settings, dataset)
        self.network = FMRLRecNetwork(
            settings["sizes"],
            0 if self.features is None else self.features.shape[1],
            num_id_items=self.n_items if settings["use_id_embedding"] else 0,
            num_blocks=settings["num_blocks"],
            dropout=settings["dropout_prob"],
            input_dropout=settings["input_dropout_prob"],
            r_min=settings["r_min"],
            r_max=settings["r_max"],
        )
        self.size = self.network.width
        self._table: Tensor | None = None

    def _load_features(self, settings: _Settings, dataset: Any) -> None:
        features = None
        self.feature_info: dict[str, Any] = {}
        if settings["use_features"]:
            loaded = load_item_features(settings, dataset)
            features = loaded.matrix * float(settings["feature_scale"])
            self.feature_info = {
                "encoders": loaded.encoders,
                "widths": loaded.widths,
                "missing": loaded.missing,
            }
        self.register_buffer("features", features, persistent=False)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The nested sizes, ascending."""
        return self.network.sizes

    def no_decay_parameters(self) -> list[nn.Parameter]:
        """Biases, norms and the recurrence's nu, theta, gamma: weight decay leaves them alone."""
        return [p for p in self.parameters() if p.ndim < 2]

    def train(self, mode: bool = True) -> fMRLRec:
        """Switch mode; the item table kept for an evaluation is dropped."""
        self._table = None
        super().train(mode)
        return self

    def item_table(self) -> Tensor:
        """``(N+1, d)`` item vectors; in evaluation projected once and kept."""
        if self.training or torch.is_grad_enabled():
            return self.network.item_table(self.features)
        if self._table is None:
            self._table = self.network.item_table(self.features)
        return self._table

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Outputs ``(B, d)`` at the last item of right-padded sequences ``(B, L)``."""
        return self.network.encode_last(self.item_table(), item_seq, item_seq_len)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Nested cross-entropy of a batch of windows, or of RecBole's prefix rows."""
        item_seq, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        table = self.item_table()
        if TARGETS in interaction:
            hidden, targets = self._encode_windows(table, item_seq, lengths, interaction)
        else:
            hidden = self.network.encode_last(table, item_seq, lengths)
            targets = interaction[self.POS_ITEM_ID]
        return nested_cross_entropy(
            hidden,
            table[1:],
            targets - 1,
            self.sizes,
            self.self_distillation,
            self.loss_block_size,
        )

    def _encode_windows(
        self, table: Tensor, item_seq: Tensor, lengths: Tensor, interaction: Interaction
    ) -> tuple[Tensor, Tensor]:
        """Outputs and targets at every position that is trained, ``(T, d)`` and ``(T,)``."""
        target_seq = interaction[TARGETS]
        if self.predict_first_item:
            first = interaction[START_TARGET]
            item_seq, lengths, target_seq = _with_starts(item_seq, lengths, target_seq, first)
        packing = Packing.from_lengths(lengths, item_seq.shape[1])
        hidden = self.network.encode(table[packing.pack(item_seq)], packing)
        targets = packing.pack(target_seq)
        trained = targets > 0
        return (hidden, targets) if trained.all() else (hidden[trained], targets[trained])

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores ``(B,)`` of one item per row, at the size ``self.size``."""
        hidden = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        items = self.item_table()[interaction[self.ITEM_ID]]
        return (hidden[:, : self.size] * items[:, : self.size]).sum(1)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores ``(B, N+1)`` of all items, at the size ``self.size``."""
        hidden = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return hidden[:, : self.size] @ self.item_table()[:, : self.size].t()

    @torch.no_grad()
    def full_sort_mean_ranks(self, interaction: Interaction, targets: Tensor) -> Tensor:
        """Mean ranks ``(K, B)`` of the target items at every size."""
        hidden = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return nested_mean_ranks(hidden, self.item_table()[1:], targets - 1, self.sizes)


def _with_starts(
    item_seq: Tensor, lengths: Tensor, target_seq: Tensor, first: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Add a sequence of the one empty input (item 0) for each row that begins a history."""
    starts = first[first > 0]
    empty = item_seq.new_zeros(len(starts), item_seq.shape[1])
    start_targets = empty.clone()
    start_targets[:, 0] = starts
    return (
        torch.cat([item_seq, empty]),
        torch.cat([lengths, torch.ones_like(starts)]),
        torch.cat([target_seq, start_targets]),
    )


class fMRLRecID(fMRLRec):
    """fMRLRec with a learned vector per item added to the projected features."""
