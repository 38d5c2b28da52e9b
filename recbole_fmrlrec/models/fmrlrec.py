"""fMRLRec as a RecBole sequential recommender.

Source: Wang et al., "Train Once, Deploy Anywhere: Matryoshka Representation Learning for
Multimodal Recommendation", Findings of EMNLP 2024 (arXiv 2409.16627).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_fmrlrec.evaluation import nested_mean_ranks
from recbole_fmrlrec.feature_map import MappedFeatures
from recbole_fmrlrec.features import load_item_features
from recbole_fmrlrec.keys import model_defaults
from recbole_fmrlrec.loss import Tail, nested_cross_entropy
from recbole_fmrlrec.network import FMRLRecNetwork
from recbole_fmrlrec.projection import split_table
from recbole_fmrlrec.recurrence import Packing
from recbole_fmrlrec.sampled_loss import CandidateSampler, sampled_cross_entropy
from recbole_fmrlrec.schema import SAMPLED_LOSSES
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


@dataclass(frozen=True)
class _Positions:
    """What a batch trains: packed inputs ``(M,)``, the T of their outputs that count, targets.

    ``read`` ``(T,)`` are places in the packed outputs, None for all; ``targets`` ``(T,)`` are items
    1..N.
    """

    packing: Packing
    inputs: Tensor
    read: Tensor | None
    targets: Tensor


class fMRLRec(SequentialRecommender):
    """One model whose first s dimensions are a model of their own, for every nested size s.

    Trains on rows of user windows (`recbole_fmrlrec.data.UserWindowDataset`) and, without
    change, on the row-per-prefix datasets of RecBole itself.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its item vocabulary and feature files.

    Raises:
        ValueError: RecBole's negative sampling is on, or ``loss_type`` is none of ours.
    """

    input_type = InputType.POINTWISE
    features: Tensor | MappedFeatures | None

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        if config["train_neg_sample_args"]["distribution"] != "none":
            raise ValueError(
                f"{type(self).__name__} samples no negatives of RecBole's kind: set "
                "train_neg_sample_args to None; loss_type has sampled losses"
            )
        settings = _Settings(config, type(self).__name__)
        self.self_distillation = float(settings["self_distillation"])
        self.predict_first_item = bool(settings["predict_first_item"])
        self.loss_block_size = settings["loss_block_size"]
        self._load_features(settings, dataset)
        self.sampler = self._make_sampler(settings, dataset)
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
        features: Tensor | MappedFeatures | None = None
        self.feature_info: dict[str, Any] = {}
        if settings["use_features"]:
            loaded = load_item_features(settings, dataset)
            features = loaded.matrix
            self.feature_info = {
                "encoders": loaded.encoders,
                "widths": loaded.widths,
                "missing": loaded.missing,
            }
        if isinstance(features, MappedFeatures):
            self.features = features
        else:
            self.register_buffer("features", features, persistent=False)

    def _make_sampler(self, settings: _Settings, dataset: Any) -> CandidateSampler | None:
        """The sampler of a sampled loss; None for the exact one."""
        kind = str(settings["loss_type"])
        if kind == "CE":
            return None
        if kind not in SAMPLED_LOSSES:
            raise ValueError(f"loss_type: {kind!r} is none of CE, {', '.join(SAMPLED_LOSSES)}")
        rows = dataset.inter_feat
        targets = rows[TARGETS if TARGETS in rows else self.ITEM_ID].flatten()
        counts = torch.bincount(targets, minlength=self.n_items)
        if self.predict_first_item and START_TARGET in rows:
            counts += torch.bincount(rows[START_TARGET], minlength=self.n_items)
        number = int(settings["num_sampled_items"])
        return CandidateSampler(kind.removeprefix("sampled_"), number, counts[1:])

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
        """Loss of a batch of windows, or of RecBole's prefix rows, as ``loss_type`` says."""
        positions = self._positions(interaction)
        targets, inputs = positions.targets - 1, positions.inputs
        options = self.sizes, self.self_distillation, self.loss_block_size
        if self.sampler is None:
            table, tail = self.network.split_items(self.features, len(targets))
            vectors, items = split_table(table, inputs)
            hidden = self._outputs(self.network.item_inputs(vectors, tail, inputs), positions)
            ranked = None if tail is None else Tail(tail.features[1:], tail.weight)
            return nested_cross_entropy(hidden, items, targets, *options, ranked)
        candidates = self.sampler.draw(targets)
        # No table: only the items that this batch reads or ranks are projected.
        wanted, place = torch.cat([inputs, candidates.rows + 1]).unique(return_inverse=True)
        vectors = self.network.item_table(self.features, wanted)
        hidden = self._outputs(vectors[place[: len(inputs)]], positions)
        items = vectors[place[len(inputs) :]]
        return sampled_cross_entropy(hidden, items, candidates, targets, *options)

    def _outputs(self, vectors: Tensor, positions: _Positions) -> Tensor:
        """Outputs ``(T, d)`` at the positions that are trained."""
        hidden = self.network.encode(vectors, positions.packing)
        return hidden if positions.read is None else hidden[positions.read]

    def _positions(self, interaction: Interaction) -> _Positions:
        item_seq, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        if TARGETS not in interaction:
            packing = Packing.from_lengths(lengths, item_seq.shape[1])
            targets = interaction[self.POS_ITEM_ID]
            return _Positions(packing, packing.pack(item_seq), packing.last, targets)
        target_seq = interaction[TARGETS]
        if self.predict_first_item:
            first = interaction[START_TARGET]
            item_seq, lengths, target_seq = _with_starts(item_seq, lengths, target_seq, first)
        packing = Packing.from_lengths(lengths, item_seq.shape[1])
        targets = packing.pack(target_seq)
        read = None if (targets > 0).all() else torch.nonzero(targets).flatten()
        if read is not None:
            targets = targets[read]
        return _Positions(packing, packing.pack(item_seq), read, targets)

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
