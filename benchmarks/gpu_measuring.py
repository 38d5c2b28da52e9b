"""Times and peak memory on a GPU, a row for each measurement, whatever becomes of it."""

from __future__ import annotations

import contextlib
import gc
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import torch

PREFIX = "benchmark: "
FLOAT32, TF32, BFLOAT16 = "float32", "TF32", "bfloat16"


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: what was done.
        precision: of its products.
        seconds: of one ``per``; None where it failed.
        per: step, epoch, evaluation or ranking.
        peak_bytes: the most that tensors took on the GPU; None on a CPU.
        note: what else there is to say; why it failed.
    """

    what: str
    precision: str
    seconds: float | None
    per: str = "step"
    peak_bytes: int | None = None
    note: str = ""


@dataclass
class Bench:
    """Where a section measures, and for how long it may; it prints its rows as they come.

    Attributes:
        device: a GPU, or the CPU for a rehearsal.
        seconds: of the whole section; what would begin later is not measured.
        quick: small shapes and few measurements.
        rows: so far.
    """

    device: torch.device
    seconds: float
    quick: bool
    rows: list[Row] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def row(
        self, what: str, precision: str, work: Callable[[], Row], per: str = "step"
    ) -> Row | None:
        """Do ``work`` in a precision and keep its row; one that fails says why.

        Returns:
            The row; None where it failed.
        """
        if time.perf_counter() - self.started > self.seconds:
            self._say(Row(what, precision, None, per, note="not measured: the time is used up"))
            return None
        self._free()
        try:
            with computing(precision):
                found = work()
        except torch.OutOfMemoryError:
            self._say(Row(what, precision, None, per, note="out of memory"))
            return None
        except Exception as error:
            first = str(error).strip().splitlines() or [""]
            note = f"failed: {type(error).__name__}: {first[0][:200]}"
            self._say(Row(what, precision, None, per, note=note))
            return None
        self._say(found)
        return found

    def timed(
        self, what: str, precision: str, prepare: Callable[[], Callable[[], Any]], per: str = "step"
    ) -> Row | None:
        """A row of the median time of a call of what ``prepare`` makes."""

        def work() -> Row:
            call = prepare()
            seconds, peak = self.time(call)
            return Row(what, precision, seconds, per, peak)

        return self.row(what, precision, work, per)

    def time(self, call: Callable[[], Any]) -> tuple[float, int | None]:
        """Median seconds of a call, and the peak of memory.

        The GPU is waited for around groups of calls, not around each: as in a training.
        """
        for _ in range(1 if self.quick else 3):
            call()
        self.reset_peak()
        once = self._group(call, 1)
        calls, groups = (1, 2) if self.quick else (min(50, max(1, int(0.25 / once))), 7)
        return median(self._group(call, calls) for _ in range(groups)), self.peak()

    def _group(self, call: Callable[[], Any], calls: int) -> float:
        self.wait()
        started = time.perf_counter()
        for _ in range(calls):
            call()
        self.wait()
        return (time.perf_counter() - started) / calls

    def wait(self) -> None:
        """Wait until the GPU has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def reset_peak(self) -> None:
        """Begin to look for the peak of memory."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> int | None:
        """The most bytes of tensors since `reset_peak`."""
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None

    def _free(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _say(self, row: Row) -> None:
        self.rows.append(row)
        print(PREFIX + json.dumps(asdict(row)), flush=True)


@contextlib.contextmanager
def computing(precision: str) -> Iterator[None]:
    """Let products of float32 matrices round their factors to TF32, or not."""
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, precision == TF32
    try:
        yield
    finally:
        matmul.allow_tf32 = before
