"""Pretrained text encoders of Hugging Face, with their own pooling and normalisation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dataset_tools.encoders.encode_features import Inputs, unique_inputs
from dataset_tools.encoders.model_files import check_config, has_steps
from dataset_tools.encoders.pretrained import (
    choose_device,
    choose_dtype,
    identity,
    is_folder,
    load_pretrained,
    unit_rows,
)
from dataset_tools.encoders.sentence_model import SentenceModel, choose_prompt
from dataset_tools.encoders.shards import Batch
from dataset_tools.errors import UsageError
from dataset_tools.files.hashes import digest_of

if TYPE_CHECKING:
    import torch

DEFAULT_MODEL = "BAAI/bge-large-en-v1.5"
POOLINGS = ("cls", "mean", "max", "last")
DEFAULT_LENGTH = 512
# The authors of E5 ask for this prefix where vectors serve as features (model card, FAQ).
_E5 = re.compile(r"(^|/)(multilingual-)?e5-(small|base|large)(?!.*instruct)")


def text_inputs(items: list[str], texts: list[str], limit: int | None = None) -> Inputs:
    """One input a different text, the longest first; of the first ``limit`` items, if given."""
    count = len(items) if limit is None else limit
    keys = [text if text and row < count else None for row, text in enumerate(texts)]
    unique, rows = unique_inputs(items, keys, lambda text: (-len(text), text))
    return Inputs(items, unique, rows, digest_of(key or "" for key in keys))


class TextEncoder:
    """A model ready to encode; ``settings`` go to the manifest.

    What sentence-transformers saved is read by that library. Of any other model the vectors of
    the tokens are pooled (by their mean unless told otherwise) and normalised; a model of texts
    and pictures has a text half of its own.

    Args:
        prefix: put before every text; the model's own prompt for documents when None.
        prompt: the name of one of the model's prompts, in place of that one.

    Raises:
        UsageError: a device that is not there, a pooling or prompt that is not known, a length
            that the model cannot read, or a folder that holds no such model.
        EncodingError: the model cannot be loaded from the hub.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        revision: str | None = None,
        pooling: str | None = None,
        prefix: str | None = None,
        max_length: int | None = None,
        dtype: str = "float32",
        device: str = "auto",
        prompt: str | None = None,
    ) -> None:
        import sentence_transformers  # noqa: F401  said at once where it is not installed

        is_folder(model)
        check_config(model, revision)
        device = choose_device(device)
        build = SentenceModel if has_steps(model, revision) else PlainModel
        self._model = build(model, revision, pooling, max_length, dtype, device)
        self._tokenizer = self._model.tokenizer
        _check_tokenizer(self._tokenizer, model)
        _check_length(max_length, self._model.config)
        self._prefix = prefix if prefix is not None else _prompt(model, revision, prompt)
        self.settings: dict[str, Any] = {
            **identity(model, self._model.config),
            "pooling": self._model.pooling,
            "normalised": self._model.normalised,
            "prefix": self._prefix,
            "max_length": self._model.max_length,
            "dtype": dtype,
            "device": device.partition(":")[0],
        }

    def encode(self, batch: Sequence[str]) -> Batch:
        """Vectors (len(batch), width) float32; no text fails."""
        import torch

        with torch.inference_mode():
            vectors = self._model.encode(batch, self._prefix)
        return vectors.cpu().numpy(), {}


def _prompt(model: str, revision: str | None, name: str | None) -> str:
    found = choose_prompt(model, revision, name)
    if found is None:
        return "query: " if _E5.search(model.lower()) else ""
    return found


def _check_tokenizer(tokenizer: Any, model: str) -> None:
    """A tokenizer whose files are missing knows its special tokens only."""
    known = len(tokenizer) if hasattr(tokenizer, "__len__") else None
    if known is not None and known <= len(getattr(tokenizer, "all_special_ids", ())):
        raise UsageError(
            f"{model}: its tokenizer knows no word; tokenizer.json or the vocabulary is missing"
        )


def _check_length(max_length: int | None, config: Any) -> None:
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    longest = getattr(text, "max_position_embeddings", None)
    if max_length and isinstance(longest, int) and 0 < longest < max_length:
        raise UsageError(f"--max-length {max_length}: the model reads at most {longest} tokens")


class PlainModel:
    """A model that says nothing of how its tokens become one vector.

    Attributes and errors as of ``SentenceModel``.
    """

    def __init__(
        self,
        model: str,
        revision: str | None,
        pooling: str | None,
        max_length: int | None,
        dtype: str,
        device: str,
    ) -> None:
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        # Fails at once where the rest would try long.
        self.config = load_pretrained(AutoConfig, model, revision)
        self.tokenizer = load_pretrained(AutoTokenizer, model, revision)
        loaded = load_pretrained(AutoModel, model, revision).to(choose_dtype(dtype))
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self._device, self.normalised = device, True
        self._half = _text_half(loaded)
        self.config = loaded.config
        if self._half and pooling:
            raise UsageError(f"--pooling {pooling}: the text half of {model} does its own pooling")
        self.pooling = "text half" if self._half else pooling or "mean"
        config = loaded.config.get_text_config() if self._half else loaded.config
        self.max_length = max_length or _length(self.tokenizer, config)
        if self._half == "padded":  # it has seen no text of another length
            self.max_length = config.max_position_embeddings
        decoded = not self._half and loaded.config.is_encoder_decoder
        encoder = loaded.get_encoder() if decoded else loaded
        self._model = encoder.to(device).eval()

    def encode(self, texts: Sequence[str], prefix: str) -> torch.Tensor:
        """Vectors (len(texts), width) float32."""
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
            return unit_rows(vectors.float())
        hidden = self._model(**tokens).last_hidden_state
        return unit_rows(pool(hidden.float(), tokens["attention_mask"], self.pooling))


def _text_half(loaded: Any) -> str:
    """``padded`` for SigLIP, which reads texts of full length without a mask, ``masked`` for CLIP
    and its kin, empty for a model of texts alone.
    """
    if not hasattr(loaded, "get_text_features"):
        return ""
    return "padded" if loaded.config.model_type.startswith("siglip") else "masked"


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
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
