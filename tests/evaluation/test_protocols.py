"""Ranks without the user's history: those of scores with the history at minus infinity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.evaluation import ranking
from recbole_fmrlrec.evaluation.counting import RankCounter, read_scores
from recbole_fmrlrec.evaluation.history import Histories, History
from recbole_fmrlrec.evaluation.ranking import mean_rank, nested_scores, whole_ranks
from recbole_fmrlrec.model_api.protocols import NestedModel
from recbole_fmrlrec.model_api.registry import get_model_class
from recbole_fmrlrec.train.trainer import trainer_class
from tests.conftest import LEAVE_ONE_OUT, write_inter, write_table
from tests.data.test_loaders import UNIFORM
from tests.evaluation.test_trainer_mixin import recboles


def without(scores: Tensor, history: Sequence[set[int]], targets: Tensor) -> Tensor:
    """Scores (B, N+1) with all items of each row's history at -inf, but for its target."""
    masked = scores.clone()
    for row, (items, target) in enumerate(zip(history, targets.tolist(), strict=True)):
        masked[row, sorted(items - {target})] = -torch.inf
    return masked


def as_history(events: Sequence[Sequence[int]], targets: Tensor) -> History:
    """The history of a batch of rows, through `Histories`."""
    ends = np.cumsum([0, *map(len, events)])
    items = torch.tensor([item for row in events for item in row], dtype=torch.int64)
    start, stop = torch.from_numpy(ends[:-1]), torch.from_numpy(ends[1:])
    return Histories(items, start, stop).of(slice(None), torch.arange(len(targets)), targets)


@st.composite
def batches(draw: Any) -> tuple[int, list[list[int]], Tensor, int]:
    """Number of items, events of each row (repeated, padded, the target among them), targets."""
    rows, items = draw(st.integers(1, 12)), draw(st.integers(1, 30))
    event = st.integers(0, items)
    events = draw(st.lists(st.lists(event, max_size=25), min_size=rows, max_size=rows))
    targets = draw(st.lists(st.integers(1, items), min_size=rows, max_size=rows))
    return items, events, torch.tensor(targets), draw(st.integers(0, 2**31))


@hypothesis_settings(max_examples=150, deadline=None)
@given(drawn=batches(), levels=st.sampled_from([1, 3, 1000]))
def test_ready_scores(drawn: Any, levels: int) -> None:
    items, events, targets, seed = drawn
    random = np.random.default_rng(seed)
    scores = torch.from_numpy(random.integers(0, levels, (len(targets), items + 1)) / 8.0)
    scores[:, 0] = -torch.inf
    counter = RankCounter(targets, 1, as_history(events, targets))
    read_scores(counter, scores, targets)
    masked = without(scores, [set(row) - {0} for row in events], targets)
    assert counter.mean_ranks()[0].tolist() == mean_rank(scores, targets).tolist()
    assert counter.masked_mean_ranks()[0].tolist() == mean_rank(masked, targets).tolist()
    assert counter.candidates()[0].tolist() == [items] * len(targets)
    assert counter.masked_candidates()[0].tolist() == (masked > -torch.inf).sum(1).tolist()


@pytest.mark.parametrize("large", [False, True], ids=["rows", "blocks of items"])
@hypothesis_settings(max_examples=60, deadline=None)
@given(drawn=batches(), rows=st.integers(1, 5), width=st.integers(1, 9))
def test_every_nested_size(large: bool, drawn: Any, rows: int, width: int) -> None:
    items, events, targets, seed = drawn
    random, sizes = np.random.default_rng(seed), [1, 2, 5]
    hidden, table = (
        torch.from_numpy(random.integers(-1, 2, (n, 5))).float() for n in (len(targets), items)
    )
    counter = RankCounter(targets, len(sizes), as_history(events, targets))
    with pytest.MonkeyPatch.context() as patch:
        if large:
            patch.setattr(ranking, "LARGE", 0)
            patch.setattr(ranking, "LARGE_ROWS", rows)
            patch.setattr(ranking, "CACHED_BYTES", 4 * rows * width)
        nested_scores(counter, hidden, table, targets - 1, sizes)
    for k, size in enumerate(sizes):
        scores = torch.full((len(targets), items + 1), -torch.inf)
        scores[:, 1:] = hidden[:, :size] @ table[:, :size].T
        masked = without(scores, [set(row) - {0} for row in events], targets)
        assert counter.mean_ranks()[k].tolist() == mean_rank(scores, targets).tolist()
        assert counter.masked_mean_ranks()[k].tolist() == mean_rank(masked, targets).tolist()


def test_by_hand() -> None:
    scores = torch.tensor([[-torch.inf, 9.0, 5.0, 5.0, 5.0, 1.0]])
    # The target is item 2. Of its history 1 is better and 3 ties, 5 is worse; 1 stands there twice.
    counter = RankCounter(torch.tensor([2]), 1, as_history([[1, 3, 5, 1, 2]], torch.tensor([2])))
    read_scores(counter, scores, torch.tensor([2]))
    assert counter.mean_ranks().tolist() == [[1 + 1 + 2 / 2]]
    assert counter.masked_mean_ranks().tolist() == [[1 + 0 + 1 / 2]]
    assert counter.masked_candidates().tolist() == [[2]]  # 2 itself and 4


# Whole evaluations

USERS, ITEMS = 24, 17


@pytest.fixture
def repeating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A dataset whose users come back to items, and every third to the target; events by user."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(5)
    events = {
        f"u{user}": [f"i{item}" for item in random.integers(0, ITEMS, 4 + user % 9)]
        for user in range(USERS)
    }
    for user in range(0, USERS, 3):
        events[f"u{user}"][-1] = events[f"u{user}"][0]
    rows = [(user, item, at) for user, items in events.items() for at, item in enumerate(items)]
    folder = write_inter(tmp_path, rows, "repeating")
    titles = [(f"i{item}", f"word{item % 4} other{item % 3}") for item in range(ITEMS)]
    write_table(folder / "repeating.item", "item_id:token title:token_seq", titles)
    return events


KEYS: dict[str, dict[str, Any]] = {
    "fMRLRec": {"sizes": [2, 4], "MAX_ITEM_LIST_LENGTH": 3},
    "SASRec": {"MAX_ITEM_LIST_LENGTH": 3, "hidden_size": 8, "inner_size": 8},
    "DIEN": {
        "MAX_ITEM_LIST_LENGTH": 3,
        "train_neg_sample_args": UNIFORM,
        "eval_args": {**LEAVE_ONE_OUT, "mode": "full"},  # its own are labelled
    },
    "BPR": {"repeatable": False},
    "Pop": {"repeatable": True},
}
PLAIN = {"metrics": ["NDCG", "GAUC"], "topk": [3, 5], "valid_metric": "NDCG@5"}


def evaluated(tmp_path: Path, model: str, part: int, **keys: Any) -> tuple[Any, Any, Any, Any]:
    """A trainer of random weights that has evaluated a part, its loader, the result, the config."""
    places = {"data_path": str(tmp_path), "checkpoint_dir": str(tmp_path), "use_gpu": False}
    settings = {**places, **PLAIN, "load_col": None, "eval_batch_size": 60, **KEYS[model], **keys}
    config = Config(model, "repeating", config_dict=settings)
    loaders = data_preparation(config, create_dataset(config))
    torch.manual_seed(3)
    built = get_model_class(model)(config, loaders[0]._dataset)
    trainer = trainer_class(config)(config, built)
    trainer.eval_collector.data_collect(loaders[0])
    if model == "Pop":
        for batch in loaders[0]:
            built.calculate_loss(batch)
    result = trainer.evaluate(loaders[part], load_best_model=False)
    trainer.tensorboard.close()
    return trainer, loaders[part], result, config


def one_size_at_a_time(
    model: Any, rows: Any, targets: Tensor, histories: Histories, here: slice
) -> Tensor:
    """Masked ranks (K, B) of a nested model that has no pass of its own for all sizes."""
    history = histories.of(here, torch.arange(len(targets)), targets)
    counter = RankCounter(targets, len(model.sizes), history)
    NestedModel.full_sort_scores(model, counter, rows, targets)
    return whole_ranks(counter.masked_mean_ranks())


@pytest.mark.parametrize("part", [1, 2], ids=["validation", "test"])
@pytest.mark.parametrize("model", KEYS)
def test_item_by_item_as_with_the_history_at_minus_infinity(
    repeating: dict[str, list[str]], tmp_path: Path, model: str, part: int
) -> None:
    trainer, loader, _, _ = evaluated(tmp_path, model, part)
    dataset = loader._dataset
    trainer.tot_item_num = dataset.item_num
    ids = dataset.field2token_id["item_id"]
    at = 0
    for rows, history, _, targets in loader:
        assert history is None  # all items are ranked in the one pass
        before = []
        for user in dataset.id2token("user_id", rows["user_id"].numpy()):
            events = repeating[user]
            before.append({ids[item] for item in events[: len(events) - 3 + part]})
        for k, size in enumerate(getattr(trainer.model, "sizes", (0,))):
            if size:
                trainer.model.size = size
            *_, scores, _, _ = trainer._full_sort_batch_eval((rows, None, targets, targets))
            masked = without(scores, before, targets)
            here = slice(at, at + len(targets))
            kept_ranks = mean_rank(scores, targets).floor().int()
            masked_ranks = mean_rank(masked, targets).floor().int()
            assert trainer.ranks[k, here].tolist() == kept_ranks.tolist()
            assert trainer.masked_ranks[k, here].tolist() == masked_ranks.tolist()
        if model == "fMRLRec":
            found = one_size_at_a_time(trainer.model, rows, targets, loader.histories, here)
            assert found.tolist() == trainer.masked_ranks[:, here].tolist()
        at += len(targets)
    assert at == trainer.ranks.shape[1] > 15
    assert (trainer.masked_ranks < trainer.ranks).any()
    assert any(len(set(items)) < len(items) for items in repeating.values())


@pytest.mark.parametrize("model", ["BPR", "SASRec", "fMRLRec"])
def test_what_a_result_shows(repeating: dict[str, list[str]], tmp_path: Path, model: str) -> None:
    plain = ["ndcg@3", "ndcg@5", "gauc"]
    masked = [f"masked_{name}" for name in plain]
    both = evaluated(tmp_path, model, 2)[2]
    assert list(both) == [*plain, *masked]
    keep_trainer, _, keep, _ = evaluated(tmp_path, model, 2, history="keep")
    assert list(keep.items()) == list(both.items())[:3] and keep_trainer.masked_ranks is None
    mask_trainer, _, mask, config = evaluated(tmp_path, model, 2, history="mask")
    assert list(mask.items()) == list(both.items())[3:]
    assert config["valid_metric"] == "masked_NDCG@5" and config["mask_history"] is True
    assert mask_trainer.valid_metric == "masked_ndcg@5"
    main, _ = evaluated(tmp_path, model, 2, mask_history=True)[2:]
    assert list(main) == [*masked, *plain] and main == both


@pytest.mark.parametrize("model", ["BPR", "SASRec", "fMRLRec"])
def test_metrics_of_lists_and_several_targets_are_recboles_in_both(
    repeating: dict[str, list[str]], tmp_path: Path, model: str
) -> None:
    keys: dict[str, Any] = {"metrics": ["Recall", "ItemCoverage"], "valid_metric": "Recall@5"}
    if model == "BPR":
        split = {"order": "TO", "split": {"RS": [2, 1, 1]}, "group_by": "user", "mode": "full"}
        keys["eval_args"] = split
    both = evaluated(tmp_path, model, 2, **keys)[2]
    kept = evaluated(tmp_path, model, 2, **keys, history="keep")[2]
    trainer, loader, masked, _ = evaluated(tmp_path, model, 2, **keys, history="mask")
    assert both == {**kept, **masked} and not set(kept) & set(masked)
    theirs = recboles(trainer, loader)  # its batches hold the history
    assert masked == {f"masked_{name}": value for name, value in theirs.items()}
    assert kept == recboles(trainer, evaluated(tmp_path, model, 2, **keys)[1])


@pytest.mark.parametrize("model", ["BPR", "SASRec", "fMRLRec"])
def test_sampled_negatives_have_one_ranking(
    repeating: dict[str, list[str]], tmp_path: Path, model: str
) -> None:
    sampled = {"eval_args": {**LEAVE_ONE_OUT, "mode": "uni5"}}
    trainer, _, result, _ = evaluated(tmp_path, model, 2, **sampled)
    assert list(result) == ["ndcg@3", "ndcg@5", "gauc"] and trainer.masked_ranks is None
