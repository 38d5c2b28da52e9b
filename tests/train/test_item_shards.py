"""Items that processes make together: the gradients of one process with the whole batch."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from recbole_fmrlrec import compat, torchrun
from recbole_fmrlrec.data.dealing import Share
from recbole_fmrlrec.model_api.protocols import ShardedItems
from recbole_fmrlrec.nn.tail import table_width
from recbole_fmrlrec.train.distributed import SharedTraining
from recbole_fmrlrec.train.item_shards import shard, share_items
from recbole_fmrlrec.train.typed_settings import TrainerSettings
from tests import toy
from tests.forked import Forked
from tests.patience import patience
from tests.train.shards_worker import CASES, gradients, parts

WORKER = """
import sys
from pathlib import Path
from tests.train.shards_worker import main

main(Path(sys.argv[1]))
"""


@pytest.fixture(scope="module", params=[2, 3])
def together(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The folder, and what each process has found."""
    folder, count = tmp_path_factory.mktemp("shards"), request.param
    toy.write_toy(folder)
    compat.apply()
    parts(folder, "fMRLRec", {})  # makes the features
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    shared["OMP_NUM_THREADS"] = "1"
    started = [
        Forked(
            WORKER,
            str(folder),
            cwd=folder,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]
    said = [process.communicate(timeout=patience(240)) for process in started]
    assert [process.returncode for process in started] == [0] * count, said
    return folder, [torch.load(folder / f"{rank}.pt") for rank in range(count)]


@pytest.mark.parametrize(("name", "model", "keys"), CASES)
def test_the_gradients_are_those_of_one_process(
    together: tuple[Path, list[Any]], name: str, model: str, keys: dict[str, Any]
) -> None:
    folder, each = together
    whole = {**keys, "train_batch_size": len(each) * keys.get("train_batch_size", 1000)}
    one = gradients(*parts(folder, model, whole), None, noisy=False)
    for found in each:
        assert found[name].keys() == one.keys()
        for parameter, wanted in one.items():
            torch.testing.assert_close(found[name][parameter], wanted, rtol=1e-4, atol=1e-6)
            assert torch.equal(found[name][parameter], each[0][name][parameter])


def test_dropout_draws_what_it_draws_without(together: tuple[Path, list[Any]]) -> None:
    for found in together[1]:
        for parameter, wanted in found["alone"].items():
            torch.testing.assert_close(found["together"][parameter], wanted, rtol=1e-4, atol=1e-6)
        assert found["alone"]["loss"] != found["nested"]["loss"]


def test_bytes_exchanged(together: tuple[Path, list[Any]]) -> None:
    """26 items of 8 numbers of 4 bytes: a process's rows of them, all of their gradients; positions
    of all, once for the weights and once for the tail; what is exchanged in any case."""
    count = len(together[1])
    for rank, found in enumerate(together[1]):
        learned = [g for name, g in found["nested"].items() if name != "loss"]
        usual = 4 * sum(g.numel() for g in learned) + 8 * (2 + len(learned))
        rows = -(-26 // count)
        assert found["nested bytes"] == usual + 32 * rows + 32 * 26 + 8 + 8, rank


@pytest.mark.parametrize(
    ("length", "count", "rows"),
    [(26, 3, [(0, 9), (9, 18), (18, 26)]), (4, 3, [(0, 2), (2, 4), (4, 4)]), (5, 1, [(0, 5)])],
)
def test_rows_of_each(length: int, count: int, rows: list[tuple[int, int]]) -> None:
    assert [shard(length, rank, count) for rank in range(count)] == [slice(*one) for one in rows]


def test_shared_projections_are_cheaper_than_none() -> None:
    # The last 512 of 768 columns: 512 (2 F / W + 3 T) against 2 T F products for each item.
    assert [table_width(1500, [256, 768], 1024, count) for count in (1, 2)] == [256, 768]


class Rows(ShardedItems):
    """A model whose items take so many products a number, and have so many numbers."""

    def __init__(self, products: int, numbers: int) -> None:
        self.counts = products, numbers

    def item_products(self) -> tuple[int, int]:
        return self.counts


@pytest.mark.parametrize(
    ("model", "wanted", "shared"),
    [
        (Rows(512, 2**20), None, True),
        (Rows(511, 2**20), None, False),
        (Rows(512, 2**20 - 1), None, False),
        (Rows(512, 2**20), False, False),
        (Rows(1, 10), True, True),
        (Rows(0, 2**20), True, False),  # a sampled loss, or no features
        (object(), True, False),
    ],
)
def test_which_models_share(
    monkeypatch: pytest.MonkeyPatch, model: Any, wanted: bool | None, shared: bool
) -> None:
    assert not share_items(model, wanted, torch.device("cpu"))  # one process
    monkeypatch.setattr(torchrun, "size", lambda: 2)
    assert share_items(model, wanted, torch.device("cpu")) is shared
    assert share_items(model, wanted, torch.device("cuda")) is (shared and wanted is True)


def test_a_key_that_does_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torchrun, "size", lambda: 2)
    loader = SimpleNamespace(share=Share())
    for model, says in ((nn.Linear(1, 1), True), (Rows(1, 10), False)):
        trainer = SharedTraining()
        trainer.model, trainer.device = model, torch.device("cpu")
        trainer.settings = TrainerSettings("saved", shard_items=True)
        trainer.logger = logging.getLogger("test")
        caplog.clear()
        trainer._share_training(loader)
        assert ("shard_items: True has nothing to do here: Linear" in caplog.text) is says
