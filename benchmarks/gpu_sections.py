"""What ``benchmarks gpu`` measures without RecBole: steps, ranking, the scan, a million items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import core_steps
from benchmarks.core_evaluation import evaluate_ours, evaluate_published
from benchmarks.core_setup import (
    Batch,
    Decaying,
    Shapes,
    build_ours,
    build_published,
    draw_batch,
    draw_features,
    our_step,
    published_step,
)
from benchmarks.gpu_measuring import BFLOAT16, FLOAT32, TF32, Bench, Row
from benchmarks.published import PublishedModel, doubling_scan
from recbole_fmrlrec.evaluation.ranking import nested_mean_ranks
from recbole_fmrlrec.nn.devices import send
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.nn.recurrence import packed_scan
from recbole_fmrlrec.nn.sampled_loss import CandidateSampler, sampled_cross_entropy
from recbole_fmrlrec.train.optimization import adamw

QUICK = Shapes(items=300, feature_width=32, sizes=(4, 8, 16))
Step = Callable[[], Any]


# Steps and evaluation against the published formulation


def steps(bench: Bench) -> None:
    """A training step at the published width, both sides on the same batch."""
    shapes = QUICK if bench.quick else Shapes()
    bench.row("agreement with the published formulation", FLOAT32, lambda: agreement(bench, shapes))
    features = draw_features(shapes).to(bench.device)
    for users in (8,) if bench.quick else (32, 256):
        batch = draw_batch(users, shapes)
        what = f"{users} users, {batch.positions} positions"

        def theirs(batch: Batch = batch) -> Step:
            return published_step(_published(shapes, features), batch)

        def ours(low: bool, batch: Batch = batch) -> Step:
            return our_step(build_ours(shapes).to(bench.device), features, batch, low)

        for precision in (FLOAT32, TF32):
            bench.timed(f"published formulation, {what}", precision, theirs)
        for precision in (FLOAT32, TF32, BFLOAT16):
            low = precision == BFLOAT16
            bench.timed(f"ours, {what}", precision, lambda low=low, ours=ours: ours(low))
    _evaluations(bench, shapes, features)


def agreement(bench: Bench, shapes: Shapes) -> Row:
    """How far loss and gradients of both sides are apart without dropout; it has no time."""
    found = core_steps.agreement(shapes, 8, bench.device)
    note = f"loss off by {found['loss']:.1e}, gradients by {found['gradient']:.1e} of the largest"
    return Row("agreement with the published formulation", FLOAT32, None, note=note)


def _published(shapes: Shapes, features: Tensor) -> PublishedModel:
    return build_published(shapes, features, build_ours(shapes)).to(features.device)


def _evaluations(bench: Bench, shapes: Shapes, features: Tensor) -> None:
    users = 16 if bench.quick else 1024
    batch = draw_batch(users, shapes)
    items, lengths = batch.items.to(bench.device), batch.lengths.to(bench.device)
    targets = torch.randint(1, shapes.items + 1, (users,), device=bench.device)
    what = f"evaluation of {users:,} users at all sizes"

    def theirs() -> Step:
        model, few = _published(shapes, features), draw_batch(min(users, 128), shapes)
        rows = few.left_padded()[0].to(bench.device)
        return lambda: [evaluate_published(model, rows) for _ in range(0, users, len(rows))]

    def ours() -> Step:
        network = build_ours(shapes).to(bench.device)
        return lambda: evaluate_ours(network, features, items, lengths, targets)

    for precision in (FLOAT32, TF32):
        bench.timed(f"published formulation, {what}", precision, theirs, "evaluation")
        bench.timed(f"ours, {what}", precision, ours, "evaluation")


# The scan


def scan(bench: Bench) -> None:
    """The forms of the scan, forward and backward, on sequences of one length."""
    width, sequences = (8, 4) if bench.quick else (1024, 64)
    for length in (4, 16) if bench.quick else (16, 64, 256, 1024):
        what = f"{sequences} sequences of {length}, d = {width}"

        def packed(length: int = length) -> Step:
            v, lam = _inputs(bench, sequences * length, width)
            return lambda: packed_scan(v, lam, [sequences] * length).abs().sum().backward()

        def doubling(length: int = length) -> Step:
            v, lam = _inputs(bench, sequences * length, width)
            return lambda: doubling_scan(v.view(sequences, length, -1), lam).abs().sum().backward()

        bench.timed(f"a step after the other, {what}", FLOAT32, packed)
        bench.timed(f"doubling, {what}", FLOAT32, doubling)


def _inputs(bench: Bench, positions: int, width: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    lam = torch.polar(torch.rand(width) * 0.9, torch.rand(width) * 6)
    v = torch.randn(positions, width, dtype=torch.complex64)
    return v.to(bench.device).requires_grad_(), lam.to(bench.device).requires_grad_()


# A million items


def million(bench: Bench) -> None:
    """A step of each loss, and a ranking, over a million items with features in memory."""
    items, width = (2_000, 16) if bench.quick else (1_000_000, 1024)
    torch.manual_seed(1)
    features = torch.randn(items + 1, width, device=bench.device)
    features[0] = 0
    for last in (16,) if bench.quick else (256, 1024):
        sizes = tuple(size for size in Shapes().sizes if size <= last)
        shapes = Shapes(items, width, sizes, dropout=0.1)
        batch = draw_batch(16 if bench.quick else 128, shapes)
        what = f"{items:,} items, d = {last}, {batch.positions} positions"
        for precision in (FLOAT32, TF32, BFLOAT16):
            low = precision == BFLOAT16

            def exact(low: bool = low, shapes: Shapes = shapes, batch: Batch = batch) -> Step:
                return our_step(build_ours(shapes).to(bench.device), features, batch, low)

            bench.timed(f"CE, {what}", precision, exact)
        for kind in ("uniform", "popularity", "in_batch"):

            def sampled(kind: str = kind, shapes: Shapes = shapes, batch: Batch = batch) -> Step:
                return sampled_step(build_ours(shapes).to(bench.device), features, batch, kind)

            bench.timed(f"sampled_{kind}, {what}", TF32, sampled)

        def ranking(shapes: Shapes = shapes) -> Step:
            return ranking_of(build_ours(shapes).to(bench.device), features)

        what = f"ranking of {RANKED:,} users over {items:,} items, d = {last}"
        bench.timed(what, TF32, ranking, "ranking")


RANKED = 512


def ranking_of(network: FMRLRecNetwork, features: Tensor) -> Step:
    """Mean ranks of some outputs' targets at all sizes."""
    with torch.no_grad():
        table = network.item_table(features)
    hidden = torch.randn(RANKED, network.width, device=features.device)
    targets = torch.randint(len(table) - 1, (RANKED,), device=features.device)
    return lambda: nested_mean_ranks(hidden, table[1:], targets, network.sizes)


def sampled_step(
    network: FMRLRecNetwork, features: Tensor, batch: Batch, kind: str, draws: int = 8192
) -> Step:
    """A step of a sampled loss, as the model takes it: only what is read or ranked is made."""
    device, (packing, ids, targets) = features.device, batch.packed()
    sampler = CandidateSampler(kind, draws, torch.ones(len(features) - 1))
    optimizer = adamw(Decaying(network), 1e-4, 0.01)

    def loss() -> Tensor:
        candidates = sampler.draw(targets - 1)
        wanted, place = torch.cat([ids, candidates.rows + 1]).unique(return_inverse=True)
        vectors = network.item_table(features, wanted)
        read, ranked = (
            send(part, device) for part in place.split([len(ids), len(candidates.rows)])
        )
        hidden = network.encode(functional.embedding(read, vectors), packing.to(device))
        items = functional.embedding(ranked, vectors)
        there = candidates.to(device), send(targets - 1, device)
        return sampled_cross_entropy(hidden, items, *there, network.sizes)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()

    return step
