"""The measurements of `benchmarks fits`, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding

from benchmarks.fits_formulas import Case
from benchmarks.memory import own_peak_bytes
from recbole_fmrlrec.data.mapped_features import MappedFeatures, MappedModality
from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.deploy.description import Description
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.evaluation.ranking import nested_mean_ranks
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.nn.packing import Packing
from recbole_fmrlrec.nn.sampled_loss import CandidateSampler, sampled_cross_entropy
from recbole_fmrlrec.train.optimization import adamw

LENGTH, REQUESTS, BLOCK = 10, 20, 100_000


class _Decaying:
    """What `adamw` asks of a model."""

    def __init__(self, network: FMRLRecNetwork) -> None:
        self.parameters = network.parameters

    def no_decay_parameters(self) -> list[Tensor]:
        return [parameter for parameter in self.parameters() if parameter.ndim < 2]


def measure(phase: str, case: Case, folder: Path, steps: int, users: int) -> dict[str, Any]:
    """Run a phase in this process.

    Returns:
        Peak bytes with so few items that they hardly count, and bytes beyond them with all; CPU
        seconds until work can begin, and of each unit of it.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    PHASES[phase](case.least(), folder, 1, users)[0]()  # what is allocated whatever N is
    before, begun = own_peak_bytes(), time.process_time()
    work, units, name = PHASES[phase](case, folder, steps, users)
    begin_seconds, started = time.process_time() - begun, time.process_time()
    work()
    seconds = (time.process_time() - started) / units
    return {
        "fixed_bytes": before,
        "bytes": own_peak_bytes() - before,
        "begin_seconds": begin_seconds,
        "seconds": seconds,
        "of": name,
    }


Work = tuple[Callable[[], None], int, str]


def _train(case: Case, network: FMRLRecNetwork, features: Any, steps: int) -> Work:
    """Steps of training with a sampled softmax; the first one has allocated everything."""
    optimizer = adamw(_Decaying(network), 1e-3, 0.01)
    sampler = CandidateSampler("uniform", case.candidates, torch.ones(case.items))
    lengths = torch.full((case.windows,), LENGTH)
    packing = Packing.from_lengths(lengths, LENGTH)

    def step() -> None:
        items, targets = torch.randint(case.items, (2, case.windows * LENGTH))
        candidates = sampler.draw(targets)
        optimizer.zero_grad()
        # As the model does it: what is read and what is ranked together, each item once.
        wanted, place = torch.cat([items, candidates.rows]).unique(return_inverse=True)
        vectors = network.item_table(features, wanted + 1)
        hidden = network.encode(embedding(place[: len(items)], vectors), packing)
        table = embedding(place[len(items) :], vectors)
        sampled_cross_entropy(hidden, table, candidates, targets, network.sizes).backward()
        optimizer.step()

    def work() -> None:
        for _ in range(steps):
            step()

    step()
    return work, steps, "step"


def _train_ids(case: Case, folder: Path, steps: int, users: int) -> Work:
    network = FMRLRecNetwork(case.sizes, 0, num_id_items=case.items + 1)
    return _train(case, network, None, steps)


def _train_features(case: Case, folder: Path, steps: int, users: int) -> Work:
    shape, generator = (case.items, case.features), np.random.default_rng(0)
    written = np.lib.format.open_memmap(folder / "f.npy", "w+", dtype=np.float16, shape=shape)
    for at in range(0, case.items, BLOCK):
        rows = written[at : at + BLOCK]
        rows[:] = generator.standard_normal(rows.shape, dtype=np.float32)
    written.flush()
    del written, rows
    matrix = np.load(folder / "f.npy", mmap_mode="r")
    features = MappedFeatures([MappedModality.open(matrix, np.arange(case.items))])
    return _train(case, FMRLRecNetwork(case.sizes, case.features), features, steps)


def _rank(case: Case, folder: Path, steps: int, users: int) -> Work:
    table = torch.randn(case.items + 1, case.width)
    hidden, targets = torch.randn(users, case.width), torch.randint(case.items, (users,))

    def work() -> None:
        nested_mean_ranks(hidden, table[1:], targets, case.sizes)

    return work, users, "user"


def _serve(case: Case, folder: Path, steps: int, users: int) -> Work:
    """Write a model in another process, load it here, and ask for single users."""
    from multiprocessing import get_context

    writer = get_context("spawn").Process(target=_export, args=(case, folder))
    writer.start()
    writer.join()
    recommender = Recommender.load(folder / "model")
    history = [str(item) for item in range(LENGTH)]
    recommender.recommend(history)

    def work() -> None:
        for _ in range(REQUESTS):
            recommender.recommend(history)

    return work, REQUESTS, "request"


def _export(case: Case, folder: Path) -> None:
    network = FMRLRecNetwork(case.sizes, 0, num_id_items=1).eval().requires_grad_(False)
    about = Description(
        model="fMRLRecID",
        size=case.width,
        sizes=case.sizes,
        trained_sizes=case.sizes,
        num_blocks=1,
        modalities=(),
        feature_scale=1.0,
        uses_ids=True,
        start_trained=False,
        max_history=50,
        dataset="random",
        num_items=case.items,
        trained_items=case.items,
        table_dtype="float32",
    )
    ids, vectors = [str(row) for row in range(case.items)], torch.randn(case.items + 1, case.width)
    Recommender(about, network, ItemTable(ids, [None] * case.items, vectors)).save(folder / "model")


PHASES: dict[str, Callable[[Case, Path, int, int], Work]] = {
    "train ids": _train_ids,
    "train features": _train_features,
    "rank": _rank,
    "serve": _serve,
}
