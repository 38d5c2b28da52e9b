"""A server of its own process with a random model: fMRLRec's, or RecBole's SASRec in its place.

SASRec answers through the same code: its item embeddings are the item table, and its output after
a history takes the place of the recurrence's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.deploy import random_model
from recbole_fmrlrec import compat
from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.serve.logs import log_to_stderr
from recbole_fmrlrec.serve.models import Models, Served
from recbole_fmrlrec.serve.server import bind, run
from recbole_fmrlrec.serve.service import Service
from recbole_fmrlrec.serve.settings import Limits, Settings

MODELS = ("fMRLRec", "SASRec")


class SASRecServed(Recommender):
    """RecBole's SASRec behind the interface of a deployed model; it has no sessions."""

    sasrec: Any

    @torch.no_grad()
    def encode_rows(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """Outputs ``(B, s)`` after histories given as table rows."""
        most = self.max_history or 50
        rows = torch.zeros(len(histories), most, dtype=torch.int64)
        cut = [list(history[-most:]) or [0] for history in histories]
        for at, history in enumerate(cut):
            rows[at, : len(history)] = torch.tensor(history)
        output: Tensor = self.sasrec(rows, torch.tensor([len(history) for history in cut]))
        return output


def sasrec_model(items: int, size: int) -> Recommender:
    """A random SASRec with RecBole's defaults but for ``hidden_size``."""
    compat.apply()
    from benchmarks.deploy_events import _Items
    from recbole_fmrlrec.config.config import Config

    keys = {"hidden_size": size, "MAX_ITEM_LIST_LENGTH": 50, "use_gpu": False}
    config = Config("SASRec", "ml-100k", config_dict=keys)
    network = config.model_class(config, _Items(items)).eval()
    small = random_model(10, size)
    vectors = network.item_embedding.weight.detach()[: items + 1].clone()
    ids = [str(row) for row in range(items)]
    table = ItemTable(ids, [None] * items, vectors)
    about = replace(small.description, model="SASRec", num_items=items, trained_items=items)
    made = SASRecServed(about, small.network, table)
    made.sasrec = network
    return made


def main(words: Sequence[str]) -> None:
    """Serve ``MODEL ITEMS SIZE TOGETHER`` until told to stop."""
    kind, items, size, together = words[0], *map(int, words[1:4])
    make = sasrec_model if kind == "SASRec" else random_model
    recommender = make(items, size)
    models = Models([])
    models.put(Served("random", size, Path(), "0", 0, recommender, (0, 0, 0)))
    limits = Limits(together=together, seconds=60.0, sessions=2000)
    bound = bind("127.0.0.1", 0)
    log_to_stderr()
    run(Service(Settings((), limits=limits), models=models), bound)


if __name__ == "__main__":
    main(sys.argv[1:])
