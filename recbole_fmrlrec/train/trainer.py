"""RecBole's Trainer with a learning rate schedule, every nested size, and exact resume.

It also trains RecBole's own models: it adds files and hooks around RecBole's `fit`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from recbole.trainer import Trainer as RecBoleTrainer
from recbole.trainer.trainer import DecisionTreeTrainer, TraditionalTrainer
from recbole.utils import ModelType, get_trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from recbole_fmrlrec.config.typed import typed
from recbole_fmrlrec.console import say
from recbole_fmrlrec.data.trimming import encode_by_length
from recbole_fmrlrec.evaluation.dealing import shared
from recbole_fmrlrec.evaluation.protocol import masked_name, plain_name
from recbole_fmrlrec.evaluation.trainer_mixin import RankEvaluation, serves_ranks
from recbole_fmrlrec.files.checkpoint import load_model_state
from recbole_fmrlrec.model_api.protocols import NestedModel, SparesDecay, WindowModel
from recbole_fmrlrec.nn.devices import emulates
from recbole_fmrlrec.nn.random_state import random_state, set_random_state
from recbole_fmrlrec.runs.folder import BEST
from recbole_fmrlrec.torchrun import any_of
from recbole_fmrlrec.train.distributed import SharedTraining
from recbole_fmrlrec.train.epoch_lines import EpochLines
from recbole_fmrlrec.train.late_loss import LateLoss
from recbole_fmrlrec.train.optimization import adamw, learning_rate_factor, set_beta2
from recbole_fmrlrec.train.resume import Metrics, ResumableTraining
from recbole_fmrlrec.train.stages import StagedTraining, StageIsOver
from recbole_fmrlrec.train.typed_settings import TrainerSettings

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config


class _TimeIsUp(Exception):
    """The epochs have used ``max_minutes``."""


class Trainer(
    EpochLines,
    RankEvaluation,
    SharedTraining,
    LateLoss,
    ResumableTraining,
    StagedTraining,
    RecBoleTrainer,
):
    """Train, validate, stop early, checkpoint, resume.

    Args:
        config: our Config.
        model: one of our models, or any that RecBole's own Trainer serves.
        run_dir: folder of ``best.pth`` and ``last.pth``; ``checkpoint_dir`` when None.

    Attributes:
        history: a record per epoch: number (from 0), loss, seconds, learning rate, validation.
        by_size: metrics of the last evaluation by nested size; None for other models.
        ranks, masked_ranks: ranks of its targets, see `RankEvaluation`.
    """

    def __init__(self, config: Config, model: Any, run_dir: Path | None = None) -> None:
        super().__init__(config, model)
        if config["mask_history"]:
            self.valid_metric = masked_name(self.valid_metric)
        self.settings = typed(TrainerSettings, config)
        if self.settings.trim_batches and not isinstance(model, WindowModel):
            encode_by_length(model)
        low = self.settings.low_dtype
        if self.enable_amp and self.device.type == "cpu" and emulates(low):
            self.logger.warning(
                "enable_amp: True: this CPU only emulates %s, which can take a hundred times as "
                "long as float32; enable_amp: False is the faster one here",
                str(low).removeprefix("torch."),
            )
        if config["MODEL_TYPE"] == ModelType.TRADITIONAL:
            self.epochs = 1  # counting and matrix algebra: nothing changes in a second epoch
        self.run_dir = Path(run_dir or self.settings.checkpoint_dir)
        self.saved_model_file = str(self.run_dir / BEST)
        self.history = []
        self.begun = time.time()

    @property
    def finished(self) -> bool:
        """Whether training has reached its last epoch, was stopped early, or has used its time."""
        if self._time_is_up() or self.start_epoch >= self._epochs_of_stage():
            return True
        return self.cur_step > self.stopping_step and not self._stage_follows()

    def _epochs_of_stage(self) -> int:
        """Epochs of the training, or of the pretraining where the model is at that stage."""
        if "pretrain" in str(getattr(self.model, "train_stage", "")):
            assert self.settings.pretrain_epochs is not None
            return self.settings.pretrain_epochs
        return int(self.epochs)

    def _time_is_up(self) -> bool:
        """Whether the epochs so far, those before a resume included, took ``max_minutes``."""
        limit = self.settings.max_minutes
        spent = sum(e["train_seconds"] + e.get("valid_seconds", 0.0) for e in self.history)
        return limit is not None and any_of(spent >= 60 * limit, self.device)

    # Optimiser and schedule

    def _build_optimizer(self, **kwargs: Any) -> Optimizer:
        optimizer: Optimizer
        if kwargs or self.learner.lower() != "adamw" or not isinstance(self.model, SparesDecay):
            optimizer = super()._build_optimizer(**kwargs)
        else:
            optimizer = adamw(self.model, self.learning_rate, self.weight_decay)
        beta2 = typed(TrainerSettings, self.config).adam_beta2  # RecBole asks before it is kept
        if beta2 is not None:
            set_beta2(optimizer, beta2)
        return optimizer

    def _start_schedule(self, steps: int) -> None:
        factor = learning_rate_factor(
            self.settings.lr_scheduler,
            self.settings.warmup_steps,
            steps,
            self.settings.lr_min_ratio,
        )
        self.scheduler = LambdaLR(self.optimizer, factor)
        # RecBole's epoch has no hook for a batch: the optimiser's own hook moves the schedule.
        scheduler = self.scheduler
        self.optimizer.register_step_post_hook(lambda *_: scheduler.step())

    # Training

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> tuple[float, Metrics | None]:
        """RecBole's `fit`, from the last checkpoint where `resume` has read one.

        Returns:
            Best validation score and the metrics that belong to it.
        """
        self._loaders = train_data, valid_data
        self._share_training(train_data)
        self._start_schedule(max(1, self.epochs * len(train_data)))
        self._plain_state = self._find_plain_state()
        if self._resumed is not None:
            self._resume_from(self._resumed)
        if self.finished:
            self.eval_collector.data_collect(train_data)
            return self.best_valid_score, self.best_valid_result

        def after_validation(epoch: int, score: float) -> None:
            if saved:
                self._save_last(epoch)
            if callback_fn is not None:
                callback_fn(epoch, score)
            if self._time_is_up():
                raise _TimeIsUp

        options = verbose, saved, show_progress, after_validation
        while True:
            if self._stage_follows():
                self._begin_next_stage(saved)
            try:
                result: tuple[float, Metrics | None] = super().fit(train_data, valid_data, *options)
            except StageIsOver:
                continue
            except _TimeIsUp:  # RecBole's loop has no other way out of it
                say(f"stopped: max_minutes: {self.settings.max_minutes} is reached")
                return self.best_valid_score, self.best_valid_result
            if not self._stage_follows():
                return result

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        if self._stage_follows():
            raise StageIsOver
        started = time.perf_counter()
        # RecBole's special trainers have loops of their own.
        is_late = self.device.type != "cpu" and type(self) is Trainer
        if is_late:
            loss_func = self.late(loss_func or self.model.calculate_loss)
        with torch.autocast(
            self.device.type, dtype=self.settings.low_dtype, enabled=bool(self.enable_amp)
        ):
            loss = super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)
        loss = self.read_late(loss) if is_late else loss
        loss = self._loss_of_all(loss)
        total = float(sum(loss)) if isinstance(loss, tuple) else float(loss)
        self.history.append(
            {
                "epoch": epoch_idx,
                "train_loss": total / max(1, len(train_data)),
                "train_seconds": time.perf_counter() - started,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
            }
        )
        return loss

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, Metrics]:
        started = time.perf_counter()
        score, result = super()._valid_epoch(valid_data, show_progress)
        self.history[-1] |= {"valid": dict(result), "valid_seconds": time.perf_counter() - started}
        if self.by_size is not None:
            self.history[-1]["valid_by_size"] = dict(self.by_size)
        plain = plain_name(self.valid_metric)
        for name in {plain, masked_name(plain)} & result.keys():
            self.tensorboard.add_scalar(f"valid/{name}", result[name], self.history[-1]["epoch"])
        return score, result

    # Evaluation

    @torch.no_grad()
    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> Metrics | None:
        """Metrics on ``eval_data``; for a nested model `by_size` then holds those of each size.

        Args:
            eval_data: a RecBole evaluation loader.
            load_best_model: load ``best.pth`` (or ``model_file``) first.
            model_file: another checkpoint of ours.
            show_progress: show a progress bar.

        Returns:
            Metrics, for a nested model at its largest size; None without data.
        """
        self.ranks = self.masked_ranks = self.lists = None
        if not eval_data:
            return None
        if load_best_model:
            load_model_state(self.model, self._best(model_file))
        self.model.eval()
        self.by_size = None
        by_ranks = serves_ranks(self.config, eval_data)

        def found() -> list[Metrics]:
            if not isinstance(self.model, NestedModel):
                return [self._recbole_metrics(eval_data, show_progress)]
            at_sizes = self._rank_metrics if by_ranks else self._metrics_at_each_size
            return at_sizes(eval_data, show_progress)

        metrics = shared(eval_data, self._can_deal(eval_data), found)
        if isinstance(self.model, NestedModel):
            self.by_size = dict(zip(self.model.sizes, metrics, strict=True))
        return metrics[-1]

    def _recbole_metrics(self, eval_data: Any, show_progress: bool) -> Metrics:
        result = super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)
        return {name: float(value) for name, value in result.items()}

    def _rank_metrics(self, eval_data: Any, show_progress: bool) -> list[Metrics]:
        """All sizes in one pass over the users."""
        collector = self._rank_collector(eval_data, len(self.model.sizes))
        for interaction, _, _, positives in tqdm(
            eval_data, desc="Evaluate", disable=None if show_progress else True, leave=False
        ):
            targets = positives.to(self.device)
            with collector.batch(targets) as reader:
                self.model.full_sort_scores(reader, interaction.to(self.device), targets)
        self._take(collector, tuple(self.model.sizes))
        return collector.metrics()

    def _metrics_at_each_size(self, eval_data: Any, show_progress: bool) -> list[Metrics]:
        """Through RecBole's own Evaluator, a pass for each size.

        Where negatives are sampled, every pass begins at the same random state: all sizes rank the
        same ones.
        """
        results, state = [], random_state(eval_data.generator)
        for size in self.model.sizes:
            set_random_state(state, eval_data.generator)
            self.model.size = size
            results.append(self._recbole_metrics(eval_data, show_progress))
        return results


@functools.cache
def resumable(trainer_class: type) -> type:
    """A trainer of RecBole's for special models with `Trainer` before it, under its own name."""
    body = {"__doc__": trainer_class.__doc__, "__module__": __name__}
    return type(trainer_class.__name__, (Trainer, trainer_class), body)


def trainer_class(config: Config) -> type:
    """The trainer of a configuration's model.

    RecBole's special trainers (``KGTrainer``, ``S3RecTrainer`` ...) keep their models and have ours
    before them, for its checkpoints, its resume and its ranks; those of decision trees stay alone.
    Ours takes the place of the ordinary one, and of the one that only sets the number of epochs to
    1.
    """
    theirs: type = get_trainer(config["MODEL_TYPE"], config["model"])
    if issubclass(theirs, DecisionTreeTrainer):
        return theirs
    return Trainer if theirs in (RecBoleTrainer, TraditionalTrainer) else resumable(theirs)
