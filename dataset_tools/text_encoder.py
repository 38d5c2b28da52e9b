"""Pretrained text encoders of Hugging Face, with their own pooling and normalisation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataset_tools.encoding import Inputs, digest_of, unique_inputs
from dataset_tools.errors import UsageError
from dataset_tools.hub import (
    choose_device,
    choose_dtype,
    load_pretrained,
    model_revision,
    read_json_file,
    unit_rows,
)
from dataset_tools.shards import Batch

if TYPE_CHECKING:
    import torch

DEFAULT_MODEL = "BAAI/bge-large-en-v1.5"
POOLINGS = ("cls", "mean", "max", "last")
DEFAULT_LENGTH = 512
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
# The authors of E5 ask for this prefix where vectors serve as features (model card, FAQ).
_E5 = re.compile(r"(^|/)(multilingual-)?e5-(small|base|large)(?!.*instruct)")


@dataclass(frozen=True)
class Recipe:
    """How a model makes one vector of a text."""

    pooling: str
    normalise: bool
    prefix: str
    max_length: int | None


def text_inputs(items: list[str], texts: list[str], limit: int | None = None) -> Inputs:
    """One input a different text, the longest first; of the first ``limit`` items, if given."""
    count = len(items) if limit is None else limit
    keys = [text if text and row < count else None for row, text in enumerate(texts)]
    unique, rows = unique_inputs(items, keys, lambda text: (-len(text), text))
    return Inputs(items, unique, rows, digest_of(key or "" for key in keys))


def read_recipe(model: str, revision: str | None, pooling: str | None = None) -> Recipe:
    """Pooling, normalisation, prefix and length from the model's sentence-transformers files.

    Without such files: mean pooling and normalisation.

    Raises:
        UsageError: the files ask for a step that is not known here.
    """
    modules = read_json_file(model, "modules.json", revision) or []
    kinds = {str(module.get("type", "")).rpartition(".")[2]: module for module in modules}
    unknown = set(kinds) - {"Transformer", "Pooling", "Normalize"}
    if unknown and pooling is None:
        raise UsageError(
            f"{model}: its modules.json asks for {', '.join(sorted(unknown))}, which is not known "
            f"here; leave it out with --pooling, one of {', '.join(POOLINGS)}"
        )
    if pooling is None and "Pooling" in kinds:
        path = f"{kinds['Pooling'].get('path', '1_Pooling')}/config.json"
        pooling = _pooling_mode(read_json_file(model, path, revision) or {}, model)
    length = (read_json_file(model, "sentence_bert_config.json", revision) or {}).get(
        "max_seq_length"
    )
    normalise = "Normalize" in kinds or not modules
    return Recipe(pooling or "mean", normalise, _prefix(model, revision), length)


def _pooling_mode(config: dict[str, Any], model: str) -> str:
    chosen = [mode for key, mode in _MODES.items() if config.get(key)]
    others = [key for key in config if key.startswith("pooling_mode_") and config[key]]
    if isinstance(config.get("pooling_mode"), str):
        chosen = others = [config["pooling_mode"]]
    if len(others) != 1 or len(chosen) != 1 or chosen[0] not in POOLINGS:
        raise UsageError(
            f"{model}: pools by {others or 'nothing known'}; choose one of {', '.join(POOLINGS)} "
            "with --pooling"
        )
    return chosen[0]


def _prefix(model: str, revision: str | None) -> str:
    config = read_json_file(model, "config_sentence_transformers.json", revision) or {}
    prompts = config.get("prompts") or {}
    for name in ("document", "passage", config.get("default_prompt_name")):
        if prompts.get(name):
            return str(prompts[name])
    return "query: " if _E5.search(model.lower()) else ""


class TextEncoder:
    """A model ready to encode; ``settings`` go to the manifest.

    Raises:
        UsageError: a device that is not there, or a pooling that is not known.
        DatasetError: the model cannot be loaded.
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
    ) -> None:
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        self._device = choose_device(device)
        load_pretrained(AutoConfig, model, revision)  # fails at once where the rest would try long
        self._tokenizer = load_pretrained(AutoTokenizer, model, revision)
        loaded = load_pretrained(AutoModel, model, revision).to(choose_dtype(dtype))
        recipe = read_recipe(model, revision, pooling)
        self._pooling, self._normalise = recipe.pooling, recipe.normalise
        self._prefix = recipe.prefix if prefix is None else prefix
        self._length = max_length or recipe.max_length or _length(self._tokenizer, loaded.config)
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        encoder = loaded.get_encoder() if loaded.config.is_encoder_decoder else loaded
        self._model = encoder.to(self._device).eval()
        self.settings: dict[str, Any] = {
            "encoder": model,
            "revision": model_revision(model, loaded.config),
            "pooling": self._pooling,
            "normalised": self._normalise,
            "prefix": self._prefix,
            "max_length": self._length,
            "dtype": dtype,
            "device": self._device.partition(":")[0],
        }

    def encode(self, batch: Sequence[str]) -> Batch:
        """Vectors (len(batch), width) float32; no text fails."""
        import torch

        tokens = self._tokenizer(
            [self._prefix + text for text in batch],
            padding=True,
            truncation=True,
            max_length=self._length,
            return_tensors="pt",
        ).to(self._device)
        with torch.inference_mode():
            hidden = self._model(**tokens).last_hidden_state
            vectors = pool(hidden.float(), tokens["attention_mask"], self._pooling)
            if self._normalise:
                vectors = unit_rows(vectors)
        return vectors.cpu().numpy(), {}


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
