"""Rankings of cold items: by the deployed model, and by what needs no training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.cold_split import ColdSplit
from dataset_tools.features import align_features, read_features
from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.evaluation.ranking import mean_rank

BATCH, K = 512, 10


def score_cases(split: ColdSplit, family: Path) -> list[list[Any]]:
    """Rows of the printed table: name, then Recall@10 and NDCG@10 among cold and among all."""
    every = [*split.warm, *split.cold]
    place = {item: at for at, item in enumerate(every)}
    targets = torch.tensor([place[case.target] for case in split.cases])
    first_cold = len(split.warm)
    rows = [["random (expected)", *_expected(len(split.cold)), *_expected(len(every))]]
    methods: list[tuple[str, Iterator[Tensor]]] = [
        ("popularity in training", _popularity(split)),
        ("text neighbour of the last item", _neighbours(split, every, latest=1)),
        ("text neighbour of the history", _neighbours(split, every, latest=None)),
    ]
    for folder in sorted(family.glob("*/model.json"), key=lambda path: int(path.parent.name)):
        model = Recommender.load(folder.parent)
        name = f"{model.description.model}, size {model.size}"
        methods.append((name, _model_scores(model, split, every)))
    for name, scores in methods:
        among_all, among_cold = [], []
        for part, wanted in zip(scores, targets.split(BATCH), strict=True):
            among_all.append(mean_rank(part, wanted).floor())
            among_cold.append(mean_rank(part[:, first_cold:], wanted - first_cold).floor())
        rows.append([name, *_metrics(torch.cat(among_cold)), *_metrics(torch.cat(among_all))])
    return rows


def _metrics(ranks: Tensor) -> tuple[float, float]:
    hit = ranks <= K
    gain = torch.where(hit, 1 / torch.log2(ranks.double() + 1), 0.0)
    return float(hit.double().mean()), float(gain.mean())


def _expected(count: int) -> tuple[float, float]:
    """Recall and NDCG of a random order of ``count`` items."""
    cut = min(K, count)
    return cut / count, sum(1 / math.log2(rank + 1) for rank in range(1, cut + 1)) / count


def _histories(split: ColdSplit) -> Iterator[list[list[str]]]:
    for at in range(0, len(split.cases), BATCH):
        yield [case.history for case in split.cases[at : at + BATCH]]


def _popularity(split: ColdSplit) -> Iterator[Tensor]:
    """A cold item was never interacted with: all of them tie at 0."""
    counts = torch.tensor([*split.warm.values(), *[0] * len(split.cold)], dtype=torch.float32)
    for histories in _histories(split):
        yield counts.expand(len(histories), -1).contiguous()


def _neighbours(split: ColdSplit, every: Sequence[str], latest: int | None) -> Iterator[Tensor]:
    """Cosine of text features with the mean of those of the latest items."""
    rows, _ = align_features(read_features(split.features, "text"), every)
    unit = torch.from_numpy(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
    place = {item: at for at, item in enumerate(every)}
    for histories in _histories(split):
        means = [
            unit[[place[item] for item in (history[-latest:] if latest else history)]].mean(0)
            for history in histories
        ]
        yield torch.stack(means) @ unit.t()


def _model_scores(model: Recommender, split: ColdSplit, every: Sequence[str]) -> Iterator[Tensor]:
    """Scores of all items, the cold ones added from their features."""
    features = {
        modality.name: align_features(read_features(split.features, modality.name), split.cold)[0]
        for modality in model.description.modalities
    }
    model.add_items(split.cold, features)
    rows, _ = model.items.rows(every, "error")
    table = model.items.vectors[rows]
    for histories in _histories(split):
        hidden = model.encode_rows([model.items.rows(items, "error")[0] for items in histories])
        yield hidden @ table.t()
