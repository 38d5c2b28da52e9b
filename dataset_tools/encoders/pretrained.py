"""Pretrained models: found on disk or on the Hugging Face hub, never by running their code."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_tools.encoders.model_files import check_config
from dataset_tools.encoders.share import local_device
from dataset_tools.errors import DatasetError, EncodingError, UsageError
from dataset_tools.files.hashes import add_file
from dataset_tools.packages import missing_package

if TYPE_CHECKING:
    import torch

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_READ_SUFFIXES = (".json", ".txt", ".model", ".safetensors", ".bin", ".jinja")
_OTHER_FOLDERS = ("onnx", "openvino", "coreml")
# Where huggingface_hub keeps what it has fetched: .../models--ORG--NAME/snapshots/COMMIT
_CACHED = re.compile(r"/models--(?P<name>[^/]+)/snapshots/[0-9a-f]+$")


def is_folder(model: str) -> bool:
    """Whether a model is a folder; False for a name on the hub.

    Raises:
        UsageError: it can be neither: a path that leads to no folder.
    """
    if Path(model).is_dir():
        return True
    if Path(model).exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise UsageError(f"--model {model}: no such folder, and not a name on the Hugging Face hub")
    return False


@dataclass(frozen=True)
class Pretrained:
    """A model of the hub or of a folder, and how it is to compute; `ask` checks both.

    ``dtype`` is float32, bfloat16 or float16, ``device`` one that is there.
    """

    model: str
    revision: str | None
    dtype: str
    device: str

    @classmethod
    def ask(cls, model: str, revision: str | None, dtype: str, device: str) -> Pretrained:
        """That model, before anything of it is loaded.

        Raises:
            UsageError: neither a folder nor a name, files that ask for code to be run, or a device
                that is not there.
        """
        is_folder(model)
        check_config(model, revision)
        return cls(model, revision, dtype, choose_device(device))

    def load(self, auto_class: Any) -> Any:
        """``auto_class.from_pretrained`` with an error that says what to do.

        Raises:
            UsageError: a folder holds no such model.
            EncodingError: the model cannot be found, fetched or read on the hub.
        """
        if not sys.stderr.isatty():
            from transformers.utils import logging

            logging.disable_progress_bar()
        try:
            return auto_class.from_pretrained(
                self.model, revision=self.revision, trust_remote_code=False
            )
        except Exception as error:  # the files of a model are anybody's: nearly any type is raised
            raise load_error(self.model, auto_class.__name__, error) from error

    @property
    def torch_dtype(self) -> torch.dtype:
        """The torch type of ``dtype``."""
        import torch

        types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        return types[self.dtype]

    def manifest(self, config: Any, **encoder: Any) -> dict[str, Any]:
        """What the manifest says of an encoder: the model, its own entries, how it computes."""
        device = self.device.partition(":")[0]
        return {**identity(self.model, config), **encoder, "dtype": self.dtype, "device": device}


def load_error(model: str, part: str, error: Exception) -> DatasetError:
    """The error to raise where ``part`` of a model cannot be loaded."""
    if isinstance(error, ModuleNotFoundError):
        return EncodingError(missing_package(error))
    reason = " ".join(str(error).split())[:400] or type(error).__name__
    if is_folder(model):
        return UsageError(
            f"cannot load {part} of {model!r}: {reason}. Is it a complete model folder? A "
            "model that needs no download is tfidf-svd for text, colour-layout for images"
        )
    return EncodingError(
        f"cannot load {part} of {model!r}: {reason}. Without a network, fetch "
        f"it elsewhere (`hf download {model}`) and give the folder as --model; a model that "
        "needs no download is tfidf-svd for text, colour-layout for images"
    )


def identity(model: str, config: Any) -> dict[str, str]:
    """What the manifest says of a model: its name, its revision, and a hash of its other files.

    A folder goes by its last name, and what tells it from others is what it holds, so that it
    may be moved.
    """
    if not is_folder(model):
        commit = str(getattr(config, "_commit_hash", None) or "unknown")
        return {"encoder": model, "revision": commit}
    folder = Path(os.path.abspath(model))
    cached = _CACHED.search(folder.as_posix())
    name = cached["name"].replace("--", "/", 1) if cached else folder.name
    weights = {path for pattern in WEIGHTS for path in folder.glob(pattern)}
    first = [folder / "config.json", *sorted(weights)]
    rest = sorted(set(_read_files(folder)) - set(first))
    return {
        "encoder": name,
        "revision": f"sha256:{_hash(first, None)[:16]}",
        "files_sha256": _hash(rest, folder)[:16],
    }


def _read_files(folder: Path) -> Iterator[Path]:
    """The files of a model folder that decide values; not its weights in other formats."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _OTHER_FOLDERS and name[0] != "."]
        yield from (Path(root, name) for name in names if Path(name).suffix in _READ_SUFFIXES)


def _hash(paths: Iterable[Path], folder: Path | None) -> str:
    """SHA-256 over files, and over their names below ``folder``."""
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            if folder is not None:
                digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
            add_file(digest, path)
    return digest.hexdigest()


def choose_device(name: str) -> str:
    """``auto`` -> this process's GPU where there is one.

    Raises:
        UsageError: the machine has no such device.
    """
    import torch

    if name == "auto":
        if not torch.cuda.is_available():
            return "cpu"
        place = local_device() % torch.cuda.device_count()
        return f"cuda:{place}" if place else "cuda"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {name}: no CUDA device on this machine; use cpu or auto")
    try:
        return str(torch.device(name))
    except RuntimeError:
        raise UsageError(f"--device {name}: unknown; auto, cpu, cuda, cuda:0, mps, ...") from None
