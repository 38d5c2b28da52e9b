"""Exact and two-stage retrieval over catalogues of several sizes: recall, latency, bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.deploy.faiss_index import FaissShortlister
from recbole_fmrlrec.deploy.family import readable_bytes
from recbole_fmrlrec.deploy.retrieval import (
    ExactSearch,
    Search,
    TwoStageSearch,
    choose,
    median_milliseconds,
)

QUERIES, LENGTH = 200, 8


def base_of(model: Recommender, given: bool) -> tuple[Tensor, Tensor, str]:
    """Item vectors ``(N+1, s)``, queries ``(Q, s)`` and where they come from.

    Queries are outputs after histories of items that lie near one another in a trained model; the
    histories themselves are drawn, as an exported model holds none.
    """
    generator = torch.Generator().manual_seed(0)
    if not given:
        width = model.size
        weight = torch.arange(1, width + 1) ** -0.5
        vectors = torch.randn(len(model.items) + 1, width, generator=generator) * weight
        queries = torch.randn(QUERIES, width, generator=generator) * weight
        return vectors, queries, "made-up vectors whose variance falls as 1 / dimension"
    vectors = model.items.vectors
    seeds = torch.randint(1, len(vectors), (QUERIES,), generator=generator)
    near = (vectors[seeds] @ vectors[1:].t()).topk(min(LENGTH, len(vectors) - 1)).indices + 1
    queries = model.encode_rows(near.tolist())
    return vectors, queries, f"vectors of {model.description.dataset}, more of them by jitter"


def grow(vectors: Tensor, count: int) -> Tensor:
    """A table of ``count`` items: the given ones, then copies of them moved at random.

    A copy is moved by half the standard deviation of each dimension, so that it is another item
    of the same kind.
    """
    generator = torch.Generator().manual_seed(1)
    if count <= len(vectors) - 1:
        return vectors[: count + 1].contiguous()
    more = count - (len(vectors) - 1)
    source = torch.randint(1, len(vectors), (more,), generator=generator)
    table = torch.empty(count + 1, vectors.shape[1])
    table[: len(vectors)] = vectors
    spread = 0.5 * vectors[1:].std(0)
    for at in range(0, more, 100_000):
        part = source[at : at + 100_000]
        noise = torch.randn(len(part), vectors.shape[1], generator=generator)
        table[len(vectors) + at :][: len(part)] = vectors[part] + noise * spread
    return table


def measure(
    table: Tensor, sizes: Sequence[int], queries: Tensor, recall: float, with_faiss: bool
) -> list[list[Any]]:
    """Rows of the printed table for one catalogue."""
    count, bytes_held = len(table) - 1, readable_bytes(table.numel() * 4)
    exact = ExactSearch(table)
    truth = exact(queries, 10)[1]
    spent = median_milliseconds(exact, queries, 10)
    rows: list[list[Any]] = [[count, "exact", "", "", 1.0, spent, bytes_held, ""]]
    chosen = choose(table, sizes, queries, recall)
    if chosen.prefix is None or chosen.shortlist is None:
        return [*rows, [count, "chosen: exact", "", "", 1.0, spent, bytes_held, ""]]
    prefix, shortlist = chosen.prefix, chosen.shortlist
    searches = [
        ("two stages, chosen", TwoStageSearch(table, prefix, shortlist), 0),
        (
            "two stages, copied",
            TwoStageSearch(table, prefix, shortlist, copy_prefix=True),
            count * prefix * 4,
        ),
    ]
    for kind in ("hnsw", "ivf") if with_faiss else ():
        index = FaissShortlister(table, prefix, kind)
        search = TwoStageSearch(table, prefix, shortlist, index)
        searches.append((f"faiss {kind}", search, index.size_in_bytes()))
    for name, search, extra in searches:
        found, spent = _recall(search, queries, truth), median_milliseconds(search, queries, 10)
        facts = [found, spent, bytes_held, readable_bytes(extra)]
        rows.append([count, name, prefix, shortlist, *facts])
    return rows


def _recall(search: Search, queries: Tensor, truth: Tensor) -> float:
    found = search(queries, truth.shape[1])[1]
    return float((truth[:, :, None] == found[:, None, :]).any(2).float().mean())
