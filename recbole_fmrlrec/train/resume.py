"""Checkpoints of a training: the best model, and the state from which a killed run continues."""

from __future__ import annotations

import hashlib
import io
import time
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from recbole.utils import init_seed
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from recbole_fmrlrec import torchrun
from recbole_fmrlrec.console import say
from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.files.checkpoint import (
    checkpoint_bytes,
    load_checkpoint,
    load_model_state,
    model_state,
    save_checkpoint,
)
from recbole_fmrlrec.nn.random_state import random_state, set_random_state
from recbole_fmrlrec.runs.folder import BEST, LAST
from recbole_fmrlrec.runs.result import training_seconds
from recbole_fmrlrec.train.training_state import TrainingState, random_states, set_random_states
from recbole_fmrlrec.train.vocabulary import columns_of, to_text, vocabulary_of

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config

Metrics = dict[str, float]

#: Attributes of a trainer that a checkpoint holds under names of their own, or that do not change.
_RECORDED: tuple[str, ...] = ("model", "distributed_model", "optimizer", "scheduler", "history")
_RECORDED += ("best_valid_score", "best_valid_result", "best_by_size", "by_size", "ranks")
_RECORDED += ("masked_ranks",)
_RECORDED += ("cur_step", "start_epoch", "saved_model_file", "checkpoint_dir", "settings")
_RECORDED += ("_resumed", "_plain_state", "_loaders", "_exchange")
_RECORDED += ("_is_late", "_seen", "_unread", "begun", "earlier_seconds")


class ResumableTraining:
    """Mixin before a trainer of RecBole: it writes checkpoints, and continues from the last one.

    Attributes:
        run_dir: folder of ``best.pth`` and ``last.pth``.
        history: a record per epoch: number (from 0), loss, seconds, learning rate, validation.
        best_by_size: metrics of the best epoch's validation by nested size.
        begun: when this session of the run began, in seconds since 1970.
        earlier_seconds: what the sessions before it took, up to the checkpoint it goes on from.
    """

    config: Config
    model: Any
    logger: Logger
    device: torch.device
    optimizer: Optimizer
    run_dir: Path
    saved_model_file: str
    history: list[dict[str, Any]]
    start_epoch: int
    cur_step: int
    best_valid_score: float
    best_valid_result: Metrics | None
    by_size: dict[int, Metrics] | None = None
    best_by_size: dict[int, Metrics] | None = None
    scheduler: LambdaLR | None = None
    begun: float
    earlier_seconds: float = 0.0
    _loaders: tuple[Any, Any] = (None, None)
    _resumed: dict[str, Any] | None = None
    _plain_state: TrainingState | None = None

    @property
    def last_file(self) -> Path:
        """The checkpoint from which a killed run continues."""
        return self.run_dir / LAST

    def seconds_so_far(self) -> float:
        """Wall time of all sessions of the run; of a killed one, up to its last checkpoint."""
        return self.earlier_seconds + time.time() - self.begun

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        """Write the model that is best so far (RecBole calls this when validation improves)."""
        self.best_by_size = self.by_size
        if torchrun.is_first():
            save_checkpoint(
                Path(kwargs.get("saved_model_file", self.saved_model_file)),
                {
                    "epoch": epoch,
                    "config": self._plain_config(),
                    "corpus": getattr(self.model, "feature_info", {}).get("corpus", ""),
                    "features": getattr(self.model, "feature_info", {}),
                    **self._vocabulary(),
                    **model_state(self.model),
                },
            )
        if not self._has_validation():
            self._save_last(epoch)

    def _vocabulary(self) -> dict[str, Any]:
        """What says whether its rows are those of a dataset, and by which others go on from it."""
        dataset = getattr(self._loaders[0], "_dataset", None)
        if dataset is None:
            return {}
        return {"vocabulary": to_text(vocabulary_of(dataset)), "columns": columns_of(dataset)}

    def _has_validation(self) -> bool:
        return bool(self.history) and "valid" in self.history[-1]

    def _plain_config(self) -> dict[str, Any]:
        effective = getattr(self.config, "effective", None)
        return dict(effective()) if effective else {"model": self.config["model"]}

    def _save_last(self, epoch: int) -> None:
        assert self.scheduler is not None and self._plain_state is not None
        others = torchrun.to_first(self._own_bytes())
        if not torchrun.is_first():
            return
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
                "seconds": self.seconds_so_far(),
                "optimizer": self.optimizer.state_dict(),
                "optimizer_in_turn": self._optimizer_in_turn(),
                "scheduler": self.scheduler.state_dict()["last_epoch"],
                **self._own_state(),
                **({"others": others} if others else {}),
                **model_state(self.model),
            },
        )

    def _own_state(self) -> dict[str, Any]:
        """What differs between the processes of one training."""
        assert self._plain_state is not None
        return {
            "random": random_state(self._generator()),
            "sources": random_states(*self._loaders),
            "beside": self._plain_state.changed(),
        }

    def _own_bytes(self) -> bytes:
        """`_own_state` of a process that writes no files.

        Without what the first process has likewise: that may be as large as the model.
        """
        if torchrun.size() == 1:
            return b""
        state = self._own_state()
        beside = hashlib.sha256(checkpoint_bytes({"beside": state["beside"]})).hexdigest()
        if torchrun.from_first(beside) == beside:
            del state["beside"]
        return b"" if torchrun.is_first() else checkpoint_bytes(state)

    def _own_part(self, state: dict[str, Any]) -> dict[str, Any]:
        """The checkpoint as the process has to read it that is not the first one of its training.

        Another number of processes takes other batches: the learning rate goes on at the same share
        of its way, and the processes after the first draw other numbers.
        """
        others, size = state.get("others", []), torchrun.size()
        written = len(others) + 1
        if written == size:
            own = others[torchrun.rank() - 1] if torchrun.rank() else None
            return state | (load_checkpoint(io.BytesIO(own), self.device) if own else {})
        self.logger.warning(
            "%s was written by %d process(es), and %d continue it: batches have another size, so "
            "the numbers will differ from those of an undisturbed run",
            *(self.last_file, written, size),
        )
        state = state | {"scheduler": round(state["scheduler"] * written / size)}
        if torchrun.rank():
            seed = self.config["seed"] + torchrun.rank() * (state["epoch"] + 2)
            init_seed(seed, self.config["reproducibility"])
            state |= {"random": random_state(self._generator()) | _shuffle(state["random"])}
            del state["sources"]
        return state

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
        torchrun.from_first()  # it has written the file before it comes here
        return self._read(Path(self.saved_model_file), f"remove {BEST} and {LAST}")

    def _read(self, file: Path, way_out: str) -> dict[str, Any]:
        try:
            return load_checkpoint(file, self.device)
        except RunError as error:
            raise RunError(
                f"{error}; {way_out}, and --resume trains the run from the beginning"
            ) from error

    def _resume_from(self, state: dict[str, Any]) -> None:
        try:
            self._restore(state)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise RunError(
                f"{self.last_file}: damaged, or of another model ({why}); remove {LAST}, and "
                "--resume trains the run from its beginning"
            ) from error

    def _restore(self, state: dict[str, Any]) -> None:
        state = self._own_part(state)
        self.start_epoch = state["epoch"] + 1
        # Its name alone: the file is written to, and what a checkpoint holds may be a stranger's.
        self.saved_model_file = str(self.run_dir / Path(state.get("best_file", BEST)).name)
        self.cur_step = state["cur_step"]
        self.best_valid_score = state["best_valid_score"]
        self.best_valid_result = state["best_valid_result"] or None
        self.best_by_size = state["best_by_size"]
        self.history = state["history"]
        # Those that were written without it know the time of their epochs alone.
        self.earlier_seconds = state.get("seconds", training_seconds(self, 0.0))
        load_model_state(self.model, state)
        if name := state.get("optimizer_in_turn"):
            self.optimizer = getattr(self, name)
        self.optimizer.load_state_dict(_steps_on_host(state["optimizer"]))
        assert self.scheduler is not None and self._plain_state is not None
        self.scheduler.last_epoch = state["scheduler"]
        if lost := self._plain_state.put_back(state.get("beside", {})):  # old ones have none
            self.logger.warning("cannot resume from %s: %s", self.last_file, ", ".join(lost))
        set_random_state(state["random"], self._generator())
        if "sources" in state:
            set_random_states(state["sources"], *self._loaders)
        say(f"continuing after epoch {state['epoch'] + 1} from {self.last_file}")

    def _find_plain_state(self) -> TrainingState:
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


def _steps_on_host(state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's state with its counts of steps in the host's memory.

    Adam keeps them there, unless it is a fused one, which takes them to the device itself. Read
    from a GPU they would be waited for at every parameter of every step.
    """
    for own in state["state"].values():
        if isinstance(own.get("step"), torch.Tensor):
            own["step"] = own["step"].cpu()
    return state


def _shuffle(state: dict[str, Any]) -> dict[str, Any]:
    """The state of what shuffles the training data, which all processes share."""
    return {key: value for key, value in state.items() if key == "loader"}
