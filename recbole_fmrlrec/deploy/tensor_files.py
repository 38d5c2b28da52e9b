"""Tensors in safetensors files, read with every name, type, shape and number checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.files.atomic import replacing

#: Type and shape of each tensor that a file must hold.
Shapes = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "I8": torch.int8}


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file."""
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    with replacing(path, needed) as partial:
        partial.touch()
        mode = partial.stat().st_mode
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
        partial.chmod(mode)  # safetensors lets the owner alone read what it writes


def read_tensors(path: Path, expected: Shapes) -> dict[str, Tensor]:
    """Read a safetensors file that holds exactly the expected tensors.

    Raises:
        DeployError: a damaged file, a tensor missing or too many, or of another type or shape.
    """
    try:
        with safe_open(path, framework="pt") as file:
            _check_names(path, set(file.keys()), set(expected))
            for name, (dtype, shape) in expected.items():
                part = file.get_slice(name)
                found = _DTYPES.get(part.get_dtype()), tuple(part.get_shape())
                if found != (dtype, shape):
                    raise DeployError(
                        f"{path}: {name} is {part.get_dtype()} {list(found[1])}, model.json "
                        f"asks for {dtype} {list(shape)}"
                    )
            tensors = {name: file.get_tensor(name) for name in expected}
    except (SafetensorError, OSError) as error:
        raise DeployError(f"{path}: cut off or not a safetensors file ({error})") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DeployError(f"{path}: {name} holds NaN or infinite values")
    return tensors


def _check_names(path: Path, found: set[str], wanted: set[str]) -> None:
    if missing := sorted(wanted - found):
        raise DeployError(f"{path}: tensor {missing[0]} is missing ({len(missing)} in all)")
    if extra := sorted(found - wanted):
        raise DeployError(f"{path}: unexpected tensor {extra[0]} ({len(extra)} in all)")
