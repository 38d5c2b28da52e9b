"""The state of every random source that a training draws from, as plain values."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def random_state(generator: torch.Generator | None) -> dict[str, Any]:
    """State of every random source that training draws from."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position],
        "numpy_gauss": [has_gauss, cached],
        "python": _listed(random.getstate()),
    }
    if generator is not None:
        state["loader"] = generator.get_state()
    if torch.cuda.is_initialized():  # else nothing has drawn from it, and asking would start it
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any], generator: torch.Generator | None) -> None:
    """Put every random source back to where `random_state` found it."""
    torch.set_rng_state(state["torch"].cpu())
    name, keys, position = state["numpy"]
    has_gauss, cached = state["numpy_gauss"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if generator is not None and "loader" in state:
        generator.set_state(state["loader"].cpu())
    if torch.cuda.is_initialized() and "cuda" in state:
        # Another machine may have fewer of them.
        for number, value in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(value.cpu(), number)


def _listed(state: tuple[Any, ...]) -> list[Any]:
    version, internal, gauss = state
    return [version, list(internal), gauss]
