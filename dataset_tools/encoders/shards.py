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

from dataset_tools.differences import changed_entries
from dataset_tools.encoders.share import Share
from dataset_tools.errors import DatasetError, EncodingError, UsageError
from dataset_tools.features.float16 import Range, to_float16
from dataset_tools.files.atomic_write import needing, replacing
from dataset_tools.files.unfinished import is_left_behind, partial_path, remove_left_behind

Batch = tuple[np.ndarray, Mapping[int, str]]
# Older plans and manifests do not say these: what is not known of them is no difference.
_LATER_KEYS = ("content_sha256", "files_sha256")


@dataclass(frozen=True)
class Shard:
    """Encoded inputs ``start``..: ``matrix`` (n, width), reasons of those that failed.

    It is float16, or float32 where a row of the shard lies outside float16.
    """

    start: int
    matrix: np.ndarray
    reasons: dict[int, str]


def plan_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What is not the same in two plans, one line a key of ``new``.

    A model that is known by its content may be in another folder, or go by another name.
    """
    same = str(new.get("revision")).startswith("sha256:") and old.get("revision") == new["revision"]
    keys = [key for key in new if key in old or key not in _LATER_KEYS]
    keys = [key for key in keys if not (same and key == "encoder")]
    before, now = ({key: plan.get(key) for key in keys} for plan in (old, new))
    return [f"{key} {was}, now {now_is}" for key, was, now_is in changed_entries(before, now)]


class ShardStore:
    """The work folder of one plan, for one process at a time, or for one of each share.

    Args:
        overwrite: work of another plan gives way; work of this one goes on all the same.
        share: this process's part; None for all of it.

    Raises:
        UsageError: it holds work of another plan, whose differences the message names, or
            another process is at work there.
    """

    def __init__(
        self,
        folder: Path,
        plan: Mapping[str, Any],
        overwrite: bool = False,
        share: Share | None = None,
    ) -> None:
        self._folder, self._plan, self._share = folder, dict(plan), share
        own = "writer" if share is None else f"writer-{share.number}-of-{share.count}"
        self._mark = partial_path(folder / own)
        self._refuse_others()
        changed = self._changes()
        if changed and not overwrite:
            raise UsageError(
                f"{folder} holds unfinished work of another run: {'; '.join(changed)}. "
                "Run it with the same settings to continue, or with --overwrite to start over"
            )
        if changed or not self._plan_path.is_file():
            if share is None:
                self.remove()  # also shards that have lost their plan
            elif any(folder.glob("shard-*")) and not self._plan_path.is_file():
                raise UsageError(f"{folder}: shards without {self._plan_path.name}; delete it")
            with replacing(self._plan_path) as stream:
                json.dump(self._plan, stream, indent=2, ensure_ascii=False)
        remove_left_behind(folder)
        self._mark.touch()

    @property
    def folder(self) -> Path:
        """The work folder."""
        return self._folder

    @property
    def _plan_path(self) -> Path:
        return self._folder / "plan.json"

    def _changes(self) -> list[str]:
        if not self._plan_path.is_file():
            return []
        try:
            plan = json.loads(self._plan_path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            plan = None
        if not isinstance(plan, dict):
            return [f"{self._plan_path} is not JSON"]
        return plan_changes(plan, self._plan)

    def _refuse_others(self) -> None:
        # Shares do not disturb each other: shards appear whole, the same from whoever makes them.
        pattern = ".writer*.partial" if self._share is None else ".writer.*.partial"
        for mark in self._folder.glob(pattern):
            if mark != self._mark and not is_left_behind(mark):
                raise UsageError(
                    f"{self._folder}: another process is already running there (its marker file "
                    f"is {mark.name}); "
                    "wait for it, or choose another folder with --output"
                )

    def release(self) -> None:
        """Say that this process is no longer at work here."""
        self._mark.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the work folder."""
        self._plan_path.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"shard-{number:06d}.npz"

    def is_done(self, number: int) -> bool:
        """Whether shard ``number`` is finished."""
        return self._path(number).is_file()

    def count_done(self, count: int, shard_size: int) -> int:
        """How many of ``count`` inputs stand in finished shards."""
        starts = enumerate(range(0, count, shard_size))
        return sum(
            min(shard_size, count - start) for number, start in starts if self.is_done(number)
        )

    def save(self, number: int, batches: Sequence[Batch]) -> None:
        """Keep the batches of one shard."""
        reasons: dict[int, str] = {}
        start = 0
        for matrix, failed in batches:
            reasons.update({start + row: reason for row, reason in failed.items()})
            start += len(matrix)
        table = np.concatenate([matrix for matrix, _ in batches])
        if not np.isfinite(table).all():
            raise EncodingError(f"{self._folder}: the encoder produced NaN or infinite values")
        table = to_float16(table) if Range.of(table).fits else table.astype("<f4")
        text = np.frombuffer(json.dumps(reasons).encode(), dtype=np.uint8)
        packed = io.BytesIO()
        np.savez(packed, matrix=table, reasons=text)
        path, content = self._path(number), packed.getbuffer()
        with needing(path, len(content)), replacing(path, "wb") as stream:
            stream.write(content)

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
        """Encode what is not there yet; ``done`` hears how many inputs became ready each time.

        Returns:
            All shards; none of them where this process has a share.
        """
        shards = []
        for number, start in enumerate(range(0, len(inputs), shard_size)):
            if self._share is not None and not self._share.has(number):
                continue
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
            if self._share is None:
                shards.append(self.load(number, start))
        return shards

    def missing(self, count: int, shard_size: int) -> list[int]:
        """The shards of ``count`` inputs that are not finished, whoever's they are."""
        shards = range(-(-count // shard_size))
        return [number for number in shards if not self.is_done(number)]

    def load_all(self, count: int, shard_size: int) -> list[Shard]:
        """All shards, which are finished."""
        starts = enumerate(range(0, count, shard_size))
        return [self.load(number, start) for number, start in starts]
