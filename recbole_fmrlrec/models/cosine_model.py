"""What UniSRec and VQ-Rec share: SASRec's encoder, and the cosine over a temperature as score."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional

from recbole_fmrlrec.models.sequence_model import CausalModel
from recbole_fmrlrec.models.settings import ModelSettings
from recbole_fmrlrec.nn.attention import SASRecEncoder
from recbole_fmrlrec.nn.packing import Packing


class CosineModel(CausalModel):
    """Scores are ``cos(output, item) / temperature``; the encoder is RecBole's SASRec's.

    A subclass gives `item_vectors`.

    Attributes:
        least_length: item vectors that are shorter are divided by it, and stay below unit length.

    Args:
        config: RecBole's or our Config.
        dataset: the training dataset.

    Raises:
        ValueError: as `CausalModel`, or ``n_heads`` does not divide ``hidden_size``.
    """

    least_length: ClassVar[float] = 1e-12

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        settings = ModelSettings(config, type(self).__name__)
        self.temperature = float(settings["temperature"])
        self.encoder = SASRecEncoder(
            settings["hidden_size"],
            self.max_seq_length,
            num_blocks=settings["n_layers"],
            heads=settings["n_heads"],
            inner=settings["inner_size"],
            dropout=settings["hidden_dropout_prob"],
            attention_dropout=settings["attn_dropout_prob"],
            eps=settings["layer_norm_eps"],
            std=settings["initializer_range"],
        )

    def encode(self, x: Tensor, packing: Packing) -> Tensor:
        """Packed item vectors ``(T, d)`` to packed outputs ``(T, d)``."""
        hidden: Tensor = self.encoder(x, packing)
        return hidden

    def output_items(self, vectors: Tensor, ids: Tensor | None = None) -> Tensor:
        """Item vectors ``(C, d)`` of unit length."""
        return functional.normalize(vectors, dim=1, eps=self.least_length)

    def output(self, hidden: Tensor) -> Tensor:
        """Outputs ``(T, d)`` of the length 1 / temperature."""
        return functional.normalize(hidden, dim=1) / self.temperature
