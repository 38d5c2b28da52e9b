"""A split by time: which interactions are trained and evaluated, and from what, by hand."""

from __future__ import annotations

from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.data.time_loaders import time_samplers
from recbole_fmrlrec.data.time_split import find_cuts
from recbole_fmrlrec.errors import DataError, UsageError
from tests.conftest import MakeConfig, make_config, write_inter

#: Day of January 2020 and item. Validation begins on the 10th, the test on the 20th.
DAYS = {
    "anna": [(2, "a"), (5, "b"), (10, "c"), (15, "d"), (20, "e"), (25, "f")],
    "ben": [(1, "a"), (3, "b"), (6, "c"), (7, "d")],
    "cleo": [(12, "c"), (14, "a"), (22, "b")],
    "dan": [(4, "b"), (21, "x"), (23, "y")],
    "eve": [(19, "a"), (30, "b")],
}
CUTS = ["2020-01-10", "2020-01-20"]
KINDS = {"windows": ("SASRec", "overlap"), "prefixes": ("SASRec", None), "general": ("BPR", None)}
#: Of each part (user, what came before, target).
ROLLING = (
    [("anna", "ab", "c"), ("anna", "abc", "d"), ("cleo", "c", "a")],
    [
        *(("anna", "abcd", "e"), ("anna", "abcde", "f"), ("cleo", "ca", "b"), ("dan", "b", "x")),
        *(("dan", "bx", "y"), ("eve", "a", "b")),
    ],
)
FROZEN = (
    [("anna", "ab", "c"), ("anna", "ab", "d")],
    [
        *(("anna", "abcd", "e"), ("anna", "abcd", "f"), ("cleo", "ca", "b"), ("dan", "b", "x")),
        *(("dan", "b", "y"), ("eve", "a", "b")),
    ],
)


def second(day: int) -> int:
    """Midnight of a day of January 2020."""
    return int(datetime(2020, 1, day, tzinfo=timezone.utc).timestamp())


@pytest.fixture
def january(tmp_path: Path) -> Path:
    """The five users, each one's interactions in the file from late to early."""
    return write_days(tmp_path)


def write_days(root: Path, unit: int = 1) -> Path:
    rows = [
        (user, item, unit * second(day)) for user, days in DAYS.items() for day, item in days[::-1]
    ]
    return write_inter(root, rows)


def arguments(cuts: Any = CUTS, **keys: Any) -> dict[str, Any]:
    """``eval_args`` of a split by time."""
    return {"split": {"time": cuts}, "order": "TO", "group_by": "user", "mode": "full", **keys}


def split_of(config: Any, kind: str, **keys: Any) -> Any:
    """The three parts of a kind of dataset."""
    model, windows = KINDS[kind]
    made = config(model, training_windows=windows, **keys)
    return create_dataset(made).build()


def rows_of(part: Any, whole: bool = True) -> list[tuple[str, str, str]]:
    """The rows of an evaluated part; ``whole`` from `Past`, else from the rows' own lists."""
    feat, names = part.inter_feat, part.field2id_token
    found = []
    for row in range(len(feat)):
        user, item = (names[field][feat[field][row]] for field in ("user_id", "item_id"))
        past = part.past
        before = past.items[past.start[row] : past.end[row]]
        if not whole:
            before = feat["item_id_list"][row][: feat["item_length"][row]]
        found.append((str(user), "".join(names["item_id"][before]), str(item)))
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("context", "expected"), [("rolling", ROLLING), ("frozen", FROZEN)])
def test_rows_by_hand(
    config: MakeConfig, january: Path, kind: str, context: str, expected: Any
) -> None:
    parts = split_of(config, kind, eval_args=arguments(context=context))
    assert [rows_of(part) for part in parts[1:]] == list(expected)
    if kind != "general":
        assert [rows_of(part, whole=False) for part in parts[1:]] == list(expected)
    past = parts[1].past
    assert (past.without_past, past.dropped) == (2 if context == "rolling" else 3, 0)
    cold = parts[1].id2token("item_id", past.cold.tolist())
    assert sorted(cold) == ["e", "f", "x", "y"]
    last = parts[2].past
    assert last.length.tolist() == [len(before) for _, before, _ in expected[1]]
    assert last.of_cold_items.tolist() == [target in "efxy" for _, _, target in expected[1]]
    assert last.of_new_users.tolist() == [user in ("cleo", "eve") for user, _, _ in expected[1]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"targets": "first"}, ["e", "b", "x", "b"]),
        ({"targets": "last"}, ["f", "b", "y", "b"]),
        ({"cold": "drop"}, ["b", "b"]),
        ({"cold": "drop", "targets": "last", "context": "frozen"}, ["b", "b"]),
    ],
)
def test_which_targets_count(
    config: MakeConfig, january: Path, kind: str, keys: dict[str, str], expected: list[str]
) -> None:
    test = split_of(config, kind, eval_args=arguments(**keys))[2]
    assert [target for _, _, target in rows_of(test)] == expected
    assert test.past.dropped == (4 if "cold" in keys else 0)


def test_training_is_what_was_before(config: MakeConfig, january: Path) -> None:
    pairs = {("anna", "a"), ("anna", "b"), *(("ben", item) for item in "abcd"), ("dan", "b")}
    train = split_of(config, "general", eval_args=arguments())[0]
    assert {row[::2] for row in _plain(train)} == pairs and len(train) == 7
    prefixes = split_of(config, "prefixes", eval_args=arguments())[0]
    of_ben = [("ben", "a", "b"), ("ben", "ab", "c"), ("ben", "abc", "d")]
    assert _lists(prefixes) == [("anna", "a", "b"), *of_ben]
    windows = split_of(config, "windows", eval_args=arguments())[0]
    assert _lists(windows, "target_id_list") == [("anna", "a", "b"), ("ben", "abc", "bcd")]
    assert windows.item_counter == prefixes.item_counter
    assert (windows.inter_matrix() != prefixes.inter_matrix()).nnz == 0


def _plain(part: Any) -> list[tuple[str, str, str]]:
    names, feat = part.field2id_token, part.inter_feat
    columns = (names[field][feat[field]] for field in ("user_id", "item_id"))
    return [(str(user), "", str(item)) for user, item in zip(*columns, strict=True)]


def _lists(part: Any, targets: str = "") -> list[tuple[str, str, str]]:
    """Rows as users, their inputs, and their target or targets, in order of users."""
    names, feat = part.field2id_token, part.inter_feat
    found = []
    for row in range(len(feat)):
        length = int(feat["item_length"][row])
        wanted = feat[targets][row][:length] if targets else feat["item_id"][row : row + 1]
        inputs = names["item_id"][feat["item_id_list"][row][:length]]
        user = str(names["user_id"][feat["user_id"][row]])
        found.append((user, "".join(inputs), "".join(names["item_id"][wanted])))
    return sorted(found)


@pytest.mark.parametrize("unit", [1, 1000])
@pytest.mark.parametrize(
    "cuts",
    [
        CUTS,
        ["2020-01-10T00:00:00Z", "2020-01-20 00:00"],
        ["2020-01-08", "2020-01-19T12:00:00"],  # nothing lies between
        [date(2020, 1, 10), datetime(2020, 1, 20)],
        [0.39, 0.667],  # 7 and 12 of 18
        "values",
    ],
)
def test_ways_to_say_when(config: MakeConfig, tmp_path: Path, unit: int, cuts: Any) -> None:
    write_days(tmp_path, unit)
    if cuts == "values":
        cuts = [unit * second(10), unit * second(20)]
    parts = split_of(config, "prefixes", eval_args=arguments(cuts))
    assert [rows_of(part) for part in parts[1:]] == list(ROLLING)


def test_equal_times_stay_together() -> None:
    times = np.array([1.0, 2.0, 3.0, 3.0, 3.0, 4.0, 5.0, 5.0, 6.0, 7.0])
    assert find_cuts(times, [0.4, 0.7], "toy") == ((3.0, 5.0), (2, 4, 4))
    assert find_cuts(times, [3, 5.5], "toy") == ((3.0, 5.5), (2, 6, 2))


@pytest.mark.parametrize(
    ("cuts", "says"),
    [
        ([3, 3], "the second must be later than the first; the times of toy go from 1 to 7"),
        ([0.5, 0.2], "the second must be later than the first"),
        ([0.01, 0.5], "is 1 and 4: no interaction is left for training"),
        ([3.5, 3.9], "no interaction is left for validation"),
        ([3, 9], "no interaction is left for test"),
        (["2020-01-01", 0.5], "2020-01-01 is a date, but the times of toy are numbers from"),
    ],
)
def test_impossible_moments_are_refused(cuts: Any, says: str) -> None:
    times = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    with pytest.raises(DataError, match=says):
        find_cuts(times, cuts, "toy")


def test_exact_milliseconds_decide(config: MakeConfig, tmp_path: Path) -> None:
    # float32 knows steps of 131 seconds here; a millisecond lies between training and validation.
    start = 1_388_534_400_000
    rows = [("u", f"i{t}", start + t) for t in range(6)]
    write_inter(tmp_path, rows[::-1])
    parts = split_of(config, "prefixes", eval_args=arguments([start + 3, start + 5]))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert [names for _, _, names in rows_of(parts[1])] == ["i3", "i4"]


EVENTS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(1, 12)), min_size=6, max_size=40
)


@settings(deadline=None, max_examples=25)
@given(EVENTS, st.sampled_from(["rolling", "frozen"]), st.sampled_from(["all", "first", "last"]))
def test_nothing_later_is_ever_seen(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[tuple[int, int, int]],
    context: str,
    targets: str,
) -> None:
    """No training row has an interaction at or after VALID_FROM, no context one of its target."""
    root = tmp_path_factory.mktemp("events")
    write_inter(root, [(f"u{u}", f"i{i}", t) for u, i, t in events])
    how = arguments([5, 9], context=context, targets=targets)
    found = {}
    for kind, (model, windows) in KINDS.items():
        keys = {"load_col": None, "eval_args": how, "MAX_ITEM_LIST_LENGTH": 3}
        made = make_config(root, model, training_windows=windows, **keys)
        try:
            parts = create_dataset(made).build()
        except DataError as error:
            assert "no interaction is left" in str(error)
            return
        found[kind] = parts
        _check_times(parts, context, {f"u{u}": [] for u, _, _ in events})
        assert parts[0].past is None
    before = sum(t < 5 for _, _, t in events)
    assert len(found["general"][0]) == before
    rows = [[rows_of(part) for part in parts[1:]] for parts in found.values()]
    assert rows[0] == rows[1] == rows[2]
    for part in found["prefixes"][1:]:
        kept = [(user, before[-2 * 3 :], item) for user, before, item in rows_of(part)]
        assert rows_of(part, whole=False) == kept  # names of two letters, three of them


def _check_times(parts: Any, context: str, users: dict[str, list[int]]) -> None:
    train, *evaluated = parts
    feat = train.inter_feat
    for column in ("timestamp", "timestamp_list"):
        if column in feat:
            assert (feat[column] < 5).all()
    for part, (low, high) in zip(evaluated, ((5, 9), (9, 13)), strict=True):
        past = part.past
        assert (past.part[past.target] == (1 if low == 5 else 2)).all()
        times = part.inter_feat["timestamp"]
        assert ((times >= low) & (times < high)).all()
        assert (past.start < past.end).all() and (past.end <= past.target).all()
        assert (past.users[past.start] == past.users[past.target]).all()
        if context == "frozen":
            assert (past.part[past.end - 1] < past.part[past.target]).all()
        else:
            assert torch.equal(past.end, past.target)


def test_negatives_are_drawn_from_what_training_knows(config: MakeConfig, january: Path) -> None:
    draws = {"distribution": "popularity", "sample_num": 1, "alpha": 1.0, "dynamic": False}
    made = config("BPR", eval_args=arguments(), train_neg_sample_args=draws, repeatable=False)
    dataset = create_dataset(made)
    samplers = time_samplers(made, dataset, dataset.build()[1].past)
    drawn = dataset.id2token("item_id", sorted(samplers[0].prob))
    assert sorted(drawn) == ["a", "b", "c", "d"]
    used = {
        sampler.phase: {
            str(user): "".join(sorted(dataset.id2token("item_id", list(items))))
            for user, items in zip(dataset.field2id_token["user_id"], sampler.used_ids, strict=True)
            if items
        }
        for sampler in samplers
    }
    assert used["train"] == {"anna": "ab", "ben": "abcd", "dan": "b"}
    assert used["valid"] == {**used["train"], "anna": "abcd", "cleo": "ac", "eve": "a"}
    assert used["test"] == {
        "anna": "abcdef",
        "ben": "abcd",
        "cleo": "abc",
        "dan": "bxy",
        "eve": "ab",
    }


@pytest.mark.parametrize("context", ["rolling", "frozen"])
def test_a_masked_history_is_what_was_before(
    config: MakeConfig, january: Path, context: str
) -> None:
    keys = {"eval_args": arguments(context=context), "mask_history": True}
    draws = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
    made = config("BPR", repeatable=False, **keys, **draws)
    dataset = create_dataset(made)
    test = data_preparation(made, dataset)[2]
    rows, masked, positive_u, positive_i = next(iter(test))
    assert masked is None  # an evaluation leaves out what these two say
    place, items = test.histories.of(slice(0, 6), positive_u, positive_i)
    assert positive_u.tolist() == list(range(6))
    names = [str(x) for x in dataset.id2token("item_id", positive_i.tolist())]
    assert names == ["e", "f", "b", "x", "y", "b"]
    assert [str(x) for x in dataset.id2token("user_id", rows["user_id"].tolist())] == [
        *("anna", "anna", "cleo", "dan", "dan", "eve")
    ]
    names = [str(x) for x in dataset.id2token("item_id", test.unranked.tolist())]
    assert sorted(names) == ["e", "f", "x", "y"]  # BPR knows ids only
    history = [
        {str(x) for x in dataset.id2token("item_id", items[place == row].tolist())}
        for row in range(6)
    ]
    before = ROLLING[1] if context == "rolling" else FROZEN[1]
    assert history == [set(past) - {target} for _, past, target in before]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"split.time": [0.8]}, r"eval_args.split.time = \[0.8\].*: eval_args.split.time must be"),
        ({"split.time": ["soon", 0.9]}, "must be two points in time, VALID_FROM and TEST_FROM"),
        ({"context": "frozen"}, "eval_args.context = frozen belongs to a split by time"),
        ({"targets": "last"}, "set it to {time: "),
        ({"split.time": [0.8, 0.9], "targets": "some"}, "must be one of all, first, last"),
        ({"split.time": [0.8, 0.9], "order": "RO"}, "needs eval_args.order = TO, not RO"),
    ],
)
def test_wrong_keys_are_refused(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    keys = {f"eval_args.{key}": value for key, value in given.items()}
    with pytest.raises(UsageError, match=says):
        Config("BPR", "toy", config_dict={**keys, "data_path": str(tmp_path)})


def test_the_command_line_names_dates_and_shares(tmp_path: Path) -> None:
    for text, value in (("[0.8,0.9]", [0.8, 0.9]), ("2020-01-10,2020-01-20", CUTS)):
        made = Config("BPR", "toy", cli_args={"eval_args.split.time": text})
        assert made["eval_args"]["split"] == {"time": value}
        assert "targets" not in made["eval_args"]
