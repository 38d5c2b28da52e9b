"""UniSRec: item vectors out of whitened features, a cosine as score."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recbole_fmrlrec.model_api.protocols import ShardedItems
from recbole_fmrlrec.models.cosine_model import CosineModel
from recbole_fmrlrec.models.feature_input import FeatureInput
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.projection import FeatureRows, block_rows
from recbole_fmrlrec.nn.shards import whole_table
from recbole_fmrlrec.nn.whitening import WhiteningExperts


class UniSRec(ShardedItems, FeatureInput, CosineModel):
    """Features whitened by a mixture of experts, SASRec's encoder, the cosine as score.

    Source: Hou et al., "Towards Universal Sequence Representation Learning for Recommender
    Systems", KDD 2022 (arXiv 2206.05941). The item side is its parametric whitening and mixture of
    experts (`nn.whitening`), the loss that of its fine-tuning, a softmax over all items of the
    cosine over a temperature of 0.07. The transductive setting (``use_id_embedding: True``, the
    default of the authors' code) adds a learned vector to each item where it is read and where it
    is ranked; the inductive one leaves it out, and the model can rank items that it has never seen.
    Encoder, rates and first values are those of the authors' code, whose encoder is RecBole's
    SASRec 300 wide.

    What differs here:

    - Trained from scratch on the one dataset. The paper trains on five other domains before, with
      two contrastive losses over the items and sequences of a batch; that pre-training is left out.
    - A window is trained at every position; the authors train a row for each prefix of a history,
      at its last position. The encoder is causal, so both train the same targets; a target in the
      middle of a window shares its dropout with the others and sees at most the items since the
      window's start. ``training_windows: prefix`` trains the authors' rows.
    - A step makes the items once and reads and ranks the same vectors; the authors' code makes them
      twice, with other noise and other dropout.
    - The padding is no candidate of the softmax.
    - A vector shorter than 0.01 is not made one of unit length: that of an item without features.
    - The paper reads text. Here all modalities that there are, side by side (``modalities``), each
      of unit length times ``feature_scale``, which makes them about as long as the authors'.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset, for its item vocabulary and feature files.

    Raises:
        UsageError: ``use_features`` is off.
        ValueError: RecBole's negative sampling is on, ``loss_type`` is none of ours, or ``n_heads``
            does not divide ``hidden_size``.
    """

    #: An item without features begins as zeros, and their direction would have a gradient of
    #: 1e12: it would be all that the shifts of the whitening learn from.
    least_length = 1e-2

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        self.check_features()
        width = int(settings["hidden_size"])
        self.adaptor = WhiteningExperts(
            self.feature_width, width, settings["n_exps"], settings["adaptor_dropout_prob"]
        )
        self.id_embedding: nn.Embedding | None = None
        if settings["use_id_embedding"]:
            self.id_embedding = nn.Embedding(self.n_items, width)
            nn.init.normal_(self.id_embedding.weight, std=settings["initializer_range"])

    def item_products(self) -> tuple[int, int]:
        """F of each expert for each of N d numbers, in a step with the exact loss."""
        experts, width, _ = self.adaptor.weight.shape
        return 0 if self.sampler else experts * self.feature_width, self.n_items * width

    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        """Vectors ``(N+1, d)`` of all items, row 0 the padding, or a row for each of ``ids``."""
        if ids is None:
            table = whole_table(self._whitened, self.n_items, self.step_shards)
        else:
            table = self._whitened(ids)
        if self.id_embedding is None:
            return table
        vectors = self.id_embedding.weight
        return table + (vectors if ids is None else self.id_embedding(send(ids, vectors.device)))

    def _whitened(self, ids: Tensor | slice) -> Tensor:
        features = self.features
        if isinstance(features, Tensor):
            rows = features[ids if isinstance(ids, slice) else send(ids, features.device)]
            whitened: Tensor = self.adaptor(rows)
            return whitened
        assert features is not None
        wanted = torch.arange(ids.start, ids.stop) if isinstance(ids, slice) else ids.cpu()
        step = features.block_size or block_rows(features.shape[1])
        # A block's features are read once more for its gradient, and never held with the others'.
        blocks = [
            checkpoint(self._whitened_block, features, part, use_reentrant=False)
            for part in wanted.split(step)
        ]
        return torch.cat(blocks)

    def _whitened_block(self, features: FeatureRows, ids: Tensor) -> Tensor:
        weight = self.adaptor.weight
        rows = send(features.rows(ids), weight.device).to(weight.dtype)
        whitened: Tensor = self.adaptor(rows)
        return whitened
