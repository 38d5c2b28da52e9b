"""Trainings in several stages, each of which ends when validation has stopped it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_fmrlrec.console import say
from recbole_fmrlrec.files.checkpoint import load_checkpoint, load_model_state
from recbole_fmrlrec.model_api.protocols import StagedModel


class StagedTraining:
    """Mixin before a trainer of RecBole: the stages of a `StagedModel`.

    A checkpoint holds the stage among the attributes of the model, and the counter of validations
    without a better value: a run that ended between two stages begins the next one.
    """

    model: Any
    device: Any
    saved_model_file: str
    history: list[dict[str, Any]]
    start_epoch: int
    cur_step: int
    stopping_step: int

    def _epochs_of_stage(self) -> int:
        raise NotImplementedError

    def _stage_follows(self) -> bool:
        """Whether validation has stopped a stage that another one follows, and epochs are left."""
        if not isinstance(self.model, StagedModel) or not self.history:
            return False
        stopped = self.cur_step > self.stopping_step
        left = self.history[-1]["epoch"] + 1 < self._epochs_of_stage()
        return stopped and left and self.model.stage + 1 < self.model.stages

    def _begin_next_stage(self, saved: bool) -> None:
        """Go on from the best weights; from the present ones where no checkpoint is written."""
        if saved:
            load_model_state(self.model, load_checkpoint(Path(self.saved_model_file), self.device))
        self.model.stage += 1
        self.cur_step = 0
        self.start_epoch = self.history[-1]["epoch"] + 1
        stage = f"stage {self.model.stage + 1} of {self.model.stages}"
        say(f"{stage} begins with epoch {self.start_epoch + 1}")
