"""``examples/onnx_client.py``: an exported folder answered without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.deploy.model_folder import save_model
from recbole_fmrlrec.export.onnx import export_onnx
from tests.deploy.conftest import DESCRIPTION, ITEMS, lively_network, table_of

CLIENT = Path(__file__).parents[2] / "examples" / "onnx_client.py"
HISTORIES = [["i1"], [], ["nobody"], ["i2", "i9", "i2"], [f"i{n}" for n in range(1, 31)]]
# An import of torch, or of this package, fails as where it is not installed.
PROGRAM = """
import json, runpy, sys
for name in ("torch", "recbole_fmrlrec", "dataset_tools", "recbole"):
    sys.modules[name] = None
try:
    import torch
except ImportError:
    pass
else:
    raise AssertionError("torch can be imported")
client = runpy.run_path(sys.argv[1])["Client"]
histories = json.loads(sys.argv[2])
for folder in sys.argv[3:]:
    own = client(folder)
    print(json.dumps([own.recommend(history, k=12) for history in histories]))
"""


def test_the_answers_are_those_of_the_recommender(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    network = lively_network()
    ids, titles = [f"i{row}" for row in range(1, ITEMS + 1)], [None] * ITEMS
    items = ItemTable(ids, titles, table_of(network))
    folders = [tmp_path / dtype for dtype in ("float32", "float16", "int8")]
    folders[0].mkdir()
    entry = export_onnx(network, folders[0])
    graphs = [entry["encoder"], entry["step"]]
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for name in graphs:
            (folder / name).write_bytes((folders[0] / name).read_bytes())
        description = replace(DESCRIPTION, table_dtype=folder.name, onnx=entry)
        save_model(folder, description, network, items, graphs)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(CLIENT), json.dumps(HISTORIES), *map(str, folders)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for folder, line in zip(folders, done.stdout.splitlines(), strict=True):
        expected = Recommender.load(folder).recommend(HISTORIES, k=12)
        for answer, wanted in zip(json.loads(line), expected, strict=True):
            assert [item for item, _ in answer] == wanted.ids
            assert [score for _, score in answer] == pytest.approx(wanted.scores, rel=1e-3)


def test_the_client_is_short() -> None:
    lines = CLIENT.read_text(encoding="utf-8").split("class Client:\n")[1].splitlines()
    assert len([line for line in lines if line.strip()]) <= 30
