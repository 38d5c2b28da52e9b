"""Pretrained models: found on disk or on the Hugging Face hub, never by running their code."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_tools.errors import DatasetError, UsageError

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def load_pretrained(auto_class: Any, model: str, revision: str | None, **options: Any) -> Any:
    """``auto_class.from_pretrained`` with an error that says what to do.

    Raises:
        DatasetError: the model cannot be found, fetched or read.
    """
    if not sys.stderr.isatty():
        from transformers.utils import logging

        logging.disable_progress_bar()
    try:
        return auto_class.from_pretrained(
            model, revision=revision, trust_remote_code=False, **options
        )
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:400]
        raise DatasetError(
            f"cannot load {auto_class.__name__} of {model!r}: {reason}. Without a network, fetch "
            f"it elsewhere (`hf download {model}`) and give the folder as --model; a model that "
            "needs no download is tfidf-svd for text, colour-layout for images"
        ) from error


def read_json_file(model: str, name: str, revision: str | None) -> Any:
    """A JSON file of a model, or None where it has none."""
    if Path(model).is_dir():
        path = Path(model) / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    from transformers.utils import cached_file

    found = cached_file(
        model,
        name,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return json.loads(Path(found).read_text(encoding="utf-8")) if found else None


def model_revision(model: str, config: Any) -> str:
    """The commit on the hub, or a hash over the configuration and weights of a folder."""
    folder = Path(model)
    if not folder.is_dir():
        return str(getattr(config, "_commit_hash", None) or "unknown")
    digest = hashlib.sha256()
    weights = [path for pattern in WEIGHTS for path in sorted(folder.glob(pattern))]
    for path in [folder / "config.json", *weights]:
        if path.is_file():
            with open(path, "rb") as stream:
                while piece := stream.read(1 << 22):
                    digest.update(piece)
    return f"sha256:{digest.hexdigest()[:16]}"


def choose_device(name: str) -> str:
    """``auto`` -> the GPU where there is one; raises ``UsageError`` for one that is not there."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {name}: no CUDA device on this machine; use cpu or auto")
    try:
        return str(torch.device(name))
    except RuntimeError:
        raise UsageError(f"--device {name}: unknown; auto, cpu, cuda, cuda:0, mps, ...") from None


def choose_dtype(name: str) -> torch.dtype:
    """The torch type of one of ``DTYPES``."""
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def unit_rows(vectors: torch.Tensor) -> torch.Tensor:
    """Rows (B, width) scaled to length 1; zeros stay zeros."""
    import torch.nn.functional as functional

    return functional.normalize(vectors, dim=1)
