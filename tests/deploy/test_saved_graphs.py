"""A model that is saved again keeps the ONNX files that belong to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.deploy.errors import DeployError
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.deploy.model_folder import save_model
from tests.deploy.conftest import DESCRIPTION, ITEMS, features_of, lively_network, table_of

GRAPHS = {"encoder.onnx": b"an encoder", "step.onnx": b"a step"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with graphs, whose content nothing here reads."""
    place, network = tmp_path / "16", lively_network()
    place.mkdir()
    for name, content in GRAPHS.items():
        (place / name).write_bytes(content)
    ids = [f"i{row}" for row in range(1, ITEMS + 1)]
    entry = {"opset": 18, "encoder": "encoder.onnx", "step": "step.onnx"}
    items = ItemTable(ids, [None] * ITEMS, table_of(network))
    save_model(place, replace(DESCRIPTION, onnx=entry), network, items, GRAPHS)
    return place


def test_graphs_go_with_added_items_and_another_table(folder: Path, tmp_path: Path) -> None:
    model = Recommender.load(folder)
    model.add_items(["new"], {name: rows.numpy() for name, rows in features_of(1).items()})
    for target in (tmp_path / "grown", folder):  # elsewhere, and in place
        model.save(target, table_dtype="int8")
        again = Recommender.load(target)
        assert "new" in again.items.ids and again.description.onnx == model.description.onnx
        assert {name: (target / name).read_bytes() for name in GRAPHS} == GRAPHS
    (tmp_path / "grown" / "step.onnx").write_bytes(b"another")
    with pytest.raises(DeployError, match=r"step\.onnx"):
        Recommender.load(tmp_path / "grown")


def test_graphs_that_have_changed_are_not_taken_over(folder: Path, tmp_path: Path) -> None:
    model = Recommender.load(folder)
    (folder / "encoder.onnx").write_bytes(b"another one")
    with pytest.raises(DeployError, match=r"encoder\.onnx"):
        model.save(tmp_path / "grown")
    assert not (tmp_path / "grown" / "model.json").exists()
