"""The short text before a run: data, model, sizes, parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recbole_fmrlrec.model_api.protocols import ExportableModel, NestedModel
from recbole_fmrlrec.train.typed_settings import RunSettings


def data_line(dataset: str, counts: tuple[int, int, int], loaders: Sequence[Any]) -> str:
    """What the run sees of its dataset.

    Args:
        dataset: its name.
        counts: users, items and interactions, before the split makes rows of them.
        loaders: of training, validation and test; None where there is no such part.
    """
    users, items, events = (f"{count:,}" for count in counts)
    parts = [
        f"{len(loader._dataset):,} rows of {name}"
        for name, loader in zip(("validation", "test"), loaders[1:], strict=True)
        if loader
    ]
    return f"data:    {dataset}: " + ", ".join(
        [f"{users} users", f"{items} items", f"{events} interactions", *parts]
    )


def model_lines(settings: RunSettings, model: Any) -> list[str]:
    """What is trained: model, seed, device; parameters, at each size where there are sizes."""
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    head = f"model:   {settings.model}, seed {settings.seed}, on {settings.device}"
    if not (isinstance(model, NestedModel) and isinstance(model, ExportableModel)):
        return [f"{head}, {count:,} parameters"]
    counts = [f"{size} ({model.parameter_count(size):,})" for size in model.sizes]
    return [head, f"sizes:   {', '.join(counts)}", f"         in brackets the {counted(model)}"]


def counted(model: Any) -> str:
    """What the parameters of a size count, of a model of ours."""
    network, parts = model.network, ["the blocks"]
    if network.projector is not None:
        parts.append("the projector of the features")
    if network.id_embedding is not None:
        parts.append("a learned vector for each item")
    if model.history_shifts() is not None:
        parts.append("a number for the history's items")
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"parameters that are trained: {listed}"
