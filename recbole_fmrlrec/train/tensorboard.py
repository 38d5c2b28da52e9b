"""TensorBoard's scalars of a run: epochs from 1, and a full disk ends nothing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import recbole.trainer.trainer as recbole_trainer
from torch.utils.tensorboard import SummaryWriter

from recbole_fmrlrec import torchrun


class Scalars(SummaryWriter):
    """A writer whose steps are epochs, which RecBole counts from 0.

    Its thread writes when it likes; what the disk does not take then is lost, with a warning, as
    the curves are a convenience and the run has its own record.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))

    def add_scalar(
        self, tag: Any, scalar_value: Any, global_step: Any = None, *words: Any, **keys: Any
    ) -> None:
        """Add a value of an epoch."""
        step = None if global_step is None else global_step + 1
        super().add_scalar(tag, scalar_value, step, *words, **keys)

    def _get_file_writer(self) -> Any:
        is_new = self.file_writer is None
        writer = super()._get_file_writer()
        event_writer = getattr(writer, "event_writer", None)
        file = getattr(event_writer, "_general_file_writer", None)
        if is_new and file is not None:
            _lose_what_does_not_fit(file)
        return writer


class _NoScalars:
    """What a process that writes nothing has instead."""

    def add_scalar(self, *words: Any, **keys: Any) -> None:
        """Nothing."""

    def add_hparams(self, *words: Any, **keys: Any) -> None:
        """Nothing."""


def tensorboard_in(folder: Path) -> None:
    """Let RecBole's trainers write their scalars into the run's folder, not the working folder."""
    recbole_trainer.get_tensorboard = lambda logger: (
        Scalars(folder / "tensorboard") if torchrun.is_first() else _NoScalars()
    )


def _lose_what_does_not_fit(file: Any) -> None:
    write = file.write
    said: list[OSError] = []

    def careful(content: Any) -> None:
        try:
            write(content)
        except OSError as error:
            if not said:
                said.append(error)
                logging.getLogger().warning("TensorBoard's scalars are cut off: %s", error)

    file.write = careful
