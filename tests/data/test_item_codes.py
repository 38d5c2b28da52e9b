"""Codes of items against exhaustive search, and the file that keeps them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from recbole_fmrlrec.data import item_codes
from recbole_fmrlrec.data.item_codes import kept_codes, product_codes, train_quantizer
from recbole_fmrlrec.data.mapped_features import MappedFeatures, MappedModality
from recbole_fmrlrec.errors import UsageError

faiss = pytest.importorskip("faiss", reason="faiss-cpu is not installed")


def features(items: int = 80, width: int = 10, seed: int = 0) -> Tensor:
    """Random features of items and the padding's zeros."""
    torch.manual_seed(seed)
    matrix = torch.randn(items + 1, width)
    matrix[0] = 0
    return matrix


@pytest.mark.parametrize("width", [8, 10])
def test_a_code_is_the_nearest_centroid_by_exhaustive_search(width: int) -> None:
    matrix, parts, bits = features(width=width), 4, 3
    trained = torch.arange(1, 61)  # the others are coded all the same
    codes = product_codes(matrix, trained, parts, 2**bits)
    rotation, quantizer = train_quantizer(matrix[trained].numpy(), parts, bits)
    filled = rotation.d_out
    turn = faiss.vector_to_array(rotation.A).reshape(filled, -1)[:, :width]
    centroids = faiss.vector_to_array(quantizer.centroids).reshape(parts, 2**bits, -1)
    assert filled == {8: 8, 10: 12}[width]
    for item in range(1, len(matrix)):
        turned = (turn @ matrix[item].numpy()).reshape(parts, -1)
        distances = ((turned[:, None] - centroids) ** 2).sum(2)
        assert codes[item].tolist() == distances.argmin(1).tolist()
    assert codes.dtype == torch.int32 and not codes[0].any()


def test_like_items_share_a_code() -> None:
    ends = torch.tensor([[3.0, 3.0], [-3.0, -3.0]]).repeat(10, 1)
    matrix = torch.cat([torch.zeros(1, 2), ends + 0.01 * features(19, 2)])
    codes = product_codes(matrix, torch.arange(1, 21), 1, 2)[1:, 0].view(10, 2)
    assert codes[0].sort().values.tolist() == [0, 1]
    assert codes.eq(codes[0]).all()


def test_fewer_items_than_features() -> None:
    codes = product_codes(features(20, 60), torch.arange(1, 21), 32, 16)  # faiss alone crashes
    assert codes.shape == (21, 32) and int(codes.max()) <= 15
    assert all(len(column.unique()) > 1 for column in codes[1:].t())


def test_seeds_of_a_run_do_not_matter() -> None:
    matrix, trained, found = features(), torch.arange(1, 81), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        found.append(product_codes(matrix, trained, 5, 16))
    assert torch.equal(*found)


def test_few_items_have_few_centroids(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        codes = product_codes(features(20), torch.arange(1, 21), 2, 256)
    assert "16 in place of 256 values, for 20 training items" in caplog.text
    assert int(codes.max()) == 15
    with pytest.raises(UsageError, match="1 training items are too few"):
        product_codes(features(20), torch.arange(1, 2), 2, 256)


def test_codes_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, trained = features(), torch.arange(1, 81)
    made = kept_codes(tmp_path / "codes", matrix, trained, 5, 16)
    assert torch.equal(made, product_codes(matrix, trained, 5, 16))
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert torch.equal(kept_codes(tmp_path / "codes", matrix, trained, 5, 16), made)
    matrix[80, 9] += 1  # any number of any item, other items, another shape: other codes
    for asked in [(matrix, trained, 5, 16), (features(), trained[1:], 5, 16)]:
        with pytest.raises(UsageError, match=r"made by faiss: .*`faiss-cpu` is not installed"):
            kept_codes(tmp_path / "codes", *asked)
    with pytest.raises(UsageError, match="faiss-cpu"):
        kept_codes(tmp_path / "codes", features(), trained, 5, 8)


def test_a_damaged_file_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = features(), torch.arange(1, 81), 2, 4
    made = kept_codes(tmp_path, *asked)
    (file,) = tmp_path.glob("*.npy")
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    assert torch.equal(kept_codes(tmp_path, *asked), made)
    assert "not readable; the codes of items are made again" in caplog.text
    assert file.read_bytes() == whole


def test_where_no_file_can_be_written_a_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "codes").write_text("a file stands here")
    asked = features(), torch.arange(1, 81), 2, 4
    assert torch.equal(kept_codes(tmp_path / "codes", *asked), product_codes(*asked))
    assert "the codes of items are kept in this run alone" in caplog.text


def test_features_on_disk_have_the_same_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_codes, "BLOCK", 7)
    half = features()[1:].numpy().astype(np.float16)
    mapped = MappedFeatures([MappedModality.open(half, np.arange(80))])
    trained = torch.arange(1, 81)
    assert torch.equal(
        product_codes(mapped, trained, 5, 16),
        product_codes(mapped.in_memory(), trained, 5, 16),
    )
