"""Learning on: a training that goes on from another one, with newer data."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataset_tools.features import write_features
from recbole_fmrlrec import run
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.checkpoint import load_checkpoint, save_checkpoint
from recbole_fmrlrec.runs.result import RunResult
from tests import toy
from tests.conftest import write_inter

WIDTH = 3
#: Items of the older data, and of the newer: two have gone, three are new, all in another order.
OLD = [f"i{number}" for number in range(14)]
NEW = [f"i{number}" for number in range(16, 1, -1)]
STILL = 1e-12  # a learning rate that moves nothing


def _features(items: list[str]) -> np.ndarray:
    numbers = np.array([int(item[1:]) for item in items], dtype=np.float64)
    return np.stack([np.cos(numbers), np.sin(numbers), np.ones(len(items))], axis=1)


def write(root: Path, name: str, items: list[str], users: int, encoder: str = "an-encoder") -> None:
    """Users who walk through the items in the order of their numbers, with features of a circle."""
    order = sorted(items, key=lambda item: int(item[1:]))
    first = range(users) if name == "older" else range(users - 1, -1, -1)
    rows = [
        (f"u{user}", order[(user + step) % len(order)], 1000 + step)
        for user in first
        for step in range(8)
    ]
    folder = write_inter(root, rows, name)
    manifest = {"encoder": encoder, "revision": "1", "normalised": False}
    write_features(folder / "features", "text", _features(items), items, manifest)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("continue")
    write(folder, "older", OLD, 30)
    write(folder, "newer", NEW, 40)
    return folder


OTHERS: dict[str, dict[str, Any]] = {
    "LRURec": {"hidden_size": 8},
    "SASRec": {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "MAX_ITEM_LIST_LENGTH": 4},
    "BERT4Rec": {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "MAX_ITEM_LIST_LENGTH": 8},
    "GRU4Rec": {"hidden_size": 8, "embedding_size": 8},
    "BPR": {"embedding_size": 8},
    "MultiVAE": {"mlp_hidden_size": [8], "latent_dimension": 4},
}


def train(
    root: Path,
    model: str | None,
    dataset: str,
    resume: bool | str | Path = False,
    after_validation: Any = None,
    continue_from: str | Path | None = None,
    **more: Any,
) -> RunResult:
    keys = toy.settings(root, num_threads=1, epochs=1)
    if model is None or not model.startswith("fMRLRec"):
        own = ("data_path", "checkpoint_dir", "use_gpu", "topk", "metrics", "epochs", "num_threads")
        keys = {key: keys[key] for key in own} | OTHERS.get(model or "", {})
    hook = {"after_validation": after_validation, "continue_from": continue_from}
    return run(model, dataset, config_dict={**keys, **more}, resume=resume, **hook)


@pytest.fixture(scope="module")
def parent(root: Path) -> RunResult:
    return train(root, "fMRLRecID", "older", epochs=2)


def state(result: RunResult) -> dict[str, Any]:
    return load_checkpoint(result.run_dir / "best.pth")


def ids(checkpoint: dict[str, Any], kind: str = "items") -> dict[str, int]:
    return {name: row for row, name in enumerate(checkpoint["vocabulary"][kind].split("\n"), 1)}


def test_on_the_same_data_every_item_is_kept(
    root: Path, parent: RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train(root, None, "older", continue_from=parent.run_dir, learning_rate=STILL)
    assert result.parent is not None
    assert result.parent["items"] == {"kept": 14, "new": 0, "gone": 0}
    shown = capsys.readouterr().err
    assert "items: 14 kept, 0 new, 0 gone" in shown and "to be matched" not in shown


def test_old_items_keep_their_vectors_wherever_they_stand(
    root: Path, parent: RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train(root, None, "newer", continue_from=parent.run_dir, learning_rate=STILL)
    before, after = state(parent), state(result)
    old, new = ids(before), ids(after)
    assert sorted(old) == sorted(OLD) and sorted(new) == sorted(NEW)
    assert [new[item] for item in OLD[2:]] != [old[item] for item in OLD[2:]]
    name = "network.id_embedding.weight"
    for item in OLD[2:]:
        row, other = after["state_dict"][name][new[item]], before["state_dict"][name][old[item]]
        torch.testing.assert_close(row, other, rtol=0, atol=1e-9)
    for other in before["state_dict"].keys() - {name}:
        torch.testing.assert_close(
            after["state_dict"][other], before["state_dict"][other], rtol=0, atol=1e-9
        )
    assert result.model == "fMRLRecID" and result.config["sizes"] == toy.SMALL["sizes"]
    assert result.parent is not None
    assert result.parent["items"] == {"kept": 12, "new": 3, "gone": 2}
    assert result.parent["users"] == {"kept": 30, "new": 10, "gone": 0}
    assert (result.parent["dataset"], result.parent["epochs"]) == ("older", parent.best_epoch)
    record = json.loads((result.run_dir / "config.json").read_text())["parent"]
    assert record["sha256"] == result.parent["sha256"]
    shown = capsys.readouterr().err
    assert "items: 12 kept, 3 new, 2 gone" in shown
    assert "at most 1 epochs at learning rate 1e-12 (" in shown
    assert "vectors of new items start from their features, which explain" in shown


@pytest.mark.parametrize(
    ("model", "name", "shift"),
    [
        ("LRURec", "item_embedding.weight", 0),
        ("LRURec", "item_bias", -1),
        ("SASRec", "item_embedding.weight", 0),
        ("BERT4Rec", "item_embedding.weight", 0),
        ("GRU4Rec", "item_embedding.weight", 0),
    ],
)
def test_rows_of_other_models(root: Path, model: str, name: str, shift: int) -> None:
    first = train(root, model, "older")
    result = train(root, None, "newer", continue_from=first.run_dir, learning_rate=STILL)
    before, after = state(first), state(result)
    old, new = ids(before), ids(after)
    left, right = before["state_dict"][name], after["state_dict"][name]
    rows = torch.stack([left[old[item] + shift] for item in OLD[2:]])
    found = torch.stack([right[new[item] + shift] for item in OLD[2:]])
    torch.testing.assert_close(found, rows, rtol=0, atol=1e-9)
    for item in ("i14", "i15", "i16"):  # no features in these models: the mean of the kept ones
        torch.testing.assert_close(right[new[item] + shift], rows.mean(0), rtol=0, atol=1e-7)
    if model == "BERT4Rec":  # the mask stands behind the items
        torch.testing.assert_close(right[-1], left[-1], rtol=0, atol=1e-9)


def test_a_general_model_has_rows_of_users_too(root: Path) -> None:
    first = train(root, "BPR", "older")
    result = train(root, None, "newer", continue_from=first.run_dir, learning_rate=STILL)
    before, after = state(first), state(result)
    old, new = ids(before, "users"), ids(after, "users")
    left = before["state_dict"]["user_embedding.weight"]
    right = after["state_dict"]["user_embedding.weight"]
    assert len(old) == 30 and len(new) == 40
    for user, row in old.items():
        torch.testing.assert_close(right[new[user]], left[row], rtol=0, atol=1e-9)
    torch.testing.assert_close(right[new["u35"]], left[1:].mean(0), rtol=0, atol=1e-6)


def test_items_may_be_another_dimension_than_the_first(root: Path) -> None:
    first = train(root, "MultiVAE", "older")
    result = train(root, None, "newer", continue_from=first.run_dir, learning_rate=STILL)
    before, after = state(first), state(result)
    old, new = ids(before), ids(after)
    left, right = (
        next(one for one in found["state_dict"].values() if one.shape == (8, count))
        for found, count in ((before, 15), (after, 16))
    )
    for item in OLD[2:]:
        torch.testing.assert_close(right[:, new[item]], left[:, old[item]], rtol=0, atol=1e-9)


def test_the_optimiser_goes_on_by_the_same_rows(
    root: Path, parent: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recbole_fmrlrec.train.continuing import Continuation

    seen: dict[str, Any] = {}
    load = Continuation.load_optimizer

    def spied(self: Continuation, trainer: Any) -> None:
        load(self, trainer)
        names = {id(p): name for name, p in trainer.model.named_parameters()}
        seen.update({names[id(p)]: copy.deepcopy(x) for p, x in trainer.optimizer.state.items()})

    monkeypatch.setattr(Continuation, "load_optimizer", spied)
    keys = {"learning_rate": 0.002, "continue_optimizer": True}
    result = train(root, None, "newer", continue_from=parent.run_dir, **keys)
    assert result.parent is not None and result.parent["keeps_optimizer"] is True
    assert result.history[0]["learning_rate"] <= 0.002
    moments = load_checkpoint(parent.run_dir / "last.pth")["optimizer"]["state"]
    name = "network.id_embedding.weight"
    vectors = next(one for one in moments.values() if one["exp_avg"].shape == (15, 8))
    before, after = ids(state(parent)), ids(state(result))
    own = seen[name]
    for item in OLD[2:]:
        for kind in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(own[kind][after[item]], vectors[kind][before[item]])
    assert not own["exp_avg"][after["i15"]].any()
    kept = torch.stack([vectors["exp_avg_sq"][before[item]] for item in OLD[2:]])
    torch.testing.assert_close(own["exp_avg_sq"][after["i15"]], kept.mean(0))
    assert own["step"] == vectors["step"]


@pytest.mark.parametrize(
    ("model", "items", "keys"),
    [
        ("SASRecM", 7, {"n_heads": 2}),  # layers as wide as there are items and the padding
        ("gSASRec", 14, {"n_heads": 1, "loss_type": "CE"}),  # a table without the padding
    ],
)
def test_the_order_of_the_rows_alone_changes_nothing(
    root: Path, tmp_path: Path, model: str, items: int, keys: dict[str, Any]
) -> None:
    data = {"data_path": str(tmp_path), "topk": [3], "valid_metric": "NDCG@3"}
    for name in ("older", "turned"):
        write(tmp_path, name, OLD[:items], 30)
    keys = {**keys, "hidden_size": 8, "MAX_ITEM_LIST_LENGTH": 6, "train_batch_size": 8}
    first = train(root, model, "older", epochs=8, learning_rate=0.01, **data, **keys)
    result = train(root, None, "turned", continue_from=first.run_dir, learning_rate=1e-9, **data)
    for kind in ("items", "users"):
        assert ids(state(first), kind) != ids(state(result), kind)
    assert result.test_result == pytest.approx(first.test_result, abs=1e-6)
    before, after = state(first)["state_dict"], state(result)["state_dict"]
    for name in [name for name in before if name.startswith("encoder.")]:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-5)


class Stop(Exception):
    """Ends a run in a test."""


def test_a_continued_run_resumes_bit_for_bit(root: Path, parent: RunResult) -> None:
    keys = {"epochs": 3, "continue_from": parent.run_dir, "continue_optimizer": True, "seed": 7}
    whole = train(root, None, "newer", **keys)

    def stop(epoch: int, score: float) -> None:
        if epoch == 0:
            raise Stop

    before = set((root / "saved").iterdir())
    keys["eval_batch_size"] = 512  # another run, of the same numbers
    with pytest.raises(Stop):
        train(root, None, "newer", after_validation=stop, **keys)
    (folder,) = set((root / "saved").iterdir()) - before
    resumed = run(resume=folder)
    assert resumed.run_dir == folder and resumed.epochs_run == 3
    assert resumed.parent == whole.parent and resumed.test == whole.test
    for name, value in state(whole)["state_dict"].items():
        assert torch.equal(state(resumed)["state_dict"][name], value)


def test_an_old_checkpoint_is_matched_by_its_dataset(
    root: Path, parent: RunResult, tmp_path: Path
) -> None:
    content = state(parent)
    for key in ("format", "vocabulary", "features"):
        del content[key]
    for file in ("config.json", "result.json"):
        (tmp_path / file).write_text((parent.run_dir / file).read_text())
    save_checkpoint(tmp_path / "best.pth", content)
    result = train(root, None, "newer", continue_from=tmp_path, learning_rate=STILL)
    assert result.parent is not None
    assert result.parent["items"] == {"kept": 12, "new": 3, "gone": 2}
    (tmp_path / "result.json").unlink()
    with pytest.raises(UsageError, match="does not say which encoder made the features"):
        train(root, None, "newer", continue_from=tmp_path)


def test_features_of_another_encoder_are_refused(root: Path, parent: RunResult) -> None:
    write(root, "other", NEW, 40, encoder="another")
    with pytest.raises(UsageError, match=r"by another \(.*by an-encoder \(.*same one"):
        train(root, None, "other", continue_from=parent.run_dir)
    made = toy.write_toy(root)
    assert not (made / "features").exists()
    first = train(root, "fMRLRec", "toy")  # TF-IDF
    toy.write_toy(root, "toy2")
    (root / "toy2" / "toy2.item").write_text((root / "toy" / "toy.item").read_text() + "i99\tred\n")
    with pytest.raises(UsageError, match="fitted to each catalogue separately"):
        train(root, None, "toy2", continue_from=first.run_dir)


def test_what_cannot_be_continued_is_refused(root: Path, parent: RunResult) -> None:
    def refused(match: str, model: str | None, dataset: str, **keys: Any) -> None:
        with pytest.raises(UsageError, match=match):
            train(root, model, dataset, **keys)

    there = {"continue_from": parent.run_dir}
    refused("is a fMRLRecID, and --model=LRURec is another model", "LRURec", "newer", **there)
    refused("there is no checkpoint", None, "newer", continue_from="none")
    refused("give one of them", None, "newer", init_from="a.pth", **there)
    refused("of another shape", None, "newer", num_blocks=2, **there)
    refused(
        "cannot be taken over.*not a number of items or users", None, "newer", sizes=[2, 4], **there
    )
    popular = train(root, "ItemKNN", "older")
    refused("computed from all interactions at once", None, "newer", continue_from=popular.run_dir)
    renamed = [f"x{number}" for number in range(12)]
    write(root, "strangers", renamed, 20)
    refused("none of its items is among those here", None, "strangers", **there)


def test_the_key_model_of_a_file_must_be_the_parents(
    root: Path, parent: RunResult, tmp_path: Path
) -> None:
    file = tmp_path / "own.yaml"
    keys = {**toy.settings(root, num_threads=1, epochs=1), "continue_from": str(parent.run_dir)}
    file.write_text("epochs: 1\nmodel: LRURec\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"is a fMRLRecID, and model: LRURec .*own\.yaml, line 2"):
        run(dataset="older", config_file_list=[file], config_dict=keys)
    with pytest.raises(UsageError, match=r"model: BPR \(config_dict\) is another model; leave it"):
        run(dataset="older", config_dict={**keys, "model": "BPR"})
    file.write_text("model: fMRLRecID\n", encoding="utf-8")
    result = run(dataset="older", config_file_list=[file], config_dict=keys)
    assert (result.model, result.parent["items"]["kept"]) == ("fMRLRecID", 14)  # type: ignore[index]


def test_a_model_is_evaluated_on_newer_data(
    root: Path, parent: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The figures are those of a run that goes on from it without learning anything."""
    from recbole_fmrlrec.compare.evaluate import main

    same = train(root, None, "newer", continue_from=parent.run_dir, learning_rate=STILL)
    words = [f"--checkpoint={parent.run_dir / 'best.pth'}", "--dataset=newer", "--topk=5,10"]
    assert main([*words, f"--output={tmp_path / 'found.json'}"]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["dataset"] == "newer"
    for one, row in zip(found["values"], same.test, strict=True):
        assert one["size"] == row["size"]
        for name, value in one["metrics"].items():
            assert value == pytest.approx(row["metrics"][name], abs=1e-6)
    assert "items: 12 kept, 3 new, 2 gone" in capsys.readouterr().err
    write(root, "other", NEW, 40, encoder="another")
    with pytest.raises(UsageError, match="--dataset: the text features here are by another"):
        main([*words[:1], "--dataset=other"])


def test_continuing_learns(root: Path) -> None:
    """A few epochs on the newer data rank its rows better than the model that they began with."""
    keys = {"learning_rate": 0.02, "epochs": 12, "use_features": False}
    first = train(root, "fMRLRecID", "older", **keys)
    still = train(root, None, "newer", continue_from=first.run_dir, learning_rate=STILL)
    result = train(root, None, "newer", continue_from=first.run_dir, epochs=6)
    assert result.config["learning_rate"] == 0.02 and result.config["use_features"] is False
    assert result.test_result["ndcg@10"] > still.test_result["ndcg@10"] + 0.02
