"""Work that is kept in shards: killed at any point, it goes on where it was.

A work folder holds ``plan.json`` (everything that decides the values) and finished shards. A
shard is a fixed run of batches, so that the values do not depend on where work was cut.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_tools.errors import DatasetError, UsageError
from dataset_tools.files import replacing

Batch = tuple[np.ndarray, Mapping[int, str]]


@dataclass(frozen=True)
class Shard:
    """Encoded inputs ``start``..: ``matrix`` (n, width) float16, reasons of those that failed."""

    start: int
    matrix: np.ndarray
    reasons: dict[int, str]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What is not the same in two plans, one line a key of ``new``."""
    return [f"{key} {old.get(key)!r}, now {new[key]!r}" for key in new if old.get(key) != new[key]]


class ShardStore:
    """The work folder of one plan.

    Raises:
        UsageError: it holds work of another plan; the message names the differences.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any], overwrite: bool = False) -> None:
        self._folder, self._plan = folder, dict(plan)
        if overwrite:
            self.remove()
        path = folder / "plan.json"
        if path.is_file():
            try:
                changed = differences(json.loads(path.read_text(encoding="utf-8")), self._plan)
            except ValueError:
                changed = [f"{path} is not JSON"]
            if changed:
                raise UsageError(
                    f"{folder} holds unfinished work of another run: {'; '.join(changed)}. "
                    "Run it as before to go on, or with --overwrite to start anew"
                )
        else:
            with replacing(path) as stream:
                json.dump(self._plan, stream, indent=2, ensure_ascii=False)

    def remove(self) -> None:
        """Delete the work folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"shard-{number:06d}.npz"

    def is_done(self, number: int) -> bool:
        """Whether shard ``number`` is finished."""
        return self._path(number).is_file()

    def save(self, number: int, batches: Sequence[Batch]) -> None:
        """Keep the batches of one shard."""
        reasons: dict[int, str] = {}
        start = 0
        for matrix, failed in batches:
            reasons.update({start + row: reason for row, reason in failed.items()})
            start += len(matrix)
        with np.errstate(over="ignore"):
            table = np.concatenate([matrix for matrix, _ in batches]).astype("<f2")
        text = np.frombuffer(json.dumps(reasons).encode(), dtype=np.uint8)
        packed = io.BytesIO()
        np.savez(packed, matrix=table, reasons=text)
        with replacing(self._path(number), "wb") as stream:
            stream.write(packed.getbuffer())

    def load(self, number: int, start: int) -> Shard:
        """A finished shard whose first input is ``start``; a damaged one is named and dropped."""
        path = self._path(number)
        try:
            with np.load(path, allow_pickle=False) as packed:
                reasons = json.loads(packed["reasons"].tobytes())
                matrix = packed["matrix"]
        except Exception as error:  # a damaged archive raises nearly any type
            path.unlink(missing_ok=True)
            raise DatasetError(f"{path}: damaged ({error}) and removed; run it again") from error
        return Shard(start, matrix, {int(row): reason for row, reason in reasons.items()})

    def fill(
        self,
        inputs: Sequence[Any],
        encode: Callable[[Sequence[Any]], Batch],
        batch_size: int,
        shard_size: int,
        done: Callable[[int], None] = lambda count: None,
    ) -> list[Shard]:
        """Encode what is not there yet; ``done`` hears how many inputs became ready each time."""
        shards = []
        for number, start in enumerate(range(0, len(inputs), shard_size)):
            here = inputs[start : start + shard_size]
            if self.is_done(number):
                done(len(here))
            else:
                batches = []
                for at in range(0, len(here), batch_size):
                    batch = here[at : at + batch_size]
                    batches.append(encode(batch))
                    done(len(batch))
                self.save(number, batches)
            shards.append(self.load(number, start))
        return shards
