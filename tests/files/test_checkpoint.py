"""Checkpoints: plain, safe to read, atomic."""

from __future__ import annotations

import os
import pickle
import random

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from recbole_fmrlrec.errors import RunError
from recbole_fmrlrec.files.checkpoint import (
    from_plain,
    load_checkpoint,
    model_state,
    save_checkpoint,
    to_plain,
)
from recbole_fmrlrec.nn.random_state import random_state, set_random_state


def test_arrays_sparse_matrices_and_containers_come_back_as_they_were(tmp_path):
    matrix = sparse.csr_matrix(np.array([[0.0, 2.5], [0.0, 0.0], [1.0, 0.0]]))
    array = np.arange(6).reshape(2, 3)
    state = {"a": array, "m": matrix, "l": [1, (2.5, None)], "t": torch.ones(2)}
    path = tmp_path / "c.pth"
    save_checkpoint(path, state)
    loaded = load_checkpoint(path)
    assert np.array_equal(loaded["a"], state["a"]) and loaded["a"].dtype == state["a"].dtype
    assert loaded["m"].format == "csr" and (loaded["m"] != matrix).nnz == 0
    assert loaded["l"] == [1, (2.5, None)]
    assert torch.equal(loaded["t"], state["t"])
    assert set(torch.load(path, weights_only=True)) == {"format", "a", "m", "l", "t"}


def test_other_objects_are_refused_by_name():
    with pytest.raises(RunError, match="not Generator"):
        to_plain({"bad": torch.Generator()})
    assert from_plain(to_plain({"x": np.float32(2.0)})) == {"x": 2.0}


def test_a_file_with_code_in_it_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "ran"

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    path = tmp_path / "c.pth"
    torch.save({"format": 1, "x": Attack()}, path, pickle_module=pickle)
    with pytest.raises(RunError, match="not a readable checkpoint"):
        load_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"text"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "c.pth"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"c\.pth: not a readable checkpoint"):
        load_checkpoint(path)


def test_a_missing_file_and_a_foreign_one_are_named(tmp_path):
    with pytest.raises(RunError, match=r"no checkpoint .*none\.pth"):
        load_checkpoint(tmp_path / "none.pth")
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(RunError, match="another format version"):
        load_checkpoint(tmp_path / "other.pth")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "c.pth"
    save_checkpoint(path, {"value": 1})

    def full_disk(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(path, {"value": 2})
    assert load_checkpoint(path)["value"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_random_sources_continue_where_they_were(tmp_path):
    generator = torch.Generator().manual_seed(5)
    save_checkpoint(tmp_path / "r.pth", {"random": random_state(generator)})

    def draw():
        return (
            torch.rand(3).tolist(),
            np.random.rand(3).tolist(),
            np.random.randn(3).tolist(),
            random.random(),
            torch.rand(2, generator=generator).tolist(),
        )

    first = draw()
    assert draw() != first
    set_random_state(load_checkpoint(tmp_path / "r.pth")["random"], generator)
    assert draw() == first


def test_submodules_named_as_other_parameters_are_left_to_the_state():
    class Model(nn.Linear):
        def other_parameter(self):
            return {"inner": nn.Linear(1, 1), "count": 3}

    state = model_state(Model(2, 2))
    assert state["other_parameter"] == {"count": 3}
    assert set(state["state_dict"]) == {"weight", "bias"}
