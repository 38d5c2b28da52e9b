"""What a command line says of workers, devices and jobs."""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path
from typing import Any

import pytest

from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.compare import runners
from recbole_fmrlrec.compare.cells import Cell
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.launch import gpus
from recbole_fmrlrec.launch.options import checked_options, for_executor, parse_options
from recbole_fmrlrec.launch.workers import read_workers
from recbole_fmrlrec.tuning import team
from tests.launch import fake_slurm


def given(**values: Any) -> argparse.Namespace:
    names = dict.fromkeys(("workers", "gpus", "launcher", "launcher_options"))
    return argparse.Namespace(**{**names, **values})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, {}),
        ("partition=gpu,gpus_per_node=1", {"partition": "gpu", "gpus_per_node": 1}),
        ("exclude=n1,n2,mem_gb=1.5", {"exclude": "n1,n2", "mem_gb": 1.5}),
        ("exclusive=True, comment=a=b", {"exclusive": True, "comment": "a=b"}),
    ],
)
def test_options_of_jobs(text: str | None, found: dict[str, Any]) -> None:
    assert parse_options(text) == found


@pytest.mark.parametrize("text", ["gpu", "=1", "a=1,a=2"])
def test_what_are_no_options(text: str) -> None:
    with pytest.raises(UsageError, match="--launcher_options: `"):
        parse_options(text)


def test_options_are_submitit_s() -> None:
    pytest.importorskip("submitit")
    found = checked_options({"partition": "gpu", "mem_gb": 4, "setup": "module load x"}, "local")
    assert for_executor(found) == {
        "timeout_min": 1440,
        "name": "recbole_fmrlrec",
        "slurm_partition": "gpu",
        "mem_gb": 4,
        "slurm_setup": ["module load x"],
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"partitoin": "x"}, "unknown option `partitoin`: did you mean partition?"),
        ({"nodes": 2}, "nodes = 2: each job is one process; train in several with torchrun"),
        ({"timeout_min": 1.5}, "timeout_min = 1.5: must be a whole number from 1"),
        ({"gpus_per_node": -1}, "gpus_per_node = -1: must be a whole number from 0"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], says: str) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(UsageError) as error:
        checked_options(options, "local")
    assert says in str(error.value)


def test_slurm_needs_its_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="there is no sbatch or no srun here"):
        checked_options({}, "slurm")
    fake_slurm.install(tmp_path)
    assert checked_options({}, "slurm")["timeout_min"] == 1440


def test_what_contradicts() -> None:
    for values, says in [
        ({"launcher_options": "a=1"}, "--launcher_options without --launcher"),
        ({"launcher": "slurm", "gpus": "0"}, "--launcher_options=gpus_per_node=1"),
        (
            {"launcher": "local", "gpus": "0", "launcher_options": "gpus_per_node=1"},
            "give one of them",
        ),
    ]:
        with pytest.raises(UsageError, match=says):
            read_workers(given(**values))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["compare", "--model=Pop", "--gpus=0"], "--gpus=0: torch sees no GPU here"),
        (["compare", "--model=Pop", "--gpus=x"], "--gpus takes integers"),
        (["tune", "f.yaml", "--gpus=0,1"], "--gpus=0,1: torch sees no GPU here"),
        (["tune", "f.yaml", "--launcher=pbs"], "argument --launcher: invalid choice"),
        (["compare", "--model=Pop", "--launcher=local", "--launcher_options=x=1"], "unknown opt"),
    ],
)
def test_wrong_use(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpus, "device_count", lambda: 0)
    (tmp_path / "f.yaml").write_text(
        "model: fMRLRec\nparameters:\n  learning_rate: {choice: [0.01]}\n"
    )
    assert main(words) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "saved").exists() and not (tmp_path / "comparisons").exists()


def test_devices_by_torch_s_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "device_count", lambda: 4)
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    assert gpus.read_gpus("0,3") == ("0", "3")
    monkeypatch.setenv(gpus.VISIBLE, "4,5,GPU-8f, 7")
    assert gpus.read_gpus("[0,2,3]") == ("4", "GPU-8f", "7")
    for text, says in [
        ("0,0", "named twice"),
        ("1,4", "torch sees 4 GPU.s. here, none numbered 4"),
    ]:
        with pytest.raises(UsageError, match=says):
            gpus.read_gpus(text)
    for settings in ({"gpu_id": 1}, {"use_gpu": False}):
        with pytest.raises(UsageError, match="--gpus"):
            gpus.refuse_gpu_id([{"epochs": 1}, settings])


def test_more_workers_than_devices_share_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpus, "device_count", lambda: 2)
    monkeypatch.setenv(gpus.VISIBLE, "6,7")
    found = read_workers(given(workers=5, gpus="0,1"))
    assert found.gpus == ("6", "7") and found.visible == "6,7"
    assert capsys.readouterr().err == "5 workers on 2 GPUs: up to 3 of them share one\n"
    dealt = [gpus.of_worker(found.gpus, worker)[gpus.VISIBLE] for worker in range(5)]
    assert dealt == ["6", "7", "6", "7", "6"] and gpus.of_worker((), 3) == {}


class Process:
    """In the place of a worker: notes what environment it gets."""

    seen: list[str | None]

    def __init__(self, *_: Any, env: dict[str, str], **__: Any) -> None:
        self.seen.append(env.get(gpus.VISIBLE))
        self.stdin = io.BytesIO()
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None:
        self.code = -15

    def wait(self) -> None:
        pass


def test_cells_get_the_device_of_the_worker_that_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Process, "seen", [], raising=False)
    monkeypatch.setattr(runners.subprocess, "Popen", Process)
    cells = [Cell("d", "v", "m", seed, None, {}, f"k{seed}", tmp_path) for seed in range(4)]
    for cell in cells:
        cell.path.mkdir(parents=True)
    pool = runners.Pool(3, ("4", "5"))
    first = pool.start(cells[:3])
    assert len(first) == 3 and pool.room == 0 and Process.seen == ["4", "5", "4"]
    first[1].code = 0  # type: ignore[attr-defined]
    assert pool.room == 1 and len(pool.start(cells[3:])) == 1 and Process.seen[3] == "5"
    pool.stop()


def test_workers_of_a_study_get_a_device_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    seen: list[str | None] = []

    class Begun:
        pid = 1

        def start(self) -> None:
            seen.append(os.environ.get(gpus.VISIBLE))

        def join(self) -> None:
            pass

    team._run_all([Begun(), Begun(), Begun()], ("0", "1"))
    assert seen == ["0", "1", "0"] and os.environ[gpus.VISIBLE] == "0,1"
