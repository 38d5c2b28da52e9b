"""A whole run: its result, its files, its table; our models and RecBole's through one door."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from recbole_fmrlrec import run
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.evaluation.list_record import TEST_LISTS
from recbole_fmrlrec.evaluation.rank_record import TEST_RANKS, RankRecord
from recbole_fmrlrec.files.checkpoint import load_checkpoint, save_checkpoint
from recbole_fmrlrec.files.disk import NoRoom
from recbole_fmrlrec.runs.result import RunResult
from recbole_fmrlrec.train.threads import Threads
from tests import toy
from tests.forked import run_forked
from tests.patience import patience

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def toy_run(tmp_path, monkeypatch):
    """Run a model on the toy dataset."""
    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path)

    def start(model="fMRLRec", resume=False, **keys):
        ours = model.startswith("fMRLRec")
        base = toy.settings(tmp_path)
        if not ours:
            general = ("data_path", "checkpoint_dir", "use_gpu", "topk", "metrics", "epochs")
            base = {key: base[key] for key in general}
        return run(model, "toy", config_dict={**base, **keys}, resume=resume)

    return start


def test_a_row_for_every_size_with_its_parameters(toy_run):
    result = toy_run()
    assert [row["size"] for row in result.test] == [2, 4, 8]
    counts = [row["parameters"] for row in result.test]
    assert counts == sorted(counts) and len(set(counts)) == 3
    names = ["recall@5", "recall@10", "ndcg@5", "ndcg@10"]
    assert list(result.test[0]["metrics"]) == [*names, *(f"masked_{name}" for name in names)]
    lines = result.table().splitlines()
    assert lines[0].startswith("Test on toy (best NDCG@10 on validation ")
    assert lines[1].split()[3:] == ["history", *names]
    assert [line.split()[:2] for line in lines[3:6]] == [["fMRLRec", s] for s in "248"]
    kinds = [(kind, row) for kind in ("kept", "masked") for row in result.test]
    for line, (kind, row) in zip(lines[3:9], kinds, strict=True):
        prefix = "" if kind == "kept" else "masked_"
        shown = [f"{row['metrics'][prefix + name]:.4f}" for name in names]
        assert line.split()[1] == str(row["size"]) and line.split()[3:] == [kind, *shown]
    assert lines[-1] == str(result.run_dir / "result.json")


def test_the_record_holds_what_made_the_result(toy_run):
    result = toy_run(seed=7)
    record = json.loads((result.run_dir / "result.json").read_text(encoding="utf-8"))
    assert record["seed"] == 7 and record["config"]["sizes"] == [2, 4, 8]
    assert record["machine"]["packages"]["recbole"] == "1.2.1"
    assert record["features"]["encoders"] == {"text": "tfidf-svd"}
    assert len(record["history"]) == 3 and record["epochs_run"] == 3
    best = max(epoch["valid"]["ndcg@10"] for epoch in record["history"])
    assert record["best_valid_score"] == best == record["valid"][-1]["metrics"]["ndcg@10"]
    assert record["history"][record["best_epoch"] - 1]["valid"]["ndcg@10"] == best
    assert record["peak_memory_bytes"]["process"] > 50 * 2**20
    assert set(record["seconds"]) == {"data", "training", "test", "total"}
    checkpoint = torch.load(result.run_dir / "best.pth", weights_only=True)
    assert checkpoint["epoch"] + 1 == record["best_epoch"]
    assert not (Path.cwd() / "log_tensorboard").exists() and not (Path.cwd() / "log").exists()


def test_the_same_settings_give_the_same_result(toy_run):
    first, second = toy_run(), toy_run()
    assert first.run_dir != second.run_dir
    assert first.test == second.test
    assert [e["train_loss"] for e in first.history] == [e["train_loss"] for e in second.history]
    assert toy_run(seed=1).history[0]["train_loss"] != first.history[0]["train_loss"]


@pytest.mark.parametrize("model", ["SASRec", "BPR", "Pop", "ItemKNN", "EASE"])
def test_recboles_models_run_through_the_same_door(toy_run, model):
    result = toy_run(model)
    assert [row["size"] for row in result.test] == [None]
    if model != "Pop":  # all items are about as popular here, and tie with most others
        assert result.test_result["recall@10"] > 0
    record = RankRecord.load(result.run_dir / TEST_RANKS)
    assert record.sizes.tolist() == [0] and record.ranks.shape == (1, toy.USERS)
    for name in ("ndcg", "masked_ndcg"):
        value = round(float(record.metric(name, 5).mean()), 6)
        assert result.test_result[f"{name}@5"] == value
        assert f"{name}@5" in result.history[-1]["valid"]
    torch.load(result.run_dir / "best.pth", weights_only=True)


def test_ranks_of_every_size_with_users_and_targets(toy_run):
    result = toy_run()
    record = RankRecord.load(result.run_dir / TEST_RANKS)
    assert record.sizes.tolist() == [2, 4, 8]
    steps = [(user, 1 + user % 3) for user in range(toy.USERS)]
    last = {f"u{u}": f"i{(u + (toy.EVENTS - 1) * step) % toy.ITEMS}" for u, step in steps}
    assert dict(zip(record.users.tolist(), record.targets.tolist(), strict=True)) == last
    for row, recalls in zip(result.test, record.metric("recall", 10), strict=True):
        assert row["metrics"]["recall@10"] == round(float(recalls.mean()), 6)


def test_metrics_of_whole_lists_come_with_the_ranks(toy_run):
    by_lists = toy_run(metrics=["NDCG", "ItemCoverage"], valid_metric="NDCG@10")
    by_ranks = toy_run(metrics=["NDCG"], valid_metric="NDCG@10")
    for lists, ranks in zip(by_lists.test, by_ranks.test, strict=True):
        assert lists["metrics"]["ndcg@10"] == ranks["metrics"]["ndcg@10"]
        assert 0 < lists["metrics"]["itemcoverage@10"] <= 1
    assert (by_lists.run_dir / TEST_RANKS).exists() and (by_lists.run_dir / TEST_LISTS).exists()
    assert not (by_ranks.run_dir / TEST_LISTS).exists()


def test_sampled_negatives_are_the_same_at_every_size(toy_run, monkeypatch):
    from recbole_fmrlrec.models.fmrlrec import fMRLRec

    asked: dict[int, list] = {}
    predict = fMRLRec.predict

    def noted(self, interaction):
        asked.setdefault(self.size, []).append(interaction["item_id"].tolist())
        return predict(self, interaction)

    monkeypatch.setattr(fMRLRec, "predict", noted)
    eval_args = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni5"}
    toy_run(eval_args=eval_args, epochs=2, topk=[5], valid_metric="NDCG@5")
    assert asked[2] == asked[4] == asked[8]
    first, second, test = asked[8]
    assert first != second != test  # but each evaluation draws its own


def test_low_precision_trains_to_about_the_same_loss(toy_run):
    exact, low = toy_run(), toy_run(enable_amp=True)
    assert low.history[0]["train_loss"] == pytest.approx(exact.history[0]["train_loss"], rel=0.02)


@pytest.mark.parametrize("emulated", [True, False])
def test_low_precision_that_the_cpu_only_emulates_is_said(toy_run, monkeypatch, emulated):
    monkeypatch.setattr("recbole_fmrlrec.train.trainer.emulates", lambda dtype: emulated)
    log = (toy_run(enable_amp=True, amp_dtype="bfloat16").run_dir / "run.log").read_text()
    assert ("only emulates bfloat16" in log) == emulated


def test_a_finished_run_is_not_run_again(toy_run):
    first = toy_run()
    again = toy_run(resume=True)
    assert again.run_dir == first.run_dir and again.test == first.test
    assert toy_run(resume=str(first.run_dir)).test == first.test


def test_resuming_what_is_not_there_or_another_configuration(toy_run, tmp_path):
    with pytest.raises(UsageError, match="no run in"):
        toy_run(resume=str(tmp_path / "nowhere"))
    first = toy_run()
    with pytest.raises(UsageError, match="belongs to another configuration"):
        toy_run(resume=str(first.run_dir), learning_rate=0.5)


DRIVER = """
import os, signal, sys
import torch
from recbole_fmrlrec.cli import main as cli

kind, at = sys.argv[1], int(sys.argv[2])
seen = 0

def dies(function):
    def wrapper(*args, **kwargs):
        global seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapper

if kind == "step":
    torch.optim.AdamW.step = dies(torch.optim.AdamW.step)
if kind == "write":
    os.fsync = dies(os.fsync)
if kind == "rename":
    os.replace = dies(os.replace)
sys.exit(cli.main(sys.argv[3:]))
"""


def start_process(
    folder: Path, kind: str, at: int, *more: str, anew: bool = False
) -> subprocess.CompletedProcess:
    """A training in a process of its own; ``anew`` in a new interpreter."""
    keys = {**toy.SMALL, "epochs": 4, "model": "fMRLRec", "dataset": "toy", "data_path": "."}
    # A loss that draws beside the dropout: its draws have to go on where they were, too.
    keys |= {"loss_type": "sampled_popularity", "num_sampled_items": 6}
    options = [f"--{key}={value}" for key, value in keys.items()]
    words = [kind, str(at), *options, "--num_threads=1", *more]
    if not anew:
        return run_forked(DRIVER, *words, cwd=folder, timeout=patience(300))
    return subprocess.run(
        [sys.executable, "-c", DRIVER, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=patience(300),
    )


def outcome(folder: Path) -> tuple[dict, list, dict]:
    (run_dir,) = (folder / "saved").iterdir()
    record = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    history = [(e["train_loss"], e["learning_rate"], e["valid_by_size"]) for e in record["history"]]
    best = torch.load(run_dir / "best.pth", weights_only=True)
    assert not list(run_dir.glob(".*"))
    return record["test"], history, best["state_dict"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The outcome of a run that nobody killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    toy.write_toy(folder)
    done = start_process(folder, "never", 0)
    assert done.returncode == 0, done.stderr
    return outcome(folder)


# The run of 4 epochs makes features (three files), takes 10 or so steps an epoch and writes a best
# and a last checkpoint. One is started anew each time: Python's hashes of strings differ there.
@pytest.mark.parametrize(
    ("kind", "at", "anew"),
    [
        ("write", 3, False),
        ("step", 3, False),
        ("step", 25, True),
        ("write", 5, False),
        ("rename", 6, False),
    ],
    ids=["making features", "first epoch", "later epoch", "writing", "renaming a checkpoint"],
)
def test_killed_and_resumed_ends_bit_for_bit_as_undisturbed(tmp_path, undisturbed, kind, at, anew):
    toy.write_toy(tmp_path)
    killed = start_process(tmp_path, kind, at, anew=anew)
    assert killed.returncode == -9, killed.stderr
    resumed = start_process(tmp_path, "never", 0, "--resume", anew=anew)
    assert resumed.returncode == 0, resumed.stderr
    test, history, state = outcome(tmp_path)
    assert test == undisturbed[0]
    assert history == undisturbed[1]
    assert all(torch.equal(state[name], tensor) for name, tensor in undisturbed[2].items())


def test_a_refused_run_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="dataset 'nothing' not found"):
        run("fMRLRec", "nothing", config_dict=toy.settings(tmp_path))
    assert list((tmp_path / "saved").iterdir()) == []


def test_a_refused_resume_removes_nothing(toy_run, tmp_path):
    first = toy_run()
    for file in ("result.json", "best.pth", "last.pth"):
        (first.run_dir / file).unlink()
    (first.run_dir / "notes.txt").write_text("mine")
    (tmp_path / "toy" / "toy.inter").unlink()
    with pytest.raises((UsageError, ValueError)):
        toy_run(resume=str(first.run_dir))
    assert (first.run_dir / "notes.txt").read_text() == "mine"


def test_other_data_is_another_run(toy_run, tmp_path):
    first = toy_run()
    with (tmp_path / "toy" / "toy.inter").open("a", encoding="utf-8") as file:
        file.write("u0\ti7\t5000\n")
    with pytest.raises(UsageError, match="or other data"):
        toy_run(resume=str(first.run_dir))
    assert toy_run(resume=True).run_dir != first.run_dir


def test_time_is_up_after_an_epoch(toy_run):
    result = toy_run(max_minutes=1e-6)
    assert result.epochs_run == 1 and result.best_epoch == 1 and result.test_result
    folder = result.run_dir
    (folder / "result.json").unlink()
    again = toy_run(max_minutes=1e-6, resume=str(folder))  # it has no time left
    assert again.epochs_run == 1 and again.test == result.test
    assert toy_run(max_minutes=60).epochs_run == 3


def test_a_split_without_test_part_shows_validation_and_strict_json(toy_run):
    result = toy_run(eval_args={"split": {"LS": "valid_only"}, "order": "TO", "mode": "full"})
    assert result.test_result == {}
    assert result.table().startswith("Validation (no test part) on toy")
    none = toy_run(eval_args={"split": {"LS": "test_only"}, "order": "TO", "mode": "full"})
    text = (none.run_dir / "result.json").read_text(encoding="utf-8")
    assert json.loads(text)["best_valid_score"] is None and "Infinity" not in text


def test_a_run_without_test_is_tested_later_and_hears_of_each_validation(toy_run, tmp_path):
    whole = toy_run()
    base, heard = toy.settings(tmp_path), []
    untested = run(
        "fMRLRec",
        "toy",
        config_dict=base,
        test=False,
        after_validation=lambda epoch, score: heard.append((epoch, score)),
    )
    assert untested.test == [] and not (untested.run_dir / "result.json").exists()
    assert heard == [(e["epoch"] - 1, e["valid"]["ndcg@10"]) for e in whole.history]
    tested = run("fMRLRec", "toy", config_dict=base, resume=untested.run_dir)
    assert tested.test == whole.test and len(tested.history) == len(whole.history)
    assert (untested.run_dir / "result.json").exists()


@pytest.mark.parametrize(
    ("model", "keys", "says"),
    [
        ("SASRec", {"n_heads": 3}, "not a multiple of the number of attention heads"),
        ("fMRLRec", {"data_path": "/nope"}, "there is no folder /nope"),
    ],
)
def test_a_run_that_is_refused_leaves_no_folder(toy_run, tmp_path, model, keys, says):
    with pytest.raises(UsageError, match=says):
        toy_run(model, **keys)
    saved = tmp_path / "saved"
    assert not Path("/nope").exists() and not (saved.is_dir() and list(saved.iterdir()))


@pytest.mark.parametrize(("full_from", "left"), [(1, False), (2, False), (4, True)])
def test_a_full_disk_is_said_and_resume_goes_on(toy_run, tmp_path, monkeypatch, full_from, left):
    whole = toy_run(epochs=4)
    calls, save = [], torch.save

    def full(*args, **keys):
        calls.append(args)
        if len(calls) >= full_from:
            raise OSError(28, "No space left on device")
        save(*args, **keys)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(
            NoRoom, match=r"\.pth: not enough disk space: it needs .* kB, .*then "
        ) as said:
            toy_run(epochs=4)
    folders = [f for f in (tmp_path / "saved").iterdir() if f != whole.run_dir]
    assert bool(folders) == left
    assert ("--resume continues" if left else "start it again") in str(said.value)
    if left:
        again = toy_run(epochs=4, resume=str(folders[0]))
        assert again.test == whole.test
        losses = [[e["train_loss"] for e in run.history] for run in (again, whole)]
        assert losses[0] == losses[1] and len(losses[0]) == 4


def test_a_result_of_an_earlier_version_counts_epochs_from_0_and_is_read(toy_run):
    first = toy_run()
    file = first.run_dir / "result.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record.pop("epochs_count_from") == 1
    assert [epoch["epoch"] for epoch in record["history"]] == [1, 2, 3]
    record["best_epoch"] -= 1
    for epoch in record["history"]:
        epoch["epoch"] -= 1
    file.write_text(json.dumps(record), encoding="utf-8")
    again = toy_run(resume=str(first.run_dir))
    assert again.best_epoch == first.best_epoch
    shown = [[(e["epoch"], e["train_loss"]) for e in run.history] for run in (again, first)]
    assert shown[0] == shown[1]
    assert again.table() == first.table()


def test_a_run_goes_on_with_the_threads_that_it_was_begun_with(toy_run, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "recbole_fmrlrec.train.run_steps.take_threads",
        lambda wanted, recorded: asked.append((wanted, recorded)) or Threads(1, "test"),
    )
    first = toy_run()
    config = first.run_dir / "config.json"
    assert json.loads(config.read_text(encoding="utf-8"))["threads"] == 1
    (first.run_dir / "result.json").unlink()
    toy_run(resume=str(first.run_dir))
    record = json.loads(config.read_text(encoding="utf-8"))
    del record["threads"]  # as an earlier version wrote it
    config.write_text(json.dumps(record), encoding="utf-8")
    (first.run_dir / "result.json").unlink()
    toy_run(resume=str(first.run_dir))
    assert asked == [(None, None), (None, 1), (None, 0)]


def test_what_is_shown_of_a_run(toy_run, capsys):
    result = toy_run()
    lines = capsys.readouterr().err.splitlines()
    shown = "\n".join(lines)
    assert "data:    toy: 40 users, 25 items, 360 interactions, 40 rows of validation" in shown
    counts = ", ".join(f"{row['size']} ({row['parameters']:,})" for row in result.test)
    assert f"sizes:   {counts}" in shown and f"folder:  {result.run_dir}" in shown
    assert [line.split()[0] for line in lines[-3:]] == ["1/3", "2/3", "3/3"]
    values = [record["valid_by_size"] for record in result.history]
    assert [line.split()[4:6] for line in lines[-3:]] == [
        [f"{at[2]['ndcg@10']:.4f}", f"{at[8]['ndcg@10']:.4f}"] for at in values
    ]
    assert "best so far" in lines[-4 + result.best_epoch] and "Linear" not in shown
    log = (result.run_dir / "run.log").read_text(encoding="utf-8")
    assert "MatryoshkaLinear" in log and "epoch 1 training" in log and "epoch 0" not in log
    assert "\x1b" not in shown + log + result.table()


@pytest.mark.parametrize("model", ["fMRLRec", "SASRec", "BPR"])
def test_the_ranking_without_the_history_can_stop_training(toy_run, model):
    result = toy_run(model, mask_history=True, epochs=2)
    assert result.valid_metric == "masked_NDCG@10"
    best = max(record["valid"]["masked_ndcg@10"] for record in result.history)
    assert result.best_valid_score == best
    assert "best masked_NDCG@10 on validation" in result.table()
    assert next(iter(result.test_result)) == "masked_recall@5" and "recall@5" in result.test_result
    first = [line.split()[-5] for line in result.table().splitlines()[3:5]]
    assert first[0] == "masked"


def test_old_results_are_read_under_todays_names(toy_run):
    """Before there was the key ``history``, masked figures of general models had plain names."""
    result = toy_run("Pop", mask_history=True, history="mask")
    content = result.to_json()
    del content["config"]["history"]
    named = json.dumps(content).replace("masked_", "")
    assert RunResult.from_json(json.loads(named), result.run_dir).test == result.test
    assert RunResult.from_json(json.loads(named), result.run_dir).history == result.history


def test_curves_of_both_in_tensorboard(toy_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = toy_run(epochs=2)
    events = EventAccumulator(str(result.run_dir / "tensorboard"))
    events.Reload()
    for name in ("ndcg@10", "masked_ndcg@10"):
        shown = [(event.step, event.value) for event in events.Scalars(f"valid/{name}")]
        recorded = [(record["epoch"], record["valid"][name]) for record in result.history]
        assert shown == [(epoch, pytest.approx(value)) for epoch, value in recorded]


@pytest.mark.parametrize("recorded", [True, False])
def test_the_total_of_seconds_is_that_of_all_sessions(toy_run, tmp_path, recorded):
    def interrupt(epoch, score):
        raise KeyboardInterrupt

    begun = time.time()
    with pytest.raises(KeyboardInterrupt):
        run("fMRLRec", "toy", config_dict=toy.settings(tmp_path), after_validation=interrupt)
    (file,) = (tmp_path / "saved").glob("*/last.pth")
    last = load_checkpoint(file)
    epoch = last["history"][0]
    assert epoch["train_seconds"] + epoch["valid_seconds"] < last["seconds"] < time.time() - begun
    epoch |= {"train_seconds": 7000.0, "valid_seconds": 76.0}
    if recorded:
        last["seconds"] = 9000.0
    else:  # as an earlier version wrote it: its epochs are known alone
        del last["seconds"]
    save_checkpoint(file, last)
    begun = time.time()
    again = toy_run(resume=str(file.parent))
    took = time.time() - begun
    assert again.epochs_run == 3
    here = again.seconds["training"] - 7076 + again.seconds["data"] + again.seconds["test"]
    earlier = 9000 if recorded else 7076
    assert earlier + here <= again.seconds["total"] + 0.01 <= earlier + took + 0.02


def test_shards_of_items_in_one_process_are_said_to_do_nothing(toy_run, capsys):
    said = "shard_items: True does nothing in one process: "
    toy_run(shard_items=True, epochs=1)
    assert capsys.readouterr().err.count(said) == 1
    toy_run(shard_items=False, epochs=1)
    toy_run(epochs=1)
    assert said not in capsys.readouterr().err
