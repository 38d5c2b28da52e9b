"""What ``benchmarks gpu`` says: ratios, failures, no GPU. Its figures need a GPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_measuring import FLOAT32, PREFIX, TF32, Bench, Row, computing


def row(what: str, precision: str, seconds: float | None, peak: int | None = None) -> dict:
    return {
        "what": what,
        "precision": precision,
        "seconds": seconds,
        "per": "step",
        "peak_bytes": peak,
        "note": "",
    }


def test_ratios_are_by_precision_or_by_float32() -> None:
    rows = [
        row("published formulation, 32 users", "float32", 0.08, 8 * 2**30),
        row("published formulation, 32 users", "TF32", 0.06, 8 * 2**30),
        row("ours, 32 users", "float32", 0.01, 2 * 2**30),
        row("ours, 32 users", "TF32", 0.005, None),
        row("ours, 32 users", "bfloat16", 0.004, 2**30),
        row("ours, 256 users", "float32", 0.01),
        row("ours, 32 users", "float32", None),
    ]
    notes = [marked["note"] for marked in gpu.with_ratios(rows)]
    assert notes == [
        *("", ""),
        "8.0 times as fast, 0.25 of the memory",
        "12.0 times as fast",
        "20.0 times as fast, 0.12 of the memory (published in float32)",
        *("", ""),
    ]


def test_the_table() -> None:
    machine = {"device": "H100", "packages": {"torch": "2.13.0"}, "cuda": "13.0", "commit": "abc"}
    found = {"steps": [row("a", "TF32", 0.0125, 3 * 2**29), row("b", "float32", 2.5)]}
    lines = gpu.report(machine, found).splitlines()
    assert lines[0] == "H100, torch 2.13.0, CUDA 13.0, commit abc" and lines[2] == "## steps"
    assert [cell.strip() for cell in lines[6].split("|")[1:6]] == [
        *("a", "TF32", "12.50 ms per step", "1.50 GiB", "")
    ]
    assert "2.50 s per step" in lines[7]
    assert gpu.REHEARSAL in gpu.report({**machine, "device": "cpu"}, found)


def test_what_fails_is_a_row_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(torch.device("cpu"), seconds=100.0, quick=True)

    def fails(error: Exception) -> Row:
        raise error

    bench.row("a", TF32, lambda: fails(torch.OutOfMemoryError("CUDA out of memory. Tried ...")))
    bench.row("b", TF32, lambda: fails(ValueError("no such\nthing")))
    found = bench.row("c", TF32, lambda: Row("c", TF32, 0.5))
    bench.started -= 101
    bench.row("d", TF32, lambda: fails(AssertionError()), "epoch")
    notes = [
        "out of memory",
        "failed: ValueError: no such",
        "",
        "not measured: the time is used up",
    ]
    assert [made.note for made in bench.rows] == notes
    assert found == Row("c", TF32, 0.5) and bench.rows[3].per == "epoch"
    said = [json.loads(line.removeprefix(PREFIX)) for line in capsys.readouterr().out.splitlines()]
    assert [line["what"] for line in said] == ["a", "b", "c", "d"]


def test_groups_of_calls_are_timed() -> None:
    calls: list[int] = []
    seconds, peak = Bench(torch.device("cpu"), 100.0, True).time(lambda: calls.append(1))
    assert len(calls) == 4 and seconds >= 0 and peak is None


def test_precisions_are_set_back() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    with computing(TF32):
        assert matmul.allow_tf32
        with computing(FLOAT32):
            assert not matmul.allow_tf32
    assert matmul.allow_tf32 == before


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let a section's process run some code."""
    (tmp_path / "python").write_text(f"#!{sys.executable}\n{code}\n", encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))


def test_a_section_that_ends_early_keeps_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = PREFIX + json.dumps(row("a", "TF32", 0.5))
    stand_in(tmp_path, monkeypatch, f"print('noise')\nprint({line!r})\nraise SystemExit(3)")
    first, last = gpu.measure("scan", "cpu", quick=True)
    assert first == row("a", "TF32", 0.5)
    assert last["what"] == "scan" and last["note"] == "the section failed with exit code 3"


def test_a_section_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "import time\ntime.sleep(600)")
    monkeypatch.setattr(gpu, "GRACE", 0.5)
    (last,) = gpu.measure("scan", "cpu", quick=True, seconds=0.5)
    assert last["note"] == "the section ended after 1 s" and last["seconds"] is None


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("error: there is no GPU that torch can use, so nothing was measured")
    assert gpu.main(["--device=cpu"]) == 2
    assert "give --quick with it" in capsys.readouterr().err
