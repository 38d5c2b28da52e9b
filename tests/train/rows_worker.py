"""One process of several: exchanges gradients of tables by rows, and whole.

Usage: python -m tests.train.rows_worker FOLDER. Writes RANK.pt there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from recbole_fmrlrec import torchrun
from recbole_fmrlrec.train.distributed import add_up_gradients

#: Rows with a gradient of each process: some are shared, the last one has none.
ROWS = ([5, 6, 7000], [0, 6], [])


def main(folder: Path) -> None:
    """Exchange a table of few rows, one that is full, and a vector; note sums and bytes."""
    torchrun.start(torch.device("cpu"))
    torch.manual_seed(torchrun.rank())
    few, full, small = torch.zeros(8192, 33), torch.randn(9000, 32), torch.randn(7)
    rows = torch.tensor(ROWS[torchrun.rank()], dtype=torch.int64)
    few[rows] = torch.randn(len(rows), 33)
    given = [tensor.clone() for tensor in (few, full, small)]
    weight = 0.25 * (1 + torchrun.rank())
    wanted = [weight * tensor for tensor in given]
    torchrun.add_up(*wanted)
    before = torchrun.added_bytes()
    add_up_gradients([few, full, small], weight)
    found = {"found": [few, full, small], "wanted": wanted, "given": given, "weight": weight}
    found["bytes"] = torchrun.added_bytes() - before
    torch.save(found, folder / f"{torchrun.rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
