"""User windows: every target trained once, and rows that can be worked out by hand."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_fmrlrec.data.loaders import create_dataset
from recbole_fmrlrec.data.prefix_rows import gather_rows
from recbole_fmrlrec.data.windows import UserWindowDataset, make_windows
from tests.conftest import MakeConfig, make_config, write_inter

LENGTHS = st.lists(st.integers(0, 17), min_size=1, max_size=6)


def tuples(columns: Any) -> list[tuple[int, ...]]:
    """Windows as (user, start, length, fresh)."""
    return [tuple(map(int, row)) for row in zip(*columns, strict=True)]


def test_windows_of_four_by_hand() -> None:
    # 9 inputs: 0-3, then 2-5 and 4-7 by half a width, and 5-8 to the end; user 1 has one window.
    expected = [(0, 0, 4, 0), (0, 2, 4, 2), (0, 4, 4, 2), (0, 5, 4, 3), (1, 0, 3, 0)]
    assert tuples(make_windows(np.array([9, 3, 0]), 4)) == expected
    assert tuples(make_windows(np.array([9, 3, 0]), 4, "latest")) == [(0, 5, 4, 0), (1, 0, 3, 0)]


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 7))
def test_every_target_is_fresh_once_and_has_context(lengths: list[int], width: int) -> None:
    fresh_targets: Counter[tuple[int, int]] = Counter()
    for user, start, length, fresh in tuples(make_windows(np.array(lengths), width)):
        assert start >= 0 and start + length <= lengths[user]
        assert length == min(width, lengths[user]) and fresh < length
        fresh_targets.update((user, start + at) for at in range(fresh, length))
        # Whatever is cut off, a target sees at least half a width of what came before it.
        assert start == 0 or fresh >= width // 2
    assert fresh_targets == {(u, at): 1 for u, total in enumerate(lengths) for at in range(total)}


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 7))
def test_the_latest_window_ends_with_the_history(lengths: list[int], width: int) -> None:
    expected = [
        (user, max(0, total - width), min(total, width), 0)
        for user, total in enumerate(lengths)
        if total
    ]
    assert tuples(make_windows(np.array(lengths), width, "latest")) == expected


def test_gathered_rows_are_padded_on_the_right() -> None:
    values = torch.tensor([[1.0, float("nan")], [3.0, 4.0], [5.0, 6.0]])
    rows = gather_rows(values, torch.tensor([1, 2]), torch.tensor([2, 1]), 3)
    assert rows.tolist() == [
        [[3.0, 4.0], [5.0, 6.0], [0.0, 0.0]],
        [[5.0, 6.0], [0.0, 0.0], [0.0, 0.0]],
    ]


def training_rows(root: Path, histories: list[list[str]], **keys: Any) -> list[dict[str, Any]]:
    """The training rows of users u0, u1 ... with these items, as tokens without padding."""
    inter = [(f"u{u}", x, t) for u, items in enumerate(histories) for t, x in enumerate(items)]
    write_inter(root, inter)
    train = create_dataset(make_config(root, **keys)).build()[0]
    rows, token = train.inter_feat, train.field2id_token
    found = []
    for row in range(len(rows)):
        length = int(rows["item_length"][row])
        assert not rows["item_id_list"][row, length:].any()
        assert not rows["target_id_list"][row, length:].any()
        found.append(
            {
                "user": token["user_id"][rows["user_id"][row]],
                "inputs": token["item_id"][rows["item_id_list"][row, :length].numpy()].tolist(),
                "targets": token["item_id"][rows["target_id_list"][row, :length].numpy()].tolist(),
                "start": token["item_id"][rows["start_target"][row]],
                "last": token["item_id"][rows["item_id"][row]],
            }
        )
    return found


def test_training_rows_by_hand(tmp_path: Path) -> None:
    keys = {"training_windows": "overlap", "MAX_ITEM_LIST_LENGTH": 2}
    # Of seven interactions the last two are left out; of two, one target is trained nonetheless.
    rows = training_rows(tmp_path, [list(x) for x in ("abcdefg", "ab", "a", "cba")], **keys)
    by_user = {user: [row for row in rows if row["user"] == user] for user in ("u0", "u1", "u3")}
    assert sum(map(len, by_user.values())) == len(rows)
    pad = "[PAD]"
    assert [(r["inputs"], r["targets"], r["start"], r["last"]) for r in by_user["u0"]] == [
        (["a", "b"], ["b", "c"], "a", "c"),
        (["b", "c"], [pad, "d"], pad, "d"),
        (["c", "d"], [pad, "e"], pad, "e"),
    ]
    assert [(r["inputs"], r["targets"], r["start"]) for r in by_user["u1"]] == [(["a"], ["b"], "a")]
    assert [(r["inputs"], r["targets"], r["start"]) for r in by_user["u3"]] == [(["c"], ["b"], "c")]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 14), min_size=1, max_size=4), st.integers(1, 5))
def test_each_interaction_that_recbole_trains_is_a_target_once(
    totals: list[int], width: int
) -> None:
    histories = [[f"{u}-{t}" for t in range(total)] for u, total in enumerate([*totals, 6])]
    keys = {"training_windows": "overlap", "MAX_ITEM_LIST_LENGTH": width}
    with tempfile.TemporaryDirectory() as folder:
        rows = training_rows(Path(folder), histories, **keys)
    targets: Counter[str] = Counter()
    for row in rows:
        history = histories[int(row["user"][1:])]
        at = history.index(row["inputs"][0])
        assert row["inputs"] == history[at : at + len(row["inputs"])]
        following = history[at + 1 : at + 1 + len(row["inputs"])]
        assert all(x in ("[PAD]", y) for x, y in zip(row["targets"], following, strict=True))
        assert row["start"] == (history[0] if at == 0 else "[PAD]")
        assert row["last"] == row["targets"][-1] == following[-1]
        targets.update(x for x in row["targets"] if x != "[PAD]")
    trained = [h[1:-2] if len(h) > 3 else h[1:2] for h in histories]
    assert targets == Counter(x for items in trained for x in items)


def test_latest_trains_the_last_items_only(tmp_path: Path) -> None:
    keys = {"training_windows": "latest", "MAX_ITEM_LIST_LENGTH": 3}
    rows = training_rows(tmp_path, [list("abcdefgh"), list("abcde")], **keys)
    found = sorted((r["user"], r["inputs"], r["targets"], r["start"]) for r in rows)
    assert found == [
        ("u0", ["c", "d", "e"], ["d", "e", "f"], "[PAD]"),
        ("u1", ["a", "b"], ["b", "c"], "a"),
    ]


def test_parts_know_their_interactions(config: MakeConfig, tmp_path: Path) -> None:
    write_inter(tmp_path, [(u, x, t) for u in "uv" for t, x in enumerate("abcdefg")])
    dataset = create_dataset(config(training_windows="overlap", MAX_ITEM_LIST_LENGTH=2))
    assert isinstance(dataset, UserWindowDataset) and dataset.inter_num == 14
    train, valid, test = dataset.build()
    # Of each of the two users b, c, d and e are trained, in three windows.
    assert (len(train), train.inter_num, len(valid), len(test)) == (6, 8, 2, 2)
    tokens = train.field2id_token["item_id"]
    assert {tokens[i]: n for i, n in train.item_counter.items()} == dict.fromkeys("bcde", 2)
    assert (train.avg_actions_of_users, train.avg_actions_of_items) == (4.0, 2.0)
    assert train.inter_matrix().sum() == 10  # the first item of each too
    assert train.inter_matrix("csr", "timestamp").sum() == 2 * (0 + 1 + 2 + 3 + 4)
    shown = re.sub(r"\x1b\[[\d;]*m", "", str(train))
    for text in ("number of users: 3", "number of items: 8", "number of inters: 8"):
        assert text in shown
    assert valid.item_counter == {valid.token2id("item_id", "f"): 2}
    some = train.copy(train.inter_feat[:2])
    assert (some.inter_num, len(some), train.inter_num) == (2, 2, 8)


def test_a_built_dataset_serves_rows_to_predict(config: MakeConfig, rich: Path) -> None:
    dataset = create_dataset(config("SASRec", "rich", training_windows="overlap"))
    dataset.build()
    row = dataset[torch.tensor([1])]  # as RecBole's get_flops asks for it
    assert row["item_id_list"].shape == (1, 5) and row["words"].shape[0] == 1
    assert dataset.get_item_feature()["price"].shape == (21,)


@pytest.mark.parametrize(
    "keys",
    [
        {"eval_args": {"order": "TO", "split": {"RS": [0.8, 0.1, 0.1]}, "mode": "full"}},
        {"eval_args": {"order": "TO", "split": {"TS": [0.8, 0.1, 0.1]}, "mode": "full"}},
        {"eval_args": {"order": "RO", "split": {"LS": "valid_and_test"}, "mode": "full"}},
        {"benchmark_filename": ["part"] * 3},
    ],
)
def test_other_splits_are_refused(config: MakeConfig, tmp_path: Path, keys: Any) -> None:
    folder = write_inter(tmp_path, [("u", x, t) for t, x in enumerate("abcdefg")])
    (folder / "toy.part.inter").write_text(
        "user_id:token\titem_id:token\ttimestamp:float\titem_id_list:token_seq\nu\tb\t1\ta\n"
    )
    dataset = create_dataset(config(training_windows="overlap", **keys))
    with pytest.raises(ValueError, match=r"valid_and_test.*training_windows: prefix") as error:
        dataset.build()
    assert next(iter(keys)) in str(error.value)
