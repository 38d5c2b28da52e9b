"""One process of several: runs the trainings that a JSON file lists, and notes what it finds.

The file is a list of runs: a name, arguments of `run`, and perhaps the epoch after which it is
interrupted. Results go beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recbole_fmrlrec import run, torchrun


def interrupt(after: int | None) -> Any:
    """A hook that ends the run as Ctrl-C would, after epoch ``after`` (from 0)."""

    def stop(epoch: int, score: float) -> None:
        if epoch == after:
            raise KeyboardInterrupt

    return stop


def main(file: Path) -> None:
    """Run all of them, and write NAME.RANK.json beside the file."""
    for task in json.loads(file.read_text(encoding="utf-8")):
        found = {}
        try:
            result = run(**task["run"], after_validation=interrupt(task.get("stop_after")))
            found = {"test": result.test, "history": result.history, "dir": str(result.run_dir)}
        except KeyboardInterrupt:
            found = {"interrupted": True}
        out = file.with_name(f"{task['name']}.{torchrun.rank()}.json")
        out.write_text(json.dumps(found), encoding="utf-8")
