"""fMRLRec in RecBole: its own rows, RecBole's prefix rows, RecBole's own Config and Trainer."""

from __future__ import annotations

import sys

import pytest
import torch

from recbole_fmrlrec import compat
from tests import toy


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Config, dataset, loaders and model of a small run; keys may be given."""
    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path)

    def make(model="fMRLRec", **keys):
        from recbole_fmrlrec.config.config import Config
        from recbole_fmrlrec.data.loaders import create_dataset, data_preparation

        config = Config(model, "toy", config_dict=toy.settings(tmp_path, **keys))
        dataset = create_dataset(config)
        loaders = data_preparation(config, dataset)
        torch.manual_seed(0)
        return config, loaders, config.model_class(config, loaders[0]._dataset)

    return make


def test_windows_and_prefix_rows_give_the_same_loss_and_gradient(parts):
    # Every history fits one window, so both train the same targets from the same inputs.
    keys = {"MAX_ITEM_LIST_LENGTH": 10, "dropout_prob": 0.0, "train_batch_size": 10_000}
    results = []
    for rows in ("overlap", "prefix"):
        _, loaders, model = parts(training_windows=rows, **keys)
        loss = model.calculate_loss(next(iter(loaders[0])))
        loss.backward()
        results.append((loss, [p.grad for p in model.parameters()]))
    torch.testing.assert_close(results[0][0], results[1][0])
    for ours, theirs in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_scores_agree_between_predict_full_sort_and_ranks(parts):
    _, loaders, model = parts()
    model.eval()
    interaction, _, _, targets = next(iter(loaders[1]))
    with torch.no_grad():
        for k, size in enumerate(model.sizes):
            model.size = size
            scores = model.full_sort_predict(interaction)
            assert scores.shape == (len(interaction), toy.ITEMS + 1)
            alone = model.predict(interaction)
            torch.testing.assert_close(alone, scores.gather(1, targets[:, None]).squeeze(1))
            ranks = model.full_sort_mean_ranks(interaction, targets)[k]
            order = scores[:, 1:].argsort(dim=1, descending=True)
            assert ranks.tolist() == ((order == targets[:, None] - 1).int().argmax(1) + 1).tolist()


def test_item_table_is_projected_once_an_evaluation_and_anew_after_training(parts, monkeypatch):
    _, loaders, model = parts()
    calls = []
    original = model.network.item_table
    monkeypatch.setattr(
        model.network, "item_table", lambda *a, **k: calls.append(1) or original(*a, **k)
    )
    model.eval()
    with torch.no_grad():
        for interaction, *_ in list(loaders[1]) * 3:
            before = model.full_sort_predict(interaction)
    assert len(calls) == 1
    model.train()
    model.network.projector.weight.data.mul_(2)
    model.eval()
    with torch.no_grad():
        assert not torch.equal(model.full_sort_predict(interaction), before)
    assert len(calls) == 2


@torch.no_grad()
def test_weights_that_change_in_evaluation_are_seen(parts):
    _, loaders, model = parts()
    interaction = next(iter(loaders[1]))[0]
    model.eval()
    first = model.full_sort_predict(interaction)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict({name: 2 * value for name, value in kept.items()})
    assert not torch.equal(model.full_sort_predict(interaction), first)
    model.load_state_dict(kept)
    assert torch.equal(model.full_sort_predict(interaction), first)
    torch.testing.assert_close(model.double().full_sort_predict(interaction), first.double())


def test_the_first_item_is_trained_from_the_empty_input_when_asked(parts):
    losses = {}
    for asked in (False, True):
        _, loaders, model = parts(
            predict_first_item=asked, dropout_prob=0.0, train_batch_size=10_000
        )
        interaction = next(iter(loaders[0]))
        losses[asked] = model.calculate_loss(interaction).item()
    trained = int((interaction["target_id_list"] > 0).sum())
    starts = interaction["start_target"]
    starts = starts[starts > 0]
    assert len(starts) == toy.USERS
    table = model.item_table()
    empty = model.network.encode_last(
        table, torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, dtype=torch.int64)
    )
    at_start = torch.stack(
        [
            torch.nn.functional.cross_entropy(
                (empty[:, :s] @ table[1:, :s].T).expand(len(starts), -1), starts - 1
            )
            for s in model.sizes
        ]
    ).mean()
    mean = (losses[False] * trained + at_start.item() * len(starts)) / (trained + len(starts))
    assert losses[True] == pytest.approx(mean, rel=1e-5)


def test_weight_decay_spares_biases_norms_and_eigenvalues(parts):
    config, _, model = parts()
    from recbole_fmrlrec.train.trainer import Trainer

    decayed, spared = Trainer(config, model).optimizer.param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert decayed["weight_decay"] == 0.01 and spared["weight_decay"] == 0.0
    for parameter in spared["params"]:
        name = names[id(parameter)]
        assert "bias" in name or "norm_" in name or "_log" in name
    for parameter in decayed["params"]:
        assert "weight" in names[id(parameter)] and "norm_" not in names[id(parameter)]
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_ids_alone_features_alone_and_both(parts):
    _, _, features = parts("fMRLRec")
    _, _, both = parts("fMRLRecID")
    _, _, ids = parts("fMRLRecID", use_features=False)
    assert features.network.id_embedding is None and features.network.projector is not None
    assert both.network.id_embedding is not None and both.network.projector is not None
    assert ids.network.id_embedding is not None and ids.network.projector is None


def test_it_runs_in_recboles_own_config_dataset_and_trainer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path)
    compat.apply()
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer

    from recbole_fmrlrec.models.fmrlrec import fMRLRec

    keys = toy.settings(tmp_path, train_neg_sample_args=None, valid_metric="NDCG@10")
    keys["load_col"] = None
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    config = Config(model=fMRLRec, dataset="toy", config_dict=keys)
    loaders = data_preparation(config, create_dataset(config))
    model = fMRLRec(config, loaders[0]._dataset)
    trainer = Trainer(config, model)
    score, _ = trainer.fit(loaders[0], loaders[1])
    losses = list(trainer.train_loss_dict.values())
    assert losses[-1] < losses[0]
    assert trainer.evaluate(loaders[2])["ndcg@10"] > 0 and score > 0


def test_a_sampled_loss_with_every_item_as_candidate_is_the_exact_one(parts):
    results = []
    for loss in ("CE", "sampled_uniform", "sampled_popularity"):
        _, loaders, model = parts(loss_type=loss, num_sampled_items=toy.ITEMS, dropout_prob=0.0)
        value = model.calculate_loss(next(iter(loaders[0])))
        value.backward()
        results.append((value, [p.grad for p in model.parameters()]))
    for sampled in results[1:]:
        torch.testing.assert_close(sampled, results[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rows", ["overlap", "prefix"])
def test_a_sampled_loss_projects_no_item_that_the_batch_does_not_need(parts, monkeypatch, rows):
    _, loaders, model = parts(
        loss_type="sampled_uniform", num_sampled_items=3, train_batch_size=2, training_windows=rows
    )
    projected = []
    original = model.network.item_table
    monkeypatch.setattr(
        model.network, "item_table", lambda f, ids, _: projected.append(ids) or original(f, ids)
    )
    batch = next(iter(loaders[0]))
    model.calculate_loss(batch).backward()
    (ids,) = projected
    needed = set(batch["item_id_list"].flatten().tolist()) | set(batch["item_id"].tolist())
    needed |= set(batch["target_id_list"].flatten().tolist()) if rows == "overlap" else set()
    assert len(set(ids.tolist()) - needed) <= 3 and len(ids) < toy.ITEMS
    assert needed - {0} <= set(ids.tolist())


@pytest.mark.parametrize("rows", ["overlap", "prefix"])
def test_popularity_counts_each_training_target_once(parts, rows):
    _, loaders, model = parts(loss_type="sampled_popularity", training_windows=rows)
    dataset = loaders[0]._dataset
    counts = torch.zeros(toy.ITEMS, dtype=torch.float64)
    for item, number in dataset.counter("item_id").items():
        counts[item - 1] = number
    torch.testing.assert_close(model.sampler.popularity, counts / counts.sum())


def test_negative_sampling_is_refused(parts, monkeypatch):
    config, loaders, model = parts()
    config["train_neg_sample_args"]["distribution"] = "uniform"
    with pytest.raises(ValueError, match="samples no negatives"):
        type(model)(config, loaders[0]._dataset)


def test_recboles_flop_counter_takes_it(tmp_path, monkeypatch, parts):
    config, loaders, model = parts(training_windows="prefix")
    from logging import getLogger

    from recbole.data.transform import construct_transform
    from recbole.utils import get_flops

    dataset = loaders[0]._dataset
    assert get_flops(model, dataset, "cpu", getLogger(), construct_transform(config)) > 0


@pytest.mark.parametrize("memory", [2048, 0], ids=["in memory", "on disk"])
@pytest.mark.parametrize("loss", ["CE", "sampled_uniform", "sampled_in_batch"])
@pytest.mark.parametrize("model", ["fMRLRec", "fMRLRecID"])
def test_loss_and_gradients_ask_nothing_of_their_device(parts, model, loss, memory):
    # Tensors on "meta" hold no values: a look at one is an error, and so is one left on the CPU.
    keys = {"feature_memory_mb": memory} | {
        "loss_type": loss,
        "num_sampled_items": 5,
        "predict_first_item": True,
    }
    keys["history_bias"] = model == "fMRLRecID"
    _, loaders, built = parts(model, MAX_ITEM_LIST_LENGTH=4, self_distillation=0.5, **keys)
    interaction = next(iter(loaders[0])).to("meta")
    built.to("meta").train()
    result = built.calculate_loss(interaction)
    result.backward()
    torch.nn.utils.clip_grad_norm_(built.parameters(), 5.0)
    assert result.device.type == "meta" and result.shape == ()
    assert all(parameter.grad.device.type == "meta" for parameter in built.parameters())
    with pytest.raises(RuntimeError, match="meta"):
        result.item()


@pytest.mark.parametrize("windows", ["overlap", "prefix"])
def test_a_column_may_be_named_as_what_a_batch_keeps(parts, windows):
    _, loaders, model = parts(training_windows=windows, dropout_prob=0.0)
    rows = next(iter(loaders[0]))
    expected = model.calculate_loss(rows).item()
    rows.interaction["layout"] = torch.ones(len(rows))
    assert model.calculate_loss(rows).item() == expected


@pytest.mark.parametrize("starts", [False, True])
def test_the_loader_lays_a_batch_out_as_the_model_would(parts, starts):
    from recbole.data.interaction import Interaction

    _, loaders, model = parts(dropout_prob=0.0, predict_first_item=starts)
    rows = next(iter(loaders[0]))
    sent = rows.to("cpu")
    plain = Interaction(dict(rows.interaction))
    assert sent.layout is rows.layout is not None and not hasattr(plain, "layout")
    before = model.calculate_loss(plain).item()
    assert model.calculate_loss(sent).item() == model.calculate_loss(rows).item() == before
    assert rows.to("meta", "item_length")["item_id_list"].device.type == "cpu"


def test_rows_that_are_changed_are_laid_out_again(parts):
    from recbole.data.interaction import Interaction

    _, loaders, model = parts(dropout_prob=0.0)
    rows = next(iter(loaders[0]))
    before = model.calculate_loss(rows).item()
    short = rows["item_length"].clamp(max=1)
    expected = model.calculate_loss(Interaction({**rows.interaction, "item_length": short})).item()
    assert expected != before
    changed, updated, sorted_ = (rows.to("cpu") for _ in range(3))
    changed["item_length"] = short
    updated.update(Interaction({"item_length": short}))
    assert model.calculate_loss(changed).item() == expected
    assert model.calculate_loss(updated).item() == expected
    sorted_.sort("item_length")
    assert sorted_.layout is None
    assert model.calculate_loss(sorted_).item() == pytest.approx(before)
    few = rows[:3]
    assert model.calculate_loss(few).item() != before
