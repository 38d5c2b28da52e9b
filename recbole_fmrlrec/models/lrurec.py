"""LRURec as a RecBole sequential recommender."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_fmrlrec.models.sequence_model import CausalModel
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.lrurec import LRURecEncoder, init_weights
from recbole_fmrlrec.nn.packing import Packing


class LRURec(CausalModel):
    """Item vectors through linear recurrences; the score is a product plus a bias of the item.

    Source: Yue et al., "Linear Recurrent Units for Sequential Recommendation", WSDM 2024
    (arXiv 2310.02367). From the paper: two blocks of a diagonal complex recurrence with eigenvalues
    that start between 0.8 and 0.99, residual connections, post-norm, a position-wise feed-forward
    layer, softmax over all items at every position. From the authors' code: the state's width 2d,
    the feed-forward layer's 4d with GELU, the item bias, weights and biases from a normal within
    two standard deviations of 0.02, the first item of a history predicted from the empty input, no
    weight decay of biases and norms (but of nu, theta and gamma), AdamW at 1e-3, batches of 128,
    gradients clipped at 5.

    What differs: the padding is no candidate of the softmax; histories above the maximum length are
    trained in windows that overlap, where the code cuts off what is older, or cuts them into
    windows of their own; Adam's epsilon is 1e-8, not 1e-9; sequences are packed and scanned step by
    step, where the code pads them to a power of two for its recursive scan: the same states.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset.

    Raises:
        ValueError: RecBole's negative sampling is on, or ``loss_type`` is none of ours.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        width = int(settings["hidden_size"])
        self.item_embedding = nn.Embedding(self.n_items, width)
        self.item_bias = nn.Parameter(torch.empty(self.n_items - 1))
        self.encoder = LRURecEncoder(
            width,
            num_blocks=settings["num_blocks"],
            dropout=settings["dropout_prob"],
            recurrence_dropout=settings["recurrence_dropout_prob"],
            r_min=settings["r_min"],
            r_max=settings["r_max"],
        )
        init_weights(self)

    def no_decay_parameters(self) -> list[nn.Parameter]:
        """Biases and norms."""
        names = ("bias", "norm")
        return [p for k, p in self.named_parameters() if any(name in k for name in names)]

    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        """Learned vectors ``(N+1, d)``, row 0 the empty input, or a row for each of ``ids``."""
        weight = self.item_embedding.weight
        return weight if ids is None else self.item_embedding(send(ids, weight.device))

    def encode(self, x: Tensor, packing: Packing) -> Tensor:
        """Packed item vectors ``(T, d)`` to packed outputs ``(T, d)``."""
        hidden: Tensor = self.encoder(x, packing)
        return hidden

    def output_items(self, vectors: Tensor, ids: Tensor | None = None) -> Tensor:
        """Item vectors with the item's bias behind them, ``(C, d + 1)``."""
        bias = self.item_bias if ids is None else self.item_bias[ids - 1]
        return torch.cat([vectors, bias[:, None]], dim=1)

    def output(self, hidden: Tensor) -> Tensor:
        """Outputs with a one behind them, ``(T, d + 1)``."""
        return nn.functional.pad(hidden, (0, 1), value=1.0)
