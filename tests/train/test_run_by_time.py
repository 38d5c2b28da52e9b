"""Whole runs on a split by time: the same rows for all models, cold items, words, a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.model.general_recommender import BPR
from recbole.model.sequential_recommender import SASRec

from recbole_fmrlrec import run
from recbole_fmrlrec.compare.checkpoint_ranks import TrainedPart
from recbole_fmrlrec.compare.evaluate import main as evaluate_main
from recbole_fmrlrec.evaluation.counting import RankCounter
from recbole_fmrlrec.evaluation.rank_record import TEST_RANKS, RankRecord
from recbole_fmrlrec.evaluation.ranking import rank_metrics
from recbole_fmrlrec.export.open_checkpoint import open_checkpoint
from recbole_fmrlrec.export.quality import deployed_metrics
from recbole_fmrlrec.model_api.protocols import NestedModel
from recbole_fmrlrec.train.restore import saved_model
from tests import toy
from tests.conftest import write_inter, write_table

DAY, START = 86_400, 1_600_000_000  # 2020-09-13
TIME = {"split": {"time": [0.7, 0.85]}, "order": "TO", "mode": "full"}
MODELS: dict[str, dict[str, Any]] = {
    "fMRLRec": {},
    "fMRLRecID": {"use_features": False, "training_windows": "prefix"},
    "SASRec": {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "MAX_ITEM_LIST_LENGTH": 4},
    "BPR": {"embedding_size": 8},
    "Pop": {},
}


def write_dated(root: Path) -> None:
    """40 users who begin one after another; two items come up in the last days only."""
    rows = []
    for user in range(40):
        for step in range(9):
            day = 1.5 * user + 3 * step
            item = f"i{(user + step * (1 + user % 3)) % 20}"
            if day > 65 and step % 3 == 2:
                item = f"new{user % 2}"
            rows.append((f"u{user}", item, int(START + DAY * day)))
    folder = write_inter(root, rows)
    names = [*(f"i{item}" for item in range(20)), "new0", "new1"]
    words = ["red", "blue", "green", "lamp", "chair", "table"]
    titles = [(x, f"{words[n % 3]} {words[3 + n % 3]} {n}") for n, x in enumerate(names)]
    write_table(folder / "toy.item", "item_id:token title:token_seq", titles)


def start(
    root: Path, model: str, resume: bool = False, after_validation: Any = None, **keys: Any
) -> Any:
    """A short run of a model on the dated dataset below ``root``."""
    base = toy.settings(root, num_threads=1, epochs=2)
    if not model.startswith("fMRLRec"):
        general = ("data_path", "checkpoint_dir", "use_gpu", "topk", "metrics", "epochs")
        base = {key: base[key] for key in general}
    settings = {**base, "eval_args": TIME, **MODELS.get(model, {}), **keys}
    hook = {"after_validation": after_validation}
    return run(model, "toy", config_dict=settings, resume=resume, **hook)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("dated")
    write_dated(root)
    return {model: start(root, model) for model in MODELS}


def test_all_models_have_the_same_rows(runs: dict[str, Any]) -> None:
    records = [RankRecord.load(one.run_dir / TEST_RANKS) for one in runs.values()]
    first = records[0]
    assert len(set(first.users)) < len(first.users)  # a user has several rows
    for other in records[1:]:
        assert np.array_equal(first.users, other.users)
        assert np.array_equal(first.targets, other.targets)


@pytest.mark.parametrize("model", MODELS)
def test_ranks_are_those_of_brute_force(runs: dict[str, Any], model: str) -> None:
    """Of all scores, cold items behind all others where a model knows nothing but ids."""
    folder = runs[model].run_dir
    stored = RankRecord.load(folder / TEST_RANKS)
    rows = TrainedPart.open(folder / "best.pth", "test").read()
    record, known = rows.rank()
    assert np.array_equal(record.ranks, stored.ranks)
    loader, source = rows.loader, rows.source
    trained = saved_model(source.checkpoint, source.config, source.state, rows.train_loader)
    trained.eval()
    dataset = loader._dataset
    cold = dataset.past.cold
    assert sorted(dataset.id2token("item_id", cold.tolist())) == ["new0", "new1"]
    is_cold = np.char.startswith(record.targets, "new")
    assert 0 < is_cold.sum() < len(is_cold)
    assert np.array_equal(known["popularity"] == 0, is_cold)
    expected, masked = [], []
    for interaction, _, _, targets in loader:
        with torch.no_grad():
            scores = trained.full_sort_predict(interaction).view(len(targets), -1).double()
        if model != "fMRLRec":
            scores[:, cold] = -1e9
        own = scores.gather(1, targets[:, None])
        better = (scores[:, 1:] > own).sum(1)
        ties = (scores[:, 1:] == own).sum(1) - 1
        expected.append(1 + better + ties // 2)
        row, item = loader.histories.pairs(slice(len(masked), len(masked) + len(targets)))
        other = item != targets[row]
        scores[row[other], item[other].long()] = -2e9
        better = (scores[:, 1:] > own).sum(1)
        ties = (scores[:, 1:] == own).sum(1) - 1
        masked += (1 + better + ties // 2).tolist()
    if isinstance(trained, NestedModel):  # what another nested model would inherit
        inherited = []
        for batch, _, _, targets in loader:
            counter = RankCounter(targets, len(trained.sizes), unranked=loader.unranked)
            NestedModel.full_sort_scores(trained, counter, batch, targets)
            inherited.append(counter.mean_ranks())
        assert np.array_equal(torch.cat(inherited, dim=1).floor().numpy(), record.ranks)
    ours = torch.from_numpy(record.ranks[-1])
    wanted = torch.cat(expected)
    warm = torch.from_numpy(~is_cold)
    assert torch.equal(ours[warm].long(), wanted[warm])
    without = torch.from_numpy(record.masked_ranks[-1])
    assert torch.equal(without[warm].long(), torch.tensor(masked)[warm])
    assert (without < ours).any()
    if model == "fMRLRec":
        assert torch.equal(ours.long(), wanted)
    else:  # behind the 20 others, both cold items for one
        assert (ours[~warm] >= 21).all() and (ours[~warm] <= 22).all()


def test_a_target_behind_all_candidates_is_a_whole_miss() -> None:
    # Of 20 candidates one at rank 1 has all others below it, one behind them none.
    for rank, area in ((1.0, 1.0), (20.0, 0.0), (21.5, 0.0)):
        found = rank_metrics(torch.tensor([rank]), 20, ["GAUC"], [1], 6)
        assert found == {"gauc": area}


def test_slices_of_cold_items_and_new_users(runs: dict[str, Any], tmp_path: Path) -> None:
    checkpoint, output = runs["fMRLRecID"].run_dir / "best.pth", tmp_path / "slices.json"
    words = [f"--checkpoint={checkpoint}", "--slices=all", "--metrics=Recall", "--topk=20,22"]
    assert evaluate_main([*words, "--sizes=8", "--num_threads=1", f"--output={output}"]) == 0
    found = {one["slice"]: one for one in json.loads(output.read_text())["values"]}
    record = RankRecord.load(checkpoint.with_name(TEST_RANKS))
    assert found["cold"]["rows"] == np.char.startswith(record.targets, "new").sum()
    # Behind 20 candidates, or behind those that are not in the history.
    kept = {"recall@20": 0.0, "recall@22": 1.0}
    masked = {"masked_recall@20": 1.0, "masked_recall@22": 1.0}
    assert found["cold"]["metrics"] == kept | masked
    # Of 360 interactions the 253rd is at day 54, when user 36 begins.
    new = np.isin(record.users, [f"u{user}" for user in range(36, 40)])
    assert found["new user"]["rows"] == new.sum()


def test_cold_items_are_dropped_for_every_model(tmp_path: Path) -> None:
    write_dated(tmp_path)
    records = []
    for model in ("fMRLRec", "Pop"):
        result = start(tmp_path, model, epochs=1, eval_args={**TIME, "cold": "drop"})
        records.append(RankRecord.load(result.run_dir / TEST_RANKS))
        assert not np.char.startswith(records[-1].targets, "new").any()
        assert records[-1].ranks.max() <= 20  # the two are no candidates either
    assert np.array_equal(records[0].targets, records[1].targets)


class Oracle:
    """Scores 1 for the item that a user took at that time, else 0."""

    def __init__(self, root: Path) -> None:
        lines = (root / "toy" / "toy.inter").read_text().splitlines()[1:]
        rows = (line.split("\t") for line in lines)
        self.taken = {(user, float(np.float32(at))): item for user, item, at in rows}

    def predict(self, model: Any, batch: Any) -> torch.Tensor:
        columns = (batch[name].tolist() for name in ("user_id", "timestamp", "item_id"))
        users, items = model.tokens["user_id"], model.tokens["item_id"]
        taken = [self.taken[users[u], at] == items[i] for u, at, i in zip(*columns, strict=True)]
        return torch.tensor(taken, dtype=torch.float32)


SAMPLED: dict[str, Any] = {"epochs": 1, "metrics": ["Recall", "NDCG"], "topk": [1, 5]}
SAMPLED |= {"eval_batch_size": 100, "valid_metric": "NDCG@1"}


def know_what_is_next(model: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the dated dataset and let a model of RecBole's be its oracle."""
    write_dated(root)
    begin, oracle = model.__init__, Oracle(root)

    def init(self: Any, config: Any, dataset: Any) -> None:
        begin(self, config, dataset)
        self.tokens = dataset.field2id_token

    monkeypatch.setattr(model, "__init__", init)
    monkeypatch.setattr(model, "predict", lambda self, batch: oracle.predict(self, batch))


def test_rows_of_a_sequential_model_are_never_one_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know_what_is_next(SASRec, tmp_path, monkeypatch)
    arguments = {"split": {"RS": [0.4, 0.3, 0.3]}, "order": "TO", "group_by": "user"}
    found = start(tmp_path, "SASRec", eval_args={**arguments, "mode": "uni9"}, **SAMPLED)
    assert (found.best_valid_score, found.test_result["recall@1"]) == (1, 1)


@pytest.mark.parametrize("model", [SASRec, BPR])
@pytest.mark.parametrize("targets", ["all", "last"])
@pytest.mark.parametrize("cold", ["keep", "drop"])
def test_sampled_negatives_are_of_each_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: type, targets: str, cold: str
) -> None:
    """Whoever knows what is next has it on top, unless it is an item that it cannot rank."""
    know_what_is_next(model, tmp_path, monkeypatch)
    arguments = {**TIME, "mode": "uni9", "targets": targets, "cold": cold}
    found = start(tmp_path, model.__name__, eval_args=arguments, **SAMPLED)
    facts = found.split
    rows, unknown = (facts[name]["test"] for name in ("rows", "cold_targets"))
    assert unknown > 0 if cold == "keep" else unknown == 0
    assert found.test_result["recall@1"] == pytest.approx(1 - unknown / rows, abs=1e-4)


@pytest.mark.parametrize(
    ("model", "columns", "last"),
    [("FM", [], True), ("FM", ["class"], False), ("DIN", [], True), ("DIN", ["class"], False)],
)
def test_models_that_read_item_columns_know_more_than_ids(
    tmp_path: Path, capsys: Any, model: str, columns: list[str], last: bool
) -> None:
    write_dated(tmp_path)
    names = [*(f"i{item}" for item in range(20)), "new0", "new1"]
    table = [(name, f"c{at % 3}") for at, name in enumerate(names)]
    write_table(tmp_path / "toy" / "toy.item", "item_id:token class:token", table)
    load = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", *columns]}
    draws = {"distribution": "uniform", "sample_num": 1}
    arguments = {"split": TIME["split"], "mode": "full"}  # in order of time without being told
    keys = {"load_col": load, "train_neg_sample_args": draws, "eval_args": arguments}
    found = start(tmp_path, model, epochs=1, metrics=["Recall"], valid_metric="Recall@5", **keys)
    assert found.config["eval_args"]["order"] == "TO"
    assert (f"{model} knows ids only" in capsys.readouterr().err) == last
    record = RankRecord.load(found.run_dir / TEST_RANKS)
    ranks = record.ranks[-1][np.char.startswith(record.targets, "new")]
    assert (ranks >= 21).all() == last


def test_an_export_measures_what_the_run_measured(runs: dict[str, Any]) -> None:
    trained = open_checkpoint(runs["fMRLRecID"].run_dir / "best.pth")
    measured = deployed_metrics(trained, [2, 8])
    assert trained.ranked == 20
    for size in (2, 8):
        assert measured[size]["float32"] == pytest.approx(trained.recorded[size], abs=1e-6)


def test_what_is_said_before_a_training(tmp_path: Path, capsys: Any) -> None:
    write_dated(tmp_path)
    start(tmp_path, "Pop")
    said = capsys.readouterr().err
    assert "split:   training before 2020-11-0" in said
    assert "targets: all, context: rolling" in said
    assert "cold:    2 of 22 items are in no training interaction, and the targets of " in said
    assert "Pop knows ids only and ranks them last (eval_args.cold: drop leaves them out" in said
    assert "rows are of users that training never saw; Pop makes no use of what they did" in said
    start(tmp_path, "fMRLRec", epochs=1)
    said = capsys.readouterr().err
    assert "cold:    2 of 22 items" in said and "knows ids only" not in said
    assert "leave-one-out" not in said


def test_the_result_says_how_it_was_split(runs: dict[str, Any]) -> None:
    split = json.loads((runs["Pop"].run_dir / "result.json").read_text())["split"]
    record = RankRecord.load(runs["Pop"].run_dir / TEST_RANKS)
    assert split["valid_from"].startswith("2020-11-0")
    assert (split["targets"], split["context"], split["cold"]) == ("all", "rolling", "keep")
    assert split["rows"]["test"] == len(record.users)
    assert split["cold_items"] == 2
    assert split["cold_targets"]["test"] == np.char.startswith(record.targets, "new").sum()
    new = np.isin(record.users, [f"u{user}" for user in range(36, 40)])
    assert split["new_users"]["test"] == new.sum()
    assert split["ids_only"] and not runs["fMRLRec"].split["ids_only"]


def test_leave_one_out_says_how_far_its_targets_spread(tmp_path: Path, capsys: Any) -> None:
    write_dated(tmp_path)
    one = start(tmp_path, "Pop", eval_args={**TIME, "split": {"LS": "valid_and_test"}})
    said = capsys.readouterr().err
    # User n ends 24 + 1.5 n days after the noon of 2020-09-13.
    assert said.count("leave-one-out: the test targets lie between 2020-10-07 and 2020-12-05") == 1
    assert one.split is None
    toy.write_toy(tmp_path)  # its times are 1000, 1001, ...: no dates
    start(tmp_path, "Pop", eval_args={**TIME, "split": {"LS": "valid_and_test"}})
    assert "leave-one-out:" not in capsys.readouterr().err


@pytest.mark.parametrize("model", ["fMRLRec", "BPR"])
def test_an_interrupted_run_goes_on(tmp_path: Path, model: str) -> None:
    write_dated(tmp_path)

    def stop(epoch: int, score: float) -> None:
        raise KeyboardInterrupt

    keys = {"eval_args": {**TIME, "context": "frozen", "targets": "last"}}
    whole = start(tmp_path, model, **keys, checkpoint_dir=str(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, model, after_validation=stop, **keys)
    half = start(tmp_path, model, resume=True, **keys)
    assert half.test == whole.test
    losses = ([epoch["train_loss"] for epoch in one.history] for one in (half, whole))
    assert len(set(map(tuple, losses))) == 1
