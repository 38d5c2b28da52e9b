"""fMRLRec as a RecBole sequential recommender.

Source: Wang et al., "Train Once, Deploy Anywhere: Matryoshka Representation Learning for
Multimodal Recommendation", Findings of EMNLP 2024 (arXiv 2409.16627).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_fmrlrec.data.batch import Batch, LaidOut, lay_out
from recbole_fmrlrec.data.item_features import load_item_features
from recbole_fmrlrec.data.mapped_features import MappedFeatures
from recbole_fmrlrec.data.windows import START_TARGET, TARGETS
from recbole_fmrlrec.evaluation.counting import ScoreReader
from recbole_fmrlrec.evaluation.ranking import nested_scores
from recbole_fmrlrec.keys.known import model_defaults
from recbole_fmrlrec.keys.schema import SAMPLED_LOSSES
from recbole_fmrlrec.model_api.protocols import (
    ExportableModel,
    FeatureModel,
    NestedModel,
    WindowModel,
)
from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.loss import nested_cross_entropy
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.nn.products import RankedItems
from recbole_fmrlrec.nn.sampled_loss import CandidateSampler, sampled_cross_entropy

#: Above this size what items add to the recurrence is not kept for an evaluation.
PROJECTIONS_BYTES = 512 * 2**20


@dataclass
class _KeptItems:
    """What an evaluation keeps of the items, and the weights that it was made of.

    Not attributes of the model itself: without features the table *is* a parameter, which a module
    would take for one of its own and write into its state.
    """

    table: Tensor | None = None
    input_projections: Tensor | None = None
    made_of: list[Any] = field(default_factory=list)


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


class fMRLRec(NestedModel, FeatureModel, WindowModel, ExportableModel, SequentialRecommender):
    """One model whose first s dimensions are a model of their own, for every nested size s.

    Trains on rows of user windows (`recbole_fmrlrec.data.loaders.UserWindowDataset`) and, without
    change, on the row-per-prefix datasets of RecBole itself.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its item vocabulary and feature files.

    Raises:
        ValueError: RecBole's negative sampling is on, or ``loss_type`` is none of ours.
    """

    input_type = InputType.POINTWISE
    loss_types = ("CE", *SAMPLED_LOSSES)
    network: FMRLRecNetwork
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
        self._kept = _KeptItems()

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
                "corpus": loaded.corpus,
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
            raise ValueError(f"loss_type: {kind!r} must be one of CE, {', '.join(SAMPLED_LOSSES)}")
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

    def parameter_count(self, size: int) -> int:
        """Numbers learned by the model cut to ``size``."""
        return self.network.parameter_count(size)

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

    def train(self, mode: bool = True) -> fMRLRec:
        """Switch mode; what is kept of the items for an evaluation is dropped."""
        self._kept = _KeptItems()
        super().train(mode)
        return self

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Old checkpoints of a model of ids alone hold its table a second time: pass over it."""
        state_dict.pop(prefix + "_table", None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def item_table(self) -> Tensor:
        """``(N+1, d)`` item vectors; in evaluation projected once and kept."""
        if self.training or torch.is_grad_enabled():
            return self.network.item_table(self.features)
        # Weights can change in evaluation too: another checkpoint, another device or precision.
        weights: list[Any] = [(p.data_ptr(), p._version) for p in self.parameters()]
        weights.append(torch.is_autocast_enabled(self.device.type))
        if self._kept.table is None or weights != self._kept.made_of:
            table = self.network.item_table(self.features)
            small = 2 * table.nbytes <= PROJECTIONS_BYTES
            projections = self.network.item_input_projections(table) if small else None
            self._kept = _KeptItems(table, projections, weights)
        assert self._kept.table is not None
        return self._kept.table

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Outputs ``(B, d)`` at the last item of right-padded sequences ``(B, L)``."""
        table = self.item_table()
        projections = None if torch.is_grad_enabled() else self._kept.input_projections
        return self.network.encode_last(table, item_seq, item_seq_len, projections)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Loss of a batch of windows, or of RecBole's prefix rows, as ``loss_type`` says."""
        batch, device = self._batch(interaction), interaction[self.ITEM_SEQ].device
        if self.sampler is None:
            return self._exact_loss(batch.to(device))
        return self._sampled_loss(batch, device)

    def _batch(self, interaction: Interaction) -> Batch:
        """The layout of a batch, in the host's memory where its loader has made it there."""
        if isinstance(interaction, LaidOut) and interaction.layout is not None:
            return interaction.layout
        if TARGETS in interaction:
            names = self.ITEM_SEQ, self.ITEM_SEQ_LEN
            return lay_out(interaction, *names, starts=self.predict_first_item)
        columns = (self.ITEM_SEQ, self.ITEM_SEQ_LEN, self.POS_ITEM_ID)
        return Batch(*(interaction[name] for name in columns))

    def _exact_loss(self, batch: Batch) -> Tensor:
        items: Tensor | RankedItems
        if batch.packing is None:
            table = self.item_table()
            hidden = self.network.encode_last(table, batch.item_seq, batch.lengths)
            items = table[1:]
        else:
            ids = batch.packing.pack(batch.item_seq)
            inputs, items = self.network.step_items(self.features, ids, len(batch.targets))
            hidden = batch.trained_outputs(self.network.encode(inputs, batch.packing))
        return nested_cross_entropy(
            hidden,
            items,
            batch.targets - 1,
            self.sizes,
            self.self_distillation,
            self.loss_block_size,
        )

    def _sampled_loss(self, batch: Batch, device: torch.device) -> Tensor:
        """No item table: only the items that this batch reads or ranks are projected."""
        assert self.sampler is not None
        candidates = self.sampler.draw(batch.targets - 1)
        read = batch.item_seq.flatten()
        wanted, place = torch.cat([read, candidates.rows + 1]).unique(return_inverse=True)
        batch = replace(batch, item_seq=place[: len(read)].view_as(batch.item_seq))
        ranked = send(place[len(read) :], device)
        batch, candidates = batch.to(device), candidates.to(device)
        vectors = self.network.item_table(self.features, wanted)
        if batch.packing is None:
            hidden = self.network.encode_last(vectors, batch.item_seq, batch.lengths)
        else:
            inputs = vectors[batch.packing.pack(batch.item_seq)]
            hidden = batch.trained_outputs(self.network.encode(inputs, batch.packing))
        return sampled_cross_entropy(
            hidden,
            vectors[ranked],
            candidates,
            batch.targets - 1,
            self.sizes,
            self.self_distillation,
            self.loss_block_size,
        )

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
    def full_sort_scores(
        self, reader: ScoreReader, interaction: Interaction, targets: Tensor
    ) -> None:
        """Show a reader the scores of all items at every size, from one encoding."""
        hidden = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        nested_scores(reader, hidden, self.item_table()[1:], targets - 1, self.sizes)


class fMRLRecID(fMRLRec):
    """fMRLRec with a learned vector per item added to the projected features."""
