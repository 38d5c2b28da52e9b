"""A trained model evaluated once more, on any of its loaders."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.evaluation.list_record import TEST_LISTS, KeepLists
from recbole_fmrlrec.runs.folder import BEST


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


def make_lists(config: Any, folder: Path, keep: KeepLists) -> None:
    """Write ``test_lists.npz`` into the folder of a run whose test kept none, or shorter ones.

    Raises:
        RunError: its checkpoint is damaged, or there is none.
    """
    from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
    from recbole_fmrlrec.files.checkpoint import load_checkpoint
    from recbole_fmrlrec.train.restore import saved_model

    checkpoint = folder / BEST
    if not checkpoint.is_file():  # a trainer of RecBole's own, whose files are pickles
        raise RunError(
            f"{folder}: this model's trainer keeps no checkpoint that lists could be made with; "
            "--redo trains it again, and the test then keeps them"
        )
    loaders = data_preparation(config, create_dataset(config))
    state = load_checkpoint(checkpoint, config["device"])
    model = saved_model(checkpoint, config, state, loaders[0])
    evaluate_again(config, model, loaders[2], keep).lists.save(folder / TEST_LISTS)
