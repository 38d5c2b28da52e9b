"""Processes that train one batch whenever they are told to, so that models take turns.

A worker is a command that calls `serve`; the benchmark starts it by `Worker`. What passes between
them are lines on standard input and output.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

from benchmarks.memory import own_peak_bytes

PREFIX = "benchmark: "


class WorkerError(Exception):
    """A process could not train its model."""


class Worker:
    """A process that trains one batch whenever it is told to.

    Args:
        name: of the model, for messages.
        command: words of the process; it calls `serve`.

    Attributes:
        per_epoch: batches of an epoch.
        last: seconds of CPU of the last batch.
        peak: bytes, the largest resident memory of the process so far; 0 where it says none.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name, self.last, self.per_epoch, self.peak = name, 0.0, 0, 0
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Worker:
        self.per_epoch = int(self._read()[0])
        self.batch()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> list[float]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(PREFIX):
                return [float(word) for word in json.loads(line.removeprefix(PREFIX))]
        raise WorkerError(f"{self.name}: the process ended with {self.process.wait()}")

    def batch(self) -> tuple[float, float]:
        """Train one batch; its seconds by the wall and of CPU."""
        assert self.process.stdin is not None
        try:
            print("next", file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise WorkerError(f"{self.name}: the process ended") from None
        wall, self.last, *peak = self._read()
        self.peak = int(peak[0]) if peak else 0
        return wall, self.last

    def figures(self, times: Sequence[tuple[float, float]]) -> dict[str, float]:
        """Median seconds of a batch, and scaled to the epoch."""
        wall, cpu = (median(column) for column in zip(*times, strict=True))
        return {
            "batches": self.per_epoch,
            "batch_cpu": cpu,
            "batch_wall": wall,
            "epoch_cpu": cpu * self.per_epoch,
            "epoch_wall": wall * self.per_epoch,
        }


def serve(batches: int, train_one: Callable[[], Any]) -> None:
    """The worker's side: train a batch for every line on standard input.

    Args:
        batches: of an epoch.
        train_one: trains the next one.
    """
    print(f"{PREFIX}[{batches}]", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        train_one()
        took = [time.perf_counter() - wall, time.process_time() - cpu]
        if sys.platform == "linux":
            took.append(own_peak_bytes())
        print(f"{PREFIX}{json.dumps(took)}", flush=True)


class NextBatch:
    """A loader of one batch, another one each time: its trainer takes that for an epoch."""

    def __init__(self, loader: Any) -> None:
        self.batches = self._endless(loader)

    @staticmethod
    def _endless(loader: Any) -> Iterator[Any]:
        while True:
            yield from loader

    def __iter__(self) -> Iterator[Any]:
        yield next(self.batches)

    def __len__(self) -> int:
        return 1


def serve_batches(trainer: Any, loader: Any) -> None:
    """`serve` a trainer of RecBole's kind: a batch of its loader, another one each time."""
    batches = NextBatch(loader)
    serve(len(loader), lambda: trainer._train_epoch(batches, 0))


def begin_worker(threads: int, keep_memory: bool = True) -> None:
    """Make RecBole ready in this process, with so many threads of torch and no log lines.

    Args:
        keep_memory: hold on to freed memory, as a run does.
    """
    if keep_memory:  # before torch is imported
        from recbole_fmrlrec.train.allocator import keep_freed_memory

        keep_freed_memory()
    from recbole_fmrlrec import compat

    compat.apply()
    import torch

    logging.disable(logging.WARNING)
    torch.set_num_threads(threads)


def ready_trainer(config: Any) -> tuple[Any, Any, Any]:
    """Trainer, and loaders of training and validation, of a training before its first step.

    Args:
        config: our Config.
    """
    from recbole.utils import init_seed

    from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
    from recbole_fmrlrec.train.trainer import trainer_class

    init_seed(config["seed"], config["reproducibility"])
    train, valid, _ = data_preparation(config, create_dataset(config))
    model = config.model_class(config, train._dataset).to(config["device"])
    trainer = trainer_class(config)(config, model)
    trainer._start_schedule(trainer.epochs * len(train))
    return trainer, train, valid


def shipped_trainer(model: str, dataset: str, data_path: str) -> tuple[Any, Any]:
    """The trainer and the training loader of a model of RecBole's that reads ids, as shipped.

    Only what RecBole cannot run without on current libraries is mended.
    """
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.data.transform import MaskItemSequence
    from recbole.trainer import Trainer
    from recbole.utils import get_model, init_seed

    torch.autograd.set_detect_anomaly(True)
    keys: dict[str, Any] = {"data_path": data_path, "train_neg_sample_args": None}
    keys |= {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "use_gpu": False}
    keys["eval_args"] = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}
    sys.argv = sys.argv[:1]  # RecBole reads the command line
    config = Config(model, dataset, config_dict=keys)
    init_seed(config["seed"], config["reproducibility"])
    kind = get_model(model)
    for owner, name in ((kind, "calculate_loss"), (MaskItemSequence, "__call__")):
        method = getattr(owner, name)
        setattr(owner, name, getattr(method, "__wrapped__", method))
    train, *_ = data_preparation(config, create_dataset(config))
    return Trainer(config, kind(config, train.dataset)), train
