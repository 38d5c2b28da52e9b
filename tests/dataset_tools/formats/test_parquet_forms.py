"""Datasets whose atomic files are there in Parquet, beside the text or alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset_tools.__main__ import main
from tests.dataset_tools.sources.test_parquet import as_csv, convert, write


def parquet_dataset(folder: Path) -> Path:
    """A converted shop whose atomic files are there in Parquet alone."""
    log = as_csv(folder.parent / "log.csv", {"user_id": ["a", "b"], "item_id": ["x", "y"]})
    items = {"item_id": ["x", "y", "z"], "title": ["red mug", "tea pot", ""], "price": [9, 8, 7]}
    catalogue = as_csv(folder.parent / "items.csv", items)
    assert convert("csv", log, folder, "--items", str(catalogue)) == 0
    assert main(["parquet", str(folder)]) == 0
    return folder


def test_overwriting_removes_older_parquet_forms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = parquet_dataset(tmp_path / "shop")
    (folder / "shop.inter").unlink()  # its Parquet form alone is the dataset, and not lost unasked
    log = as_csv(tmp_path / "new.csv", {"user_id": ["c"], "item_id": ["x"]})
    assert main(["convert", "csv", str(log), str(folder)]) == 2
    assert "--overwrite replaces shop.item, shop.inter.parquet" in capsys.readouterr().err
    assert convert("csv", log, folder) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["shop.inter", "shop.item"]
    said = capsys.readouterr().out
    assert "removed, since they held the older rows: shop.inter.parquet, shop.item.parquet" in said


def test_items_in_parquet_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = parquet_dataset(tmp_path / "shop")
    encode = ["encode-text", str(folder), "--model", "tfidf-svd", "--overwrite"]
    found = []
    for text in (True, False):
        if not text:
            for path in (*folder.glob("*.inter"), *folder.glob("*.item")):
                path.unlink()
        capsys.readouterr()
        assert main(encode) == 0
        assert main(["inspect", str(folder)]) == 0
        assert main(["neighbours", str(folder), "--item", "x"]) == 0
        found.append((capsys.readouterr().out, (folder / "features" / "text.npy").read_bytes()))
    assert found[0] == found[1]
    assert "0.000  y              tea pot  8" in found[0][0]


def test_a_parquet_form_with_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = parquet_dataset(tmp_path / "shop")
    (folder / "shop.item").unlink()
    columns = {"item_id:token": ["x", None], "tags:token_seq": [["a"], ["b"]]}
    write(folder / "shop.item.parquet", **columns)
    assert main(["inspect", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "shop.item.parquet: column 'tags:token_seq' holds lists or records (VARCHAR[])" in said
    write(folder / "shop.item.parquet", **{**columns, "tags:token_seq": ["a", "b"]})
    assert main(["inspect", str(folder)]) == 2
    assert "shop.item.parquet, row 2: no item_id; give it one" in capsys.readouterr().err
