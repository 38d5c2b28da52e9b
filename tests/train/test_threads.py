"""Threads of the main process and of data workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.train import threads
from recbole_fmrlrec.train.threads import take_threads, use_threads, wait_passively
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


@pytest.mark.parametrize(
    ("idle", "counted", "own", "usable", "free"),
    [
        (10.0, 20.0, 10.0, 2, 2),  # this process alone keeps one of two CPUs for 10 s
        (20.0, 20.0, 0.0, 2, 2),
        (0.0, 20.0, 10.0, 2, 1),  # somebody else keeps the other
        (0.0, 20.0, 2.0, 2, 0),  # two others, and they leave this process a fifth of a CPU
        (600.0, 640.0, 10.0, 64, 61),
        (600.0, 640.0, 10.0, 2, 2),  # a container that may use two of 64
        (0.0, 0.0, 10.0, 4, 4),  # a sandbox that counts no time of CPUs
    ],
)
def test_free_cpus(idle: float, counted: float, own: float, usable: int, free: int) -> None:
    before = threads._Look(100.0, 5.0, 7.0, 3.0)
    after = threads._Look(110.0, 5.0 + idle, 7.0 + counted, 3.0 + own)
    assert threads._free(before, after, usable) == free


@pytest.mark.parametrize(
    ("free", "expected", "why"),
    [
        (4, 4, "4 of 4 CPUs are free"),
        (3, 3, "other work keeps 1 of 4 CPUs; --num_threads changes it"),
        (0, 1, "other work keeps 4 of 4 CPUs; --num_threads changes it"),
    ],
)
def test_as_many_as_are_free(
    machine: Any, monkeypatch: pytest.MonkeyPatch, free: int, expected: int, why: str
) -> None:
    machine(4, 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_chosen", None)
    monkeypatch.setattr(threads, "free_cpus", lambda: free)
    found = take_threads(None)
    assert (found.count, found.why) == (expected, why) and torch.get_num_threads() == expected
    monkeypatch.setattr(threads, "free_cpus", lambda: 4 - free)
    assert take_threads(None) == found  # all runs of a process have the same


def test_what_is_said_stands_above_what_is_free(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(4, 4)
    monkeypatch.setattr(threads, "_chosen", None)
    monkeypatch.setattr(threads, "free_cpus", lambda: 0)
    assert take_threads(3).count == 3
    assert take_threads(None, recorded=2).count == 2 == torch.get_num_threads()
    machine(4, 4)
    assert take_threads(None, recorded=0).count == 4  # a run of a version that wrote no number
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert str(take_threads(None)) == "4 (OMP_NUM_THREADS)"


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", None])
def test_threads_sleep_while_they_wait_unless_the_user_says_how(
    monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    for known in threads._WAITING:
        monkeypatch.delenv(known, raising=False)
    monkeypatch.setattr(threads.sys, "modules", {})
    if name:
        monkeypatch.setenv(name, "7")
    wait_passively()
    found = {known: os.environ.get(known) for known in threads._WAITING}
    expected = {name: "7"} if name else {"OMP_WAIT_POLICY": "PASSIVE"}
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert {known: value for known, value in found.items() if value} == expected


def test_too_late_once_torch_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for known in threads._WAITING:
        monkeypatch.delenv(known, raising=False)
    wait_passively()
    assert "OMP_WAIT_POLICY" not in os.environ
