"""Trainings in several stages: the next one goes on from the best weights of the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_fmrlrec.console import say
from recbole_fmrlrec.files.checkpoint import load_checkpoint, load_model_state
from recbole_fmrlrec.model_api.protocols import StagedModel


class StageIsOver(Exception):
    """A stage has had all its epochs; RecBole's loop has no other way out of it."""


class StagedTraining:
    """Mixin before a trainer of RecBole: the stages of a `StagedModel`.

    Whether a stage is over follows from what a checkpoint holds, so a run that ended between two
    stages begins the next one.
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
        """Whether a stage is over that another one follows, and epochs are left for it."""
        if not isinstance(self.model, StagedModel) or not self.history:
            return False
        done, last = self.history[-1]["epoch"] + 1, self.model.last_epoch_of_stage
        over = self.cur_step > self.stopping_step or (last is not None and done >= last)
        return over and done < self._epochs_of_stage() and self.model.stage + 1 < self.model.stages

    def _begin_next_stage(self, saved: bool) -> None:
        """Go on from the best weights; from the present ones where none were validated and kept."""
        if saved and any("valid" in epoch for epoch in self.history):
            load_model_state(self.model, load_checkpoint(Path(self.saved_model_file), self.device))
        self.model.stage += 1
        self.cur_step = 0
        self.start_epoch = self.history[-1]["epoch"] + 1
        stage = f"stage {self.model.stage + 1} of {self.model.stages}"
        say(f"{stage} begins with epoch {self.start_epoch + 1}")
