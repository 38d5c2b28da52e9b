"""Gradients of few rows between real processes, against the exchange of whole tables."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recbole_fmrlrec.train.row_exchange import is_less
from tests.patience import patience
from tests.train.rows_worker import ROWS
from tests.train.test_several_processes import environment


def test_rows_of_three_processes_are_their_sum(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "3"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.train.rows_worker", str(tmp_path)],
            env={**environment(), **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(3)
    ]
    assert [process.wait(timeout=patience(120)) for process in started] == [0, 0, 0]
    each = [torch.load(tmp_path / f"{rank}.pt") for rank in range(3)]
    for rank, one in enumerate(each):
        for found, wanted, first in zip(one["found"], one["wanted"], each[0]["found"], strict=True):
            torch.testing.assert_close(found, wanted)
            assert torch.equal(found, first)  # the same bits in all
        few = one["found"][0]
        assert few.any(1).nonzero().flatten().tolist() == [0, 5, 6, 7000]
        # Counts of two tables of three processes, three rows of 33 numbers with their numbers, and
        # everything of the others; the few rows as a whole table are a megabyte.
        assert one["bytes"] == 3 * 2 * 8 + 3 * (33 * 4 + 4) + 9000 * 32 * 4 + 7 * 4, rank
    own = [one["weight"] * one["given"][0] for one in each]
    assert torch.equal(each[0]["found"][0][5], own[0][5]) and ROWS[0][0] == 5
    torch.testing.assert_close(each[0]["found"][0][6], own[0][6] + own[1][6])


@pytest.mark.parametrize(
    ("rows", "processes", "less"),
    [(0, 2, True), (800, 2, True), (985, 2, False), (400, 4, True), (500, 4, False)],
)
def test_what_is_less(rows: int, processes: int, less: bool) -> None:
    """1,000 rows of 64: 2 W-ths of 256,000 bytes against W - 1 times 260 bytes a row."""
    assert is_less((1000, 64), 4, rows, processes) is less
    whole, some = 2 * (processes - 1) / processes * 256_000, (processes - 1) * rows * 260
    assert (some < whole) is less
