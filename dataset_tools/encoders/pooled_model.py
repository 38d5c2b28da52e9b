"""Text encoders whose token vectors are pooled here: models that say nothing of how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dataset_tools.encoders.pretrained import Pretrained
from dataset_tools.errors import UsageError

if TYPE_CHECKING:
    import torch

DEFAULT_LENGTH = 512


class PooledModel:
    """A model that says nothing of how its tokens become one vector.

    Attributes as of ``text_encoder.TextModel``.

    Raises:
        UsageError: a pooling for a text half, or a folder that cannot be loaded.
        EncodingError: a model of the hub that cannot be loaded.
    """

    def __init__(self, asked: Pretrained, pooling: str | None, max_length: int | None) -> None:
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        # Fails at once where the rest would try long.
        self.config = asked.load(AutoConfig)
        self.tokenizer = asked.load(AutoTokenizer)
        loaded = asked.load(AutoModel).to(asked.torch_dtype)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self._device, self.normalised = asked.device, True
        self._half = _text_half(loaded)
        self.config = loaded.config
        if self._half and pooling:
            raise UsageError(
                f"--pooling {pooling}: the text half of {asked.model} does its own pooling"
            )
        self.pooling: str | None = "text half" if self._half else pooling or "mean"
        config = loaded.config.get_text_config() if self._half else loaded.config
        self.max_length: int | None = max_length or _length(self.tokenizer, config)
        if self._half == "padded":  # it has seen no text of another length
            self.max_length = config.max_position_embeddings
        decoded = not self._half and loaded.config.is_encoder_decoder
        encoder = loaded.get_encoder() if decoded else loaded
        self._model = encoder.to(asked.device).eval()

    def encode(self, texts: Sequence[str], prefix: str) -> torch.Tensor:
        """Vectors (len(texts), width) float32, of length 1 or zero."""
        from torch.nn.functional import normalize

        tokens = self.tokenizer(
            [prefix + text for text in texts],
            padding="max_length" if self._half == "padded" else True,
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        ).to(self._device)
        if self._half:
            names = ("input_ids",) if self._half == "padded" else ("input_ids", "attention_mask")
            found = self._model.get_text_features(**{name: tokens[name] for name in names})
            vectors = found if hasattr(found, "shape") else found.pooler_output
            return normalize(vectors.float(), dim=1)
        hidden = self._model(**tokens).last_hidden_state
        return normalize(pool(hidden.float(), tokens["attention_mask"], self.pooling), dim=1)


def _text_half(loaded: Any) -> str:
    """``padded`` for SigLIP, which reads texts of full length without a mask, ``masked`` for CLIP
    and its kin, empty for a model of texts alone.
    """
    if not hasattr(loaded, "get_text_features"):
        return ""
    return "padded" if loaded.config.model_type.startswith("siglip") else "masked"


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str | None) -> torch.Tensor:
    """One vector a text: hidden (B, L, width), mask (B, L) -> (B, width).

    ``cls`` is the first token of the text and ``last`` its last, padded on either side.
    """
    import torch

    rows = torch.arange(len(hidden), device=hidden.device)
    if pooling == "cls":
        return hidden[rows, mask.long().argmax(dim=1)]
    if pooling == "last":
        return hidden[rows, mask.shape[1] - 1 - mask.flip(1).long().argmax(dim=1)]
    real = mask.unsqueeze(2).bool()
    if pooling == "max":
        return hidden.masked_fill(~real, float("-inf")).amax(dim=1)
    return (hidden * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)


def _length(tokenizer: Any, config: Any) -> int:
    known = (tokenizer.model_max_length, getattr(config, "max_position_embeddings", None))
    return min(DEFAULT_LENGTH, *(length for length in known if length))
