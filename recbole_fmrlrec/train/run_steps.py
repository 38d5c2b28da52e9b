"""The steps of a run: data, model, training, test, and the record of them."""

from __future__ import annotations

import inspect
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recbole_fmrlrec import torchrun
from recbole_fmrlrec.config.refusals import told_as_usage
from recbole_fmrlrec.config.typed import typed
from recbole_fmrlrec.console import say
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.runs.folder import RunFolder
from recbole_fmrlrec.runs.result import (
    RunResult,
    best_epoch,
    machine_facts,
    peak_memory,
    size_rows,
    training_seconds,
)
from recbole_fmrlrec.train.continuing import Continuation, continue_model
from recbole_fmrlrec.train.epoch_lines import EpochLines
from recbole_fmrlrec.train.gpu import gpu_arithmetic
from recbole_fmrlrec.train.init_from import load_weights
from recbole_fmrlrec.train.other_process import agreed_threads
from recbole_fmrlrec.train.parent import Parent
from recbole_fmrlrec.train.split_lines import split_facts, split_lines
from recbole_fmrlrec.train.summary import data_line, model_lines
from recbole_fmrlrec.train.threads import take_threads
from recbole_fmrlrec.train.typed_settings import RunSettings

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config
    from recbole_fmrlrec.evaluation.list_record import KeepLists


@dataclass
class RunSteps:
    """The steps of one run, in their order.

    Args:
        config: of the run.
        folder: of the run, held by this process; everything is recorded in it.
        resume: go on from the last checkpoint in it.
        started: when the run began, in seconds since 1970.
        test: whether the test data is looked at.
        after_validation: see `recbole_fmrlrec.train.run.run`.
        keep_lists: likewise.
        parent: the run that this one continues on newer data.
    """

    config: Config
    folder: RunFolder
    resume: bool
    started: float
    test: bool
    after_validation: Callable[[int, float], None] | None
    keep_lists: KeepLists | None = None
    parent: Parent | None = None
    continuation: Continuation | None = None

    @property
    def settings(self) -> RunSettings:
        """What these steps read of the configuration."""
        return typed(RunSettings, self.config)

    def arithmetic(self) -> AbstractContextManager[None]:
        """How a GPU computes while these steps are taken."""
        settings = self.settings
        return gpu_arithmetic(settings.device, settings.reproducibility, settings.allow_tf32)

    def execute(self) -> RunResult:
        """Take all steps.

        Raises:
            UsageError: a setting that does not fit the data or the model, or an unusable file.
            RunError: the training or the test failed.
        """
        from recbole.utils import init_seed

        from recbole_fmrlrec.data.loaders import create_dataset, data_preparation

        config, settings = self.config, self.settings
        threads = agreed_threads(lambda: take_threads(settings.num_threads, self.folder.threads()))
        self.folder.begin(config, threads.count, self.parent.identity() if self.parent else None)
        for note in config.notes:
            say(note)
        if settings.shard_items and torchrun.size() == 1:
            say(
                "shard_items: True does nothing in one process: it shares the projection of the "
                "items' features out among the processes of `torchrun --nproc_per_node=N`"
            )
        init_seed(settings.seed, settings.reproducibility)
        clock = time.perf_counter()
        dataset = create_dataset(config)
        logging.getLogger().info(dataset)
        users, items, events = dataset.user_num - 1, dataset.item_num - 1, dataset.inter_num
        loaders = data_preparation(config, dataset)
        seconds = {"data": time.perf_counter() - clock}
        say(data_line(settings.dataset, (users, items, events), loaders))
        for line in split_lines(config, dataset, loaders):
            say(line)
        trainer = self._make_trainer(loaders[0])
        for line in model_lines(settings, trainer.model):
            say(line)
        say(f"threads: {threads}")
        say(f"folder:  {self.folder.path}")
        return self._train_and_test(trainer, loaders, seconds)

    def _make_trainer(self, train_data: Any) -> Any:
        from recbole.utils import init_seed

        from recbole_fmrlrec.train.distributed import check_takes_part, start_together
        from recbole_fmrlrec.train.tensorboard import tensorboard_in
        from recbole_fmrlrec.train.trainer import trainer_class

        config, settings = self.config, self.settings
        init_seed(settings.seed + settings.local_rank, settings.reproducibility)
        config["checkpoint_dir"] = str(self.folder.path)
        with told_as_usage(config, f"making {settings.model}"):
            model = config.model_class(config, train_data._dataset).to(settings.device)
        if settings.init_from:
            load_weights(model, settings, config, train_data._dataset)
        if self.parent is not None:
            self.continuation = continue_model(model, train_data._dataset, config, self.parent)
            self.continuation.say()
        start_together(model, settings)
        logging.getLogger().info(model)
        tensorboard_in(self.folder.path)
        chosen = trainer_class(config)
        check_takes_part(chosen)
        trainer = chosen(config, model)
        if self.continuation is not None:
            self.continuation.begin(trainer, settings.continue_optimizer)
        if not hasattr(trainer, "resume"):
            logging.getLogger().warning(
                "%s of RecBole cannot continue an interrupted run: with --resume it starts from "
                "the beginning",
                type(trainer).__name__,
            )
        else:
            trainer.begun = self.started
            if self.resume:
                trainer.resume()
        return trainer

    def _train_and_test(
        self, trainer: Any, loaders: tuple[Any, Any, Any], seconds: dict[str, float]
    ) -> RunResult:
        settings = self.settings
        shown = settings.show_progress
        train_data, valid_data, test_data = loaders
        clock = time.perf_counter()
        with self._first_epoch(trainer):
            score, valid = trainer.fit(
                train_data, valid_data, show_progress=shown, **self._hook(trainer)
            )
        if isinstance(trainer, EpochLines):
            trainer.end_lines()
        seconds["training"] = training_seconds(trainer, time.perf_counter() - clock)
        test = None
        if self.test:
            clock = time.perf_counter()
            trainer.keep_lists = self.keep_lists
            test = trainer.evaluate(test_data, load_best_model=True, show_progress=shown)
            seconds["test"] = time.perf_counter() - clock
            self._save_ranks(trainer, test_data)
        so_far = getattr(trainer, "seconds_so_far", None)
        seconds["total"] = so_far() if so_far else time.time() - self.started
        result = RunResult(
            model=settings.model,
            dataset=settings.dataset,
            run_dir=self.folder.path,
            seed=settings.seed,
            valid_metric=settings.valid_metric,
            best_valid_score=float(score) if math.isfinite(score) else None,
            best_epoch=best_epoch(trainer),
            epochs_run=len(getattr(trainer, "history", [])) or None,
            valid=size_rows(trainer.model, valid, getattr(trainer, "best_by_size", None)),
            test=size_rows(trainer.model, test, getattr(trainer, "by_size", None)),
            history=[
                {**record, "epoch": record["epoch"] + 1}
                for record in getattr(trainer, "history", [])
            ],
            seconds={name: round(value, 3) for name, value in seconds.items()},
            peak_memory_bytes=peak_memory(),
            features=getattr(trainer.model, "feature_info", {}),
            fingerprint=self.folder.fingerprint,
            config=self.config.effective(),
            machine=machine_facts(),
            parent=self.continuation.record() if self.continuation else None,
            split=split_facts(self.config, loaders),
        )
        if self.test:
            self.folder.finish(result)
        return result

    @contextmanager
    def _first_epoch(self, trainer: Any) -> Iterator[None]:
        """Tell as wrong use what fails before an epoch is done: shapes meet in the first batch."""
        try:
            with told_as_usage(self.config, f"training {self.settings.model}"):
                yield
        except UsageError as error:
            begun = getattr(trainer, "history", None) or self.folder.can_continue()
            if begun and error.__cause__ is not None:
                raise error.__cause__ from None
            raise

    def _hook(self, trainer: Any) -> dict[str, Any]:
        takes = "callback_fn" in inspect.signature(trainer.fit).parameters
        return {"callback_fn": self.after_validation} if takes and self.after_validation else {}

    def _save_ranks(self, trainer: Any, test_data: Any) -> None:
        ranks = getattr(trainer, "ranks", None)
        if ranks is None or not torchrun.is_first():
            return
        from recbole_fmrlrec.evaluation.list_record import TEST_LISTS
        from recbole_fmrlrec.evaluation.rank_record import TEST_RANKS
        from recbole_fmrlrec.evaluation.trainer_mixin import rank_record

        sizes = getattr(trainer, "by_size", None) or ()
        record = rank_record(ranks, tuple(sizes), test_data, trainer.masked_ranks)
        if trainer.lists is not None:  # before the ranks, which say that all is there
            trainer.lists.save(self.folder.path / TEST_LISTS)
        record.save(self.folder.path / TEST_RANKS)
