"""Metrics of recommended items in comparisons and in ``evaluate``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_tools.features import write_features
from recbole_fmrlrec import compat, run
from recbole_fmrlrec.compare import report, worker
from recbole_fmrlrec.compare.analysis import analyse
from recbole_fmrlrec.compare.cells import ROWS, Cell
from recbole_fmrlrec.compare.evaluate import main as evaluate_main
from recbole_fmrlrec.compare.formats import csv_table, latex, markdown
from recbole_fmrlrec.compare.gather import gather
from recbole_fmrlrec.compare.measure import write_arrays
from recbole_fmrlrec.compare.notes import notes
from recbole_fmrlrec.compare.plan import Plan, Variant, lists_for
from recbole_fmrlrec.compare.plan_cells import UNKNOWN, make_cells
from recbole_fmrlrec.compare.plan_file import plan_from_values
from recbole_fmrlrec.compare.plots import write_plots
from recbole_fmrlrec.compare.report import write_report
from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.data.item_features import all_features_fingerprint, find_features
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.evaluation.list_record import TEST_LISTS, KeepLists, ListRecord
from recbole_fmrlrec.runs.folder import RESULT, run_fingerprint
from tests import toy
from tests.compare.synthetic import make_plan, write_cell

POP = Variant("Pop", "Pop", baseline=True)
OURS = Variant("ours", "fMRLRec")
#: Items 1 to 5; training has 8 interactions of them, and none of item 5.
COUNTS = (0, 4, 2, 1, 1, 0)
SAME = [[1, 2]] * 4
DIFFERENT = [[1, 2], [3, 4], [2, 5], [4, 1]]
#: Lists of a seed: kept, masked.
Pair = tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]


def with_lists(cell: Cell, size: int, lists: Pair, counts: Sequence[int] = COUNTS) -> Cell:
    """A cell that is to keep lists of two items, and has these."""
    kept, masked = (np.array([one], dtype=np.int32) for one in lists)
    sizes, length, ratio = np.array([size]), np.array(2), np.array(0.0)
    record = ListRecord(sizes, length, kept, np.array(counts), ratio, masked)
    record.save(cell.path / TEST_LISTS)
    return replace(cell, list_length=2)


def with_distances(cell: Cell, apart: Sequence[float], by: str = "abc") -> Cell:
    """The cell with these distances of the two items of each list, kept and masked alike."""
    stored = ListRecord.load(cell.path / TEST_LISTS)
    found = np.array([[[np.nan, one] for one in apart]], dtype=np.float32)
    record = replace(stored, distances=found, masked_distances=found, features=np.array(by))
    record.save(cell.path / TEST_LISTS)
    return replace(cell, distances=True, features="abc")


def trial(root: Path, **changes: Any) -> tuple[Plan, list[Cell]]:
    """Pop shows two items to all users; ours shows others, with the second seed only two."""
    ranks: dict[str, Any] = {"masked": {0: [1, 1, 1, 1]}}
    ours: dict[str, Any] = {"masked": {8: [1, 2, 3, 9]}}
    cells = [
        with_lists(write_cell(root, POP, {0: [9, 9, 3, 20]}, seed=1, **ranks), 0, (SAME, SAME)),
        with_lists(write_cell(root, POP, {0: [9, 9, 3, 20]}, seed=2, **ranks), 0, (SAME, SAME)),
        with_lists(write_cell(root, OURS, {8: [1, 2, 9, 9]}, seed=1, **ours), 8, (DIFFERENT, SAME)),
        with_lists(write_cell(root, OURS, {8: [1, 2, 9, 9]}, seed=2, **ours), 8, (SAME, SAME)),
    ]
    metrics = ("ndcg", "itemcoverage", "giniindex", "averagepopularity")
    plan = make_plan(
        root, [POP, OURS], seeds=(1, 2), topk=(2,), valid_metric="NDCG@2", metrics=metrics
    )
    return replace(plan, **changes), cells


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "write_plots", lambda analysis, folder: [])


def test_values_over_seeds(tmp_path: Path) -> None:
    plan, cells = trial(tmp_path)
    dataset = analyse(plan, gather(plan, cells))["datasets"]["toy"]
    pop, ours = (system["metrics"] for system in dataset["systems"])
    assert pop["itemcoverage@2"]["by_seed"] == [2 / 6, 2 / 6]
    assert ours["itemcoverage@2"]["by_seed"] == [5 / 6, 2 / 6]
    assert ours["itemcoverage@2"]["mean"] == pytest.approx(3.5 / 6)
    assert ours["itemcoverage@2"]["seed_deviation"] == pytest.approx(0.5 / 2**0.5)
    assert ours["masked_itemcoverage@2"]["mean"] == 2 / 6
    assert ours["itemcoverage@2"]["interval"] is None and pop["giniindex@2"]["interval"] is None
    # (4 + 2) / 2, and for the other seed (3, 1, 1, 2.5) by user.
    assert pop["averagepopularity@2"]["mean"] == 3
    assert ours["averagepopularity@2"]["mean"] == pytest.approx((3 + 7.5 / 4) / 2)
    low, high = ours["averagepopularity@2"]["interval"]
    assert 2 <= low < ours["averagepopularity@2"]["mean"] < high <= 3


def test_slices_are_lists_of_their_rows(tmp_path: Path) -> None:
    plan, cells = trial(tmp_path)
    ours = analyse(plan, gather(plan, cells))["datasets"]["toy"]["systems"][1]["slices"]
    # Users u1 and u2 in the first, u4 in the last class of histories.
    assert ours["history 1-5"]["itemcoverage@2"] == 2 / 6
    assert ours["without image"]["itemcoverage@2"] == pytest.approx((4 + 2) / 2 / 6)
    assert ours["history 51 and more"]["averagepopularity@2"] == pytest.approx((2.5 + 3) / 2)


def test_what_is_tested(tmp_path: Path) -> None:
    plan, cells = trial(tmp_path)
    tests = analyse(plan, gather(plan, cells))["datasets"]["toy"]["tests"]
    tested = {test["metric"] for test in tests}
    assert tested == {
        f"{prefix}{name}@2" for prefix in ("", "masked_") for name in ("ndcg", "averagepopularity")
    }
    best = next(t for t in tests if (t["family"], t["metric"]) == ("best", "averagepopularity@2"))
    # Less popular items count as the better ones: three of four users have them.
    assert best["system"] == "ours 8" and best["difference"] == pytest.approx(-0.5625)
    assert (best["wins"], best["ties"], best["losses"]) == (3, 1, 0)
    assert best["rank_biserial"] == 1.0
    alone = analyse(replace(plan, metrics=("ndcg",)), gather(plan, cells))["datasets"]["toy"]
    corrected = {t["metric"]: t["wilcoxon_holm"] for t in tests if t["family"] == "best"}
    for test in alone["tests"]:  # what stands beside NDCG does not change its correction
        if test["family"] == "best":
            assert corrected[test["metric"]] == test["wilcoxon_holm"]


def test_every_output(tmp_path: Path, no_plots: None) -> None:
    plan, cells = trial(tmp_path)
    analysis = write_report(plan, cells)
    table = markdown(analysis)
    assert "| N@2 | Coverage@2 | Gini@2 | Popularity@2 | N@2 masked | Coverage@2 masked |" in table
    row = next(line for line in table.splitlines() if line.startswith("| ours | 8 | 1,008 |"))
    # Means of the two seeds; more coverage, less inequality and less popularity are bold.
    assert "| **.5833 ± .3536** | **" in row and "| **2.4375 ± .7955** |" in row
    said = " ".join(notes(analysis))
    assert "Coverage, Gini: one value for the lists of all users together" in said
    assert "The smaller value counts as the better one of Gini and Popularity" in said
    assert "Metrics of recommended items are corrected by themselves too." in said
    lines = list(csv.DictReader(io.StringIO(csv_table(analysis))))
    coverage = next(r for r in lines if (r["variant"], r["metric"]) == ("ours", "itemcoverage@2"))
    assert (coverage["low"], coverage["high"], coverage["marks"]) == ("", "", "")
    stored = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert stored["without_lists"] == {}


def test_a_set_metric_may_be_the_main_one(tmp_path: Path) -> None:
    plan, cells = trial(tmp_path, valid_metric="GiniIndex@2", metrics=("giniindex",))
    analysis = analyse(plan, gather(plan, cells))
    assert analysis["mains"] == ["giniindex@2", "masked_giniindex@2"]
    assert analysis["datasets"]["toy"]["tests"] == []
    table = markdown(analysis)
    assert "### Tests" not in table and "### Slices, Gini@2" in table
    assert write_plots(analysis, tmp_path / "plots")


def test_cells_without_lists_are_named(tmp_path: Path, no_plots: None) -> None:
    plan, cells = trial(tmp_path)
    (cells[0].path / TEST_LISTS).unlink()
    cells[1] = replace(cells[1], list_length=0)  # of a comparison that asked for none
    assert cells[0].measured and not cells[0].finished
    assert cells[0].state() == "trained, its lists are to be made"
    analysis = write_report(plan, cells)
    assert analysis["metrics"] == ["ndcg@2", "masked_ndcg@2"] and analysis["unfinished"] == []
    lacking = [f"{cell.label} ({cell.key})" for cell in cells[:2]]
    assert analysis["without_lists"]["itemcoverage"] == lacking
    assert f"There is no giniindex: no lists in {lacking[0]}" in " ".join(notes(analysis))
    longer = replace(plan, topk=(2, 3))
    assert list(analyse(longer, gather(longer, cells[2:]))["without_lists"]) == [
        "itemcoverage",
        "giniindex",
        "averagepopularity",
    ]
    with pytest.raises(RunError, match="giniindex: no recorded lists in"):
        analyse(*main_of_lists(plan, cells))
    diverse = replace(plan, metrics=("ndcg", "intralistdiversity"))
    without_features = analyse(diverse, gather(diverse, cells[2:]))["without_lists"]
    assert list(without_features) == ["intralistdiversity"]


def main_of_lists(plan: Plan, cells: list[Cell]) -> tuple[Plan, Any]:
    other = replace(plan, valid_metric="GiniIndex@2", metrics=("ndcg", "giniindex"))
    return other, gather(other, cells)


def test_lists_of_other_rows_are_damage(tmp_path: Path) -> None:
    plan, cells = trial(tmp_path)
    with_lists(cells[0], 0, (SAME[:3], SAME[:3]))
    with pytest.raises(RunError, match=r"test_lists\.npz: missing or damaged \(its rows are not"):
        gather(plan, cells)


@pytest.mark.parametrize("first", [False, True], ids=["general first", "sequence first"])
def test_models_that_count_otherwise_are_counted_alike(tmp_path: Path, first: bool) -> None:
    popularity = ("ndcg", "averagepopularity", "novelty", "tailpercentage")
    plan, cells = trial(tmp_path, metrics=popularity)
    if first:
        plan = replace(plan, models=plan.models[::-1])
    alike = analyse(plan, gather(plan, cells))
    for cell in cells[2:]:  # a sequence model, of which each user's first does not count
        with_lists(cell, 8, (DIFFERENT if cell is cells[2] else SAME, SAME), [0, 3, 1, 0, 1, 0])
    analysis = analyse(plan, gather(plan, cells))
    dataset = analysis["datasets"]["toy"]
    assert dataset.pop("counting") == [
        {"interactions": 8, "models": ["Pop"]},
        {"interactions": 5, "models": ["ours"]},
    ]
    assert alike["datasets"]["toy"].pop("counting") == []
    # Figures, bold, tests and marks are those of one count for all.
    assert dataset == alike["datasets"]["toy"]
    said = " ".join(notes({**analysis, "datasets": {"toy": {**dataset, "counting": COUNTING}}}))
    assert "RecBole counts 8 interactions for Pop; 5 interactions for ours: sequence" in said
    assert "Here the 8 count for all models" in said
    only = replace(plan, metrics=("ndcg", "itemcoverage"))
    assert analyse(only, gather(only, cells))["datasets"]["toy"]["counting"] == []
    alone = replace(plan, models=(OURS,))
    found = analyse(alone, gather(alone, cells[2:]))["datasets"]["toy"]
    assert found["counting"] == []  # RecBole's own figures: users of (3 + 1) / 2, (0 + 1) / 2, ...
    assert found["systems"][0]["metrics"]["averagepopularity@2"]["by_seed"] == [1.25, 2.0]


COUNTING = [
    {"interactions": 8, "models": ["Pop"]},
    {"interactions": 5, "models": ["ours"]},
]


def test_latex_says_how_items_are_counted(tmp_path: Path) -> None:
    plan, cells = trial(tmp_path)
    assert "Popularity, Tail" not in latex(analyse(plan, gather(plan, cells)))
    with_lists(cells[0], 0, (SAME, SAME), [0, 4, 2, 2, 1, 0])
    said = "Popularity, Tail and Novelty by all 9 training interactions."
    assert said in latex(analyse(plan, gather(plan, cells)))
    main = replace(plan, metrics=("ndcg",), valid_metric="Novelty@2")  # of which is no column
    analysis = analyse(main, gather(main, cells))
    assert analysis["datasets"]["toy"]["counting"] and said not in latex(analysis)


def test_models_of_other_trainings_have_no_popularity_in_common(tmp_path: Path) -> None:
    plan, cells = trial(tmp_path)
    for cell in cells[2:]:
        with_lists(cell, 8, (DIFFERENT, SAME), [0, 0, 0, 0, 0, 5])
    with pytest.raises(RunError, match="ours and Pop were trained on different interactions of"):
        analyse(plan, gather(plan, cells))
    only = replace(plan, metrics=("ndcg", "itemcoverage"))
    assert analyse(only, gather(only, cells))["metrics"][:2] == ["ndcg@2", "itemcoverage@2"]


def test_lists_without_a_pair_are_in_no_mean_and_no_test(tmp_path: Path) -> None:
    nan = float("nan")
    plan, cells = trial(tmp_path, metrics=("ndcg", "intralistdiversity"))
    lists = [[0.2, 0.4, 0.4, 0.4], [0.2, 0.4, 0.4, 0.4], [0.5, nan, 0.7, nan], [0.5, 0.6, 0.7, nan]]
    cells = [with_distances(cell, apart) for cell, apart in zip(cells, lists, strict=True)]
    assert all(cell.finished for cell in cells)
    analysis = analyse(plan, gather(plan, cells))
    dataset = analysis["datasets"]["toy"]
    found = dataset["systems"][1]["metrics"]["intralistdiversity@2"]
    assert found["by_seed"] == pytest.approx([0.6, 0.6])
    assert found["mean"] == pytest.approx(0.6)  # of three users' means over the seeds
    slices = dataset["systems"][1]["slices"]
    assert slices["history 51 and more"]["intralistdiversity@2"] is None
    assert dataset["without_pairs"] == {
        "ours 8": {"intralistdiversity@2": 3 / 8, "masked_intralistdiversity@2": 3 / 8}
    }
    test = next(t for t in dataset["tests"] if t["metric"] == "intralistdiversity@2")
    assert (test["wins"], test["ties"], test["losses"]) == (3, 0, 0)
    said = " ".join(notes(analysis))
    assert "On toy the other lists are 37.5 % of ours 8 (Diversity@2), 37.5 % of ours 8 (" in said


def test_seeds_and_models_without_a_pair_have_no_diversity(tmp_path: Path) -> None:
    nan = float("nan")
    diversity = "IntraListDiversity@2"
    plan, cells = trial(tmp_path, metrics=("intralistdiversity",), valid_metric=diversity)
    lists = [[nan] * 4, [nan] * 4, [0.5, 0.6, nan, nan], [nan] * 4]
    cells = [with_distances(cell, apart) for cell, apart in zip(cells, lists, strict=True)]
    analysis = write_report(plan, cells)  # with its plots
    dataset = analysis["datasets"]["toy"]
    assert dataset["tests"] == []
    pop, ours = (system["metrics"]["intralistdiversity@2"] for system in dataset["systems"])
    nothing = {"mean": None, "interval": None, "by_seed": [None, None], "seed_deviation": None}
    assert pop == nothing
    assert ours["by_seed"] == pytest.approx([0.55, None]) and ours["seed_deviation"] is None
    assert ours["mean"] == pytest.approx(0.55)
    table = markdown(analysis)
    assert "| Pop |  | 1,000 |  |  |" in table and "| ours | 8 | 1,008 | **.5500** |" in table
    assert "100 % of Pop (Diversity@2)" in table
    lines = list(csv.DictReader(io.StringIO(csv_table(analysis))))
    assert (lines[0]["mean"], lines[0]["low"], lines[0]["marks"]) == ("", "", "")
    assert "& 1,000 &  &  " in latex(analysis)


def test_items_without_interactions_do_not_make_another_training(tmp_path: Path) -> None:
    """RecBole's items are also those of the columns that a model reads, behind all others."""
    plan, cells = trial(tmp_path, metrics=("ndcg", "novelty", "averagepopularity"))
    before = analyse(plan, gather(plan, cells))["datasets"]["toy"]
    for cell, lists in zip(cells[2:], (DIFFERENT, SAME), strict=True):  # counts of 0 change none
        with_lists(cell, 8, (lists, SAME), [*COUNTS, 0, 0])
    assert analyse(plan, gather(plan, cells))["datasets"]["toy"] == before
    longer = [[1, 7], [3, 4], [2, 5], [4, 1]]  # its lists may hold them
    with_lists(cells[2], 8, (longer, SAME), [0, 3, 1, 0, 1, 0, 0, 0])
    with_lists(cells[3], 8, (longer, SAME), [0, 3, 1, 0, 1, 0, 0, 0])
    found = analyse(plan, gather(plan, cells))["datasets"]["toy"]
    assert [one["interactions"] for one in found["counting"]] == [8, 5]
    popularity = found["systems"][1]["metrics"]["averagepopularity@2"]["mean"]
    assert popularity == pytest.approx((4 / 2 + 2 / 2 + 2 / 2 + 5 / 2) / 4)


def test_models_that_rank_more_items_are_named(tmp_path: Path) -> None:
    plan, cells = trial(tmp_path)
    assert "Items of toy" not in " ".join(notes(analyse(plan, gather(plan, cells))))
    for cell in cells[2:]:
        with np.load(cell.path / ROWS) as rows:
            more = {**rows, "item_counts": np.append(rows["item_counts"], 0)}
        write_arrays(cell.path / ROWS, more)
    for cell in cells[2:]:
        with_lists(cell, 8, (SAME, SAME), [*COUNTS, 0])
    analysis = analyse(plan, gather(plan, cells))
    dataset = analysis["datasets"]["toy"]
    assert dataset["items"] == 5
    said = " ".join(notes(analysis))
    assert "Items of toy that each model ranks: Pop 4, ours 5. RecBole counts the items" in said
    assert "Coverage and Gini of all models are out of 5 items" in said
    only = analyse(*novelty_of(plan, cells))
    assert "Items of toy" in " ".join(notes(only)) and "Coverage" not in " ".join(notes(only))
    # The same lists have the same figures, whoever shows them: of 6 items and the padding.
    pop, ours = (system["metrics"] for system in dataset["systems"])
    for name in ("itemcoverage@2", "giniindex@2", "masked_giniindex@2"):
        assert pop[name] == ours[name]
    assert pop["itemcoverage@2"]["mean"] == 2 / 7


def novelty_of(plan: Plan, cells: list[Cell]) -> tuple[Plan, Any]:
    other = replace(plan, metrics=("ndcg", "novelty"))
    return other, gather(other, cells)


def split_by_time(cell: Cell, counts: Sequence[int], cold: str) -> None:
    """Make a cell one of a split by time, of items that training has this often."""
    with np.load(cell.path / ROWS) as rows:
        known = {"new_user": np.zeros(4, dtype=bool), "item_counts": np.array(counts)}
        changed = {**rows, **known}
    write_arrays(cell.path / ROWS, changed)
    result = json.loads((cell.path / RESULT).read_text(encoding="utf-8"))
    result["split"] = {"cold": cold, "cold_items": counts.count(0), "ids_only": False}
    (cell.path / RESULT).write_text(json.dumps(result), encoding="utf-8")


@pytest.mark.parametrize(("cold", "ranked"), [("rank", {"Pop": 4, "ours": 6}), ("drop", {})])
def test_a_split_by_time_of_models_that_know_more_items(
    tmp_path: Path, cold: str, ranked: dict[str, int]
) -> None:
    plan, cells = trial(tmp_path, metrics=("ndcg",))
    for cell, counts in zip(cells, ([9, 3, 3, 0],) * 2 + ([9, 3, 3, 0, 0, 0],) * 2, strict=True):
        split_by_time(cell, counts, cold)
    dataset = analyse(plan, gather(plan, cells))["datasets"]["toy"]
    assert dataset["ranked"] == ranked
    assert dataset["items"] == (3 if cold == "drop" else 6)
    split_by_time(cells[3], [9, 3, 2, 1], cold)
    with pytest.raises(RunError, match="differ in the interactions of training"):
        gather(plan, cells)


def test_diversity_by_other_features_is_not_shown(tmp_path: Path) -> None:
    plan, cells = trial(tmp_path, metrics=("ndcg", "intralistdiversity"))
    cells = [with_distances(cell, [0.1, 0.2, 0.3, 0.4]) for cell in cells]
    assert "intralistdiversity@2" in analyse(plan, gather(plan, cells))["metrics"]
    cells[3] = with_distances(cells[3], [0.1, 0.2, 0.3, 0.4], by="features of last year")
    assert cells[3].state() == "trained, its lists are to be made"
    without = analyse(plan, gather(plan, cells))["without_lists"]
    assert without == {"intralistdiversity": [f"{cells[3].label} ({cells[3].key})"]}


# Plans


def test_which_lists_a_plan_needs() -> None:
    assert lists_for(["ndcg@10", "masked_ndcg@10"]) is None
    assert lists_for(["ndcg@50", "novelty@5", "masked_novelty@20"]) == KeepLists(20, False)
    assert lists_for(["masked_intralistdiversity@5"]) == KeepLists(5, True)
    values = {"name": "trial", "models": ["Pop"], "datasets": ["toy"], "topk": [5]}
    values |= {"metrics": ["NDCG", "Novelty"]}
    plan = plan_from_values({**values, "valid_metric": "masked_GiniIndex@10"})
    assert plan.metrics == ("ndcg", "novelty") and plan.keep_lists == KeepLists(10, False)
    assert plan.settings_of("toy", plan.models[0])["metrics"] == ["GiniIndex"]


# Trained cells

KEYS = ("sizes", "epochs", "train_batch_size", "MAX_ITEM_LIST_LENGTH", "learning_rate", "use_gpu")


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    """A cell of the toy dataset, computed with lists of five items."""
    root = tmp_path_factory.mktemp("beyond")
    compat.apply()
    toy.write_toy(root / "dataset")
    settings = {key: toy.SMALL[key] for key in KEYS} | {"data_path": str(root / "dataset")}
    settings |= {"seed": 1, "num_threads": 1, "metrics": ["NDCG"], "topk": [10]}
    names = ("toy", "ours", "fMRLRec", 1, None)
    cell = Cell(*names, settings, "key", root / "out", (2, 4, 8), (2, 4, 8), 5, True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run_fingerprint(Config("fMRLRec", "toy", config_dict=settings))  # features of its texts
        cell = replace(cell, features=fingerprint(cell))
        worker.compute(cell)
    return cell


def fingerprint(cell: Cell) -> str:
    """Of the features that the cell's dataset has."""
    folder = find_features(Config(cell.model, cell.dataset, config_dict=cell.settings))
    assert folder is not None
    return all_features_fingerprint(folder)


def test_the_test_of_a_cell_keeps_lists(computed: Cell) -> None:
    assert computed.finished and not replace(computed, list_length=6).finished
    lists = ListRecord.load(computed.path / TEST_LISTS)
    assert lists.items.shape == (3, toy.USERS, 5) and lists.masked_items is not None
    assert lists.sizes.tolist() == [2, 4, 8] and lists.distances is not None
    stored = json.loads((computed.path / "result.json").read_text(encoding="utf-8"))
    assert list(stored["test"][0]["metrics"]) == ["ndcg@10", "masked_ndcg@10"]
    for events, row in zip(events_before_test(), in_order_of_users(computed, lists), strict=True):
        assert not events & set(row)


def events_before_test() -> list[set[str]]:
    return [
        {f"i{(user + step * (1 + user % 3)) % toy.ITEMS}" for step in range(toy.EVENTS - 1)}
        for user in range(toy.USERS)
    ]


def in_order_of_users(cell: Cell, lists: ListRecord) -> list[list[str]]:
    """The masked lists at the largest size, as tokens, by the number of the user."""
    from recbole_fmrlrec.data.loaders import create_dataset

    dataset = create_dataset(Config("fMRLRec", "toy", config_dict=cell.settings))
    with np.load(cell.path / "test_ranks.npz") as ranks:
        order = np.argsort([int(user[1:]) for user in ranks["users"]])
    assert lists.masked_items is not None
    found: list[list[str]] = dataset.id2token("item_id", lists.masked_items[2][order]).tolist()
    return found


@pytest.mark.parametrize("damaged", [False, True], ids=["missing", "damaged"])
def test_lists_are_made_by_the_trained_model(
    computed: Cell, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    monkeypatch.chdir(computed.root.parent)
    file, checkpoint = computed.path / TEST_LISTS, computed.path / "best.pth"
    before, trained = ListRecord.load(file), checkpoint.stat().st_mtime_ns
    file.unlink()
    if damaged:
        file.write_bytes(b"half an archi")
    assert computed.measured and not computed.finished
    monkeypatch.setattr("recbole_fmrlrec.train.run.run_when_free", lambda *_, **__: 1 / 0)
    worker.compute(computed)
    again = ListRecord.load(file)
    assert np.array_equal(again.items, before.items)
    assert np.array_equal(again.masked_items, before.masked_items)
    np.testing.assert_array_equal(again.distances, before.distances)
    assert computed.finished and checkpoint.stat().st_mtime_ns == trained


def test_diversity_follows_features_that_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model that reads none of them: nothing is trained again."""
    monkeypatch.chdir(tmp_path)
    folder = toy.write_toy(tmp_path / "dataset")
    values: dict[str, Any] = {
        "name": "trial",
        "models": ["Pop"],
        "datasets": ["toy"],
        "seeds": [1],
        "metrics": ["NDCG", "IntraListDiversity"],
        "topk": [5],
        "valid_metric": "NDCG@5",
        "output": str(tmp_path / "out"),
        "settings": {"data_path": str(tmp_path / "dataset"), "use_gpu": False},
    }
    random = np.random.default_rng(0)
    items = [f"i{item}" for item in range(toy.ITEMS)]
    found = []
    for _ in range(2):
        rows = random.normal(size=(toy.ITEMS, 4)).astype(np.float32)
        write_features(folder / "features", "text", rows, items, {"encoder": "random"})
        (cell,) = make_cells(plan_from_values(values))
        assert not cell.finished and cell.features
        worker.compute(cell)
        assert cell.finished
        assert make_cells(plan_from_values(values), look_only=True) == [cell]
        lists = ListRecord.load(cell.path / TEST_LISTS)
        assert lists.distances is not None and str(lists.features) == cell.features
        found.append((cell, lists))
        monkeypatch.setattr("recbole_fmrlrec.train.run.run_when_free", lambda *_, **__: 1 / 0)
    (before, old), (after, new) = found
    assert before.key == after.key and before.features != after.features
    assert np.array_equal(old.items, new.items)
    assert not np.allclose(old.distances[:, :, 1:], new.distances[:, :, 1:])
    with pytest.raises(RunError, match="the features of toy are others than when the comparison"):
        worker.compute(before)
    # Where diversity chooses the model, its features are part of what a run is.
    values["valid_metric"] = "IntraListDiversity@5"
    (chosen,) = make_cells(plan_from_values(values))
    rows = random.normal(size=(toy.ITEMS, 4)).astype(np.float32)
    write_features(folder / "features", "text", rows, items, {"encoder": "random"})
    assert make_cells(plan_from_values(values))[0].key != chosen.key


def test_keys_do_not_depend_on_who_makes_the_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path / "dataset")
    values: dict[str, Any] = {
        "name": "trial",
        "models": ["Pop", "fMRLRec"],
        "datasets": ["toy"],
        "seeds": [1],
        "metrics": ["NDCG"],
        "topk": [5],
        "valid_metric": "IntraListDiversity@5",
        "output": str(tmp_path / "out"),
        "settings": {"data_path": str(tmp_path / "dataset"), "use_gpu": False},
    }
    plan = plan_from_values(values)
    assert {cell.key for cell in make_cells(plan, look_only=True)} == {UNKNOWN}
    cells = make_cells(plan)  # features of the texts are made on the way
    assert cells == make_cells(plan) == make_cells(plan, look_only=True)
    assert UNKNOWN not in {cell.key for cell in cells} and cells[0].features


def test_diversity_of_a_dataset_without_features_is_refused(tmp_path: Path) -> None:
    folder = toy.write_toy(tmp_path / "dataset")
    (folder / "toy.item").unlink()
    values: dict[str, Any] = {
        "name": "trial",
        "models": ["Pop"],
        "datasets": ["toy"],
        "metrics": ["IntraListDiversity"],
        "output": str(tmp_path / "out"),
        "settings": {"data_path": str(tmp_path / "dataset")},
    }
    with pytest.raises(UsageError, match="command line: IntraListDiversity compares features"):
        make_cells(plan_from_values(values))


def test_evaluate_gives_what_the_run_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path)
    names = ["GiniIndex", "Novelty", "IntraListDiversity"]
    keys = {"metrics": ["NDCG", *names], "topk": [5], "valid_metric": "masked_GiniIndex@5"}
    keys |= {"num_threads": 1, "metric_decimal_place": 6}
    result = run("fMRLRec", "toy", config_dict=toy.settings(tmp_path, **keys))
    watched = [epoch["valid"]["masked_giniindex@5"] for epoch in result.history]
    assert result.best_valid_score == min(watched) < max(watched)
    assert (result.run_dir / TEST_LISTS).is_file()
    output = tmp_path / "found.json"
    words = [f"--checkpoint={result.run_dir / 'best.pth'}", "--topk=5", f"--output={output}"]
    assert evaluate_main([*words, f"--metrics={','.join(names)}"]) == 0
    for row, found in zip(
        result.test, json.loads(output.read_text(encoding="utf-8"))["values"], strict=True
    ):
        assert found["size"] == row["size"] and len(found["metrics"]) == 6
        for name, value in found["metrics"].items():
            assert value == pytest.approx(row["metrics"][name], abs=1e-6)
    assert "masked_giniindex@5" in capsys.readouterr().out
    # One item has no pair: there is no figure, where the result of a run is a number.
    assert evaluate_main([*words[:1], words[2], "--topk=1", f"--metrics={names[2]}"]) == 0
    (one, *_) = json.loads(output.read_text(encoding="utf-8"))["values"]
    assert set(one["metrics"].values()) == {None}
    assert "0.0000" not in capsys.readouterr().out
