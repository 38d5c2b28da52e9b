"""What differs between a CPU and a GPU: copies, how much is done at once, low precision."""

from __future__ import annotations

import torch
from torch import Tensor

#: Bytes that a GPU works through at once.
GPU_BYTES = 512 * 2**20


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` on ``device``; the host does not wait for a GPU to take it.

    Only a copy out of pinned memory lets the host go on. A tensor that comes from a GPU is waited
    for: the host would read it before it is there.
    """
    if tensor.device.type != "cpu" or device.type == "cpu":
        return tensor.to(device)
    # torch keeps the pinned copy until the GPU has taken it.
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)


def at_once(on_cpu: int, device: torch.device) -> int:
    """Bytes to be worked through at once: ``on_cpu`` there, where they should stay in the cache.

    A GPU has no use for so small parts: starting an operation takes as long as reading some MB.
    """
    return on_cpu if device.type == "cpu" else max(on_cpu, GPU_BYTES)


def emulates(dtype: torch.dtype) -> bool:
    """Whether oneDNN is known to have no fast products of bfloat16 or float16 for this CPU.

    It has them from AVX-512 on, the fastest with AVX512_BF16 or AMX. Elsewhere a large product
    takes a hundred times as long as in float32.
    """
    name = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype)
    supported = getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", None)
    return torch.backends.mkldnn.is_available() and supported is not None and not supported()
