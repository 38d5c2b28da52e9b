"""Trainings in two real processes on CPUs: steps, ranks, resume, and the death of one of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from recbole_fmrlrec import run
from recbole_fmrlrec.evaluation.rank_record import TEST_RANKS
from tests import toy
from tests.forked import Forked
from tests.patience import patience
from tests.train.several_worker import interrupt

ROOT = Path(__file__).resolve().parents[2]
#: 40 users make 80 windows: three batches of 26 rows and one of 2 (13 and 1 for each of two).
BATCH = 13
PLAIN: dict[str, Any] = {
    "dropout_prob": 0.0,
    "num_threads": 1,
    "eval_batch_size": 7,
    "show_progress": False,
}
SASREC: dict[str, Any] = {
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "hidden_size": 8,
    "inner_size": 16,
    "clip_grad_norm": {"max_norm": 0.5},
    # Adam makes steps of the rounding in gradients that are 0, as those of the keys' biases.
    "learner": "sgd",
    "learning_rate": 0.5,
}
WORKER = """
import sys
from pathlib import Path
from tests.train.several_worker import main

main(Path(sys.argv[1]))
"""
#: What is trained by two processes and by one: name, model, keys.
COMPARED: list[tuple[str, str, dict[str, Any]]] = [
    ("nested", "fMRLRec", {"weight_decay": 0.1}),
    ("ids", "fMRLRecID", {"self_distillation": 0.3, "clip_grad_norm": {"max_norm": 0.1}}),
    ("history", "fMRLRec", {"history_bias": True}),
    ("first-item", "fMRLRec", {"predict_first_item": True, "training_windows": "latest"}),
    ("all-sampled", "fMRLRec", {"loss_type": "sampled_uniform", "num_sampled_items": 100}),
    ("shards", "fMRLRec", {"shard_items": True, "self_distillation": 0.3}),
    ("recbole", "SASRec", SASREC),
    ("one-batch", "SASRec", {**SASREC, "eval_batch_size": 1000}),
]


def keys_of(root: Path, model: str, keys: dict[str, Any], batch: int) -> dict[str, Any]:
    """Settings of a run on the toy dataset."""
    base = toy.settings(root, **PLAIN)
    if not model.startswith("fMRLRec"):
        unknown = {"sizes", "dropout_prob", "input_dropout_prob"}
        base = {key: value for key, value in base.items() if key not in unknown}
    return {**base, "train_batch_size": batch, **keys}


def task(root: Path, name: str, model: str, keys: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A run of the worker, in a folder of its own."""
    own = keys_of(root, model, {"checkpoint_dir": str(root / name), **keys}, BATCH)
    resume = more.pop("resume", False)
    arguments = {"model": model, "dataset": "toy", "config_dict": own, "resume": resume}
    return {"name": name, "run": arguments, **more}


def environment() -> dict[str, str]:
    """One thread, and the modules of this checkout."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def in_processes(file: Path, count: int) -> None:
    """The worker in so many processes, as torchrun would start it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    started = [
        Forked(
            WORKER,
            str(file),
            cwd=file.parent,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]
    said = [process.communicate(timeout=patience(240)) for process in started]
    assert [process.returncode for process in started] == [0] * count, said
    assert said[1] == ("", "")  # the first process alone speaks


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """All trainings of two processes, in one start of them."""
    root = tmp_path_factory.mktemp("several")
    toy.write_toy(root)
    noisy = {"dropout_prob": 0.3, "loss_type": "sampled_popularity", "num_sampled_items": 6}
    tasks = [task(root, name, model, keys) for name, model, keys in COMPARED]
    tasks.append(task(root, "undisturbed", "fMRLRecID", noisy))
    shared = {"dropout_prob": 0.3, "shard_items": True}
    tasks.append(task(root, "undisturbed-shards", "fMRLRecID", shared))
    for kind, keys in (("", noisy), ("-shards", shared)):
        again = {**keys, "checkpoint_dir": str(root / f"again{kind}")}
        tasks.append(task(root, f"stopped{kind}", "fMRLRecID", again, stop_after=0))
        tasks.append(task(root, f"again{kind}", "fMRLRecID", again, resume=True))
    sampled = {"eval_args.mode": "uni12"}
    tasks.append(task(root, "sampled-evaluation", "fMRLRec", sampled))
    tasks.append(task(root, "bpr", "BPR", {"embedding_size": 8}))
    tasks.append(begun_by_one(root))
    file = root / "tasks.json"
    file.write_text(json.dumps(tasks), encoding="utf-8")
    in_processes(file, 2)
    return root


def begun_by_one(root: Path) -> dict[str, Any]:
    """A run that one process trains for an epoch, and two are to continue."""
    entry = task(root, "begun-by-one", "fMRLRec", {}, resume=True)
    with pytest.raises(KeyboardInterrupt):
        run(**{**entry["run"], "resume": False}, after_validation=interrupt(0))
    return entry


def told(place: Path, name: str, rank: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / f"{name}.{rank}.json").read_text("utf-8"))
    return found


def weights(folder: str | Path, name: str = "last.pth") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(Path(folder) / name, weights_only=True)
    return found["state_dict"]


def largest_difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    assert first.keys() == second.keys()
    return max((first[k].double() - second[k].double()).abs().max().item() for k in first)


@pytest.mark.parametrize(("name", "model", "keys"), COMPARED)
def test_two_processes_take_the_steps_of_one_with_twice_the_batch(
    place, tmp_path, name, model, keys
):
    both = told(place, name)
    folder = {"checkpoint_dir": str(tmp_path)}
    own = keys_of(place, model, {**keys, **folder}, 2 * BATCH)
    one = run(model, "toy", config_dict=own)
    # Weights move by the learning rate of 0.01 a step, whatever the size of the gradient.
    assert largest_difference(weights(both["dir"]), weights(one.run_dir)) < 2e-5
    losses = [[epoch["train_loss"] for epoch in found] for found in (both["history"], one.history)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert [e["learning_rate"] for e in both["history"]] == [
        e["learning_rate"] for e in one.history
    ]


def test_the_processes_know_the_same_and_one_folder_is_written(place):
    for name in [*(entry[0] for entry in COMPARED), "undisturbed", "sampled-evaluation", "bpr"]:
        first, second = told(place, name), told(place, name, 1)
        assert first["test"] == second["test"] and first["dir"] == second["dir"]
        for one, other in zip(first["history"], second["history"], strict=True):
            assert one["train_loss"] == other["train_loss"] and one["valid"] == other["valid"]
        assert [path.name for path in (place / name).iterdir()] == [Path(first["dir"]).name]
        assert len(list(Path(first["dir"]).glob("tensorboard/events*"))) == 1


@pytest.mark.parametrize("name", ["nested", "recbole", "one-batch"])
def test_metrics_and_ranks_are_the_bytes_of_one_process(place, name):
    both = told(place, name)
    folder = Path(both["dir"])
    ranks = dict(np.load(folder / TEST_RANKS))
    (folder / "result.json").unlink()
    (folder / TEST_RANKS).unlink()
    alone = run(resume=folder)  # it is trained: only the test is made again
    assert alone.test == both["test"]
    again = dict(np.load(folder / TEST_RANKS))
    assert ranks.keys() == again.keys()
    assert all(np.array_equal(ranks[key], again[key]) for key in ranks)


@pytest.mark.parametrize("kind", ["", "-shards"])
def test_a_resumed_training_is_the_undisturbed_one_bit_for_bit(place, kind):
    whole, again = told(place, f"undisturbed{kind}"), told(place, f"again{kind}")
    stopped = [told(place, f"stopped{kind}", rank) for rank in (0, 1)]
    assert stopped == [{"interrupted": True}] * 2
    assert largest_difference(weights(whole["dir"]), weights(again["dir"])) == 0.0
    assert whole["test"] == again["test"] and len(again["history"]) == 3
    for one, other in zip(whole["history"], again["history"], strict=True):
        assert one["train_loss"] == other["train_loss"] and one["valid"] == other["valid"]
    log = (Path(again["dir"]) / "run.log").read_text(encoding="utf-8")
    assert "continuing after epoch 1" in log and "process(es)" not in log


def test_another_number_of_processes_continues_with_a_warning(place):
    found = told(place, "begun-by-one")
    assert len(found["history"]) == 3
    log = (Path(found["dir"]) / "run.log").read_text(encoding="utf-8")
    assert "last.pth was written by 1 process(es), and 2 continue it" in log
    # 7 batches of 13 in one process are 4 of 26 in two: of 12 steps 8 are left.
    assert torch.load(Path(found["dir"]) / "last.pth", weights_only=True)["scheduler"] == 4 + 8


def test_a_killed_process_ends_the_job(tmp_path):
    toy.write_toy(tmp_path)
    keys = {"epochs": 100000, "stopping_step": 100000, "learning_rate": 1e-6}
    given = keys_of(tmp_path, "fMRLRec", keys, BATCH)
    words = ["--model=fMRLRec", "--dataset=toy", *(f"--{k}={v}" for k, v in given.items())]
    words = [word.replace(" ", "") for word in words]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc_per_node=2", str(ROOT / "run_recbole.py"), *words]
    job = subprocess.Popen(
        command, env=environment(), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        limit = time.monotonic() + patience(120)
        while not list(tmp_path.glob("saved/*/last.pth")):
            assert job.poll() is None and time.monotonic() < limit
            time.sleep(0.2)
        second = next(
            child
            for child in psutil.Process(job.pid).children(recursive=True)
            if child.environ().get("RANK") == "1"
        )
        others = psutil.Process(job.pid).children(recursive=True)
        second.send_signal(signal.SIGKILL)
        _, said = job.communicate(timeout=patience(60))
    finally:
        if job.poll() is None:
            job.kill()
    assert job.returncode == 1
    assert "exitcode  : -9" in said or "exitcode: -9" in said
    gone, alive = psutil.wait_procs(others, timeout=patience(30))
    assert not alive and gone
