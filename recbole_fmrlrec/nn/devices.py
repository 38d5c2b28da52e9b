"""Sending tensors to a device; whether a CPU has low precision."""

from __future__ import annotations

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` on ``device``; the host does not wait for a GPU to take it.

    Only a copy out of pinned memory lets the host go on.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def emulates(dtype: torch.dtype) -> bool:
    """Whether oneDNN is known to have no fast products of bfloat16 or float16 for this CPU.

    It has them from AVX-512 on, the fastest with AVX512_BF16 or AMX. Elsewhere a large product
    takes a hundred times as long as in float32.
    """
    name = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype)
    supported = getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", None)
    return torch.backends.mkldnn.is_available() and supported is not None and not supported()
