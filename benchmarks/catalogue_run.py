"""One measurement of the catalogue benchmark: load, train some steps, rank a sample of users."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.catalogue_data import NAME
from recbole_fmrlrec.runs.result import peak_memory

#: Losses that are averaged at the start and at the end.
AVERAGED = 20
LEARNING_RATE = 0.001
#: MAX_ITEM_LIST_LENGTH: histories hold about ten interactions, hardly any more than twenty.
LENGTH = 20


@dataclass(frozen=True)
class Job:
    """What is measured; ``warm_up`` are steps before the clock starts."""

    folder: Path
    loss_type: str
    model: str
    sizes: tuple[int, ...]
    batch: int
    warm_up: int
    steps: int
    candidates: int
    ranked_users: int
    threads: int
    feature_memory_mb: int = 2048


def measure(job: Job) -> dict[str, Any]:
    """Run a job in this process; returns figures that JSON knows."""
    from recbole_fmrlrec import compat
    from recbole_fmrlrec.train.allocator import keep_freed_memory

    keep_freed_memory()
    compat.apply()
    torch.set_num_threads(job.threads)
    phases = {"data": Clock()}
    config, loaders, model = _load(job)
    phases["data"].stop()
    trained, phases["train"] = _train(job, config, loaders[0], model)
    phases["rank"] = Clock()
    quality = _rank(job, loaders[2], model)
    phases["rank"].stop()
    return {
        "loss_type": job.loss_type,
        **trained,
        "ranked_users_per_second": job.ranked_users / phases["rank"].seconds,
        "seconds": {name: clock.seconds for name, clock in phases.items()},
        "processor_seconds": {name: clock.processor_seconds for name, clock in phases.items()},
        "peak_memory_bytes": {name: clock.peak for name, clock in phases.items()},
        "ndcg@10": quality,
    }


class Clock:
    """Wall time and time on the processor of a phase, and the peak of memory at its end.

    On a busy machine the processor's time is the steadier figure.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter(), time.process_time()
        self.seconds = self.processor_seconds = 0.0
        self.peak = 0

    def stop(self) -> None:
        """Note what has passed since the beginning."""
        self.seconds = time.perf_counter() - self._started[0]
        self.processor_seconds = time.process_time() - self._started[1]
        self.peak = peak_memory()["process"]


def _load(job: Job) -> tuple[Any, Any, Any]:
    from recbole.utils import init_seed

    from recbole_fmrlrec.config.config import Config
    from recbole_fmrlrec.data.loaders import create_dataset, data_preparation

    keys = {
        "data_path": str(job.folder),
        "use_gpu": False,
        "sizes": list(job.sizes),
        "loss_type": job.loss_type,
        "num_sampled_items": job.candidates,
        "feature_memory_mb": job.feature_memory_mb,
        "train_batch_size": job.batch,
        "learning_rate": LEARNING_RATE,
        "dropout_prob": 0.1,
        "input_dropout_prob": 0.0,
        "MAX_ITEM_LIST_LENGTH": LENGTH,
    }
    config = Config(job.model, NAME, config_dict=keys)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    return config, loaders, config.model_class(config, loaders[0]._dataset)


def _train(job: Job, config: Any, loader: Any, model: Any) -> tuple[dict[str, Any], Clock]:
    from recbole_fmrlrec.data.windows import TARGETS
    from recbole_fmrlrec.train.optimization import adamw

    optimizer = adamw(model, LEARNING_RATE, config["weight_decay"])
    losses: list[float] = []
    positions, clock = 0, Clock()
    for step, batch in zip(count(1 - job.warm_up), _endless(loader)):
        if step > job.steps:
            break
        if step == 1:
            clock, positions = Clock(), 0
        positions += int((batch[TARGETS] > 0).sum())
        losses.append(_step(model, optimizer, batch))
    clock.stop()
    figures = {
        "steps": job.steps,
        "steps_per_second": job.steps / clock.seconds,
        "positions_per_second": positions / clock.seconds,
        "processor_seconds_per_step": clock.processor_seconds / job.steps,
        "first_loss": _mean(losses[:AVERAGED]),
        "last_loss": _mean(losses[-AVERAGED:]),
    }
    return figures, clock


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def _step(model: Any, optimizer: torch.optim.Optimizer, batch: Any) -> float:
    model.train()
    optimizer.zero_grad()
    loss = model.calculate_loss(batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    return float(loss.detach())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _rank(job: Job, loader: Any, model: Any) -> dict[str, float]:
    """NDCG@10 at every size on test rows of some users, all items ranked."""
    from recbole_fmrlrec.evaluation.ranking import rank_metrics

    rows = loader._dataset.inter_feat
    picked = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    model.eval()
    ranks: list[Tensor] = []
    for part in picked[: job.ranked_users].split(1024):
        batch = rows[part]
        ranks.append(model.full_sort_mean_ranks(batch, batch[model.ITEM_ID]))
    every = torch.cat(ranks, dim=1)
    return {
        str(size): rank_metrics(every[k], model.n_items - 1, ["NDCG"], [10], 6)["ndcg@10"]
        for k, size in enumerate(job.sizes)
    }
