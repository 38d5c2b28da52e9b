"""The process that computes one cell: ``python -m recbole_fmrlrec.compare.worker < CELL.json``.

A process for each, so that memory is measured by the cell and a crash ends one cell only. It holds
the cell's lock. A process of the command itself ends when the command is gone; a job of a cluster
calls `work` and does not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_fmrlrec.compare.cells import Cell
from recbole_fmrlrec.errors import RunError, usage_errors
from recbole_fmrlrec.evaluation.rank_record import TEST_RANKS
from recbole_fmrlrec.files.process import end_with
from recbole_fmrlrec.model_api import outside
from recbole_fmrlrec.runs.folder import RESULT
from recbole_fmrlrec.train.threads import wait_passively

DONE, FAILED, WRONG_USE, BUSY = 0, 1, 2, 75
#: How a line begins that the command is to pass on.
WARNING = "warning: "


def main() -> int:
    """Compute the cell described on standard input; returns the exit code."""
    wait_passively()
    job = json.load(sys.stdin)
    end_with(lambda: os.getppid() == job["parent"])
    return work(job)


def description(cell: Cell) -> dict[str, Any]:
    """A cell as `work` takes it, in values that JSON knows."""
    models = outside.specs()
    return {"cell": cell.to_json(), "root": str(cell.root), "models": models}


def work(job: Mapping[str, Any]) -> int:
    """Compute a cell; returns the exit code."""
    wait_passively()
    cell = Cell.from_json(job["cell"], Path(job["root"]))
    lock = cell.lock
    if not lock.acquire():
        return BUSY
    lock.keep(lost=lambda: os._exit(BUSY))
    try:
        from recbole_fmrlrec.config.model_names import model_name

        for spec in job["models"]:
            model_name(spec)
        if not cell.finished:
            compute(cell)
        return DONE
    except Exception as error:
        import traceback

        wrong = isinstance(error, usage_errors())
        if not wrong:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USE if wrong else FAILED
    finally:
        lock.release()


def compute(cell: Cell) -> None:
    """Train, test and measure a cell, from where an earlier attempt ended.

    Raises:
        UsageError: its settings or its data cannot be used.
        RunError: the run failed.
    """
    from recbole_fmrlrec import compat

    compat.apply()
    from recbole_fmrlrec.compare.evaluating import make_lists
    from recbole_fmrlrec.compare.measure import measure
    from recbole_fmrlrec.config.config import Config
    from recbole_fmrlrec.runs.folder import LAST, RunFolder
    from recbole_fmrlrec.runs.recovery import remove_damaged
    from recbole_fmrlrec.train.run import run_when_free
    from recbole_fmrlrec.train.threads import take_threads

    cell.path.mkdir(parents=True, exist_ok=True)
    for warning in remove_damaged(cell.path):
        print(f"{WARNING}{warning}", file=sys.stderr)
    if not (cell.path / TEST_RANKS).is_file() and (cell.path / LAST).is_file():
        (cell.path / RESULT).unlink(missing_ok=True)  # from there the test alone is run again
    config = Config(cell.model, cell.dataset, config_dict=cell.settings)
    folder = RunFolder.at(cell.path, config)
    folder.begin(config)
    if not (cell.path / RESULT).is_file():
        more = {"resume": cell.path, "keep_lists": cell.keep_lists}
        run_when_free(cell.model, cell.dataset, config_dict=cell.settings, **more)
    if not (cell.path / TEST_RANKS).is_file():
        raise RunError(
            f"{cell.path}: the run left no {TEST_RANKS}; a comparison needs one test item per row "
            f"and eval_args.mode: full. Where the file was removed, --redo={cell.key} "
            "recreates it"
        )
    # A run that was finished before has not set them here.
    take_threads(config["num_threads"], folder.threads())
    if not cell.measured:
        measure(config, cell.path)
    if cell.keep_lists is not None and not cell.finished:
        make_lists(config, cell.path, cell.keep_lists)
        if not cell.finished:
            raise RunError(
                f"the features of {cell.dataset} are others than when the comparison began, and "
                "IntraListDiversity is by them; give the same command again"
            )
    (cell.path / LAST).unlink(missing_ok=True)  # a finished cell is not continued


if __name__ == "__main__":
    sys.exit(main())
