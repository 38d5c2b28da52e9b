"""A checkpoint and its dataset, whose items may stand in another order, or be others, by now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_fmrlrec import run
from recbole_fmrlrec.compare.evaluate import main as evaluate
from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.export.command import main as export
from recbole_fmrlrec.files.checkpoint import load_checkpoint, save_checkpoint
from recbole_fmrlrec.runs.result import RunResult
from recbole_fmrlrec.train.open_run import open_run
from tests import toy
from tests.conftest import reverse_rows

#: Of models without sizes.
PLAIN = {"hidden_size": 8, "n_heads": 1, "MAX_ITEM_LIST_LENGTH": 6}
KEYS: dict[str, dict[str, Any]] = {
    "SASRecM": PLAIN,
    "gSASRec": PLAIN,
    "LRURec": {"hidden_size": 8, "MAX_ITEM_LIST_LENGTH": 6},
    "SASRec": {**PLAIN, "inner_size": 8},
    "BPR": {"embedding_size": 8},
    "LightGCN": {"embedding_size": 8},
    "fMRLRecID": {"sizes": [4, 8], "use_features": False},
}


def train(root: Path, model: str, dataset: str = "toy", **keys: Any) -> RunResult:
    own = ("data_path", "checkpoint_dir", "use_gpu", "topk", "metrics")
    base = {key: value for key, value in toy.settings(root).items() if key in own}
    base |= {"epochs": 3, "learning_rate": 0.01, "num_threads": 1, "train_batch_size": 32}
    return run(model, dataset, config_dict={**base, **KEYS[model], **keys})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    toy.write_toy(tmp_path)
    return tmp_path


@pytest.mark.parametrize("model", ["SASRecM", "SASRec", "BPR", "LightGCN", "fMRLRecID"])
def test_another_order_gives_the_same_figures(
    root: Path, caplog: pytest.LogCaptureFixture, model: str
) -> None:
    caplog.set_level("INFO")
    trained = train(root, model)
    reverse_rows(root / "toy" / "toy.inter")
    file, output = trained.run_dir / "best.pth", root / "found.json"
    assert evaluate([f"--checkpoint={file}", "--topk=5,10", f"--output={output}"]) == 0
    for found, row in zip(json.loads(output.read_text())["values"], trained.test, strict=True):
        for name, value in found["metrics"].items():
            assert value == pytest.approx(row["metrics"][name], abs=1e-6)
    assert "stand in another order here; their rows are matched by id" in caplog.text


def test_an_opened_run_has_the_vectors_of_the_items_that_it_names(root: Path) -> None:
    trained = train(root, "SASRecM")
    before = open_run(trained.run_dir)
    reverse_rows(root / "toy" / "toy.inter")
    after = open_run(trained.run_dir)
    assert after.item_ids != before.item_ids
    same = after.item_vectors(before.item_ids)
    torch.testing.assert_close(same, before.item_vectors(), rtol=0, atol=0)
    history = ["i3", "i4", "i5"]
    torch.testing.assert_close(after.user_vector(history), before.user_vector(history))


def test_an_export_has_the_vectors_of_the_items_that_it_names(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained = train(root, "fMRLRecID")
    words = [f"--checkpoint={trained.run_dir / 'best.pth'}", "--size=8"]
    assert export([*words, f"--output={root / 'before'}"]) == 0
    reverse_rows(root / "toy" / "toy.inter")
    assert export([*words, f"--output={root / 'after'}"]) == 0
    before, after = (Recommender.load(root / name) for name in ("before", "after"))
    assert before.items.ids != after.items.ids
    np.testing.assert_array_equal(
        np.asarray(after.item_vectors(before.items.ids)),
        np.asarray(before.item_vectors(before.items.ids)),
    )
    assert "have changed since the training" not in caplog.text


def rename(file: Path, before: str, after: str) -> None:
    file.write_text(file.read_text().replace(f"\t{before}\t", f"\t{after}\t"))


def test_other_items_are_refused_unless_the_model_has_rows_of_none(root: Path) -> None:
    """As many as before, so no tensor has another shape."""
    trained = train(root, "SASRecM")
    of_features = train(root, "fMRLRecID", use_features=True, use_id_embedding=False)
    vectors = open_run(of_features.run_dir).item_vectors(["i3", "i4"])
    rename(root / "toy" / "toy.inter", "i7", "stranger")
    with pytest.raises(UsageError, match=r"have changed since .*items: 1 are new and 1 gone"):
        open_run(trained.run_dir)
    rename(root / "toy" / "toy.inter", "stranger", "i7")
    reverse_rows(root / "toy" / "toy.inter")
    opened = open_run(of_features.run_dir)
    torch.testing.assert_close(opened.item_vectors(["i3", "i4"]), vectors)


def test_a_checkpoint_of_an_earlier_version_is_taken_as_it_is(root: Path) -> None:
    trained = train(root, "SASRecM")
    state = load_checkpoint(trained.run_dir / "best.pth")
    vectors = open_run(trained.run_dir).item_vectors()
    for key in ("format", "vocabulary", "columns"):
        del state[key]
    save_checkpoint(root / "old.pth", state)
    assert torch.equal(open_run(root / "old.pth").item_vectors(), vectors)


ROWS = {
    "SASRecM": {"items.id_embedding.weight"},
    "gSASRec": {"item_embedding.weight", "output_embedding.weight"},
    "LRURec": {"item_embedding.weight", "item_bias"},
}


@pytest.mark.parametrize("model", sorted(ROWS))
@pytest.mark.parametrize("dataset", ["toy", "other"])
def test_weights_of_items_are_left_out_where_these_stand_elsewhere(
    root: Path, capsys: pytest.CaptureFixture[str], model: str, dataset: str
) -> None:
    toy.write_toy(root, dataset)
    trained = train(root, model)
    reverse_rows(root / dataset / f"{dataset}.inter")
    begun = train(
        root,
        model,
        dataset,
        epochs=1,
        learning_rate=1e-9,
        init_from=str(trained.run_dir / "best.pth"),
    )
    before, after = (
        load_checkpoint(one.run_dir / "best.pth")["state_dict"] for one in (trained, begun)
    )
    taken = {
        name for name in before if torch.allclose(before[name], after[name], rtol=0, atol=1e-6)
    }
    assert not ROWS[model] & taken and {*before} - ROWS[model] <= taken
    shown = capsys.readouterr().err
    assert f"init_from: {len(before) - len(ROWS[model])} of {len(before)} tensors taken" in shown
    for name in ROWS[model]:
        assert f"{name} (belongs to another dataset)" in shown


def test_weights_of_users_alone_are_left_out_where_only_users_stand_elsewhere(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = train(root, "BPR")
    file = root / "toy" / "toy.inter"
    text = file.read_text()
    for before, after in (("u3\t", "x\t"), ("u4\t", "u3\t"), ("x\t", "u4\t")):
        text = text.replace(f"\n{before}", f"\n{after}")
    file.write_text(text)
    train(root, "BPR", epochs=1, init_from=str(trained.run_dir / "best.pth"))
    shown = capsys.readouterr().err
    assert "init_from: 1 of 2 tensors taken" in shown
    assert "user_embedding.weight (belongs to another dataset)" in shown
