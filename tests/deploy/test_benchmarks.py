"""The parts of the benchmarks that could be wrong without looking wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.__main__ import COMMANDS, main
from benchmarks.cold_scores import score_cases
from benchmarks.cold_split import Case, ColdSplit, split_dataset
from benchmarks.deploy_retrieval import grow
from dataset_tools.features import write_features
from dataset_tools.formats.atomic_files import read_table
from tests.conftest import write_inter


def source(root: Path) -> Path:
    """Ten items, i0 .. i9, in the histories of three users, one of them out of order."""
    rows = [("u", f"i{n}", 10 - n) for n in range(10)]
    rows += [("v", "i3", 1), ("v", "i4", 2), ("w", "i5", 1)]
    folder = write_inter(root, rows, "shop")
    ids = [f"i{n}" for n in range(10)]
    write_features(folder / "features", "text", np.eye(10), ids, {})
    return folder


def test_cold_items_leave_the_training_and_become_cases(tmp_path: Path) -> None:
    split = split_dataset(source(tmp_path), tmp_path / "work", share=0.4, seed=0)
    assert len(split.cold) == 4 and set(split.warm) == {f"i{n}" for n in range(10)} - {*split.cold}
    written = list(read_table(tmp_path / "work" / "shop" / "shop.inter")[1])
    assert not {row["item_id"] for row in written} & {*split.cold}
    assert len(written) == 13 - split.dropped == sum(split.warm.values())
    # In time u goes from i9 to i0; w has no history before its one item.
    lasts = {"i0": [f"i{n}" for n in range(9, 0, -1)], "i4": ["i3"]}
    wanted = [Case(history, item) for item, history in lasts.items() if item in split.cold]
    assert split.cases == wanted
    other = split_dataset(tmp_path / "shop", tmp_path / "other", share=0.4, seed=1)
    assert other.cold != split.cold
    with pytest.raises(FileNotFoundError, match="no feature matrix"):
        split_dataset(tmp_path / "work" / "shop", tmp_path / "again", 0.4, 0)


def test_baselines_by_hand(tmp_path: Path) -> None:
    folder = source(tmp_path)
    matrix = np.zeros((10, 2))
    matrix[:, 0], matrix[:, 1] = np.cos(np.arange(10) / 10), np.sin(np.arange(10) / 10)
    write_features(folder / "features", "text", matrix, [f"i{n}" for n in range(10)], {})
    warm = {f"i{n}": 5 for n in range(5)}
    cold = [f"i{n}" for n in range(5, 10)]
    cases = [Case(["i0", "i4"], "i6")]
    split = ColdSplit(warm, cold, cases, 0, folder / "features")
    rows = {row[0]: row[1:] for row in score_cases(split, tmp_path / "none")}
    assert rows["random (expected)"][0] == 1.0  # five cold items, ten places
    # After i4 the cold items come as i5, i6, ...: rank 2. Among all i4 itself is first, then i3 and
    # i5 at the same distance, then i6 and i2: the two ties make it rank 4.
    nearest = rows["text neighbour of the last item"]
    assert nearest[1] == pytest.approx(1 / np.log2(3))
    assert nearest[3] in (pytest.approx(1 / np.log2(5)), pytest.approx(1 / np.log2(6)))
    # Popularity: all cold items tie behind the five warm ones, so the middle is rank 3 and 8.
    popular = rows["popularity in training"]
    assert popular[1] == pytest.approx(0.5) and popular[3] == pytest.approx(1 / np.log2(9))


def test_a_grown_table_keeps_the_items_it_has() -> None:
    vectors = torch.randn(101, 8, generator=torch.Generator().manual_seed(0))
    table = grow(vectors, 250)
    assert table.shape == (251, 8) and torch.equal(table[:101], vectors)
    assert len(torch.unique(table, dim=0)) == 251
    ratio = table[101:].std(0) / vectors[1:].std(0)
    assert ((ratio > 0.8) & (ratio < 1.5)).all()
    assert torch.equal(grow(vectors, 60), vectors[:61])


def test_the_list_of_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed and what in listed for name, (_, what) in COMMANDS.items())
    assert main(["nothing"]) == 2
    assert "there is no benchmark `nothing`" in capsys.readouterr().err
