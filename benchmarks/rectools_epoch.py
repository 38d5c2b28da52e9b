"""A worker that trains RecTools' SASRec: run by a Python of its own, which knows nothing of ours.

PYTHON -m benchmarks.rectools_epoch INTER_FILE WIDTH LENGTH THREADS
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from benchmarks.epoch_worker import PREFIX

BATCH = 128


def training_part(file: str) -> Any:
    """Interactions but the last two of each user, as RecTools names the columns."""
    import pandas as pd

    rows = pd.read_csv(file, sep="\t")
    rows.columns = [name.partition(":")[0] for name in rows.columns]
    rows = rows.sort_values(["user_id", "timestamp"], kind="stable")
    left = rows.groupby("user_id").cumcount(ascending=False)
    rows = rows[left >= 2].assign(weight=1.0)
    return rows.assign(datetime=pd.to_datetime(rows["timestamp"], unit="s"))


def main(words: list[str]) -> int:
    """Train an epoch, a batch for every line on standard input."""
    import torch
    from pytorch_lightning import Callback, Trainer
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    class Turns(Callback):
        """Reports each batch, then waits for the next line."""

        def on_train_start(self, trainer: Any, *_: Any) -> None:
            print(f"{PREFIX}[{trainer.num_training_batches}]", flush=True)
            self._wait()

        def on_train_batch_end(self, *_: Any) -> None:
            took = [time.perf_counter() - self.wall, time.process_time() - self.cpu]
            print(f"{PREFIX}{json.dumps(took)}", flush=True)
            self._wait()

        def _wait(self) -> None:
            if not sys.stdin.readline():
                sys.exit(0)
            self.wall, self.cpu = time.perf_counter(), time.process_time()

    file, width, length, threads = words[0], *map(int, words[1:])
    torch.set_num_threads(threads)
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    silent |= {"enable_model_summary": False}
    model = SASRecModel(
        n_factors=width,
        n_blocks=2,
        n_heads=2,
        session_max_len=length,
        loss="softmax",
        batch_size=BATCH,
        get_trainer_func=lambda: Trainer(
            max_epochs=1000, accelerator="cpu", callbacks=[Turns()], **silent
        ),
    )
    columns = ["user_id", "item_id", "weight", "datetime"]
    model.fit(Dataset.construct(training_part(file)[columns]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
