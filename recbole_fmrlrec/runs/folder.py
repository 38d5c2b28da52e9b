"""The folder of one run: what was asked, how far it is, its log, its result."""

from __future__ import annotations

import _thread
import glob
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from dataset_tools.files.hashes import file_hash
from dataset_tools.formats.parquet_copy import is_copy
from recbole_fmrlrec.console import run_log
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.evaluation.list_metric_names import is_diversity
from recbole_fmrlrec.files.atomic import write_json
from recbole_fmrlrec.keys.known import later_keys
from recbole_fmrlrec.keys.schema import MAX_THREADS
from recbole_fmrlrec.model_api import outside
from recbole_fmrlrec.rules import is_whole, shown
from recbole_fmrlrec.runs.lock import Lock
from recbole_fmrlrec.runs.result import RunResult

if TYPE_CHECKING:
    from recbole_fmrlrec.config.config import Config

#: What was asked for, and what came out of it.
CONFIG, RESULT = "config.json", "result.json"
_LOG = "run.log"
_IDENTITY = ("model", "dataset", "fingerprint", "overrides")
#: The checkpoints: of the best epoch, and of the last epoch, from which a killed run continues.
BEST, LAST = "best.pth", "last.pth"


class FolderInUse(UsageError):
    """A live process is working on the run."""


@dataclass(frozen=True)
class RunFolder:
    """``config.json``, ``run.log``, ``best.pth``, ``last.pth`` and ``result.json`` of one run."""

    path: Path
    model: str
    dataset: str
    fingerprint: str
    overrides: dict[str, Any]
    model_source: str | None = None  # of a model from outside

    @classmethod
    def create(cls, root: Path, config: Config) -> RunFolder:
        """A new folder ``MODEL-DATASET-TIME`` below ``root``."""
        model, dataset = config["model"], config["dataset"]
        # Before there is a folder: it may make features, and it may refuse them.
        identity = model, dataset, run_fingerprint(config), config.overrides()
        stem = f"{model}-{dataset}-{datetime.now():%Y%m%d-%H%M%S}"
        for attempt in range(1, 1000):
            path = root / (stem if attempt == 1 else f"{stem}-{attempt}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except (FileNotFoundError, NotADirectoryError) as error:
                raise UsageError(
                    f"checkpoint_dir: cannot make a folder in {root.absolute()}: "
                    f"{error.strerror}; choose another folder"
                ) from None
            return cls(path, *identity)
        raise UsageError(f"no free folder name for {stem} in {root}")

    @classmethod
    def at(cls, path: Path, config: Config) -> RunFolder:
        """A folder for a run of a configuration, whatever is in it."""
        fingerprint = run_fingerprint(config)
        return cls(path, config["model"], config["dataset"], fingerprint, config.overrides())

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run.

        Raises:
            UsageError: there is none, or its ``config.json`` is damaged.
        """
        file = path / CONFIG
        if not file.is_file():
            raise UsageError(f"--resume: no run in {path.absolute()} ({CONFIG} is not there)")
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            source = content.get("config", {}).get("model_source")
            identity = (content[key] for key in _IDENTITY)
            found = replace(cls(path, *identity), model_source=source)
            for key, kind in zip(_IDENTITY, (str, str, str, dict), strict=True):
                if not isinstance(getattr(found, key), kind):
                    raise TypeError(f"{key} is not a {'text' if kind is str else 'mapping'}")
            later = later_keys(content.get("config", {}))
            return replace(found, overrides={**later, **found.overrides})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(
                f"{file.absolute()}: damaged ({type(error).__name__}: {error}), so that its "
                "configuration is unknown; start the run again without --resume"
            ) from error

    @classmethod
    def latest(cls, root: Path, config: Config) -> RunFolder | None:
        """The run of this very configuration that was started last, if there is one."""
        wanted = run_fingerprint(config)
        candidates = []
        for file in root.glob(f"{glob.escape(config['model'])}-*/{CONFIG}"):
            try:
                found = cls.open(file.parent)
            except UsageError as error:
                logging.getLogger().warning("--resume skips a run: %s", error)
                continue
            if found.fingerprint == wanted:
                candidates.append((file.stat().st_mtime_ns, found.path.name, found))
        return max(candidates)[-1] if candidates else None

    def is_begun(self) -> bool:
        """Whether the configuration is on record."""
        return (self.path / CONFIG).is_file()

    def threads(self) -> int | None:
        """The number of threads that the run was begun with.

        None where it is not begun; 0 where nothing is on record: versions before that took all.
        """
        if not self.is_begun():
            return None
        content = json.loads((self.path / CONFIG).read_text(encoding="utf-8"))
        recorded: int | None = content.get("threads", 0)
        if recorded is not None and not (is_whole(recorded) and 0 <= recorded <= MAX_THREADS):
            raise UsageError(
                f"{self.path / CONFIG}: damaged: threads = {shown(recorded)}, not a number of "
                f"threads from 0 to {MAX_THREADS}; correct it, or remove the entry"
            )
        return recorded

    def begin(
        self, config: Config, threads: int | None = None, parent: dict[str, Any] | None = None
    ) -> None:
        """Record the configuration; clear away what a killed write has left.

        Args:
            threads: as many as the run uses, to be continued with the same number.
            parent: the training that it continues.
        """
        for leftover in self.path.glob(".*.partial"):
            leftover.unlink(missing_ok=True)
        content = {
            "model": self.model,
            "dataset": self.dataset,
            "fingerprint": self.fingerprint,
            "overrides": self.overrides,
            "config": config.effective(),
            "threads": threads,
            **({"parent": parent} if parent else {}),
        }
        if not self.is_begun() or (threads and self.threads() is None):
            write_json(self.path / CONFIG, content)

    def discard_unstarted(self) -> None:
        """Remove the folder of a run that ended before there was anything to continue.

        A best checkpoint without a last one is the half of a first epoch, and no run.
        """
        if {file.name for file in self.path.glob("*.pth")} <= {BEST}:
            shutil.rmtree(self.path)

    def finish(self, result: RunResult) -> None:
        """Record the result."""
        write_json(self.path / RESULT, result.to_json())

    def result(self) -> RunResult | None:
        """The result of a finished run.

        Raises:
            UsageError: ``result.json`` is damaged.
        """
        file = self.path / RESULT
        if not file.is_file():
            return None
        try:
            return RunResult.from_json(json.loads(file.read_text(encoding="utf-8")), self.path)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UsageError(
                f"{file.absolute()}: damaged, or of another version of this package "
                f"({type(error).__name__}: {error}); remove it, and --resume tests the run again"
            ) from error

    def can_continue(self) -> bool:
        """Whether there is an epoch after which the run can be taken up."""
        return (self.path / LAST).is_file()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes off the run meanwhile, by the lock files ``run.lock.N``.

        Raises:
            FolderInUse: a live process, here or on another machine, is working on it.
            RunError: a process elsewhere took the run over while this one was asleep.
        """
        lock, lost = Lock(self.path / "run"), Event()
        if not lock.acquire():
            raise FolderInUse(
                f"{self.path.absolute()}: this run is already running ({lock.owner()}); let it "
                "finish, or stop it and then give --resume"
            )

        def taken_over() -> str:
            return f"{self.path.absolute()}: {lock.owner()} has taken over this run"

        def stop() -> None:
            lost.set()
            if callable(signal.getsignal(signal.SIGINT)):
                _thread.interrupt_main()
                return
            # Nothing here hears an interruption, as in the workers of `tune`.
            print(f"error: {taken_over()}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGTERM)

        lock.keep(stop)
        try:
            yield
            if lost.is_set():
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            if not lost.is_set():
                raise
            raise RunError(taken_over()) from None
        finally:
            lock.release()

    def logging(self, level: str | None) -> AbstractContextManager[None]:
        """Log to ``run.log`` while the run lasts, and what users should see to standard error."""
        return run_log(self.path / _LOG, level)


def checkpoint_hash(path: Path) -> str:
    """The SHA-256 of a checkpoint, or of the best one of a run's folder.

    Raises:
        UsageError: there is none.
    """
    file = path / BEST if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"continue_from: there is no checkpoint {file.absolute()}")
    return file_hash(file)


def run_fingerprint(config: Config, remake: bool = True) -> str:
    """What a run is: its settings, and the content of the dataset's atomic files and features.

    Args:
        remake: as in `features_fingerprint`.

    Raises:
        UsageError: its model reads features or an encoder, and they cannot be used.
    """
    from recbole_fmrlrec.data.item_features import (
        all_features_fingerprint,
        features_fingerprint,
        find_features,
    )
    from recbole_fmrlrec.data.text_encoder import encoder_fingerprint
    from recbole_fmrlrec.model_api.protocols import TextModel

    digest = hashlib.sha256(config.fingerprint().encode())
    names = sorted(Path(config["data_path"]).glob(f"{glob.escape(config['dataset'])}.*"))
    # A Parquet form says the same as the text beside it, and may come or go.
    files = [file for file in names if file.is_file() and not is_copy(file)]
    for file in files:
        digest.update(file.name.encode())
        digest.update(bytes.fromhex(file_hash(file)))
    if files:  # else RecBole may download the dataset, or say that there is none
        digest.update(features_fingerprint(config, remake).encode())
        diverse = any(map(is_diversity, config["metrics"]))
        if diverse and (folder := find_features(config)):  # the model itself may read none
            digest.update(all_features_fingerprint(folder).encode())
    if config["continue_from"]:
        digest.update(checkpoint_hash(Path(config["continue_from"])).encode())
    if issubclass(config.model_class, TextModel):
        digest.update(encoder_fingerprint(config["encoder"]).encode())
    if (other := outside.find(config["model"])) is not None:
        digest.update(other.fingerprint().encode())
    return digest.hexdigest()[:16]
