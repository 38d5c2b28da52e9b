"""ONNX: the real-valued twin, and parity through onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_fmrlrec.deploy import DeployError, Recommender
from recbole_fmrlrec.deploy.real_arithmetic import RealStep
from recbole_fmrlrec.export.onnx import (
    ENCODER,
    OPSET,
    STEP,
    RealEncoder,
    export_onnx,
)
from tests.deploy.conftest import ITEMS, lively_network, table_of

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
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Sessions of onnxruntime by file name."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    import onnx
    import onnxruntime

    folder = tmp_path_factory.mktemp("onnx")
    entry = export_onnx(lively_network(), folder)
    assert entry == {"opset": OPSET, "encoder": ENCODER, "step": STEP}
    assert sorted(path.name for path in folder.iterdir()) == [ENCODER, STEP]
    for name in (ENCODER, STEP):
        model = onnx.load(folder / name)
        onnx.checker.check_model(model)
        assert [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")] == [OPSET]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return {
        name: onnxruntime.InferenceSession(str(folder / name), options) for name in (ENCODER, STEP)
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
