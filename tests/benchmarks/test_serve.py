"""RecBole's SASRec behind the server of the benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from fastapi.testclient import TestClient
from recbole.data.interaction import Interaction

from benchmarks.serve_worker import SASRecServed, sasrec_model
from recbole_fmrlrec.serve.app import build_app
from recbole_fmrlrec.serve.models import Models, Served
from recbole_fmrlrec.serve.service import Service
from recbole_fmrlrec.serve.settings import Settings

ITEMS = 200


@torch.no_grad()
def expected(network: Any, history: list[str], count: int) -> list[str]:
    """The best items by RecBole's own ranking; item "0" has row 1."""
    rows = [int(item) + 1 for item in history][-50:]
    padded = torch.tensor([rows + [0] * (50 - len(rows))])
    asked = Interaction({"item_id_list": padded, "item_length": torch.tensor([len(rows)])})
    scores = network.full_sort_predict(asked)[0, : ITEMS + 1]
    scores[[0, *(int(item) + 1 for item in history)]] = -torch.inf
    return [str(row - 1) for row in scores.argsort(descending=True)[:count].tolist()]


def test_sasrec_answers_what_recbole_ranks() -> None:
    model = sasrec_model(ITEMS, 16)
    assert isinstance(model, SASRecServed)
    models = Models([])
    models.put(Served("random", 16, Path(), "0", 0, model, (0, 0, 0)))
    with TestClient(build_app(Service(Settings(()), models=models))) as client:
        for history in (["0"], ["5", "199", "7"], [str(item) for item in range(60)]):
            answer = client.post("/recommend", json={"history": history, "k": 10}).json()
            ids = [item["item_id"] for item in answer["items"]]
            assert ids == expected(model.sasrec, history, 10)
