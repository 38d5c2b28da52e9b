"""A trained model evaluated once more, on any of its loaders."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from recbole_fmrlrec.evaluation.list_record import KeepLists


def evaluate_again(config: Any, model: Any, loader: Any, keep: KeepLists | None = None) -> Any:
    """The trainer of a model after it has evaluated a loader's rows: it has ranks and lists.

    Args:
        config: of the training; its metrics are measured.
        keep: lists to be kept beside them.
    """
    from recbole_fmrlrec.train.tensorboard import tensorboard_in
    from recbole_fmrlrec.train.trainer import trainer_class

    with tempfile.TemporaryDirectory() as scratch:  # RecBole's trainers write when they are made
        config["checkpoint_dir"] = scratch
        tensorboard_in(Path(scratch))
        trainer = trainer_class(config)(config, model)
        trainer.keep_lists = keep
        shown = config["show_progress"]
        trainer.evaluate(loader, load_best_model=False, show_progress=shown)
        trainer.tensorboard.close()
    return trainer
