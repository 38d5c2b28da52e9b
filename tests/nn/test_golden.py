"""Parity with recorded values of the published implementation."""

from __future__ import annotations

import numpy as np
import pytest

from tests import golden


def test_every_recording_is_reproduced(shared, capsys):
    files = sorted((shared / "golden").glob("*.npz"))
    assert files
    assert golden.main([str(file) for file in files]) == 0
    assert capsys.readouterr().out.count("within") == 3 * len(files)


@pytest.mark.parametrize(
    "key", ["logits", "loss_items_only", "grad/block0.recurrence.nu_log", "param/projector.bias"]
)
def test_a_recording_that_differs_is_noticed(shared, tmp_path, capsys, key):
    with np.load(shared / "golden" / "official_small.npz") as archive:
        recording = dict(archive)
    recording[key] = recording[key] * 1.01
    np.savez(tmp_path / "other.npz", **recording)
    assert golden.main([str(tmp_path / "other.npz")]) == 1
    assert "ABOVE" in capsys.readouterr().out
