"""What LRURec has beside its encoder: the item bias, the first item, what decays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.models.test_baselines import ITEMS, USERS, Run, write_cycles


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    write_cycles(tmp_path)
    return Run(tmp_path, "LRURec", dropout_prob=0.0, recurrence_dropout_prob=0.0, weight_decay=0.5)


@torch.no_grad()
def test_scores_are_products_plus_the_bias_of_the_item(made: Run) -> None:
    model = made.model
    model.item_bias.copy_(torch.arange(ITEMS) / 10)
    rows, scores = made.scores()
    hidden = model.forward(rows[model.ITEM_SEQ], rows[model.ITEM_SEQ_LEN])
    expected = hidden @ model.item_embedding.weight[1:].T + model.item_bias
    torch.testing.assert_close(scores[:, 1:], expected)


def test_the_loss_is_the_mean_over_all_positions_and_first_items(made: Run) -> None:
    model, rows = made.model.train(), next(iter(made.train))
    targets, lengths = rows["target_id_list"], rows[model.ITEM_SEQ_LEN]
    losses = []
    with torch.no_grad():
        model.item_bias.normal_()
        for row, last in enumerate(lengths.tolist()):
            items = [0, *rows[model.ITEM_SEQ][row, :last].tolist()]
            wanted = [rows["start_target"][row], *targets[row, :last]]
            for place, target in enumerate(wanted):
                # The first item is predicted from the empty one alone, the others without it.
                history = torch.tensor([items[1 : place + 1] or [0]])
                hidden = model.forward(history, torch.tensor([history.shape[1]]))
                scores = hidden @ model.item_embedding.weight[1:].T + model.item_bias
                losses.append(torch.nn.functional.cross_entropy(scores[0], target - 1))
        assert model.calculate_loss(rows).item() == pytest.approx(torch.stack(losses).mean().item())
    # Seven events of a user, two of them held out: five targets each with the first one.
    assert len(losses) == 5 * len(rows) and len(made.train._dataset) == USERS


def test_biases_and_norms_do_not_decay(made: Run) -> None:
    decayed, spared = made.trainer.optimizer.param_groups
    names = {id(parameter): name for name, parameter in made.model.named_parameters()}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.5, 0.0)
    found = {names[id(parameter)] for parameter in spared["params"]}
    assert found == {name for name in names.values() if "bias" in name or "norm" in name}
    assert {"item_embedding.weight", "encoder.blocks.0.recurrence.nu_log"} <= {
        names[id(parameter)] for parameter in decayed["params"]
    }
