"""history_bias in RecBole: scores, ranks, losses of both row forms, export."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_fmrlrec.deploy import Recommender
from tests import toy
from tests.models.small import Make, loss_and_gradients, parts_of


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.chdir(tmp_path)
    return parts_of("fMRLRec", {"history_bias": True}, (), tmp_path)


def set_bias(model: Any, values: list[float]) -> None:
    """Make the shifts what they are given as, by size."""
    with torch.no_grad():
        model.history_bias.copy_(torch.tensor(values) / 10)


def test_the_published_model_has_none(parts: Make) -> None:
    _, _, model = parts(history_bias=False)
    assert model.history_bias is None and model.history_shifts() is None
    _, _, model = parts()
    assert model.history_shifts().tolist() == [0.0] * len(model.sizes)
    with_one = model.parameter_count(model.sizes[0])
    assert with_one == model.network.parameter_count(model.sizes[0]) + 1


@torch.no_grad()
def test_scores_and_ranks_have_it_at_every_size(parts: Make) -> None:
    _, loaders, model = parts()
    values = [-0.5, 0.25, 3.0][: len(model.sizes)]
    interaction, _, _, targets = next(iter(loaders[1]))
    model.eval()
    plain = []
    for size in model.sizes:
        model.size = size
        plain.append(model.full_sort_predict(interaction))
    set_bias(model, values)
    ranks = model.full_sort_mean_ranks(interaction, targets)
    for k, size in enumerate(model.sizes):
        model.size = size
        expected = plain[k].clone()
        for row, items in enumerate(interaction[model.ITEM_SEQ].tolist()):
            for item in set(items) - {0}:
                expected[row, item] += values[k]
        scores = model.full_sort_predict(interaction)
        torch.testing.assert_close(scores, expected)
        alone = model.predict(interaction)
        torch.testing.assert_close(alone, scores.gather(1, targets[:, None]).squeeze(1))
        better = (scores[:, 1:] > scores.gather(1, targets[:, None])).sum(1)
        assert ranks[k].tolist() == (better + 1).tolist()
        with model.at_size(size):
            torch.testing.assert_close(model.full_sort_predict(interaction), expected)


@pytest.mark.parametrize("loss", ["CE", "sampled_uniform"])
def test_windows_and_prefix_rows_learn_the_same(parts: Make, loss: str) -> None:
    keys: dict[str, Any] = {"MAX_ITEM_LIST_LENGTH": 10, "dropout_prob": 0.0}
    keys |= {"train_batch_size": 10_000}
    keys |= {"loss_type": loss, "num_sampled_items": 10_000}  # every item is a candidate
    results = []
    for rows in ("overlap", "prefix"):
        _, loaders, model = parts(training_windows=rows, **keys)
        set_bias(model, [-0.5, 0.25, 3.0][: len(model.sizes)])
        results.append(loss_and_gradients(loaders, model))
        assert model.history_bias.grad.abs().min() > 0
    torch.testing.assert_close(results[0][0], results[1][0])
    for ours, theirs in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_it_learns_that_nothing_is_repeated(parts: Make) -> None:
    """No history of the toy data holds an item twice, so each step takes the number down."""
    _, loaders, model = parts(dropout_prob=0.0, input_dropout_prob=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model.train()
    for _ in range(5):
        for batch in loaders[0]:
            optimizer.zero_grad()
            model.calculate_loss(batch).backward()
            optimizer.step()
    assert model.history_shifts().max() < -0.5


def test_a_run_is_exported_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recbole_fmrlrec import run
    from recbole_fmrlrec.cli.main import main
    from recbole_fmrlrec.train.open_run import open_run

    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path)
    keys = toy.settings(tmp_path, history_bias=True)
    finished = run("fMRLRec", "toy", config_dict=copy.deepcopy(keys))
    with warnings.catch_warnings(record=True) as caught:
        found = main(["export", f"--checkpoint={finished.run_dir / 'best.pth'}", "--output=out"])
    assert found == 0 and not any("requires_grad" in str(warning.message) for warning in caught)
    trained = open_run(finished.run_dir)
    model, history = trained.model, trained.item_ids[:3]
    learned = model.history_bias.detach()
    assert learned.abs().min() > 0
    rows = torch.tensor([[1, 2, 3]])
    for k, size in enumerate(model.sizes):
        deployed = Recommender.load(tmp_path / "out" / str(size))
        assert deployed.description.history_bias == pytest.approx(10 * float(learned[k]))
        model.size = size
        with torch.no_grad():
            scores = model.full_sort_predict(
                {model.ITEM_SEQ: rows, model.ITEM_SEQ_LEN: torch.tensor([3])}
            )[0, 1:]
        torch.testing.assert_close(deployed.scores(history), scores, rtol=1e-5, atol=1e-5)
        recorded = next(row for row in finished.test if row["size"] == size)["metrics"]
        found = deployed.description.metrics["test"]["float32"]
        assert {name: found[name] for name in recorded} == pytest.approx(recorded, abs=1e-4)


def test_runs_from_before_the_key_load_and_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their stored configurations do not have it, and today's default would add a parameter."""
    from recbole_fmrlrec import run
    from recbole_fmrlrec.files.checkpoint import load_checkpoint, save_checkpoint
    from recbole_fmrlrec.train.open_run import open_run

    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path)
    keys = toy.settings(tmp_path, history_bias=False)
    folder = run("fMRLRecID", "toy", config_dict=copy.deepcopy(keys)).run_dir
    written = json.loads((folder / "config.json").read_text())
    del written["config"]["history_bias"], written["overrides"]["history_bias"]
    (folder / "config.json").write_text(json.dumps(written))
    content = load_checkpoint(folder / "best.pth")
    del content["config"]["history_bias"]
    save_checkpoint(folder / "best.pth", content)
    assert open_run(folder).model.history_bias is None
    (folder / "result.json").unlink()
    again = run(resume=folder)
    assert again.run_dir == folder and again.config["history_bias"] is False
    today = run("fMRLRecID", "toy", config_dict=toy.settings(tmp_path))
    assert today.config["history_bias"] is True


#: Baselines of this package that may have one; their own keys in small.
OTHERS: dict[str, dict[str, Any]] = {
    "SASRecM": {},
    "LRURec": {},
    "UniSRec": {},
    "BSARec": {"hidden_size": 8},
    "FMLPRec": {"hidden_size": 8},
    "DIFF": {"hidden_size": 8, "selected_features": [], "alignment_weight": 0.0},
    "gSASRec": {"hidden_size": 8, "loss_type": "CE"},
    "eSASRec": {"hidden_size": 8, "loss_type": "CE"},
}
#: Keys of the settings of these tests that are fMRLRec's own.
FOREIGN = "sizes", "dropout_prob", "input_dropout_prob"


@pytest.mark.parametrize("model", OTHERS)
def test_baselines_may_have_one(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make = parts_of(model, {"history_bias": True, **OTHERS[model]}, FOREIGN, tmp_path)
    _, loaders, built = make()
    assert built.history_bias.tolist() == [0.0]
    interaction, _, _, targets = next(iter(loaders[1]))
    built.eval()
    with torch.no_grad():
        plain = built.full_sort_predict(interaction)
        built.history_bias.fill_(-0.15)
        scores = built.full_sort_predict(interaction)
        expected = plain.clone()
        for row, items in enumerate(interaction[built.ITEM_SEQ].tolist()):
            for item in set(items) - {0}:
                expected[row, item] -= 1.5
        torch.testing.assert_close(scores, expected)
        alone = built.predict(interaction)
        torch.testing.assert_close(alone, scores.gather(1, targets[:, None]).squeeze(1))
    # The loss of RecBole's rows is the softmax of these very scores.
    _, loaders, built = make(
        **({} if model in ("BSARec", "FMLPRec", "DIFF") else {"training_windows": "prefix"})
    )
    built.eval()
    with torch.no_grad():
        built.history_bias.fill_(-0.15)
    batch = next(iter(loaders[0]))
    loss = built.calculate_loss(batch)
    logits = built.full_sort_predict(batch)[:, 1:]
    wanted = torch.nn.functional.cross_entropy(logits, batch[built.POS_ITEM_ID] - 1)
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert float(built.history_bias.grad.abs()) > 0


@pytest.mark.parametrize("model", ["gSASRec", "eSASRec"])
def test_it_is_in_the_loss_over_negatives_of_each_position(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of RecBole's rows: the loss of the very scores, at the negatives that were drawn."""
    from recbole_fmrlrec.nn.negatives import draw_negatives

    monkeypatch.chdir(tmp_path)
    keys = {"history_bias": True, "hidden_size": 8, "num_negatives": 6}
    _, loaders, built = parts_of(model, keys, FOREIGN, tmp_path)(training_windows="prefix")
    built.eval()
    with torch.no_grad():
        built.history_bias.fill_(-0.15)
    batch = next(iter(loaders[0]))
    torch.manual_seed(1)
    loss = built.calculate_loss(batch)
    torch.manual_seed(1)
    targets = batch[built.POS_ITEM_ID] - 1
    rows = draw_negatives(built.n_items - 1, built.num_negatives, targets)
    read = batch[built.ITEM_SEQ][:, :, None] == rows[:, None] + 1
    assert 0 < read.any(1)[:, 1:].sum() < rows[:, 1:].numel()
    scores = built.full_sort_predict(batch)[:, 1:].gather(1, rows)
    torch.testing.assert_close(loss, built.loss_of_scores(scores))
    loss.backward()
    assert float(built.history_bias.grad) > 0  # the number is to fall: no target is in a history
