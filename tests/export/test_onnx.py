"""ONNX: the real-valued twin, parity through onnxruntime, and the client without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_fmrlrec.deploy import DeployError, Recommender
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.deploy.model_folder import save_model
from recbole_fmrlrec.deploy.real_arithmetic import RealStep
from recbole_fmrlrec.export.onnx import (
    ENCODER,
    OPSET,
    STEP,
    RealEncoder,
    export_onnx,
    save_with_onnx,
)
from tests.deploy.conftest import DESCRIPTION, ITEMS, features_of, lively_network, table_of

HISTORIES = [["i1"], [], ["nobody"], ["i2", "i9", "i2"], [f"i{n}" for n in range(1, 31)]]
CLIENT = Path(__file__).parents[2] / "examples" / "onnx_client.py"
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
histories, k = json.loads(sys.argv[2])
for folder in sys.argv[3:]:
    own = client(folder)
    print(json.dumps([own.recommend(history, k=k) for history in histories]))
"""
SHAPES = [(1, 1), (4, 7), (3, 61)]


def batch(size: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded rows whose padding is a real item, which must not matter, and lengths."""
    generator = torch.Generator().manual_seed(size)
    rows = torch.randint(0, ITEMS + 1, (size, length), generator=generator)
    lengths = torch.randint(1, length + 1, (size,), generator=generator)
    lengths[0] = length
    return rows, lengths


@pytest.mark.parametrize(("size", "length"), SHAPES)
def test_the_real_twin_equals_the_network(size: int, length: int) -> None:
    network = lively_network()
    table = table_of(network)
    rows, lengths = batch(size, length)
    with torch.no_grad():
        expected = network.encode_last(table, rows, lengths)
        found = RealEncoder(network)(table[rows], lengths)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (expected - table[rows[torch.arange(size), lengths - 1]]).std() > 0.5


def test_the_real_step_equals_the_network() -> None:
    network = lively_network()
    table = table_of(network)
    step, state = RealStep(network), network.initial_state(3)
    ours = torch.zeros(2, 3, 32)
    with torch.no_grad():
        for event in range(6):
            x = table[torch.tensor([event + 1, 2 * event + 1, 9])]
            expected, state = network.step(x, state)
            found, ours = step(x, ours)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    as_complex = torch.complex(ours[..., :16], ours[..., 16:])
    torch.testing.assert_close(as_complex, torch.stack(state), rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the graphs of the random network."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    folder = tmp_path_factory.mktemp("onnx")
    entry = export_onnx(lively_network(), folder)
    assert entry == {"opset": OPSET, "encoder": ENCODER, "step": STEP}
    assert sorted(path.name for path in folder.iterdir()) == [ENCODER, STEP]
    return folder


@pytest.fixture(scope="module")
def graphs(exported: Path) -> dict[str, Any]:
    """Sessions of onnxruntime by file name."""
    import onnx
    import onnxruntime

    for name in (ENCODER, STEP):
        model = onnx.load(exported / name)
        onnx.checker.check_model(model)
        assert [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")] == [OPSET]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return {
        name: onnxruntime.InferenceSession(str(exported / name), options)
        for name in (ENCODER, STEP)
    }


@pytest.mark.parametrize(("size", "length"), SHAPES)
def test_encoder_parity(
    graphs: dict[str, Any], random_model: Recommender, size: int, length: int
) -> None:
    rows, lengths = batch(size, length)
    vectors = random_model.items.vectors
    given = {"item_vectors": vectors[rows].numpy(), "lengths": lengths.numpy()}
    (found,) = graphs[ENCODER].run(["hidden"], given)
    random_model.max_history = None
    histories = [own[:count] for own, count in zip(rows.tolist(), lengths.tolist(), strict=True)]
    expected = random_model.encode_rows(histories).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


def test_step_parity(graphs: dict[str, Any], random_model: Recommender) -> None:
    sessions = random_model.sessions(5)
    state = np.zeros((2, 5, 32), dtype=np.float32)
    for event in range(4):
        items = [f"i{1 + event * 5 + at}" for at in range(5)]
        sessions.update(items)
        rows = torch.tensor([random_model.items.row_of[item] for item in items])
        given = {"item_vectors": random_model.items.vectors[rows].numpy()}
        hidden, state = graphs[STEP].run(["hidden", "new_state"], {**given, "state": state})
        np.testing.assert_allclose(hidden, sessions.hidden.numpy(), rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(state, sessions.state.numpy(), rtol=1e-4, atol=2e-5)


def test_without_the_packages_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("No module named 'onnxscript'", name="onnxscript")

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(DeployError, match=r"`onnxscript` is not installed: pip install .*\[onnx\]"):
        export_onnx(lively_network(), tmp_path)
    assert not list(tmp_path.iterdir())


def answers_without_torch(histories: list[list[str]], k: int, folders: list[Path]) -> list[Any]:
    """What the client in each folder answers to each history, ids and scores."""
    asked = [json.dumps([histories, k]), *map(str, folders)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(CLIENT), *asked],
        capture_output=True,
        text=True,
        cwd=folders[0],
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_client_without_torch_answers_as_the_recommender(
    exported: Path, tmp_path: Path
) -> None:
    network = lively_network()
    ids, titles = [f"i{row}" for row in range(1, ITEMS + 1)], [None] * ITEMS
    items = ItemTable(ids, titles, table_of(network))
    folders = [tmp_path / dtype for dtype in ("float32", "float16", "int8")]
    entry = {"opset": OPSET, "encoder": ENCODER, "step": STEP}
    for folder in folders:
        shutil.copytree(exported, folder)
        description = replace(DESCRIPTION, table_dtype=folder.name, onnx=entry)
        save_model(folder, description, network, items, [ENCODER, STEP])
    lines = answers_without_torch(HISTORIES, 12, folders)
    for folder, line in zip(folders, lines, strict=True):
        expected = Recommender.load(folder).recommend(HISTORIES, k=12)
        for answer, wanted in zip(line, expected, strict=True):
            assert [item for item, _ in answer] == wanted.ids
            assert [score for _, score in answer] == pytest.approx(wanted.scores, rel=1e-3)


def test_the_client_searches_as_the_saved_model(
    exported: Path, random_model: Recommender, tmp_path: Path
) -> None:
    """A model that was exported without graphs, with an item more and two stages."""
    features = {name: rows.numpy() for name, rows in features_of(1, seed=3).items()}
    random_model.add_items(["new"], features)
    exact = random_model.recommend(HISTORIES, k=7)
    random_model.use_two_stage(prefix=4, shortlist=9)
    written = save_with_onnx(random_model, tmp_path / "onnx")
    assert written.onnx == {"opset": OPSET, "encoder": ENCODER, "step": STEP}
    loaded = Recommender.load(tmp_path / "onnx")
    expected = [loaded.recommend(history, k=7) for history in HISTORIES]
    assert [one.ids for one in expected] != [one.ids for one in exact]
    (line,) = answers_without_torch(HISTORIES, 7, [tmp_path / "onnx"])
    for answer, wanted in zip(line, expected, strict=True):
        assert [item for item, _ in answer] == wanted.ids
        assert [score for _, score in answer] == pytest.approx(wanted.scores, rel=1e-3)


def test_the_client_is_short() -> None:
    lines = CLIENT.read_text(encoding="utf-8").split("class Client:\n")[1].splitlines()
    assert len([line for line in lines if line.strip()]) <= 30
