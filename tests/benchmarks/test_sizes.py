"""Quality by size, out of the results of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main


def write_run(folder: Path, model: str, values: dict[int | None, float]) -> Path:
    """The folder of a run with an NDCG@10 for each size."""
    folder.mkdir()
    rows = [
        {"size": size, "parameters": 1000 * (size or 1), "metrics": {"ndcg@10": value}}
        for size, value in values.items()
    ]
    (folder / "result.json").write_text(json.dumps({"model": model, "test": rows, "valid": []}))
    return folder


def test_a_row_for_each_size_and_a_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    nest = write_run(tmp_path / "nest", "fMRLRecID", {16: 0.1, 32: 0.2})
    alone = write_run(tmp_path / "alone", "fMRLRecID", {16: 0.05})
    line = write_run(tmp_path / "line", "LRURec", {None: 0.15})
    plot = tmp_path / "plot.svg"
    words = ["sizes", str(nest), f"for 16 alone={alone}", str(line), f"--plot={plot}"]
    assert main(words) == 0
    cells = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in capsys.readouterr().out.splitlines()
    ]
    assert cells[0] == ["model", "size", "parameters", "ndcg@10"]
    assert cells[2:] == [
        ["fMRLRecID", "16", "16,000", "0.1000"],
        ["fMRLRecID", "32", "32,000", "0.2000"],
        ["for 16 alone", "16", "16,000", "0.0500"],
        ["LRURec", "", "1,000", "0.1500"],
    ]
    drawn = plot.read_text()
    assert main(words) == 0 and plot.read_text() == drawn  # the same plot, byte for byte


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none"], "none/result.json: No such file or directory; RUN is the folder of a run"),
        (["run", "--metric=Recall@10"], "--metric=Recall@10: BPR has not measured it"),
        (["run", "half"], "half/result.json is not the result of a finished run"),
    ],
)
def test_what_cannot_be_read(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", "BPR", {None: 0.1})
    write_run(tmp_path / "half", "BPR", {None: 0.1})
    (tmp_path / "half" / "result.json").write_text('{"model": "BPR"}')
    assert main(["sizes", *words]) == 2
    assert says in capsys.readouterr().err
