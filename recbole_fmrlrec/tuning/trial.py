"""One trial is one run that never reads the test data; the best one is tested at the end."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from tqdm import tqdm

from recbole_fmrlrec.errors import RunError, plain_errors
from recbole_fmrlrec.files.process import this_process
from recbole_fmrlrec.runs.folder import CONFIG, LAST, RunFolder
from recbole_fmrlrec.runs.lock import Lock
from recbole_fmrlrec.runs.recovery import remove_damaged
from recbole_fmrlrec.runs.result import RunResult
from recbole_fmrlrec.tuning.beats import beating
from recbole_fmrlrec.tuning.plan import Plan
from recbole_fmrlrec.tuning.sampler import SlotSampler
from recbole_fmrlrec.tuning.study import begun_first, best_among, numbered, outcomes


@dataclass
class Objective:
    """What Optuna calls with a trial: trains, reports each validation, returns the best.

    Attributes:
        command: names the command that this worker belongs to.
        worker: number of the worker, the row of its progress bar.
        beats: whether trials show that they live; where the storage does not do it.
        number: Optuna's number of the trial that was begun last.
    """

    plan: Plan
    study: optuna.Study
    command: str
    worker: int = 0
    debug: bool = False
    beats: bool = False
    number: int | None = None

    def __call__(self, trial: Trial) -> float:
        """Run a trial.

        Raises:
            TrialPruned: its curve is worse than those of others.
            RunError: it is beyond the budget (another worker was faster), or has no score.
        """
        sampler = self.study.sampler
        assert isinstance(sampler, SlotSampler)  # set with the study; it found the slot
        self.number, slot = trial.number, sampler.slot
        trial.set_user_attr("place", slot)
        first = begun_first(numbered(self.study, trial.number))
        if self.plan.trials is not None and slot >= self.plan.trials and first:
            trial.set_user_attr("surplus", True)
            raise RunError("beyond the budget")
        try:
            # First of all a beat: whatever has an owner has beaten.
            with beating(trial) if self.beats else contextlib.nullcontext():
                trial.set_user_attr("owner", {**this_process(), "command": self.command})
                return self._value(trial, slot)
        except (TrialPruned, UpdateFinishedTrialError):
            raise
        except Exception as error:
            trial.set_user_attr("error", _one_line(error))
            raise

    def _value(self, trial: Trial, slot: int) -> float:
        chosen = self.plan.space.suggest(trial)
        twin = self._twin(trial, slot)
        return self._copy(trial, twin) if twin else self._train(trial, slot, chosen)

    def _twin(self, trial: Trial, slot: int) -> tuple[int, FrozenTrial] | None:
        """A finished trial of the same values: training it again would give the same value."""
        for other, found in outcomes(self.study).items():
            alike = found.state == TrialState.COMPLETE and found.params == trial.params
            if alike and other != slot:
                return other, found
        return None

    def _copy(self, trial: Trial, twin: tuple[int, FrozenTrial]) -> float:
        slot, found = twin
        trial.set_user_attr("copy_of", found.user_attrs.get("copy_of", slot))
        return float(found.values[0])

    def _train(self, trial: Trial, slot: int, chosen: dict[str, Any]) -> float:
        stream, before = sys.stderr, float(trial.user_attrs.get("seconds", 0.0))
        started = time.monotonic()
        epochs = int(chosen.get("epochs", self.plan.epochs))
        shown = {"disable": not stream.isatty(), "position": self.worker, "leave": False}
        with tqdm(total=epochs, desc=f"trial {slot}", unit="epoch", file=stream, **shown) as bar:

            def after_validation(epoch: int, score: float) -> None:
                trial.report(float(score), epoch)
                trial.set_user_attr("seconds", before + time.monotonic() - started)
                bar.set_postfix_str(f"{self.plan.metric} {score:.4f}", refresh=False)
                bar.update(epoch + 1 - bar.n)
                if trial.should_prune():
                    raise TrialPruned

            remove_damaged_files(self.plan, slot)
            with quiet(not self.debug):
                result = run_slot(self.plan, slot, chosen, False, after_validation)
        trial.set_user_attr("seconds", before + time.monotonic() - started)
        trial.set_user_attr("run_dir", str(result.run_dir))
        trial.set_user_attr("epochs", result.epochs_run)
        if result.best_valid_score is None:
            raise RunError("the run ended without a validation score")
        return result.best_valid_score


def remove_damaged_files(plan: Plan, slot: int) -> None:
    """Remove damaged files of a trial's runs, and say so on standard error."""
    for folder in sorted(plan.run_root(slot).glob("*/")):
        if Lock(folder / "run").is_held():
            continue  # its files are another's still
        for warning in remove_damaged(folder):
            tqdm.write(f"warning: trial {slot}: {warning}", file=sys.stderr)


def run_slot(
    plan: Plan,
    slot: int,
    chosen: dict[str, Any],
    test: bool,
    after_validation: Callable[[int, float], None] | None = None,
) -> RunResult:
    """The run of a slot: begun in a folder of its own, or continued there after a kill."""
    from recbole_fmrlrec.train.run import run_when_free

    root = plan.run_root(slot)
    settings = {**plan.settings, **chosen, "checkpoint_dir": str(root)}
    _restore_config(plan, root, settings)
    try:
        return run_when_free(
            plan.model,
            plan.dataset,
            config_dict=settings,
            resume=root.is_dir(),
            test=test,
            after_validation=after_validation,
        )
    finally:
        gc.collect()  # a model and its trainer know one another; the next trial needs the memory


def _restore_config(plan: Plan, root: Path, settings: dict[str, Any]) -> None:
    """Write the configuration of a run whose own was damaged, so that it can be continued."""
    lost = [file.parent for file in root.glob(f"*/{LAST}")]
    for folder in lost:
        if not (folder / CONFIG).is_file():
            from recbole_fmrlrec.config.config import Config

            config = Config(plan.model, plan.dataset, config_dict=settings)
            RunFolder.at(folder, config).begin(config)


def drop_checkpoints(plan: Plan, study: optuna.Study) -> tuple[int, FrozenTrial] | None:
    """Remove checkpoints of finished trials that are not the best; their logs stay.

    Returns:
        Slot and trial of the best.
    """
    trials = outcomes(study)  # once: another worker's trial may become the best meanwhile
    best = best_among(trials, plan.maximize)
    kept = best[0] if best else None
    for slot, trial in trials.items():
        if slot != kept and trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            for file in plan.run_root(slot).glob("*/*.pth"):
                file.unlink(missing_ok=True)
    return best


@contextlib.contextmanager
def quiet(wanted: bool) -> Iterator[None]:
    """Leave a run's log to its ``run.log``: several workers would write through one another."""
    if not wanted:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def _one_line(error: Exception) -> str:
    text = str(error) if isinstance(error, plain_errors()) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:500]
