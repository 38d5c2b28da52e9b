"""Pretrained text encoders that a model trains further: read from a folder, never from a hub."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dataset_tools.encoders.model_files import check_config
from dataset_tools.encoders.pretrained import identity
from recbole_fmrlrec.errors import UsageError, missing_package

_HOW = (
    "the key `encoder` names the folder of a pretrained text encoder as transformers saves one: "
    "config.json, the tokenizer's files, and weights as *.safetensors"
)


@dataclass(frozen=True)
class TextEncoder:
    """A pretrained text encoder and its tokenizer.

    Attributes:
        body: the transformer, in float32, without a pooling layer.
        tokenizer: that of transformers.
        first: the number of the token that texts begin with.
        longest: tokens that the encoder has positions for; None where it knows no limit.
        name: the folder's.
    """

    body: nn.Module
    tokenizer: Any
    first: int
    longest: int | None
    name: str


def load_text_encoder(folder: str | None, attention_window: int) -> TextEncoder:
    """Read an encoder from a folder; of an encoder-decoder the encoder.

    Nothing is fetched, code that comes with a model is not run, and weights are read as
    safetensors alone.

    Args:
        folder: the key ``encoder``.
        attention_window: tokens that a token of a Longformer attends to.

    Raises:
        UsageError: there is no such folder or no usable encoder in it, or transformers is not
            installed.
    """
    path = encoder_folder(folder)
    _quiet()
    try:
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        local = {"local_files_only": True, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(str(path), **local)
        config = AutoConfig.from_pretrained(str(path), **local)
        if hasattr(config, "attention_window"):
            config.attention_window = [attention_window] * config.num_hidden_layers
        body, found = AutoModel.from_pretrained(
            str(path), config=config, use_safetensors=True, output_loading_info=True, **local
        )
    except ModuleNotFoundError as error:
        raise UsageError(f"encoder: {missing_package(error)}") from error
    except Exception as error:  # the files of a model are anybody's: nearly any type is raised
        reason = " ".join(str(error).split())[:400] or type(error).__name__
        raise UsageError(f"encoder: {path} cannot be loaded: {reason}. {_HOW}") from error
    if getattr(body.config, "is_encoder_decoder", False):
        body = body.get_encoder()
    if getattr(body, "pooler", None) is not None:
        body.pooler = None
    _check_weights(path, body, found["missing_keys"])
    first = next((n for n in (tokenizer.cls_token_id, tokenizer.bos_token_id) if n is not None), -1)
    if first < 0:
        raise UsageError(
            f"encoder: the tokenizer of {path} has no token for the beginning of a text. {_HOW}"
        )
    return TextEncoder(body.float(), tokenizer, first, _positions(body), path.name)


def encoder_folder(folder: str | None) -> Path:
    """The folder of an encoder, its files checked as far as that loads nothing.

    Raises:
        UsageError: none is named, there is no such folder, or it has no weights as safetensors.
    """
    if not folder:
        raise UsageError(f"encoder: not set; {_HOW}")
    path = Path(folder).absolute()
    if not path.is_dir():
        raise UsageError(f"encoder: there is no folder {path}; {_HOW}")
    if not any(path.glob("*.safetensors")):
        raise UsageError(f"encoder: {path} has no *.safetensors; {_HOW}")
    check_config(str(path), None)
    return path


def encoder_fingerprint(folder: str | None) -> str:
    """A hash of all files of an encoder that decide what it computes.

    Raises:
        UsageError: as `encoder_folder`.
    """
    found = identity(str(encoder_folder(folder)), None)
    return f"{found['revision']} {found['files_sha256']}"


def _quiet() -> None:
    if not sys.stderr.isatty():
        try:
            from transformers.utils import logging
        except ModuleNotFoundError:
            return  # said where it is needed
        logging.disable_progress_bar()


def _check_weights(path: Path, body: nn.Module, missing: Any) -> None:
    """An architecture whose weights are not in the file would begin with random ones."""
    names = {name for name, _ in body.named_parameters()}
    lost = sorted(key for key in missing if any(key == n or key.endswith(f".{n}") for n in names))
    if lost:
        raise UsageError(
            f"encoder: the weights in {path} lack {', '.join(lost[:3])}"
            f"{' ...' if len(lost) > 3 else ''}: its config.json is of another model. {_HOW}"
        )


def _positions(body: nn.Module) -> int | None:
    """Tokens that a table of positions has room for; None where there is no such table."""
    for name, part in body.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            # RoBERTa and its kin count positions from behind that of the padding.
            return part.num_embeddings - (0 if part.padding_idx is None else part.padding_idx + 1)
    return None
