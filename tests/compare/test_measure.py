"""What is known of test rows, and cost, against the toy dataset worked out by hand."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch

from recbole_fmrlrec import run
from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.compare.checkpoint_ranks import PartRows, TrainedPart
from recbole_fmrlrec.compare.evaluate import main as evaluate_main
from recbole_fmrlrec.compare.gather import order_rows
from recbole_fmrlrec.compare.measure import _at_size, _bytes_per_item, measure
from recbole_fmrlrec.compare.statistics import per_user
from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.checkpoint import save_checkpoint
from tests import toy
from tests.conftest import write_inter

GENERAL = ("data_path", "checkpoint_dir", "use_gpu", "topk", "metrics", "epochs")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs on the toy dataset of a model of ours, a sequential and a general one of RecBole's."""
    root = tmp_path_factory.mktemp("runs")
    toy.write_toy(root)
    keys = toy.settings(root, num_threads=1)
    theirs = {key: keys[key] for key in GENERAL}
    small = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "MAX_ITEM_LIST_LENGTH": 4}
    return {
        "fMRLRec": run("fMRLRec", "toy", config_dict=keys),
        "SASRec": run("SASRec", "toy", config_dict={**theirs, **small, "epochs": 1}),
        "BPR": run("BPR", "toy", config_dict={**theirs, "epochs": 1}),
    }


def evaluate(checkpoint, part="test"):
    """Ranks and what is known of the rows of a part."""
    return TrainedPart.open(checkpoint, part).read().rank()


def events():
    """The toy's interactions by user, in their order."""
    return {
        f"u{user}": [f"i{(user + step * (1 + user % 3)) % toy.ITEMS}" for step in range(toy.EVENTS)]
        for user in range(toy.USERS)
    }


def test_what_evaluate_cannot_read_or_write_is_said_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.pth").write_text("epoch 3\n", encoding="utf-8")
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    save_checkpoint(tmp_path / "last.pth", {"epoch": 3})
    for name, says in [
        ("nosuch", "--checkpoint: there is no checkpoint nosuch.pth"),
        ("text", "--checkpoint: text.pth: not a readable checkpoint of this package"),
        ("last", "last.pth: does not say which model it is; give the best.pth of that run"),
        ("other", "--checkpoint: other.pth: not a checkpoint of this package, or of another"),
    ]:
        assert main(["evaluate", f"--checkpoint={name}.pth"]) == 2
        shown = capsys.readouterr().err
        assert f"error: {says}" in shown and "weights_only" not in shown
    for output, says in [("text.pth/out.json", "cannot write to"), (".", "is a folder")]:
        assert main(["evaluate", "--checkpoint=nosuch.pth", f"--output={output}"]) == 2
        shown = capsys.readouterr().err
        assert "error: --output: " in shown and says in shown


@pytest.mark.parametrize("part", ["test", "valid"])
@pytest.mark.parametrize("model", ["fMRLRec", "SASRec", "BPR"])
def test_rows_of_every_kind_of_dataset(runs, model, part):
    record, rows = evaluate(runs[model].run_dir / "best.pth", part)
    at = -1 if part == "test" else -2
    targets = {user: items[at] for user, items in events().items()}
    assert dict(zip(rows["users"], rows["targets"], strict=True)) == targets
    assert np.array_equal(record.users, rows["users"])
    assert np.array_equal(record.targets, rows["targets"])
    trained = Counter(item for items in events().values() for item in items[:-2])
    assert rows["popularity"].tolist() == [trained[item] for item in rows["targets"]]
    assert set(rows["history"]) == {toy.EVENTS - (1 if part == "test" else 2)}
    counts = sorted((trained[f"i{item}"] for item in range(toy.ITEMS)), reverse=True)
    assert rows["item_counts"].tolist() == counts
    assert not rows["without_text"].any()


@pytest.mark.parametrize("model", ["fMRLRec", "SASRec", "BPR"])
def test_evaluate_gives_what_the_run_recorded(runs, model):
    result = runs[model]
    for part, recorded in (("test", result.test), ("valid", result.valid)):
        record, _ = evaluate(result.run_dir / "best.pth", part)
        assert [size or None for size in record.sizes.tolist()] == [r["size"] for r in recorded]
        for metric in ("recall@5", "ndcg@10", "masked_recall@5", "masked_ndcg@10"):
            for ranks, row in zip(record.ranks_of(metric), recorded, strict=True):
                assert per_user(ranks, metric).mean() == pytest.approx(
                    row["metrics"][metric], abs=1e-6
                )


def test_evaluate_by_slice_and_size(runs, tmp_path, capsys):
    options = [f"--checkpoint={runs['fMRLRec'].run_dir / 'best.pth'}"]
    words = [*options, "--slices=all", "--metrics=MRR", "--topk=25", "--sizes=4"]
    assert evaluate_main([*words, f"--output={tmp_path / 'o.json'}"]) == 0
    head = ["slice", "rows", "size", "mrr@25"]
    assert capsys.readouterr().out.splitlines()[0].split() == [*head, "masked_mrr@25"]
    assert evaluate_main([*words, "--history=keep"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == head
    values = json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))["values"]
    by_slice = {value["slice"]: value for value in values}
    assert {value["size"] for value in values} == {4} and by_slice["all"]["rows"] == toy.USERS
    popular = [by_slice[name] for name in ("head", "middle", "tail") if name in by_slice]
    total = sum(value["rows"] * value["metrics"]["mrr@25"] for value in popular)
    assert total / toy.USERS == pytest.approx(by_slice["all"]["metrics"]["mrr@25"])


def test_evaluate_takes_the_keys_of_the_machine(runs, capsys):
    options = [f"--checkpoint={runs['fMRLRec'].run_dir / 'best.pth'}"]
    assert evaluate_main(options) == 0
    plain = capsys.readouterr().out
    keys = ["--num_threads=1", "--use_gpu=False", "--worker=0", "--eval_batch_size=3"]
    assert evaluate_main([*options, *keys]) == 0
    shown = capsys.readouterr()
    assert shown.out == plain and "threads: 1 (num_threads)" in shown.err
    with pytest.raises(UsageError, match="num_threads must be an integer of at least 1"):
        evaluate_main([*options, "--num_threads=0"])
    with pytest.raises(UsageError, match="--data_path: there is no folder /nope"):
        evaluate_main([*options, "--data_path=/nope"])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("--slices=heads", "no slice `heads`; known: all, history 1-5, "),
        ("--slices=head,", "no slice ``; known: all"),
        ("--slices=all,head", "no slice `all`; known: all, history"),
        ("--sizes=four", "--sizes takes integers separated by commas, or all, not 'four'"),
        ("--sizes=0", "--sizes takes numbers of at least 1, not 0"),
        ("--metrics=GAUC", "unknown metric 'gauc'; known: NDCG, Recall"),
        ("--topk=5,0", "--topk takes numbers of at least 1, not 0"),
    ],
)
def test_words_that_cannot_be_are_refused_before_a_file_is_read(wrong, says):
    with pytest.raises(UsageError) as error:
        evaluate_main(["--checkpoint=nosuch.pth", wrong])
    assert says in str(error.value)


def test_what_model_or_data_do_not_have_is_refused_before_the_ranking(runs, monkeypatch):
    monkeypatch.setattr(PartRows, "rank", lambda self: 1 / 0)
    for model, wrong, says in [
        ("fMRLRec", "--sizes=2,5", r"no size 5; its sizes are \[2, 4, 8\]"),
        ("BPR", "--sizes=4", "no size 4; it has no sizes"),
        ("fMRLRec", "--slices=head,without smell", "no row is in `without smell`; there are hist"),
        ("SASRec", "--slices=history 51 and more", "no row is in `history 51 and more`; there ar"),
    ]:
        with pytest.raises(UsageError, match=says):
            evaluate_main([f"--checkpoint={runs[model].run_dir / 'best.pth'}", wrong])


def test_what_is_asked_for_twice_is_shown_once(runs, capsys):
    options = [f"--checkpoint={runs['fMRLRec'].run_dir / 'best.pth'}", "--sizes=4,2,4"]
    assert evaluate_main([*options, "--metrics=MRR,mrr", "--topk=5,5", "--slices=head,head"]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["slice", "rows", "size", "mrr@5", "masked_mrr@5"]
    assert [row.split()[2] for row in rows] == ["4", "2"]


def test_cost_and_rows_of_a_run(runs):
    from recbole_fmrlrec.config.config import Config

    result = runs["fMRLRec"]
    config = Config("fMRLRec", "toy", config_dict=_given(result))
    measure(config, result.run_dir)
    cost = json.loads((result.run_dir / "cost.json").read_text(encoding="utf-8"))
    assert {size: c["bytes_per_item"] for size, c in cost["by_size"].items()} == {
        "2": 8,
        "4": 16,
        "8": 32,
    }
    assert all(c["latency_ms"] > 0 for c in cost["by_size"].values())
    with np.load(result.run_dir / "rows.npz", allow_pickle=False) as rows:
        assert rows["history"].shape == (toy.USERS,)


def _given(result):
    return {key: result.config[key] for key in ("sizes", "MAX_ITEM_LIST_LENGTH", "use_gpu")} | {
        "data_path": result.config["dataset_root"]
    }


def test_latency_is_that_of_the_cut_model(tmp_path):
    toy.write_toy(tmp_path)
    keys = {**toy.SMALL, "sizes": [2, 4], "data_path": str(tmp_path), "use_gpu": False}
    config = Config("fMRLRec", "toy", config_dict=keys)
    train_data = data_preparation(config, create_dataset(config))[0]
    model = config.model_class(config, train_data._dataset).eval()
    whole = model.network
    with torch.no_grad():
        model.item_table()
    with _at_size(model, 2), torch.no_grad():
        assert model.network.width == 2 and model.size == 2
        assert model.item_table().shape[1] == 2  # nothing kept of the whole model
    assert model.network is whole and model.size == 4
    with torch.no_grad():
        assert model.item_table().shape[1] == 4


def test_bytes_of_arrays_with_a_row_for_each_item():
    class Model(torch.nn.Module):
        n_items = 10

        def __init__(self):
            super().__init__()
            self.items = torch.nn.Embedding(10, 4)
            self.with_mask = torch.nn.Parameter(torch.zeros(11, 2))
            self.users = torch.nn.Embedding(7, 4)

        def other_parameter(self):
            return {"counts": np.zeros(10, dtype=np.int64)}

    assert _bytes_per_item(Model()) == (160 + 88 + 80) / 10


def test_cold_targets_and_short_histories(tmp_path):
    rows = [("u1", item, at) for at, item in enumerate("abcz")]
    rows += [("u2", item, at) for at, item in enumerate("bca")]
    rows += [("u3", item, at) for at, item in enumerate("abcab")]
    rows += [("u4", item, at) for at, item in enumerate("dc")]
    write_inter(tmp_path, rows)
    result = run(
        "Pop",
        "toy",
        config_dict={
            "data_path": str(tmp_path),
            "use_gpu": False,
            "checkpoint_dir": str(tmp_path / "saved"),
        },
    )
    _, known = evaluate(result.run_dir / "best.pth")
    order = order_rows(known["users"], known["targets"])
    shown = {name: known[name][order].tolist() for name in ("users", "targets", "history")}
    # u2's three interactions leave none to validate on, two to train on.
    assert shown == {"users": ["u1", "u2", "u3"], "targets": ["z", "a", "b"], "history": [3, 2, 4]}
    assert known["popularity"][order].tolist() == [0, 2, 3]
