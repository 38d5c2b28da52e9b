"""An epoch of the published setting on data of Amazon Beauty's shape, and an evaluation of it.

This goes the way of a user's run: dataset, loaders, the model's own defaults (d = 1024, eight
sizes, batches of 32 windows) and the trainer's loop.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drawn import DRAWN, write_drawn
from benchmarks.epoch_worker import ready_trainer
from benchmarks.gpu_measuring import BFLOAT16, FLOAT32, TF32, Bench, Row
from recbole_fmrlrec.train.gpu import gpu_arithmetic

#: Users, items, and the fewest and the mean number of events of a user: 198,502 interactions.
SHAPES = {False: (22_363, 12_101, 5, 8.8763), True: (60, 40, 5, 8.88)}
FEATURES = {False: 1024, True: 8}


def epoch(bench: Bench) -> None:
    """The second epoch of a training in each precision, then an evaluation of all users."""
    with tempfile.TemporaryDirectory() as folder, _parts(bench, Path(folder)) as parts:
        trainer, train, valid = parts
        windows = f"{len(train.dataset):,} windows, {len(train)} steps"
        for precision, same in ((FLOAT32, True), (TF32, True), (BFLOAT16, True), (TF32, False)):
            trainer.enable_amp = precision == BFLOAT16
            what = f"an epoch, reproducibility: {same}: {windows}"
            with gpu_arithmetic(bench.device, same, precision == TF32):
                bench.row(what, precision, partial(_epoch, bench, parts, what, precision), "epoch")
        trainer.enable_amp = False
        users, sizes = int(valid.sample_size), len(trainer.model.sizes)
        what = f"an evaluation: {users:,} users, {sizes} sizes, both rankings"
        for precision in (FLOAT32, TF32):
            work = partial(_evaluation, bench, parts, what, precision)
            bench.row(what, precision, work, "evaluation")


def _epoch(bench: Bench, parts: Any, what: str, precision: str) -> Row:
    trainer, train, _ = parts
    trainer._train_epoch(train, 0)  # allocates
    bench.reset_peak()
    loss = trainer._train_epoch(train, 1) / len(train)
    seconds, note = trainer.history[-1]["train_seconds"], f"mean loss {loss:.4f}"
    return Row(what, precision, seconds, "epoch", bench.peak(), note)


def _evaluation(bench: Bench, parts: Any, what: str, precision: str) -> Row:
    trainer, _, valid = parts
    trainer.evaluate(valid, load_best_model=False)
    bench.reset_peak()
    bench.wait()
    started = time.perf_counter()
    trainer.evaluate(valid, load_best_model=False)
    seconds = time.perf_counter() - started
    return Row(what, precision, seconds, "evaluation", bench.peak())


@contextmanager
def _parts(bench: Bench, folder: Path) -> Iterator[tuple[Any, Any, Any]]:
    """The trainer of a model on generated data, and its loaders of training and validation."""
    from recbole_fmrlrec import compat

    compat.apply()
    from recbole_fmrlrec.config.config import Config
    from recbole_fmrlrec.train.tensorboard import tensorboard_in

    logging.disable(logging.WARNING)
    write_drawn(folder, *SHAPES[bench.quick])
    _write_features(folder / DRAWN / "features", SHAPES[bench.quick][1], FEATURES[bench.quick])
    keys: dict[str, Any] = {"data_path": str(folder), "checkpoint_dir": str(folder / "saved")}
    keys |= {"use_gpu": bench.device.type == "cuda", "show_progress": False}
    if bench.quick:
        keys["sizes"] = [4, 8]
    config = Config("fMRLRec", DRAWN, config_dict=keys)
    tensorboard_in(folder)
    yield ready_trainer(config)
    logging.disable(logging.NOTSET)


def _write_features(folder: Path, items: int, width: int) -> None:
    """Random features of two modalities."""
    from dataset_tools.features import write_features

    random, tokens = np.random.default_rng(0), [f"i{item}" for item in range(items)]
    folder.mkdir()
    for modality in ("text", "image"):
        matrix = random.standard_normal((items, width), dtype=np.float32)
        write_features(folder, modality, matrix, tokens, {"encoder": "generated"})
