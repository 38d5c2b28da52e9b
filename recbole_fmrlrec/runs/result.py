"""What a run leaves behind: metrics, cost and circumstances, as a table and as JSON.

Epochs count from 1 wherever people read them: in tables, in ``run.log`` and in ``result.json``,
which says so by ``"epochs_count_from": 1``. Files of earlier versions say nothing and count from 0;
`epochs_from_one` reads both. Checkpoints go on counting from 0, as RecBole's loops do.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from recbole_fmrlrec.evaluation.protocol import is_masked, masked_name, plain_name

_PACKAGES = ("recbole", "torch", "numpy", "pandas", "scipy", "scikit-learn", "recbole-fmrlrec")
_FROM = "epochs_count_from"
#: Under a table of sizes: an exported model of the same size counts another number.
COUNTED = (
    "parameters: all that is trained for a size, with the features' projector and learned vectors\n"
    "of items; a deployed model holds these vectors in its item table and does not count them"
)


#: Under a table of both rankings.
HISTORY = (
    "history: kept, all items are ranked; masked, without the items that the user had before the\n"
    "target (masked_... in result.json); figures of the two cannot be compared"
)


@dataclass(frozen=True)
class RunResult:
    """The outcome of one run.

    Attributes:
        best_epoch: the epoch whose model was kept, counted from 1.
        valid: rows of ``size`` (None where a model has no sizes), ``parameters`` (all that is
            trained for the size: learned vectors of items and the features' projector as well),
            ``metrics``, at the best epoch on validation. Of full ranking, ``ndcg@10`` is among all
            items and ``masked_ndcg@10`` among those that are not in the user's history.
        test: the same on test.
        history: a record per epoch; ``epoch`` is its number, counted from 1.
        seconds: wall time of data, training (validation included), test, and total. ``data`` and
            ``test`` are those of the last session of a run that was resumed, ``training`` and
            ``total`` of all; of a killed one, ``total`` counts up to its last checkpoint.
        parent: the training that this one continues: file, SHA-256, dataset, epochs, and how many
            items and users were kept, are new, are gone; None where it continues none.
        split: of a split by time, its moments and keys, how many rows validation and test have, of
            how many the target is cold or the user new, how many interactions are left out, and
            whether the model knows ids only, so that cold items come last; else None.
        peak_memory_bytes: largest resident memory of the process, and of the GPU where one is used.
    """

    model: str
    dataset: str
    run_dir: Path
    seed: int
    valid_metric: str
    best_valid_score: float | None
    best_epoch: int | None
    epochs_run: int | None
    valid: list[dict[str, Any]]
    test: list[dict[str, Any]]
    history: list[dict[str, Any]]
    seconds: dict[str, float]
    peak_memory_bytes: dict[str, int]
    features: dict[str, Any]
    fingerprint: str
    config: dict[str, Any]
    machine: dict[str, Any]
    parent: dict[str, Any] | None = None
    split: dict[str, Any] | None = None

    @property
    def test_result(self) -> dict[str, float]:
        """Test metrics at the largest size; empty where the split has no test part."""
        return dict(self.test[-1]["metrics"]) if self.test else {}

    def table(self) -> str:
        """Test metrics as text, a row for every size and ranking, with the parameter count."""
        shown, part = (
            (self.test, "Test") if self.test else (self.valid, "Validation (no test part)")
        )
        every = list(shown[0]["metrics"]) if shown else []
        names = list(dict.fromkeys(map(plain_name, every)))
        kinds = {"masked" if is_masked(name) else "kept": None for name in every}
        nested = any(row["size"] is not None for row in shown)
        full = self._ranks_all_items("test" if self.test else "valid")
        head = ["model", *(["size"] if nested else []), "parameters"]
        head += [*(["history"] if full else []), *names]
        rows = [
            [
                self.model,
                *([row["size"]] if nested else []),
                f"{row['parameters']:,}",
                *([kind] if full else []),
                *(_shown(row["metrics"], name, kind == "masked") for name in names),
            ]
            for kind in kinds
            for row in shown
        ]
        align = ["left"] + ["right"] * (len(head) - 1)
        text = tabulate(rows, head, disable_numparse=True, colalign=align)
        note = f"{COUNTED}\n" if nested else ""
        note += f"{HISTORY}\n" if full and len(kinds) > 1 else ""
        place = self.run_dir / "result.json"
        return f"{part} on {self.dataset}{self._epochs()}\n{text}\n{note}{place}"

    def _ranks_all_items(self, part: str) -> bool:
        mode = (self.config.get("eval_args") or {}).get("mode", "full")
        return (mode.get(part) if isinstance(mode, dict) else mode) == "full"

    def _epochs(self) -> str:
        if self.best_epoch is None or self.best_valid_score is None:
            return ""
        best = f"best {self.valid_metric} on validation {self.best_valid_score:.4f}"
        return f" ({best}, epoch {self.best_epoch} of {self.epochs_run} run)"

    def to_json(self) -> dict[str, Any]:
        """Values that JSON knows."""
        return {**asdict(self), "run_dir": str(self.run_dir), _FROM: 1}

    @classmethod
    def from_json(cls, content: dict[str, Any], run_dir: Path) -> RunResult:
        """The inverse of `to_json`; ``run_dir`` is where the folder is now."""
        content = up_to_date(content)
        del content[_FROM]
        return cls(**{**content, "run_dir": run_dir})


def up_to_date(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a ``result.json`` of any version, as today's would say it."""
    return _protocols_named(epochs_from_one(content))


def _protocols_named(content: dict[str, Any]) -> dict[str, Any]:
    """Before there was the key ``history``, a run showed one ranking under plain names.

    It was the one without the history where ``mask_history`` was True.
    """
    config = content["config"]
    if "history" in config or not config.get("mask_history"):
        return content

    def named(metrics: dict[str, float]) -> dict[str, float]:
        return {masked_name(name): value for name, value in metrics.items()}

    parts = {
        part: [{**row, "metrics": named(row["metrics"])} for row in content[part]]
        for part in ("valid", "test")
    }
    history = [
        {**record, **({"valid": named(record["valid"])} if "valid" in record else {})}
        for record in content["history"]
    ]
    metric = masked_name(content["valid_metric"])
    return {**content, **parts, "history": history, "valid_metric": metric}


def _shown(metrics: dict[str, float], name: str, masked: bool) -> str:
    value = metrics.get(masked_name(name) if masked else name)
    return "" if value is None else f"{value:.4f}"


def epochs_from_one(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a ``result.json``, with epochs counted from 1 whatever version wrote it."""
    shift = 1 - int(content.get(_FROM, 0))
    best = content["best_epoch"]
    history = [{**record, "epoch": record["epoch"] + shift} for record in content["history"]]
    best = None if best is None else best + shift
    return {**content, "best_epoch": best, "history": history, _FROM: 1}


def best_epoch(trainer: Any) -> int | None:
    """The epoch whose model is kept, from 1: the last one that was no worse than the best."""
    validated = [record for record in getattr(trainer, "history", []) if "valid" in record]
    if not validated:
        return None
    metric = trainer.valid_metric
    values = [record["valid"][metric] for record in validated]
    best = max(values) if trainer.valid_metric_bigger else min(values)
    last = [r["epoch"] for r, value in zip(validated, values, strict=True) if value == best][-1]
    return int(last) + 1


def training_seconds(trainer: Any, measured: float) -> float:
    """Time of all epochs, those before a resume included; as measured where none are recorded."""
    history = getattr(trainer, "history", [])
    if not history:
        return measured
    return sum(epoch["train_seconds"] + epoch.get("valid_seconds", 0.0) for epoch in history)


def size_rows(
    model: Any, metrics: Any, by_size: dict[int, dict[str, float]] | None
) -> list[dict[str, Any]]:
    """A row per nested size, or the one row of another model: size, parameters, metrics."""
    if metrics is None:
        return []
    if by_size:
        return [
            {"size": size, "parameters": model.parameter_count(size), "metrics": dict(at)}
            for size, at in by_size.items()
        ]
    count = sum(parameter.numel() for parameter in model.parameters())
    plain = {name: float(value) for name, value in metrics.items()}
    return [{"size": None, "parameters": count, "metrics": plain}]


def peak_memory() -> dict[str, int]:
    """Bytes: largest resident memory of this process, and on the GPU where one is used."""
    import torch

    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if torch.cuda.is_available():
        peak["cuda"] = torch.cuda.max_memory_allocated()
    return peak


def machine_facts() -> dict[str, Any]:
    """Versions and hardware that a figure depends on."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
