"""Training steps: the package against the published formulation, in one process on one batch."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks import recorded
from benchmarks.core_setup import (
    Batch,
    Shapes,
    build_ours,
    build_published,
    draw_batch,
    draw_features,
    our_loss,
    our_step,
    published_step,
    useful_multiplications,
)
from benchmarks.measuring import median, pairs, peak_bytes, product_rate, seconds


def agreement(
    shapes: Shapes, users: int = 32, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """How far both sides' loss and gradients are apart, without dropout.

    Returns:
        ``loss``: relative; ``gradient``: the largest difference of a parameter's gradient over the
        largest number in it, the worst of all parameters.
    """
    batch, features = draw_batch(users, shapes), draw_features(shapes).to(device)
    network = build_ours(shapes, dropout=0.0).to(device)
    model = build_published(shapes, features, network, dropout=0.0).to(device)
    rows, labels = (part.to(device) for part in batch.left_padded())
    theirs, ours = model.loss(rows, labels), our_loss(network, features, batch)
    theirs.backward()
    ours.backward()
    gradients, worst = recorded.read_plain(model, recorded.gradient), 0.0
    for name, value in recorded.read(network, recorded.gradient).items():
        scale = float(gradients[name].abs().max())
        if scale > 0:
            worst = max(worst, float((value - gradients[name]).abs().max()) / scale)
    return {"loss": abs(float((ours / theirs).detach()) - 1), "gradient": worst}


def step_times(shapes: Shapes, users: int, published_users: int, count: int) -> dict[str, Any]:
    """A training step of ``users`` against one of the published formulation.

    Where the published side takes fewer users (more do not fit), ``ratio`` is per position.
    """
    features, batch = draw_features(shapes), draw_batch(users, shapes)
    theirs = batch if published_users == users else draw_batch(published_users, shapes)
    network = build_ours(shapes)
    model = build_published(shapes, features, network)
    found = pairs(
        published_step(model, theirs), our_step(network, features, batch), count, fast_calls=3
    )
    share = batch.positions / theirs.positions
    found["ratio"] *= share
    found["ratios"] = [round(ratio * share, 2) for ratio in found["ratios"]]
    return {
        "users": users,
        "positions": batch.positions,
        "published_users": published_users,
        "published_positions": theirs.positions,
        **found,
    }


def useful_share(shapes: Shapes, users: int, count: int) -> dict[str, float]:
    """The step's useful products over what the machine multiplies in that time.

    The rate is measured before and after each step; ``share`` is the median.
    """
    batch, features = draw_batch(users, shapes), draw_features(shapes)
    step = our_step(build_ours(shapes), features, batch)
    step()
    needed = useful_multiplications(shapes, batch.positions)
    shares, rates = [], []
    for _ in range(count):
        before = product_rate(3)
        taken = seconds(step)
        rates.append(max(before, product_rate(3)))
        shares.append(needed / taken / rates[-1])
    return {
        "share": median(shares),
        "gflops": 2e-9 * median(rates),
        "useful_gflop": 2e-9 * needed,
    }


def low_precision(shapes: Shapes, users: int, count: int) -> dict[str, float]:
    """A step in bfloat16 against one in float32, and the relative distance of the losses."""
    features, batch = draw_features(shapes), draw_batch(users, shapes)
    exact, low = (our_step(build_ours(shapes), features, batch, low=kind) for kind in (False, True))
    found = pairs(exact, low, count, fast_calls=1)
    return {
        "float32": found["slow"],
        "bfloat16": found["fast"],
        "ratio": found["ratio"],
        "loss_distance": _low_loss_distance(shapes, batch, features),
    }


def _low_loss_distance(shapes: Shapes, batch: Batch, features: torch.Tensor) -> float:
    network = build_ours(shapes, dropout=0.0)
    with torch.no_grad():
        exact = our_loss(network, features, batch)
        with torch.autocast("cpu", torch.bfloat16):
            low = our_loss(network, features, batch)
    return abs(float(low / exact) - 1)


def peaks(users: int) -> dict[str, int]:
    """Peak bytes of both sides, each in a process of its own, and of what both have in common."""
    return {
        side: peak_bytes("benchmarks.core_memory", side, str(users))
        for side in ("ours", "published", "none")
    }
