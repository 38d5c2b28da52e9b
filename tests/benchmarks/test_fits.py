"""The formulas of what fits where, against models, optimisers and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import fits_run
from benchmarks.__main__ import main
from benchmarks.fits_formulas import FLOAT, TRAINED, Case, expected_bytes, parameters
from recbole_fmrlrec.data.mapped_features import MappedFeatures
from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.train.optimization import adamw

CASE = Case(items=500, width=16, features=24, windows=4, candidates=32)


@pytest.mark.parametrize("ids", [True, False])
def test_sixteen_bytes_of_each_learned_number(ids: bool) -> None:
    """Itself, its gradient and AdamW's two means, all float32."""
    many = CASE.items + 1 if ids else 0
    network = FMRLRecNetwork(CASE.sizes, 0 if ids else CASE.features, num_id_items=many)
    assert sum(p.numel() for p in network.parameters()) == parameters(CASE, ids)
    optimizer = adamw(fits_run._Decaying(network), 1e-3, 0.01)
    sum(p.sum() for p in network.parameters()).backward()
    optimizer.step()
    held = sum(p.nbytes + p.grad.nbytes for p in network.parameters())
    means = [v for state in optimizer.state.values() for v in state.values() if v.ndim]
    assert held + sum(mean.nbytes for mean in means) == TRAINED * parameters(CASE, ids)


def test_what_grows_with_the_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[MappedFeatures] = []
    monkeypatch.setattr(
        fits_run, "_train", lambda case, network, features, steps: kept.append(features)
    )
    fits_run._train_features(CASE, tmp_path, 1, 1)
    (features,) = kept
    (part,) = features.parts
    arrays = part.row.nbytes + part.norm.nbytes + features.order.nbytes
    drawn = torch.ones(CASE.items, dtype=torch.float64).nbytes  # the sampler's popularity
    learned = TRAINED * parameters(CASE, ids=False)
    assert expected_bytes("train features", CASE) == learned + arrays + drawn + part.matrix.nbytes


def test_a_table_is_four_bytes_a_number(tmp_path: Path) -> None:
    fits_run._export(CASE, tmp_path)
    items = Recommender.load(tmp_path / "model").items
    assert items.vectors.nbytes == expected_bytes("rank", CASE) == FLOAT * 501 * 16
    assert expected_bytes("train ids", CASE) == TRAINED * parameters(CASE, ids=True) + 8 * 500


def test_a_quick_trial(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fits", "--quick", "--phase=rank"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "GB by formula" not in lines[0] and "CPU s to begin" in lines[1]
    found = [line.split()[:2] for line in lines[3:]]
    assert found == [["rank", "1,000"], ["rank", "20,000"]]
