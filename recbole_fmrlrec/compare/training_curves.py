"""Training of the systems in a table: what nesting saves, and curves of validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from recbole_fmrlrec.compare.gather import System


def savings(systems: Sequence[System]) -> list[dict[str, Any]]:
    """For each variant with separate models: what one training for all sizes saves.

    Nothing of one with a training that is not finished: its sums would be too small.
    """
    found = []
    for name in dict.fromkeys(s.variant.name for s in systems if s.alone):
        own = [system for system in systems if system.variant.name == name]
        if not all(system.complete for system in own):
            continue
        together = [s.cost()["training_seconds"] or 0.0 for s in own if not s.alone][:1]
        alone = {s.size: s.cost()["training_seconds"] for s in own if s.alone}
        found.append(
            {
                "variant": name,
                "together_seconds": together[0] if together else None,
                "alone_seconds": {str(size): value for size, value in alone.items()},
                "alone_total_seconds": sum(value or 0.0 for value in alone.values()),
            }
        )
    return found


def curves(systems: Sequence[System], metric: str) -> list[dict[str, Any]]:
    """A validation metric by epoch and by seconds of training: a curve for each ordinary run.

    A run that several variants share has a curve under each name.
    """
    runs = {
        (system.variant.name, run.cell.key): run
        for system in systems
        if not system.alone
        for run in system.runs
    }
    found = []
    for (name, _), run in runs.items():
        points = list(_points(run.result["history"], metric))
        if points:
            epochs, seconds, values = map(list, zip(*points, strict=True))
            found.append(
                {
                    "variant": name,
                    "seed": run.cell.seed,
                    "epochs": epochs,
                    "seconds": seconds,
                    "values": values,
                    "best_epoch": run.result["best_epoch"],
                }
            )
    return found


def _points(history: Sequence[dict[str, Any]], metric: str) -> Iterator[tuple[int, float, float]]:
    seconds = 0.0
    for epoch in history:
        seconds += epoch["train_seconds"] + epoch.get("valid_seconds", 0.0)
        if metric in epoch.get("valid", {}):
            yield epoch["epoch"], seconds, epoch["valid"][metric]
