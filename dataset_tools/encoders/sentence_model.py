"""Text encoders that were saved by sentence-transformers, read by that library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dataset_tools.encoders.model_files import read_object
from dataset_tools.encoders.pretrained import Pretrained, is_folder, load_error
from dataset_tools.errors import UsageError

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

# As `SentenceTransformer.encode_document` looks for one.
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
# Tokens that are read of a text where the files set no end: attention grows with their square.
ENDLESS_LENGTH = 512
_ENDLESS = 10**9
_OUR_NAMES = {"lasttoken": "last"}
_THEIR_NAMES = {"last": "lasttoken"}


class SentenceModel:
    """The steps of a model, such as transformer, pooling, dense layers and normalisation.

    Attributes as of ``text_encoder.TextModel``.

    Raises:
        UsageError: a pooling for a model that has no tokens, or a folder that cannot be loaded.
        EncodingError: a model of the hub that cannot be loaded.
    """

    def __init__(self, asked: Pretrained, pooling: str | None, max_length: int | None) -> None:
        steps = _load(asked.model, asked.revision)
        if pooling is not None:
            steps = _pooled_by(steps, pooling, asked.model)
        if max_length is not None or _is_endless(steps):
            steps.max_seq_length = max_length or ENDLESS_LENGTH
        elif (room := _positions(steps)) and (_length_of(steps) or 0) > room:
            steps.max_seq_length = room  # the files promise more than the weights can hold
        self._steps = _ready(steps, asked)
        self.tokenizer = getattr(steps[0], "tokenizer", None)
        self.pooling, self.normalised = _pooling_of(steps), _is_normalised(steps)
        self.max_length = _length_of(steps)
        self.config = getattr(steps[0], "config", None)

    def encode(self, texts: Sequence[str], prefix: str) -> torch.Tensor:
        """Vectors (len(texts), width) float32."""
        vectors = self._steps.encode(
            list(texts),
            prompt=prefix,
            batch_size=len(texts),
            show_progress_bar=False,
            convert_to_tensor=True,
        )
        return vectors.float()


def choose_prompt(model: str, revision: str | None, name: str | None) -> str | None:
    """The prompt of the model's files for documents, or the one called ``name``.

    None where the files have none at all.

    Raises:
        UsageError: there is no prompt of that name.
    """
    config = read_object(model, "config_sentence_transformers.json", revision)
    prompts = config.get("prompts") or {}
    if name is not None:
        if name not in prompts:
            have = ", ".join(map(repr, prompts)) or "none"
            raise UsageError(f"--prompt {name}: {model} has no prompt of that name; it has {have}")
        return str(prompts[name] or "")
    candidates = (*DOCUMENT_PROMPTS, config.get("default_prompt_name"))
    found = next((prompts[one] for one in candidates if one in prompts), None)
    return str(found) if found or any(prompts.values()) else None


def _load(model: str, revision: str | None) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(
            model,
            revision=revision,
            device="cpu",
            trust_remote_code=False,
            local_files_only=is_folder(model),
        )
    except Exception as error:  # the files of a model are anybody's: nearly any type is raised
        raise load_error(model, "the steps", error) from error


def _pooled_by(steps: SentenceTransformer, pooling: str, model: str) -> SentenceTransformer:
    """The same first step with another pooling; of what follows, normalisation is kept."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    if not isinstance(steps[0], Transformer) or len(steps) == 1:
        raise UsageError(f"--pooling {pooling}: {model} has no token vectors to pool")
    size = getattr(steps[0], "get_embedding_dimension", None)
    width = size() if size is not None else steps[0].get_word_embedding_dimension()
    kept = [step for step in steps if isinstance(step, Normalize)]
    new = [steps[0], Pooling(width, _THEIR_NAMES.get(pooling, pooling)), *kept[:1]]
    return SentenceTransformer(modules=new, device="cpu", local_files_only=True)


def _ready(steps: SentenceTransformer, asked: Pretrained) -> SentenceTransformer:
    """The transformer computes in the type that is asked for, what follows in float32."""
    steps.float()
    if asked.dtype != "float32":
        steps[0].to(asked.torch_dtype)
        steps[0].register_forward_hook(_widen)
    return steps.to(asked.device).eval()


def _widen(_: Any, __: Any, output: dict[str, Any]) -> dict[str, Any]:
    """Give the later steps float32: sums over tokens lose little in it."""
    floats = ("token_embeddings", "cls_token_embeddings", "sentence_embedding")
    return {
        name: value.float() if name in floats and value is not None else value
        for name, value in output.items()
    }


def _length_of(steps: SentenceTransformer) -> int | None:
    length = getattr(steps, "max_seq_length", None)
    return int(length) if isinstance(length, int) and length < _ENDLESS else None


def _positions(steps: SentenceTransformer) -> int | None:
    """Tokens that the model's table of positions has room for; None where it has no table."""
    from torch import nn

    for name, part in steps[0].named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            # RoBERTa and its kin count positions from behind that of the padding.
            return part.num_embeddings - (0 if part.padding_idx is None else part.padding_idx + 1)
    return None


def _is_endless(steps: SentenceTransformer) -> bool:
    """Whether a transformer would read any length of text."""
    from sentence_transformers.models import Transformer

    return isinstance(steps[0], Transformer) and _length_of(steps) is None


def _pooling_of(steps: SentenceTransformer) -> str | None:
    from sentence_transformers.models import Pooling

    for step in steps:
        if isinstance(step, Pooling):
            modes = getattr(step, "pooling_mode", None) or step.get_pooling_mode_str()
            names = [modes] if isinstance(modes, str) else modes
            return "+".join(_OUR_NAMES.get(name, name) for name in names)
    return None


def _is_normalised(steps: SentenceTransformer) -> bool:
    from sentence_transformers.models import Normalize

    return isinstance(list(steps)[-1], Normalize)
