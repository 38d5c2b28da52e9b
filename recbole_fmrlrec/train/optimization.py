"""The optimiser of our models and the learning rate schedule of every model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch


def adamw(model: Any, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW that decays all parameters but those that ``model.no_decay_parameters()`` names."""
    spared = model.no_decay_parameters()
    names = {id(parameter) for parameter in spared}
    decayed = [p for p in model.parameters() if id(p) not in names]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def set_beta2(optimizer: torch.optim.Optimizer, beta2: float) -> None:
    """Give an Adam, AdamW or SparseAdam another second beta.

    Raises:
        KeyError: an optimiser of another kind.
    """
    for group in (optimizer.defaults, *optimizer.param_groups):
        group["betas"] = (group["betas"][0], beta2)


def learning_rate_factor(
    kind: str, warmup: int, total: int, lowest: float
) -> Callable[[int], float]:
    """The learning rate of step 0, 1, 2, ... as a share of the highest one.

    Args:
        kind: ``constant``, ``linear`` or ``cosine`` after the warm-up.
        warmup: steps over which it rises linearly from 0.
        total: steps of the whole training.
        lowest: the share reached at the last step.

    Raises:
        ValueError: another kind.
    """
    shapes: dict[str, Callable[[float], float]] = {
        "constant": lambda done: 1.0,
        "linear": lambda done: 1.0 - done,
        "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    }
    if kind not in shapes:
        raise ValueError(f"lr_scheduler must be one of {', '.join(shapes)}, got {kind}")

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, total - warmup))
        return lowest + (1 - lowest) * shapes[kind](done) if kind != "constant" else 1.0

    return factor
