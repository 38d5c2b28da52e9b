"""The filter by number of interactions against RecBole's own."""

from __future__ import annotations

import logging
from types import MethodType, SimpleNamespace

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_fmrlrec import compat
from recbole_fmrlrec.data.interaction_filter import filter_by_inter_num, filter_by_tables

INTERVALS = [None, "[0,inf)", "[2,inf)", "(1,3]", "[3,inf)", "[3,4];[1,1]"]


def dataset(pairs, users, items, user_interval, item_interval):
    compat.apply()
    from recbole.data.dataset import Dataset

    made = SimpleNamespace(
        uid_field="user",
        iid_field="item",
        inter_feat=pd.DataFrame(
            {"user": [u for u, _ in pairs], "item": [i for _, i in pairs]}, dtype=object
        ),
        user_feat=None if users is None else pd.DataFrame({"user": users}, dtype=object),
        item_feat=None if items is None else pd.DataFrame({"item": items}, dtype=object),
        config={"user_inter_num_interval": user_interval, "item_inter_num_interval": item_interval},
        logger=logging.getLogger("test"),
    )
    for name in ("_parse_intervals_str", "_within_intervals", "_get_illegal_ids_by_inter_num"):
        setattr(made, name, MethodType(getattr(Dataset, name), made))
    return made, Dataset._filter_by_inter_num


tokens = st.sampled_from("abcde")
tables = st.none() | st.lists(tokens, unique=True)


@given(
    pairs=st.lists(st.tuples(tokens, tokens), min_size=1, max_size=40),
    users=tables,
    items=tables,
    user_interval=st.sampled_from(INTERVALS),
    item_interval=st.sampled_from(INTERVALS),
)
@settings(max_examples=300, deadline=None)
def test_keeps_the_rows_that_recbole_keeps(pairs, users, items, user_interval, item_interval):
    ours, _ = dataset(pairs, users, items, user_interval, item_interval)
    plain, theirs = dataset(pairs, users, items, user_interval, item_interval)
    filter_by_inter_num(ours)
    theirs(plain)
    for name in ("inter_feat", "user_feat", "item_feat"):
        mine, other = getattr(ours, name), getattr(plain, name)
        if other is None:
            assert mine is None
        else:
            pd.testing.assert_frame_equal(mine, other)


@given(
    pairs=st.lists(st.tuples(tokens, tokens), min_size=1, max_size=20),
    users=tables,
    items=tables,
    wanted=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_keeps_the_rows_of_users_and_items_in_the_tables(pairs, users, items, wanted):
    ours, _ = dataset(pairs, users, items, None, None)
    rows = [
        row
        for row, (user, item) in enumerate(pairs)
        if not wanted or ((users is None or user in users) and (items is None or item in items))
    ]
    ours.config["filter_inter_by_user_or_item"] = wanted
    expected = ours.inter_feat.iloc[rows]
    filter_by_tables(ours)
    pd.testing.assert_frame_equal(ours.inter_feat, expected)
