"""How a GPU computes during a run: in which precision, and whether twice the same.

Nothing of it touches a CPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import deterministic

# The attributes of this module are properties.
_memory: Any = deterministic
_ATTENTION = ("flash_sdp", "mem_efficient_sdp", "cudnn_sdp")


@contextmanager
def gpu_arithmetic(device: torch.device, reproducible: bool, allow_tf32: bool) -> Iterator[None]:
    """Set what torch's operations on a GPU do, and set it back afterwards.

    Args:
        device: of the run; on a CPU nothing is set.
        reproducible: sums are added up in the same order every time, so that the same seed gives
            the same digits and a resumed run is the undisturbed one. That costs time. Operations
            that torch has no such form of say so in a warning, once.
        allow_tf32: products of float32 matrices round their factors to 10 bits.
    """
    if device.type != "cuda":
        yield
        return
    products = torch.backends.cuda.matmul
    tf32, products.allow_tf32 = products.allow_tf32, allow_tf32
    try:
        if reproducible:
            with _one_order():
                yield
        else:
            yield
    finally:
        products.allow_tf32 = tf32


@contextmanager
def _one_order() -> Iterator[None]:
    # cuBLAS reads it when it is first used; without it torch warns at every product.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cuda = torch.backends.cuda
    fused = {name: getattr(cuda, f"{name}_enabled")() for name in _ATTENTION}
    before = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = _memory.fill_uninitialized_memory
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        _memory.fill_uninitialized_memory = False
        for name in _ATTENTION:  # their gradients are summed in any order where torch only warns
            getattr(cuda, f"enable_{name}")(False)
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warns)
        _memory.fill_uninitialized_memory = filled
        for name, enabled in fused.items():
            getattr(cuda, f"enable_{name}")(enabled)
