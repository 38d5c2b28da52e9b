"""Benchmark files of a leave-one-out split give the rows of that split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_fmrlrec import compat
from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from tests.conftest import write_inter, write_table

compat.apply()

PARTS = ["train", "valid", "test"]


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Users of 6 interactions: all in ``one``, leave-one-out files in ``plain`` and ``lists``."""
    rows = [
        (f"u{u}", f"i{(u * 3 + t * t) % 11}", 50 - u + 7 * t) for u in range(8) for t in range(6)
    ]
    write_inter(tmp_path, rows, "one")
    for part, keeps in zip(PARTS, (range(4), [4], [5]), strict=True):
        # Backwards, so that the order must come from the times.
        own = [row for n, row in enumerate(rows) if n % 6 in keeps][::-1]
        write_table(
            tmp_path / "plain" / f"plain.{part}.inter",
            "user_id:token item_id:token timestamp:float",
            own,
        )
        lists = [
            (f"u{u}", " ".join(row[1] for row in rows[u * 6 : u * 6 + t]), rows[u * 6 + t][1])
            for u in range(8)
            for t in keeps
            if t
        ]
        header = "user_id:token item_id_list:token_seq item_id:token"
        write_table(tmp_path / "lists" / f"lists.{part}.inter", header, lists)
    return tmp_path


def rows_of(root: Path, dataset: str, model: str, **keys: Any) -> list[set[tuple[Any, ...]]]:
    """Of each part the rows as (user, history, target), by their names."""
    places = {"data_path": str(root), "use_gpu": False, "MAX_ITEM_LIST_LENGTH": 5}
    small = {"topk": [5], "valid_metric": "NDCG@5"}
    config = Config(model, dataset, config_dict={**places, **small, **keys})
    made = create_dataset(config)
    loaders = data_preparation(config, made)
    found = []
    for loader in loaders:
        part = loader._dataset
        feat = part.inter_feat[slice(None)]
        feat = feat.cut() if hasattr(feat, "cut") else feat
        names = {key: part.field2id_token[key] for key in ("user_id", "item_id")}
        users, items = names["user_id"][feat["user_id"]], names["item_id"][feat["item_id"]]
        past = [
            tuple(names["item_id"][row[:length]])
            for row, length in zip(feat["item_id_list"], feat["item_length"], strict=True)
        ]
        found.append(set(zip(users, past, items, strict=True)))
    return found


@pytest.mark.parametrize("dataset", ["plain", "lists"])
@pytest.mark.parametrize("windows", ["overlap", "prefix", None])
def test_files_give_the_rows_of_the_split(split: Path, dataset: str, windows: str | None) -> None:
    if windows == "overlap" and dataset == "lists":
        pytest.skip("a row of a list is a prefix already")
    model = "fMRLRecID" if windows else "SASRec"
    keys = {"training_windows": windows, "use_features": False} if windows else {}
    whole = rows_of(split, "one", model, **keys)
    parts = rows_of(split, dataset, model, benchmark_filename=PARTS, **keys)
    assert parts == whole
    assert [len(part) for part in whole] == [8 if windows == "overlap" else 24, 8, 8]
