"""The Parquet form of atomic files: the same dataset as from the text, or the text."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dataset_tools.__main__ import main
from dataset_tools.formats.parquet_copy import copy_path, write_copy
from recbole_fmrlrec import run
from recbole_fmrlrec.cli.item_columns import read_column
from recbole_fmrlrec.data.loaders import create_dataset
from recbole_fmrlrec.errors import DataError
from recbole_fmrlrec.export.open_checkpoint import read_titles
from recbole_fmrlrec.files.checkpoint import load_checkpoint
from tests import toy
from tests.conftest import MakeConfig

parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow (extra `parquet`)")
pyarrow = pytest.importorskip("pyarrow")

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\ttags:token_seq"
ROWS = [f"u{n % 3}\ti{n % 4}\t{n % 5}\t{100 + n}\tred blue" for n in range(12)]
#: Tokens that look like numbers or like nothing, odd numbers, empty cells, quotes, other scripts.
ODD = [
    "007\tNA\t-0\t1700000000000000001\tone",
    "7\tnull\t1e3\t1700000000000000002\t",
    'u"1\ti "x"\t\t1700000000000000003\t  two  words ',
    "ü\t日本\tNaN\t1700000000000000000\t[a;b]",
]
ITEMS = ["i0\tFirst thing", "i1\t", "i9\tNever seen", "日本\t本 の  名"]


def write(root: Path, rows: list[str], name: str = "toy") -> Path:
    folder = root / name
    folder.mkdir(exist_ok=True)
    text = "\n".join([HEADER, *rows]) + "\n"
    (folder / f"{name}.inter").write_text(text, encoding="utf-8")
    items = "\n".join(["item_id:token\ttitle:token_seq", *ITEMS]) + "\n"
    (folder / f"{name}.item").write_text(items, encoding="utf-8")
    return folder


def assert_same(one: Any, other: Any) -> None:
    """Every field of two datasets, to the bit and to the type."""
    for name in ("field2type", "field2source", "field2seqlen", "field2bucketnum"):
        assert getattr(one, name) == getattr(other, name)
    assert list(one.field2id_token) == list(other.field2id_token)
    for field, tokens in one.field2id_token.items():
        assert tokens.dtype == other.field2id_token[field].dtype
        assert tokens.tolist() == other.field2id_token[field].tolist()
        assert one.field2token_id[field] == other.field2token_id[field]
    for name in ("inter_feat", "item_feat"):
        mine, theirs = getattr(one, name), getattr(other, name)
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True, check_index_type="exact")
        for field in mine:
            if mine[field].dtype == np.float64:
                assert mine[field].to_numpy().tobytes() == theirs[field].to_numpy().tobytes()
    assert one.target_times == other.target_times


EVERY = {"load_col": {"inter": "*", "item": "*"}}


@pytest.mark.parametrize("rows", [ROWS, [*ROWS, *ODD]], ids=["plain", "odd"])
@pytest.mark.parametrize("keys", [{}, EVERY, {"user_inter_num_interval": "[2,inf)"}])
def test_the_dataset_is_that_of_the_text(
    config: MakeConfig, tmp_path: Path, rows: list[str], keys: dict[str, Any]
) -> None:
    folder = write(tmp_path, rows)
    text = create_dataset(config(**keys))
    assert main(["parquet", str(folder)]) == 0
    assert_same(create_dataset(config(**keys)), text)
    for name in ("toy.inter", "toy.item"):
        (folder / name).unlink()
    assert_same(create_dataset(config(**keys)), text)


def test_it_is_what_is_read(config: MakeConfig, tmp_path: Path) -> None:
    """A forged copy with the right note: its other content shows that nobody looked at the text."""
    path = write(tmp_path, ROWS) / "toy.inter"
    write_copy(path)
    table = parquet.read_table(copy_path(path))
    users = pyarrow.array([f"other{n % 3}" for n in range(12)])
    forged = table.set_column(0, "user_id:token", users).replace_schema_metadata(
        table.schema.metadata
    )
    parquet.write_table(forged, copy_path(path))
    tokens = create_dataset(config()).field2id_token["user_id"].tolist()
    assert tokens == ["[PAD]", "other0", "other1", "other2"]


def test_columns_are_typed_and_times_exact(tmp_path: Path) -> None:
    path = write(tmp_path, [*ROWS, *ODD]) / "toy.inter"
    assert write_copy(path) == 16
    table = parquet.read_table(copy_path(path))
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "user_id:token": "string",
        "item_id:token": "string",
        "rating:float": "double",
        "timestamp:float": "int64",
        "tags:token_seq": "string",
    }
    # 2**60 < 1.7e18: neighbours that float64 makes one number of
    last = [1700000000000000001, 1700000000000000002, 1700000000000000003, 1700000000000000000]
    assert table["timestamp:float"].to_pylist()[-4:] == last
    assert table["rating:float"].to_pylist()[-4:] == [-0.0, 1000.0, None, None]
    encodings = parquet.ParquetFile(copy_path(path)).metadata.row_group(0).column(0).encodings
    assert "RLE_DICTIONARY" in encodings or "PLAIN_DICTIONARY" in encodings


@pytest.mark.parametrize("change", ["longer", "same size", "note", "damaged"])
def test_a_copy_that_does_not_match_is_refused(
    config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    folder = write(tmp_path, ROWS)
    path = folder / "toy.inter"
    write_copy(path)
    text = path.read_text(encoding="utf-8")
    reasons = dict.fromkeys(["longer", "same size"], "made from another version of toy.inter")
    reasons |= {"note": "does not say which file", "damaged": "not a Parquet file"}
    if change == "longer":
        path.write_text(text + "u9\ti0\t1\t500\t\n", encoding="utf-8")
    elif change == "same size":
        path.write_text(text.replace("u0", "u9"), encoding="utf-8")
    elif change == "note":
        parquet.write_table(
            parquet.read_table(copy_path(path)).replace_schema_metadata(None), copy_path(path)
        )
    else:
        copy_path(path).write_bytes(b"PAR1 and nothing else")
    with caplog.at_level(logging.WARNING):
        tokens = create_dataset(config()).field2id_token["user_id"].tolist()
    said = "\n".join(caplog.messages)
    assert "toy.inter.parquet is not used: " in said
    assert reasons[change] in said and f"dataset_tools parquet {folder}" in said
    assert ("u9" in tokens) == (change in ("longer", "same size"))
    assert main(["parquet", str(folder)]) == 0  # made again
    caplog.clear()
    create_dataset(config())
    assert "is not used" not in "\n".join(caplog.messages)


def test_text_in_another_encoding_is_read(
    config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, ROWS) / "toy.inter"
    write_copy(path)
    with caplog.at_level(logging.WARNING):
        create_dataset(config(encoding="latin-1"))
    assert "field_separator or encoding differ" in "\n".join(caplog.messages)


def test_a_run_has_the_same_digits_and_the_same_fingerprint(tmp_path: Path) -> None:
    folder = toy.write_toy(tmp_path)
    keys = toy.settings(tmp_path, use_features=False)
    results = [run("fMRLRecID", "toy", config_dict=keys)]
    assert main(["parquet", str(folder)]) == 0
    results.append(run("fMRLRecID", "toy", config_dict=keys))
    assert results[0].fingerprint == results[1].fingerprint
    assert results[0].test == results[1].test
    weights = [load_checkpoint(result.run_dir / "best.pth", "cpu") for result in results]
    for name, tensor in weights[0]["state_dict"].items():
        assert tensor.equal(weights[1]["state_dict"][name])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["u1\ti1\tx\t1\t"], "column rating:float: not a number.*'x'"),
        (["u1\ti1"], "Expected 5 columns, got 2"),
        (['"u1"\ti1'], "line 2: 2 cells, the header has 5"),
        ([], "has a header but no rows"),
    ],
)
def test_text_that_cannot_be_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[str], message: str
) -> None:
    folder = write(tmp_path, rows)
    assert main(["parquet", str(folder)]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not copy_path(folder / "toy.inter").exists()


def test_parquet_of_other_tools(config: MakeConfig, tmp_path: Path) -> None:
    """Ids as whole numbers, plain text, seconds as int32: no note, and no text beside it."""
    folder = write(tmp_path, ROWS)
    for name in ("toy.inter", "toy.item"):
        (folder / name).unlink()
    columns: dict[str, Any] = {
        "user_id:token": pyarrow.array([7, 7, 8, None, 7, 8]),
        "item_id:token": pyarrow.array(["a", "b", "", "b", "c", "a"]),
        "timestamp:float": pyarrow.array([3, 1, 2, 4, 5, 6], pyarrow.int32()),
    }
    parquet.write_table(pyarrow.table(columns), folder / "toy.inter.parquet")
    dataset = create_dataset(config())
    assert dataset.field2id_token["user_id"].tolist() == ["[PAD]", "7", "8"]
    assert dataset.field2id_token["item_id"].tolist() == ["[PAD]", "a", "b", "c"]
    assert dataset.inter_feat["timestamp"].tolist() == [1, 3, 5, 6]
    columns["item_id:token"] = pyarrow.array([["a"]] * 6)
    parquet.write_table(pyarrow.table(columns), folder / "toy.inter.parquet")
    with pytest.raises(DataError, match=r"column item_id:token.*must be text"):
        create_dataset(config())
    del columns["item_id:token"]
    columns["item_id"] = pyarrow.array(["a"] * 6)
    parquet.write_table(pyarrow.table(columns), folder / "toy.inter.parquet")
    with pytest.raises(DataError, match="'item_id' is not a NAME:TYPE column header"):
        create_dataset(config())


def test_titles_and_columns_of_items_in_parquet_alone(tmp_path: Path) -> None:
    folder = write(tmp_path, ROWS)
    assert main(["parquet", str(folder)]) == 0
    (folder / "toy.item").unlink()
    titles = read_titles(folder / "toy.item", ["日本", "i1", "i0", "none"])
    assert titles == ["本 の  名", None, "First thing", None]
    assert read_column(folder / "toy.item", "title")["i0"] == ["First", "thing"]
