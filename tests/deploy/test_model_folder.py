"""The folder of a deployed model: what comes back, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from recbole_fmrlrec.deploy import DeployError, Recommender
from recbole_fmrlrec.deploy.description import OWN_HASH
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.deploy.model_folder import fingerprint, load_model, save_model, with_own_hash
from recbole_fmrlrec.deploy.parameters import (
    build_network,
    pack_parameters,
    parameter_shapes,
    parameter_total,
)
from recbole_fmrlrec.nn import linear as layers
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from tests.deploy.conftest import DESCRIPTION, ITEMS, lively_network, table_of


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the random model that may be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def change(path: Path, **fields: Any) -> None:
    """Change fields of a description and the hash of it, as somebody who forges a model would."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content = {name: value for name, value in {**content, **fields}.items() if name != OWN_HASH}
    path.write_text(json.dumps(with_own_hash(content)), encoding="utf-8")


def rewrite_tensors(folder: Path, name: str, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change a tensor file and record its new hash, as somebody who forges a model would."""
    tensors = load_file(folder / name)
    edit(tensors)
    save_file(tensors, folder / name)
    files = json.loads((folder / "model.json").read_text())["files"]
    change(folder / "model.json", files={**files, name: fingerprint(folder / name)})


def test_what_was_saved_comes_back(saved: Path) -> None:
    description, network, items = load_model(saved)
    original = lively_network()
    assert replace(description, files={}, made_with={}) == DESCRIPTION
    for (name, ours), theirs in zip(network.named_parameters(), original.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert torch.equal(items.vectors, table_of(original))
    assert items.ids[:2] == ["i1", "i2"] and items.titles[:2] == ["Title 1", None]
    assert sorted(path.name for path in saved.iterdir()) == [
        "items.json",
        "items.safetensors",
        "model.json",
        "model.safetensors",
    ]


def test_parameters_do_not_depend_on_the_blocks_of_the_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = pack_parameters(lively_network())
    monkeypatch.setattr(layers, "MERGED_WIDTH", 4)
    split = build_network(DESCRIPTION, whole, torch.zeros(16))
    assert len(split.blocks[0].feedforward.gate.weights) == 3
    again = pack_parameters(split)
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_only_parameters_are_stored() -> None:
    network = lively_network()
    packed = pack_parameters(network)
    held = sum(tensor.numel() for tensor in packed.values())
    assert held == parameter_total(DESCRIPTION) == network.parameter_count()
    assert {name: tuple(tensor.shape) for name, tensor in packed.items()} == {
        name: shape for name, (_, shape) in parameter_shapes(DESCRIPTION).items()
    }
    # Sizes 4, 8, 16: rows 4, 4 and 8 read 4, 8 and 16 inputs.
    assert packed["blocks.0.feedforward.gate.weight"].shape == (4 * 4 + 4 * 8 + 8 * 16,)


def test_a_model_of_ids_alone(tmp_path: Path) -> None:
    network = FMRLRecNetwork((4, 8), 0, num_id_items=5).eval()
    table = network.item_table(None).detach()
    description = replace(
        DESCRIPTION, size=8, sizes=(4, 8), num_blocks=1, modalities=(), uses_ids=True,
        trained_sizes=(4, 8), num_items=4, trained_items=4,
    )  # fmt: skip
    save_model(tmp_path, description, network, ItemTable(list("abcd"), [None] * 4, table))
    loaded = Recommender.load(tmp_path)
    rows, lengths = torch.tensor([[1, 2, 3]]), torch.tensor([3])
    expected = network.encode_last(table, rows, lengths) @ table[1:].t()
    torch.testing.assert_close(loaded.scores(["a", "b", "c"])[None], expected)
    with pytest.raises(DeployError, match="ids alone"):
        loaded.add_items(["e"], [[1.0]])


def test_loading_leaves_the_random_numbers_alone(saved: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load_model(saved)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("name", ["model.safetensors", "items.safetensors", "items.json"])
def test_a_truncated_file_is_refused(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-10])
    with pytest.raises(DeployError, match=rf"{name}: {len(content) - 10} bytes.*cut off"):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "items.safetensors"])
def test_a_truncated_file_is_refused_even_with_its_hash(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-10])
    files = json.loads((folder / "model.json").read_text())["files"]
    change(folder / "model.json", files={**files, name: fingerprint(folder / name)})
    with pytest.raises(DeployError, match="cut off or not a safetensors file"):
        load_model(folder)


def test_a_changed_byte_is_refused(folder: Path) -> None:
    content = bytearray((folder / "items.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "items.safetensors").write_bytes(content)
    with pytest.raises(DeployError, match="damaged or altered"):
        load_model(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format_version": 2}, "format version 2, this package reads 1"),
        ({"format": "other"}, "not the description of a deployed model"),
        ({"size": 8}, "size 8 and sizes"),
        ({"sizes": [16, 8]}, "sizes must be ascending"),
        ({"num_blocks": 0}, "num_blocks must be an integer of at least 1"),
        ({"num_blocks": True}, "num_blocks must be an integer"),
        ({"feature_scale": 0}, "feature_scale must be a number above 0"),
        ({"table_dtype": "float64"}, "table_dtype must be one of"),
        ({"auto_map": "module.Class"}, "unknown field auto_map"),
        ({"files": {"../model.safetensors": {}}}, "plain file names"),
        ({"files": {}}, "files has no entry model.safetensors"),
        ({"num_items": 61}, r"vectors is F32 \[60, 16\]"),
        ({"num_blocks": 1}, "unexpected tensor blocks.1"),
        ({"num_blocks": 3}, "tensor blocks.2.*missing"),
        ({"table_dtype": "int8"}, "tensor scale is missing"),
        ({"modalities": []}, "neither features nor ids"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    folder: Path, fields: dict[str, Any], message: str
) -> None:
    change(folder / "model.json", **fields)
    with pytest.raises(DeployError, match=message):
        load_model(folder)


def test_another_shape_an_extra_tensor_and_nan_are_refused(folder: Path) -> None:
    def widen(tensors: dict[str, Any]) -> None:
        tensors["blocks.0.recurrence.nu_log"] = torch.zeros(17)

    rewrite_tensors(folder, "model.safetensors", widen)
    with pytest.raises(DeployError, match=r"nu_log is F32 \[17\]"):
        load_model(folder)

    def spoil(tensors: dict[str, Any]) -> None:
        tensors["blocks.0.recurrence.nu_log"] = torch.full((16,), torch.nan)

    rewrite_tensors(folder, "model.safetensors", spoil)
    with pytest.raises(DeployError, match="nu_log holds NaN or infinite"):
        load_model(folder)
    rewrite_tensors(folder, "items.safetensors", lambda t: t.update(more=torch.zeros(1)))
    with pytest.raises(DeployError, match="unexpected tensor more"):
        load_model(folder)


@pytest.mark.parametrize("name", ["modeling.py", "weights.pkl", "pytorch_model.bin", "a.PT"])
def test_a_folder_with_code_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("raise SystemExit", encoding="utf-8")
    with pytest.raises(DeployError, match=f"holds {name}, which can hold code"):
        load_model(folder)


def test_a_missing_file_or_folder_is_named(folder: Path) -> None:
    with pytest.raises(DeployError, match="there is no folder"):
        load_model(folder / "none")
    with pytest.raises(DeployError, match=r"holds several sizes of a model: name one of .* copy"):
        load_model(folder.parent)
    (folder / "items.json").unlink()
    with pytest.raises(DeployError, match=r"items\.json: missing"):
        load_model(folder)


def test_items_that_are_not_as_many_as_vectors_are_refused(folder: Path) -> None:
    content = json.loads((folder / "items.json").read_text())
    change(folder / "items.json", ids=content["ids"][:-1])
    files = json.loads((folder / "model.json").read_text())["files"]
    recorded = {**files, "items.json": fingerprint(folder / "items.json")}
    change(folder / "model.json", files=recorded)
    with pytest.raises(DeployError, match=f"{ITEMS - 1} ids, model.json says {ITEMS} items"):
        load_model(folder)


def test_a_half_written_folder_is_no_model(
    folder: Path, random_model: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("recbole_fmrlrec.deploy.model_folder.write_tensors", full)
    with pytest.raises(OSError, match="no space left"):
        random_model.save(folder)
    with pytest.raises(DeployError, match=r"model\.json: missing"):
        load_model(folder)
    assert not list(folder.glob(".*"))
