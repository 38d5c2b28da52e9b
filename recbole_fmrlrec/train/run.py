"""One run: configuration, data, training, evaluation, and the record of all of it in a folder."""

from __future__ import annotations

import inspect
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_fmrlrec import compat, torchrun
from recbole_fmrlrec.config.refusals import told_as_usage
from recbole_fmrlrec.config.typed import typed
from recbole_fmrlrec.console import say
from recbole_fmrlrec.data.prepare_missing import prepare_missing
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.disk import NoRoom, is_no_room, no_room
from recbole_fmrlrec.model_api import registry
from recbole_fmrlrec.runs.folder import CONFIG, FolderInUse, RunFolder, run_fingerprint
from recbole_fmrlrec.runs.result import (
    RunResult,
    best_epoch,
    machine_facts,
    peak_memory,
    size_rows,
    training_seconds,
)
from recbole_fmrlrec.train.allocator import keep_freed_memory
from recbole_fmrlrec.train.continuing import Continuation, continue_model
from recbole_fmrlrec.train.epoch_lines import EpochLines
from recbole_fmrlrec.train.gpu import gpu_arithmetic
from recbole_fmrlrec.train.init_from import load_weights
from recbole_fmrlrec.train.other_process import agreed_threads, folder_of_first
from recbole_fmrlrec.train.parent import Parent, asked_model, asked_parent, inherited_settings
from recbole_fmrlrec.train.split_lines import split_lines
from recbole_fmrlrec.train.summary import data_line, model_lines
from recbole_fmrlrec.train.threads import take_threads, wait_passively
from recbole_fmrlrec.train.typed_settings import RunSettings

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config
    from recbole_fmrlrec.evaluation.list_record import KeepLists

#: Seconds between two looks at a run folder in which another process is at work.
WAIT = 5.0


def run(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Iterable[str | Path] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    cli_args: Mapping[str, Any] | None = None,
    resume: bool | str | Path = False,
    test: bool = True,
    after_validation: Callable[[int, float], None] | None = None,
    keep_lists: KeepLists | None = None,
    continue_from: str | Path | None = None,
) -> RunResult:
    """Train a model on a dataset and test it.

    Args:
        model: name (ours or RecBole's) or class; fMRLRec when neither this nor a file says.
        dataset: name of a folder below ``data_path``; ml-100k when nothing says.
        config_file_list: YAML files, later ones win.
        config_dict: settings that win over the files.
        cli_args: settings as text, that win over all.
        resume: True continues the latest run of the same configuration, a path that run.
        test: False leaves the test data alone and the run without ``result.json``, so that
            ``resume`` tests it later, without training again.
        after_validation: called with the epoch (from 0) and its validation score; what it raises
            ends the run. Models whose RecBole trainer takes no such function do without.
        keep_lists: write the lists of the test rows to ``test_lists.npz`` whatever the metrics, at
            least so long; with metrics of lists they are written anyway.
        continue_from: the run, or its ``best.pth``, that this one goes on from, with newer data: as
            the key of this name. Model and settings of the training are its own unless given.

    Returns:
        The result: metrics, times, places; `RunResult.table` is the table of test metrics.

    Raises:
        UsageError: a key, value, name or file that cannot be used, or a run that another process
            is working on.
        RunError: the run itself failed.
    """
    keep_freed_memory()
    wait_passively()
    compat.apply()
    from recbole_fmrlrec.config.config import Config

    started = time.time()
    folder = recorded = None
    if resume and not isinstance(resume, bool):
        folder = RunFolder.open(Path(resume))
        if model is None:
            registry.check_recorded(folder.model, str(folder.path / CONFIG), folder.model_source)
        model, dataset = model or folder.model, dataset or folder.dataset
        recorded = folder.overrides, str(folder.path / CONFIG)
    files, inherited = list(config_file_list or ()), None
    if continue_from is not None:
        config_dict = {**(config_dict or {}), "continue_from": str(continue_from)}
    given = (recorded[0] if recorded else None), config_dict, cli_args
    parent = asked_parent(files, *given)
    if parent is not None:
        parent.check_model(*(asked_model(files, *given) if model is None else (model, None)))
        model = model or parent.model
        cli_args = {**(cli_args or {}), "continue_from": str(parent.file)}
        if recorded is None:
            inherited = inherited_settings(parent, dataset, files, *given)
    config = Config(model, dataset, files, config_dict, cli_args, recorded, inherited)
    torchrun.start(config["device"])
    with torchrun.first_goes_first():
        prepare_missing(config)
        if torchrun.is_first():
            folder = _choose_folder(config, folder, bool(resume))
    folder = folder_of_first(config, folder if torchrun.is_first() else None)
    if (finished := folder.result()) is not None:
        print(f"{folder.path} is finished: this is its result", file=sys.stderr)
        return finished
    attempt = _Run(
        config, folder, bool(resume), started, test, after_validation, keep_lists, parent
    )
    is_new = not folder.is_begun()
    with folder.held():
        try:
            with folder.logging(config["state"]), attempt.arithmetic():
                return attempt.execute()
        except KeyboardInterrupt:
            if folder.can_continue():
                raise KeyboardInterrupt("--resume continues the run after its last epoch") from None
            raise
        except Exception as error:
            if is_new:
                folder.discard_unstarted()
            raise _explained(error, folder) from error


def _explained(error: Exception, folder: RunFolder) -> Exception:
    """The error that ends a run; of a full disk with the way on."""
    if not is_no_room(error):
        return error
    place = error.filename if isinstance(error, OSError) else None
    found = error if isinstance(error, NoRoom) else no_room(Path(place or folder.path), None)
    way = "--resume continues after the last epoch" if folder.can_continue() else "start it again"
    return NoRoom(f"{found}. Make room, or choose another disk by --checkpoint_dir; then {way}")


def run_when_free(*words: Any, **keys: Any) -> RunResult:
    """`run`, once no other process is working in its folder.

    For a caller with its own lock on the run: a process that died on another machine may look alive
    for a while by the lock of the run folder.
    """
    said = False
    while True:
        try:
            return run(*words, **keys)
        except FolderInUse as error:
            if not said:
                print(f"waiting: {error}", file=sys.__stderr__, flush=True)
            said = True
        time.sleep(WAIT)


def _choose_folder(config: Config, named: RunFolder | None, resume: bool) -> RunFolder:
    root = Path(config["checkpoint_dir"])
    if named is not None:
        if named.fingerprint != run_fingerprint(config, remake=False):
            raise UsageError(
                f"{named.path} belongs to another configuration or other data (items, "
                "interactions, features); give the settings that it was started with (config.json "
                "there holds them), or start a new run without --resume"
            )
        return named
    if resume:
        found = RunFolder.latest(root, config)
        if found is not None:
            return found
        logging.getLogger().warning(
            "--resume: no run of this configuration in %s yet; starting one", root.absolute()
        )
    return RunFolder.create(root, config)


@dataclass
class _Run:
    """The steps of one run, in their order."""

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
        from recbole.utils import init_seed

        from recbole_fmrlrec.data.loaders import create_dataset, data_preparation

        config, settings = self.config, self.settings
        threads = agreed_threads(lambda: take_threads(settings.num_threads, self.folder.threads()))
        self.folder.begin(config, threads.count, self.parent.identity() if self.parent else None)
        for note in config.notes:
            say(note)
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
            load_weights(model, settings)
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
        elif self.resume:
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
        seconds["total"] = time.time() - self.started
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
