"""Item tables as they are stored."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_fmrlrec.deploy import DeployError
from recbole_fmrlrec.deploy.items import ItemTable, restore_vectors, store_vectors


def test_int8_by_hand() -> None:
    vectors = torch.tensor([[9.0, 9.0], [1.27, -0.634], [0.0, 0.0], [-254.0, 1.0]])
    stored = store_vectors(vectors, "int8")
    assert stored["vectors"].dtype == torch.int8
    assert stored["vectors"].tolist() == [[127, -63], [0, 0], [-127, 0]]
    torch.testing.assert_close(stored["scale"], torch.tensor([0.01, 0.0, 2.0]))
    expected = torch.tensor([[9.0, 9.0], [1.27, -0.63], [0.0, 0.0], [-254.0, 0.0]])
    torch.testing.assert_close(restore_vectors(stored), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([1e-6, 1.0, 1e4]))
def test_int8_errs_by_half_a_step_at_most(seed: int, scale: float) -> None:
    vectors = torch.randn(20, 7, generator=torch.Generator().manual_seed(seed)) * scale
    error = (restore_vectors(store_vectors(vectors, "int8")) - vectors)[1:].abs()
    step = vectors[1:].abs().amax(1, keepdim=True) / 127
    assert (error <= 0.5001 * step).all()


def test_float_tables_keep_their_precision() -> None:
    vectors = torch.randn(50, 8)
    assert torch.equal(restore_vectors(store_vectors(vectors, "float32")), vectors)
    half = restore_vectors(store_vectors(vectors, "float16"))
    assert torch.equal(half[1:], vectors[1:].half().float())
    with pytest.raises(DeployError, match="do not fit float16"):
        store_vectors(vectors * 1e5, "float16")
    with pytest.raises(DeployError, match="do not fit float16"):
        store_vectors(vectors * 1e-10, "float16")
    assert not store_vectors(vectors * 0, "float16")["vectors"].any()


def test_ids_are_checked() -> None:
    with pytest.raises(DeployError, match="'a' occurs twice"):
        ItemTable(["a", "b", "a"], [None] * 3, torch.zeros(4, 2))
    with pytest.raises(DeployError, match="1 item ids, 1 titles, 2 vectors"):
        ItemTable(["a"], [None], torch.zeros(3, 2))
