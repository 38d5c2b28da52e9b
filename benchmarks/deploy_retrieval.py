"""Exact and two-stage retrieval over catalogues of several sizes: recall, latency, bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.deploy.faiss_index import FaissShortlister
from recbole_fmrlrec.deploy.retrieval import (
    Choice,
    ExactSearch,
    Search,
    TwoStageSearch,
    fastest,
    measure_choices,
    median_milliseconds,
)
from recbole_fmrlrec.export.sizes_page import readable_bytes

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
    """Rows of the printed table for one catalogue: every way, also where exact search is faster."""
    count, bytes_held = len(table) - 1, readable_bytes(table.numel() * 4)
    truth = ExactSearch(table)(queries, 10)[1]
    exact, *plain = measure_choices(table, sizes, queries, recall)
    rows: list[list[Any]] = [
        [count, "exact", "", "", 1.0, exact.milliseconds, bytes_held, ""],
        *([count, *row, bytes_held, ""] for row in _two_stages("two stages", plain)),
    ]
    _, *copied = measure_choices(table, sizes, queries, recall, copy_prefix=True)
    if not copied:
        return rows
    best = fastest(copied)
    assert best.prefix is not None and best.shortlist is not None
    extra = readable_bytes(count * best.prefix * 4)
    rows += [[count, *row, bytes_held, extra] for row in _two_stages("prefix copied", copied)]
    if with_faiss:
        index = FaissShortlister(table, best.prefix)
        # What the index misses must be made good by a longer list.
        search = TwoStageSearch(table, best.prefix, 2 * best.shortlist, index)
        found, spent = _recall(search, queries, truth), median_milliseconds(search, queries, 10)
        while found < recall and spent < exact.milliseconds and index.effort < count:
            index.effort *= 2
            found, spent = _recall(search, queries, truth), median_milliseconds(search, queries, 10)
        facts = [search.shortlist, found, spent]
        held = [bytes_held, readable_bytes(index.size_in_bytes())]
        rows.append([count, f"faiss ivf, {index.effort}", best.prefix, *facts, *held])
    return rows


def _two_stages(name: str, choices: Sequence[Choice]) -> list[list[Any]]:
    """The fastest of the settings, as columns of the table; none where there is no smaller size."""
    if not choices:
        return []
    best = fastest(choices)
    return [[name, best.prefix, best.shortlist, best.recall, best.milliseconds]]


def _recall(search: Search, queries: Tensor, truth: Tensor) -> float:
    found = search(queries, truth.shape[1])[1]
    return float((truth[:, :, None] == found[:, None, :]).any(2).float().mean())
