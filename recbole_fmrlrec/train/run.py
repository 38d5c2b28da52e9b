"""One run: its configuration and its folder, what continues in it, and how it ends."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_fmrlrec import compat, torchrun
from recbole_fmrlrec.data.prepare_missing import prepare_missing
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.disk import NoRoom, is_no_room, no_room
from recbole_fmrlrec.model_api import registry
from recbole_fmrlrec.runs.folder import CONFIG, FolderInUse, RunFolder, run_fingerprint
from recbole_fmrlrec.runs.result import RunResult
from recbole_fmrlrec.train.allocator import keep_freed_memory
from recbole_fmrlrec.train.other_process import folder_of_first
from recbole_fmrlrec.train.parent import asked_model, asked_parent, inherited_settings
from recbole_fmrlrec.train.run_steps import RunSteps
from recbole_fmrlrec.train.threads import wait_passively

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
    attempt = RunSteps(
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
