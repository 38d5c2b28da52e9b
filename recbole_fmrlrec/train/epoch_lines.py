"""One line an epoch: loss, time, validation at the smallest and the largest size, the best marked.

Epochs count from 1 wherever people read them; RecBole's loops count from 0.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recbole_fmrlrec.console import say


@dataclass(frozen=True)
class _Epoch:
    number: str
    loss: float
    seconds: float


class EpochLines:
    """Mixin before a trainer of RecBole: says how each epoch went, as soon as it is known.

    A line waits for the epoch's validation; without one it comes with the next epoch, the last one
    with `end_lines`. The loss is the mean over the epoch's batches, as in ``result.json``.
    """

    epochs: int
    best_valid_score: float
    valid_metric: str
    valid_metric_bigger: bool
    by_size: dict[int, dict[str, float]] | None = None
    _batches = 1
    _waiting: _Epoch | None = None
    _head = ""

    def _train_epoch(self, train_data: Any, *args: Any, **kwargs: Any) -> Any:
        self._batches = max(1, len(train_data))
        return super()._train_epoch(train_data, *args, **kwargs)  # type: ignore[misc]

    def _generate_train_loss_output(
        self, epoch_idx: int, s_time: float, e_time: float, losses: Any
    ) -> str:
        self.end_lines()
        total = float(sum(losses) if isinstance(losses, tuple) else losses)
        number = f"{epoch_idx + 1}/{self.epochs}"
        self._waiting = _Epoch(number, total / self._batches, e_time - s_time)
        line: str = super()._generate_train_loss_output(  # type: ignore[misc]
            epoch_idx, s_time, e_time, losses
        )
        return line

    def _valid_epoch(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        score, result = super()._valid_epoch(*args, **kwargs)  # type: ignore[misc]
        best = self.best_valid_score
        is_best = score >= best if self.valid_metric_bigger else score <= best
        self._say_epoch(self._validation(score), time.perf_counter() - started, is_best)
        return score, result

    def _validation(self, score: float) -> dict[str, float]:
        """The metric of early stopping, at the smallest and the largest size if there are sizes."""
        if not self.by_size:
            return {self.valid_metric: float(score)}
        ends = dict.fromkeys([min(self.by_size), max(self.by_size)])
        name = self.valid_metric
        return {f"{name} at {size}": self.by_size[size][name] for size in ends}

    def end_lines(self) -> None:
        """Say the line of an epoch that was not validated."""
        if self._waiting is not None:
            self._say_epoch({}, 0.0, False)

    def _say_epoch(self, metrics: dict[str, float], seconds: float, is_best: bool) -> None:
        epoch = self._waiting or _Epoch("", float("nan"), 0.0)
        self._waiting = None
        cells = [
            epoch.number,
            f"{epoch.loss:.4f}",
            f"{epoch.seconds + seconds:.1f} s",
            *(f"{value:.4f}" for value in metrics.values()),
        ]
        head = _aligned(["epoch", "loss", "time", *metrics], list(metrics))
        if (metrics and head != self._head) or not self._head:
            self._head = head
            say(head)
        say(_aligned(cells, list(metrics)) + ("  best so far" if is_best else ""))


def _aligned(cells: Sequence[str], metrics: Sequence[str]) -> str:
    widths = [9, 10, 9, *(max(len(name), 6) for name in metrics)]
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
