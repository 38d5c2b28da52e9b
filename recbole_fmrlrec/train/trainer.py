"""RecBole's Trainer with a learning rate schedule, every nested size, and exact resume.

It serves RecBole's own models as well: what it adds are files and hooks around RecBole's `fit`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from recbole.trainer import Trainer as RecBoleTrainer
from recbole.trainer.trainer import DecisionTreeTrainer, TraditionalTrainer
from recbole.utils import ModelType, get_trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from recbole_fmrlrec.console import say
from recbole_fmrlrec.data.trimming import encode_by_length
from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.evaluation.protocol import masked_name, plain_name
from recbole_fmrlrec.evaluation.trainer_mixin import (
    RankCollector,
    RankEvaluation,
    serves_ranks,
    wanted_histories,
)
from recbole_fmrlrec.files.checkpoint import (
    load_checkpoint,
    load_model_state,
    model_state,
    save_checkpoint,
)
from recbole_fmrlrec.model_api.protocols import NestedModel, SparesDecay, WindowModel
from recbole_fmrlrec.nn.devices import emulates
from recbole_fmrlrec.nn.random_state import random_state, set_random_state
from recbole_fmrlrec.runs.folder import BEST, LAST
from recbole_fmrlrec.train.epoch_lines import EpochLines
from recbole_fmrlrec.train.optimization import adamw, learning_rate_factor
from recbole_fmrlrec.train.training_state import TrainingState, random_states, set_random_states

Metrics = dict[str, float]

#: Attributes of a trainer that a checkpoint holds under names of their own, or that are places.
_RECORDED: tuple[str, ...] = (
    "model",
    "distributed_model",
    "optimizer",
    "scheduler",
    "history",
    "best_by_size",
)
_RECORDED += ("best_valid_score", "best_valid_result", "cur_step", "start_epoch", "by_size")
_RECORDED += (
    "saved_model_file",
    "checkpoint_dir",
    "ranks",
    "masked_ranks",
    "_resumed",
    "_beside",
    "_loaders",
)


class _TimeIsUp(Exception):
    """The epochs have used ``max_minutes``."""


class Trainer(EpochLines, RankEvaluation, RecBoleTrainer):
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

    def __init__(self, config: Any, model: Any, run_dir: Path | None = None) -> None:
        super().__init__(config, model)
        if config["mask_history"]:
            self.valid_metric = masked_name(self.valid_metric)
        if config["trim_batches"] and not isinstance(model, WindowModel):
            encode_by_length(model)
        low = self._low_dtype()
        if self.enable_amp and self.device.type == "cpu" and emulates(low):
            self.logger.warning(
                "enable_amp: True: this CPU only emulates %s, which can take a hundred times as "
                "long as float32; enable_amp: False is the faster one here",
                str(low).removeprefix("torch."),
            )
        if config["MODEL_TYPE"] == ModelType.TRADITIONAL:
            self.epochs = 1  # counting and matrix algebra: nothing changes in a second epoch
        self.run_dir = Path(run_dir or config["checkpoint_dir"])
        self.saved_model_file = str(self.run_dir / BEST)
        self.history: list[dict[str, Any]] = []
        self.by_size: dict[int, Metrics] | None = None
        self.scheduler: LambdaLR | None = None
        self._resumed: dict[str, Any] | None = None
        self._loaders: tuple[Any, Any] = (None, None)
        self._beside: TrainingState | None = None
        self._epoch_started = 0.0
        self.best_by_size: dict[int, Metrics] | None = None

    @property
    def last_file(self) -> Path:
        """The checkpoint from which a killed run continues."""
        return self.run_dir / LAST

    @property
    def finished(self) -> bool:
        """Whether training has reached its last epoch, was stopped early, or has used its time."""
        stopped = self.cur_step > self.stopping_step or self._time_is_up()
        return self.start_epoch >= self._epochs_of_stage() or stopped

    def _epochs_of_stage(self) -> int:
        """Epochs of the training, or of the pretraining where the model is at that stage."""
        if "pretrain" in str(getattr(self.model, "train_stage", "")):
            return int(self.config["pretrain_epochs"])
        return int(self.epochs)

    def _time_is_up(self) -> bool:
        """Whether the epochs so far, those before a resume included, took ``max_minutes``."""
        limit = self.config["max_minutes"]
        spent = sum(e["train_seconds"] + e.get("valid_seconds", 0.0) for e in self.history)
        return limit is not None and spent >= 60 * float(limit)

    # Optimiser and schedule

    def _build_optimizer(self, **kwargs: Any) -> Optimizer:
        if kwargs or self.learner.lower() != "adamw" or not isinstance(self.model, SparesDecay):
            optimizer: Optimizer = super()._build_optimizer(**kwargs)
            return optimizer
        return adamw(self.model, self.learning_rate, self.weight_decay)

    def _start_schedule(self, steps: int) -> None:
        factor = learning_rate_factor(
            self.config["lr_scheduler"] or "constant",
            int(self.config["warmup_steps"] or 0),
            steps,
            float(self.config["lr_min_ratio"] or 0.0),
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
        self._start_schedule(max(1, self.epochs * len(train_data)))
        self._beside = self._look_beside_weights()
        if self._resumed is not None:
            self._take_up(self._resumed)
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

        try:
            result: tuple[float, Metrics | None] = super().fit(
                train_data, valid_data, verbose, saved, show_progress, after_validation
            )
        except _TimeIsUp:  # RecBole's loop has no other way out of it
            say(f"stopped: max_minutes: {self.config['max_minutes']} is reached")
            return self.best_valid_score, self.best_valid_result
        return result

    def _look_beside_weights(self) -> TrainingState:
        found = TrainingState({"model": self.model, "trainer": self}, _RECORDED)
        if found.opaque:
            held = ", ".join(f"{path} ({kind})" for path, kind in sorted(found.opaque.items()))
            self.logger.warning(
                "%s cannot be resumed exactly: no checkpoint can hold its %s. If this run is "
                "interrupted, --resume continues it, and its numbers may differ from those of an "
                "undisturbed run",
                type(self.model).__name__,
                held,
            )
        return found

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        started = time.perf_counter()
        with torch.autocast(
            self.device.type, dtype=self._low_dtype(), enabled=bool(self.enable_amp)
        ):
            loss = super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)
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

    def _low_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.config["amp_dtype"] or "bfloat16")
        return dtype

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

    # Checkpoints

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        """Write the model that is best so far (RecBole calls this when validation improves)."""
        self.best_by_size = self.by_size
        save_checkpoint(
            Path(kwargs.get("saved_model_file", self.saved_model_file)),
            {
                "epoch": epoch,
                "config": self._plain_config(),
                "corpus": getattr(self.model, "feature_info", {}).get("corpus", ""),
                **model_state(self.model),
            },
        )
        if not self._has_validation():
            self._save_last(epoch)

    def _has_validation(self) -> bool:
        return bool(self.history) and "valid" in self.history[-1]

    def _plain_config(self) -> dict[str, Any]:
        effective = getattr(self.config, "effective", None)
        return dict(effective()) if effective else {"model": self.config["model"]}

    def _save_last(self, epoch: int) -> None:
        assert self.scheduler is not None and self._beside is not None
        save_checkpoint(
            self.last_file,
            {
                "epoch": epoch,
                "best_file": Path(self.saved_model_file).name,
                "cur_step": self.cur_step,
                "best_valid_score": self.best_valid_score,
                "best_valid_result": dict(self.best_valid_result or {}),
                "best_by_size": self.best_by_size,
                "history": self.history,
                "optimizer": self.optimizer.state_dict(),
                "optimizer_in_turn": self._optimizer_in_turn(),
                "scheduler": self.scheduler.state_dict()["last_epoch"],
                "random": random_state(self._generator()),
                "sources": random_states(*self._loaders),
                "beside": self._beside.changed(),
                **model_state(self.model),
            },
        )

    def _generator(self) -> torch.Generator | None:
        """What shuffles the training data; a knowledge graph's loader has two in it instead."""
        return getattr(self._loaders[0], "generator", None)

    def _optimizer_in_turn(self) -> str | None:
        """The attribute that the present optimizer is, of a trainer that takes several in turn."""
        held = vars(self).items()
        return next((k for k, v in held if v is self.optimizer and k != "optimizer"), None)

    def save_pretrained_model(self, epoch: int, saved_model_file: str) -> None:
        """Write a pretrained model, where RecBole's trainer has such a stage."""
        self.saved_model_file = saved_model_file
        self._save_checkpoint(epoch)

    def resume(self) -> bool:
        """Read ``last.pth`` if there is one; the next `fit` continues from it.

        Returns:
            Whether there was one.

        Raises:
            RunError: it is damaged.
        """
        if not self.last_file.is_file():
            return False
        self._resumed = self._read(self.last_file, f"remove {LAST}")
        return True

    def _best(self, model_file: str | None) -> dict[str, Any]:
        if model_file is not None:
            return load_checkpoint(Path(model_file), self.device)
        return self._read(Path(self.saved_model_file), f"remove {BEST} and {LAST}")

    def _read(self, file: Path, way_out: str) -> dict[str, Any]:
        try:
            return load_checkpoint(file, self.device)
        except RunError as error:
            anew = "and --resume trains the run from the beginning"
            raise RunError(f"{error}; {way_out}, {anew}") from error

    def _take_up(self, state: dict[str, Any]) -> None:
        try:
            self._continue(state)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise RunError(
                f"{self.last_file}: damaged, or of another model ({why}); remove {LAST}, and "
                "--resume trains the run from its beginning"
            ) from error

    def _continue(self, state: dict[str, Any]) -> None:
        self.start_epoch = state["epoch"] + 1
        # Its name alone: the file is written to, and what a checkpoint holds may be a stranger's.
        self.saved_model_file = str(self.run_dir / Path(state.get("best_file", BEST)).name)
        self.cur_step = state["cur_step"]
        self.best_valid_score = state["best_valid_score"]
        self.best_valid_result = state["best_valid_result"] or None
        self.best_by_size = state["best_by_size"]
        self.history = state["history"]
        load_model_state(self.model, state)
        if name := state.get("optimizer_in_turn"):
            self.optimizer = getattr(self, name)
        self.optimizer.load_state_dict(state["optimizer"])
        assert self.scheduler is not None and self._beside is not None
        self.scheduler.last_epoch = state["scheduler"]
        if lost := self._beside.put_back(state.get("beside", {})):  # older checkpoints have none
            self.logger.warning("cannot resume from %s: %s", self.last_file, ", ".join(lost))
        set_random_state(state["random"], self._generator())
        if "sources" in state:
            set_random_states(state["sources"], *self._loaders)
        say(f"continuing after epoch {state['epoch'] + 1} from {self.last_file}")

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
        self.ranks = self.masked_ranks = None
        if not eval_data:
            return None
        if load_best_model:
            load_model_state(self.model, self._best(model_file))
        self.model.eval()
        self.by_size = None
        if not isinstance(self.model, NestedModel):
            return self._recbole_metrics(eval_data, show_progress)
        if serves_ranks(self.config, eval_data):
            self.by_size = self._rank_metrics(eval_data, show_progress)
        else:
            self.by_size = self._metrics_at_each_size(eval_data, show_progress)
        return self.by_size[self.model.sizes[-1]]

    def _recbole_metrics(self, eval_data: Any, show_progress: bool) -> Metrics:
        result = super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)
        return {name: float(value) for name, value in result.items()}

    def _rank_metrics(self, eval_data: Any, show_progress: bool) -> dict[int, Metrics]:
        """All sizes in one pass over the users."""
        histories = wanted_histories(self.config, eval_data)
        collector = RankCollector(self.config, histories, len(self.model.sizes))
        for interaction, _, _, positives in tqdm(
            eval_data, desc="Evaluate", disable=None if show_progress else True, leave=False
        ):
            targets = positives.to(self.device)
            with collector.batch(targets) as reader:
                self.model.full_sort_scores(reader, interaction.to(self.device), targets)
        self.ranks, self.masked_ranks = collector.ranks()
        return dict(zip(self.model.sizes, collector.metrics(), strict=True))

    def _metrics_at_each_size(self, eval_data: Any, show_progress: bool) -> dict[int, Metrics]:
        """Through RecBole's own Evaluator, a pass for each size.

        Where negatives are sampled, every pass begins at the same random state: all sizes rank the
        same ones.
        """
        results, state = {}, random_state(eval_data.generator)
        for size in self.model.sizes:
            set_random_state(state, eval_data.generator)
            self.model.size = size
            results[size] = self._recbole_metrics(eval_data, show_progress)
        return results


@functools.cache
def resumable(trainer_class: type) -> type:
    """A trainer of RecBole's for special models with `Trainer` before it, under its own name."""
    body = {"__doc__": trainer_class.__doc__, "__module__": __name__}
    return type(trainer_class.__name__, (Trainer, trainer_class), body)


def trainer_class(config: Any) -> type:
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
