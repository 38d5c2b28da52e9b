"""A name that becomes a part of a path stays in the folder in which it is put."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dataset_tools.errors import UsageError as ToolsUsageError
from dataset_tools.fetch.descriptions import read_description
from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.compare.cells import Cell, read_record
from recbole_fmrlrec.compare.plan_file import read_plan
from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.files.checkpoint import save_checkpoint
from recbole_fmrlrec.files.names import name_fault
from recbole_fmrlrec.train.restore import saved_config
from tests import toy

NO_NAMES = [
    "../out",
    "..",
    ".",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:\\x",
    " ",
    "a\n",
    "a\0b",
    "x" * 300,
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the toy dataset, below another that must stay as it is."""
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    toy.write_toy(inside)
    return inside


@pytest.mark.parametrize("name", [*NO_NAMES, "", None, 7])
def test_no_names(name: object) -> None:
    assert name_fault(name)


@pytest.mark.parametrize("name", ["toy", "ml-100k", "amazon.beauty", "a b", "ünï", "-x", "...a"])
def test_names(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_dataset_is_a_name(root: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    words = [f"--data_path={root}", "--model=Pop", "--num_threads=1"]
    assert main([*words, f"--dataset={name}"]) == 2
    assert "a name below data_path" in capsys.readouterr().err
    assert main(["compare", f"--dataset={name}", "--model=Pop", f"--data_path={root}"]) == 2
    assert main(["tune", "fMRLRec.yaml", f"--dataset={name}", "--trials=1"]) == 2
    with pytest.raises(UsageError, match="a name below data_path"):
        Config("Pop", name)
    assert [path.name for path in root.parent.iterdir()] == ["inside"]
    assert [path.name for path in root.iterdir()] == ["toy"]


@pytest.mark.parametrize("name", ["../out", "a/b", "a\\b"])
def test_names_in_files(root: Path, name: str) -> None:
    file = root / "a.yaml"
    file.write_text(json.dumps({"dataset": name, "model": "Pop"}))
    with pytest.raises(UsageError, match="a name below data_path"):
        Config(config_file_list=[file])
    for datasets in ([name], {name: {}}):
        file.write_text(json.dumps({"models": ["Pop"], "datasets": datasets}))
        with pytest.raises(UsageError, match=r"line 1: .*the name of a dataset cannot have /"):
            read_plan(file)
    file.write_text(json.dumps({"models": ["Pop"], "datasets": ["toy"], "name": name}))
    with pytest.raises(UsageError, match="cannot be a name"):
        read_plan(file)
    save_checkpoint(
        root / "x.pth", {"config": {"model": "Pop", "dataset": name, "dataset_root": str(root)}}
    )
    with pytest.raises(UsageError, match="a name below data_path"):
        saved_config(root / "x.pth")
    with pytest.raises(ToolsUsageError, match="is not a path"):
        read_description(name)


@pytest.mark.parametrize("key", ["benchmark_filename", "additional_feat_suffix", "modalities"])
@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", ""])
def test_parts_of_file_names(root: Path, key: str, name: str) -> None:
    with pytest.raises(UsageError, match=key):
        Config("fMRLRec", "toy", config_dict={"data_path": str(root), key: [name]})


@pytest.mark.parametrize("where", ["file", "option"])
def test_a_study_is_a_name(root: Path, capsys: pytest.CaptureFixture[str], where: str) -> None:
    pytest.importorskip("optuna")
    content = {"model": "Pop", "dataset": "toy", "parameters": {"shuffle": {"choice": [True]}}}
    content["settings"] = {"data_path": str(root)}
    if where == "file":
        content["study"] = "../../out"
    (root / "a.yaml").write_text(json.dumps(content))
    more = ["--study=../../out"] if where == "option" else []
    assert main(["tune", "a.yaml", *more, "--show"]) == 2
    assert "study = '../../out': a name below checkpoint_dir" in capsys.readouterr().err


@pytest.mark.parametrize("field", ["dataset", "model", "key", "seed"])
def test_a_stored_cell_stays_in_its_comparison(root: Path, field: str) -> None:
    content: dict[str, Any] = {"dataset": "toy", "variant": "Pop", "model": "Pop", "seed": 1}
    content |= {"alone": None, "settings": {}, "key": "0123456789ab"}
    assert Cell.from_json(content, root).path == root / "cells/toy/Pop-seed1-0123456789ab"
    record = {"plan": {}, "cells": [{**content, field: "../../../x"}]}
    (root / "comparison.json").write_text(json.dumps(record))
    with pytest.raises((UsageError, RunError), match=f"cells: {field}"):
        read_record(root)
