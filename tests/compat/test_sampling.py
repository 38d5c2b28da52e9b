"""Sampling of negatives ends: with RecBole's own draws, or with a refusal that names the cause."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.transform import MaskItemSequence
from recbole.sampler import sampler as mended

from recbole_fmrlrec import compat
from recbole_fmrlrec.compat import sampling as compat_sampling
from recbole_fmrlrec.compat.bert4rec import followed_by
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.errors import DataError
from tests.conftest import LEAVE_ONE_OUT, MakeConfig, as_shipped, write_inter, write_table
from tests.data.test_loaders import UNIFORM

compat.apply()
POPULARITY = {**UNIFORM, "distribution": "popularity"}


def sampler(module: Any, used: list[set[int]], times: list[int], **keys: Any) -> Any:
    """A sampler of items 1..len(times) that occur so often."""

    class Toy(module.AbstractSampler):  # type: ignore[misc]
        item_num = len(times) + 1

        def _uni_sampling(self, number: int) -> Any:
            return np.random.randint(1, self.item_num, number)

        def _get_candidates_list(self) -> list[int]:
            return [item for item, count in enumerate(times, 1) for _ in range(count)]

        def get_used_ids(self) -> Any:
            return np.array([*used, None])[:-1]

    return Toy(keys.get("distribution", "uniform"), keys.get("alpha", 1.0))


@pytest.mark.parametrize("distribution", ["uniform", "popularity"])
def test_draws_are_those_of_recbole(distribution: str) -> None:
    used: list[set[int]] = [set(), {1, 2, 3}, {2}, {1, 2, 3, 4, 6, 7, 8}]
    shipped = as_shipped("recbole.sampler.sampler")
    for keys in ([3, 3, 3], [1, 2, 3, 1, 3]):
        drawn = []
        for module in (shipped, mended):
            np.random.seed(4)
            one = sampler(module, used, [5, 1, 1, 2, 3, 1, 1, 9], distribution=distribution)
            drawn.append(one.sample_by_key_ids(keys, 7).tolist())
        assert drawn[0] == drawn[1]
        assert not any(item in used[key] for key, item in zip(keys * 7, drawn[1], strict=True))


def test_what_is_hardly_ever_drawn_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    # Item 1 is all but certain: 1e5 ** 60 times as likely as the others.
    one = sampler(mended, [{1}, {1}], [100_000, 1, 1], distribution="popularity", alpha=60.0)
    monkeypatch.setattr(compat_sampling, "ROUNDS", 3)
    assert {*one.sample_by_key_ids([0, 1], 50).tolist()} == {2, 3}
    monkeypatch.setattr(compat_sampling, "ROUNDS", 0)
    np.random.seed(0)
    two = sampler(mended, [{1}], [5, 3, 1], distribution="popularity")
    drawn = Counter(two.sample_by_key_ids([0], 4000).tolist())
    assert drawn[2] + drawn[3] == 4000 and drawn[2] / 4000 == pytest.approx(3 / 4, abs=0.03)
    with pytest.raises(DataError, match=r"no negative can be drawn"):
        sampler(mended, [{1, 2}], [1, 1]).sample_by_key_ids([0], 1)


def test_popularity_never_draws_the_item_minus_one() -> None:
    times = [7, 6, 3]  # 16/16ths in all, and sums of them in floating point are not quite 1
    for alpha in (1.0, 0.3, 0.7, 0.9, 1.1):
        one = sampler(mended, [set()], times * 3, distribution="popularity", alpha=alpha)
        assert set(one.alias.values()) <= set(range(1, 10))
        assert all(one.prob[item] >= 1 - 1e-9 for item, other in one.alias.items() if item == other)


def everybody_has_all(root: Path, users: int = 8, items: int = 6) -> Path:
    """Each user goes through all items twice."""
    rows = [(f"u{u}", f"i{(u + k) % items}", k) for u in range(users) for k in range(2 * items)]
    return write_inter(root, rows)


def prepare(config: Any) -> Any:
    return data_preparation(config, create_dataset(config))


def test_bert4rec_on_windows_with_every_item(config: MakeConfig, tmp_path: Path) -> None:
    everybody_has_all(tmp_path)
    keys = {"MAX_ITEM_LIST_LENGTH": 12, "mask_ratio": 0.5, "transform": "mask_itemseq"}
    batch = next(iter(prepare(config("BERT4Rec", **keys))[0]))
    masked = batch["Mask_item_id_list"]
    rows, _ = followed_by(batch["item_id_list"], batch["item_length"], batch["item_id"], 12)
    places = masked == 7  # the mask is one more than the largest item
    assert places.any() and torch.equal(masked[~places], rows[~places])
    positives = batch["Pos_item_id"]
    for row in range(len(rows)):
        held = positives[row][positives[row] > 0].tolist()
        assert held == rows[row][places[row]].tolist()[-len(held) :]
    with pytest.raises(DataError, match=r"window of user u0 holds all 6 items.*below 6.*loss_type"):
        prepare(config("BERT4Rec", loss_type="BPR", train_neg_sample_args=UNIFORM, **keys))
    short = prepare(
        config(
            "BERT4Rec",
            loss_type="BPR",
            train_neg_sample_args=UNIFORM,
            **{**keys, "MAX_ITEM_LIST_LENGTH": 5},
        )
    )
    batch = next(iter(short[0]))
    drawn = batch["Neg_item_id"]
    assert drawn.max() > 0
    rows, _ = followed_by(batch["item_id_list"], batch["item_length"], batch["item_id"], 5)
    for row, negatives in zip(rows.tolist(), drawn.tolist(), strict=True):
        assert not {*negatives} - {0} & {*row}


def test_masks_draw_as_recbole_does_where_it_ends() -> None:
    import random

    shipped = as_shipped("recbole.data.transform").MaskItemSequence._neg_sample
    random.seed(1)
    theirs = [shipped(None, [1, 2, 0], 6) for _ in range(20)]
    random.seed(1)
    assert [MaskItemSequence._neg_sample(None, [1, 2, 0], 6) for _ in range(20)] == theirs
    assert MaskItemSequence._neg_sample(None, [1, 2, 3, 2, 0], 4) == 0


SAMPLED = {**LEAVE_ONE_OUT, "mode": "uni2"}


@pytest.mark.parametrize(
    ("model", "keys", "says"),
    [
        ("BPR", {"train_neg_sample_args": UNIFORM}, r"train_neg_sample_args: user u0 has all 6 "),
        ("BPR", {"train_neg_sample_args": POPULARITY}, r"\(popularity\).*user_inter_num_interval"),
        ("LINE", {"train_neg_sample_args": UNIFORM}, "user u0 has all 6 items"),
        ("MultiVAE", {"eval_args": SAMPLED}, "eval_args.mode of valid: user u0 has all 6 items"),
    ],
)
def test_users_of_all_items_are_refused_where_negatives_are_drawn(
    config: MakeConfig, tmp_path: Path, model: str, keys: dict[str, Any], says: str
) -> None:
    everybody_has_all(tmp_path)
    with pytest.raises(DataError, match=says):
        prepare(config(model, **keys))


def test_users_of_all_items_are_served_where_none_are_drawn(
    config: MakeConfig, tmp_path: Path
) -> None:
    everybody_has_all(tmp_path)
    train, valid, _ = prepare(config("MultiVAE"))
    assert len(valid.uid_list) == 8 and len(next(iter(train))) == 9
    # By a sampler that may repeat, anything but the target is a negative.
    rows = prepare(config("DIEN", train_neg_sample_args=UNIFORM))[0]
    for batch in rows:
        assert batch["label"].sum() * 2 == len(batch)


def test_one_item_has_no_negative(config: MakeConfig, tmp_path: Path) -> None:
    write_inter(tmp_path, [(f"u{u}", "i", t) for u in range(3) for t in range(5)])
    with pytest.raises(DataError, match="only one item"):
        prepare(config("DIN", train_neg_sample_args=UNIFORM))
    with pytest.raises(DataError, match=r"no negative can be drawn.*one item in all the data"):
        create_dataset(config("DIEN", train_neg_sample_args=UNIFORM))


def test_an_item_of_every_user_is_refused_by_line(config: MakeConfig, tmp_path: Path) -> None:
    rows = [(f"u{u}", f"i{u + t}" if t else "all", t) for u in range(6) for t in range(5)]
    write_inter(tmp_path, rows)
    settings = config("LINE", train_neg_sample_args=UNIFORM)
    train = prepare(settings)[0]
    with pytest.raises(DataError, match=r"every user has item all; .*interval: \"\[0,5\]\""):
        settings.model_class(settings, train._dataset)


def test_the_pretraining_of_s3rec_ends_by_itself(config: MakeConfig, tmp_path: Path) -> None:
    folder = everybody_has_all(tmp_path)
    items = [(f"i{i}", f"c{i % 2}") for i in range(6)]
    write_table(folder / "toy.item", "item_id:token class:token", items)
    keys = {"train_stage": "pretrain", "item_attribute": "class", "mask_ratio": 0.5}
    settings = config("S3Rec", MAX_ITEM_LIST_LENGTH=12, **keys)
    model = settings.model_class(settings, prepare(settings)[0]._dataset)
    # Its negatives may be the mask, 7, which no window holds.
    assert {model._neg_sample([1, 2, 3, 4, 5, 6]) for _ in range(9)} == {7}


def test_a_head_of_every_entity_is_refused(config: MakeConfig, rich: Path) -> None:
    keys = {"train_neg_sample_args": UNIFORM}
    prepare(config("CKE", "rich", **keys))
    triples = [("e0", "r0", f"e{i}") for i in range(20)]
    write_table(rich / "rich.kg", "head_id:token relation_id:token tail_id:token", triples)
    with pytest.raises(DataError, match=r"entity e0 of the knowledge graph .*all 20 entities"):
        prepare(config("CKE", "rich", **keys))
