"""gSASRec, eSASRec and BSARec in RecBole: which loss is made of which items and draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from recbole_fmrlrec.errors import UsageError
from tests.models.test_baselines import ITEMS, MakeRun, run

__all__ = ["run"]  # the fixture

STILL: dict[str, dict[str, Any]] = {
    "gSASRec": {"dropout_prob": 0.0, "num_negatives": 4},
    "eSASRec": {"dropout_prob": 0.0, "item_dropout_prob": 0.0, "num_negatives": 4},
    "BSARec": {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0},
}


def test_gsasrecs_beta(run: MakeRun) -> None:
    # 4 of the 31 items that are not the target.
    assert run("gSASRec", num_negatives=4, gbce_t=1.0).model.beta == pytest.approx(4 / 31)
    assert run("gSASRec", num_negatives=4, gbce_t=0.0).model.beta == 1
    most = run("gSASRec", num_negatives=256).model
    assert (most.num_negatives, most.beta) == (ITEMS - 1, 1)


@pytest.mark.parametrize("name", ["gSASRec", "eSASRec"])
@pytest.mark.parametrize("windows", ["overlap", "prefix"])
def test_the_loss_is_that_of_the_draws(run: MakeRun, name: str, windows: str) -> None:
    made = run(name, training_windows=windows, **STILL[name])
    model, rows = made.model.train(), next(iter(made.train))
    torch.manual_seed(7)
    loss = model.calculate_loss(rows).item()
    batch = model._batch(rows)
    torch.manual_seed(7)
    negatives = torch.randint(ITEMS, (len(batch.targets), 4))
    candidates = torch.cat([batch.targets[:, None], negatives + 1], dim=1)
    hidden = model.trained_outputs(model.item_embedding.weight, batch)
    if name == "gSASRec":
        vectors = model.output_embedding.weight[candidates - 1]
    else:
        vectors = model.item_embedding.weight[candidates]
    scores = (vectors * hidden[:, None]).sum(2)
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1
    if name == "gSASRec":
        each = functional.binary_cross_entropy_with_logits(scores, labels, reduction="none")
        wanted = (each * (1 - labels * (1 - model.beta))).mean()
    else:
        wanted = -(labels * torch.log_softmax(scores, dim=1)).sum(1).mean()
    assert loss == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("name", list(STILL))
def test_candidates_that_are_all_items_give_the_exact_loss(run: MakeRun, name: str) -> None:
    losses = []
    for kind in ("CE", "sampled_uniform"):
        made = run(name, loss_type=kind, num_sampled_items=1000, **STILL[name])
        losses.append(made.model.calculate_loss(next(iter(made.train))).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("loss", ["sampled_softmax", "CE"])
def test_esasrec_drops_out_one_table_for_input_and_output(run: MakeRun, loss: str) -> None:
    made = run("eSASRec", item_dropout_prob=0.75, num_negatives=4, loss_type=loss)
    model, rows = made.model.train(), next(iter(made.train))
    weight = model.item_embedding.weight
    dropped = model.item_vectors()
    kept = dropped != 0
    assert 0.1 < kept.float().mean() < 0.4
    torch.testing.assert_close(dropped[kept], 4 * weight[kept])
    assert torch.equal(model.eval().item_vectors(), weight)
    draws = []
    model.train().item_dropout.register_forward_hook(lambda *made: draws.append(made[2]))
    read = []
    model.encoder.register_forward_hook(lambda _, given, __: read.append(given[0]))
    model.calculate_loss(rows)
    assert len(draws) == 1
    packing = model._batch(rows).packing
    assert packing is not None
    assert torch.equal(read[0], draws[0][packing.pack(rows["item_id_list"])])


def test_gsasrec_with_one_table(run: MakeRun) -> None:
    made = run("gSASRec", reuse_item_embeddings=True, **STILL["gSASRec"])
    apart = run("gSASRec", **STILL["gSASRec"])
    numbers = [sum(p.numel() for p in each.model.parameters()) for each in (apart, made)]
    assert numbers[0] - numbers[1] == ITEMS * 32
    rows, scores = made.scores()
    with torch.no_grad():
        outputs = made.model.forward(rows["item_id_list"], rows["item_length"])
        wanted = outputs @ made.model.item_embedding.weight.t()
    torch.testing.assert_close(scores[:, 1:], wanted[:, 1:])


def test_bsarecs_padding_is_never_trained(run: MakeRun) -> None:
    made = run("BSARec", epochs=1)
    before = made.model.item_embedding.weight.detach().clone()
    made.losses()
    after = made.model.item_embedding.weight.detach()
    assert torch.equal(after[0], before[0]) and bool(after[0].any())
    assert bool((after[1:] != before[1:]).any(1).all())


@pytest.mark.parametrize(
    ("name", "keys", "says"),
    [
        ("gSASRec", {"gbce_t": 1.5}, "gbce_t = 1.5"),
        ("eSASRec", {"num_negatives": 0}, "num_negatives = 0"),
        ("eSASRec", {"loss_type": "gBCE"}, "sampled_softmax"),
        ("BSARec", {"training_windows": "overlap"}, "training_windows"),
    ],
)
def test_values_that_a_key_cannot_have(
    run: MakeRun, name: str, keys: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as error:
        run(name, **keys)
    assert says in str(error.value)
