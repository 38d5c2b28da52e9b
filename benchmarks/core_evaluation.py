"""One evaluation of Beauty's users at all sizes: ours in full, the published one on a sample."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.core_setup import (
    Shapes,
    build_ours,
    build_published,
    draw_batch,
    draw_features,
)
from benchmarks.measuring import median, product_rate, seconds
from benchmarks.published import PublishedModel
from recbole_fmrlrec.evaluation.ranking import nested_mean_ranks
from recbole_fmrlrec.nn.network import FMRLRecNetwork

USERS = 22_363
BATCH = 1024


@torch.no_grad()
def evaluate_ours(
    network: FMRLRecNetwork,
    features: torch.Tensor,
    items: torch.Tensor,
    lengths: torch.Tensor,
    targets: torch.Tensor,
) -> torch.Tensor:
    """Mean ranks ``(K, U)`` as the trainer's evaluation gets them."""
    network.eval()
    table = network.item_table(features)
    projections = network.item_input_projections(table)
    parts = zip(items.split(BATCH), lengths.split(BATCH), targets.split(BATCH), strict=True)
    ranks = []
    for rows, counts, wanted in parts:
        hidden = network.encode_last(table, rows, counts, projections)
        ranks.append(nested_mean_ranks(hidden, table[1:], wanted - 1, network.sizes))
    return torch.cat(ranks, dim=1)


@torch.no_grad()
def evaluate_published(model: PublishedModel, rows: torch.Tensor, k: int = 20) -> torch.Tensor:
    """The best k items ``(K, U, k)``, in one batch."""
    model.eval()
    return model.top_items(rows, k)


def plain_multiplications(shapes: Shapes, users: int, positions: int) -> int:
    """Multiply-adds of an evaluation's products: table, every position's layers, all logits."""
    width, sizes = shapes.sizes[-1], shapes.sizes
    starts = (0, *sizes[:-1])
    nested = sum((end - start) * end for start, end in zip(starts, sizes, strict=True))
    table = shapes.items * shapes.feature_width * width
    return table + 7 * nested * positions + users * shapes.items * width


def measure(shapes: Shapes, count: int, sample: int, users: int = USERS) -> dict[str, Any]:
    """Seconds of ours for all users; of the published one for a sample, scaled to all.

    ``over_products`` is our time over that of the plain products at the rate of the machine.
    """
    features, network = draw_features(shapes), build_ours(shapes)
    model = build_published(shapes, features, network)
    batch, few = draw_batch(users, shapes), draw_batch(sample, shapes)
    targets = torch.randint(1, shapes.items + 1, (users,))
    rows, _ = few.left_padded()
    evaluate_published(model, rows)
    ours, theirs, over = [], [], []
    needed = plain_multiplications(shapes, users, batch.positions)
    for _ in range(count):
        theirs.append(seconds(lambda: evaluate_published(model, rows)) * users / sample)
        rate = product_rate(3)
        ours.append(
            seconds(lambda: evaluate_ours(network, features, batch.items, batch.lengths, targets))
        )
        over.append(ours[-1] * max(rate, product_rate(3)) / needed)
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return {
        "users": users,
        "sample": sample,
        "ours": median(ours),
        "published_scaled": median(theirs),
        "ratio": median(ratios),
        "ratios": [round(ratio, 1) for ratio in ratios],
        "over_products": median(over),
    }
