"""Threads of the main process and of data workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_fmrlrec.data import create_dataset, data_preparation
from recbole_fmrlrec.threads import use_threads
from tests.conftest import MakeConfig


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Pretend that torch chose a number of threads and that the container has so many cores."""
    before = torch.get_num_threads()

    def pretend(threads: int, cores: int) -> None:
        torch.set_num_threads(threads)
        monkeypatch.setattr(joblib, "cpu_count", lambda: cores)

    yield pretend
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("threads", "cores", "wanted", "expected"),
    [
        (2, 2, None, 2),
        (64, 128, None, 64),  # a core each, not a hardware thread each
        (64, 2, None, 2),  # a container with two cores' worth of time
        (1, 64, None, 1),  # OMP_NUM_THREADS=1
        (2, 2, 5, 5),
    ],
)
def test_threads(machine: Any, threads: int, cores: int, wanted: int, expected: int) -> None:
    machine(threads, cores)
    assert use_threads(wanted) == expected == torch.get_num_threads()


def test_data_workers_have_one_thread_and_the_main_process_keeps_its_own(
    machine: Any, config: MakeConfig, rich: Path
) -> None:
    machine(2, 2)
    use_threads(None)
    settings = config("SASRec", "rich", worker=1)
    train, *_ = data_preparation(settings, create_dataset(settings))

    def count(dataset: Any, rows: Interaction) -> Interaction:
        return Interaction({"threads": torch.full((len(rows),), torch.get_num_threads())})

    train.transform = count
    assert {int(n) for batch in train for n in batch["threads"]} == {1}
    assert torch.get_num_threads() == 2
