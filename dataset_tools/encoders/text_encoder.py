"""Pretrained text encoders of Hugging Face, with their own pooling and normalisation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from dataset_tools.encoders.encode_features import Inputs, unique_inputs
from dataset_tools.encoders.model_files import has_steps
from dataset_tools.encoders.pooled_model import PooledModel
from dataset_tools.encoders.pretrained import Pretrained
from dataset_tools.encoders.sentence_model import SentenceModel, choose_prompt
from dataset_tools.encoders.shards import Batch
from dataset_tools.errors import UsageError
from dataset_tools.files.hashes import digest_of

if TYPE_CHECKING:
    import torch

DEFAULT_MODEL = "BAAI/bge-large-en-v1.5"
# The authors of E5 ask for this prefix where vectors serve as features (model card, FAQ).
_E5 = re.compile(r"(^|/)(multilingual-)?e5-(small|base|large)(?!.*instruct)")


def text_inputs(items: list[str], texts: list[str], limit: int | None = None) -> Inputs:
    """One input a different text, the longest first; of the first ``limit`` items, if given."""
    count = len(items) if limit is None else limit
    keys = [text if text and row < count else None for row, text in enumerate(texts)]
    unique, rows = unique_inputs(items, keys, lambda text: (-len(text), text))
    return Inputs(items, unique, rows, digest_of(key or "" for key in keys))


class TextModel(Protocol):
    """What `SentenceModel` and `PooledModel` have in common.

    Attributes:
        tokenizer: that of the texts.
        pooling: by what name tokens become one vector, None where no step pools.
        normalised: whether vectors have length 1.
        max_length: tokens that are read of a text.
        config: the transformer's own configuration, None without a transformer.
    """

    tokenizer: Any
    pooling: str | None
    normalised: bool
    max_length: int | None
    config: Any

    def encode(self, texts: Sequence[str], prefix: str) -> torch.Tensor:
        """Vectors (len(texts), width) float32 of the texts, each behind ``prefix``."""


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

        asked = Pretrained.ask(model, revision, dtype, device)
        build = SentenceModel if has_steps(model, revision) else PooledModel
        self._model: TextModel = build(asked, pooling, max_length)
        _check_tokenizer(self._model.tokenizer, model)
        _check_length(max_length, self._model.config)
        self._prefix = prefix if prefix is not None else _prompt(model, revision, prompt)
        self.settings = asked.manifest(
            self._model.config,
            pooling=self._model.pooling,
            normalised=self._model.normalised,
            prefix=self._prefix,
            max_length=self._model.max_length,
        )

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
