"""What every baseline must show, on data whose rule popularity cannot see.

A model that needs other settings on the tiny data, or whose loss is not a softmax over all items,
says so in `KEYS` and `LOSS_AT_ZERO`; tests of what makes a model itself stand in its own file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.utils import ModelType, init_seed

from recbole_fmrlrec import compat
from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.model_api.protocols import VectorModel
from recbole_fmrlrec.model_api.registry import BASELINES
from recbole_fmrlrec.train.trainer import trainer_class
from tests.conftest import write_inter, write_table
from tests.text_encoders import save_encoder

compat.apply()

GROUPS, IN_GROUP, USERS, EVENTS = 4, 8, 64, 7
ITEMS = GROUPS * IN_GROUP

#: For all: a rate at which a small model learns the rule in seconds.
SMALL: dict[str, Any] = {
    "epochs": 2,
    "train_batch_size": 32,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "warmup_steps": 0,
    "lr_scheduler": "constant",
    "MAX_ITEM_LIST_LENGTH": 6,
    "stopping_step": 1000,
    "eval_step": 1000,
    "use_gpu": False,
    "show_progress": False,
    "num_threads": 1,
    "topk": [1, IN_GROUP],
    "metrics": ["Recall"],
    "valid_metric": "Recall@1",
}
#: What a model needs beside them.
KEYS: dict[str, dict[str, Any]] = {
    "BSARec": {"hidden_dropout_prob": 0.1, "attn_dropout_prob": 0.1},
    "DIFF": {
        "hidden_size": 32,
        "hidden_dropout_prob": 0.1,
        "attn_dropout_prob": 0.1,
        "alignment_weight": 0.0,  # the loss is that of the items alone
    },
    "FMLPRec": {"hidden_size": 32, "hidden_dropout_prob": 0.1},
    "gSASRec": {"hidden_size": 32, "dropout_prob": 0.1, "num_negatives": 4},
    "UniSRec": {"hidden_size": 16, "inner_size": 32, "n_exps": 2},
    "VQRec": {"hidden_size": 32, "inner_size": 64, "code_dim": 4, "code_cap": 16},
    "MMSSL": {"embedding_size": 16, "train_batch_size": 512},
    "RecFormer": {
        "encoder": "encoder",
        "text_columns": ["title"],
        "first_stage_epochs": 1,
        "learning_rate": 0.003,
        "MAX_ITEM_LIST_LENGTH": 2,  # no place that the tests have and the training has not
    },
}
#: Epochs in which a model learns the rule; 60 where it is not named.
EPOCHS: dict[str, int] = {"BSARec": 15, "DIFF": 8, "FMLPRec": 15}
#: The loss of a model all of whose weights are 0 where it is not log N.
LOSS_AT_ZERO: dict[str, float] = {
    # A mean of binary losses, each log 2; that of the target counts 1 - 0.75 (1 - 4 / 31) times.
    "gSASRec": (1 - 0.75 * (1 - 4 / 31) + 4) / 5 * math.log(2),
    # A pair at equal scores, a user among all users by two views, and a critic that is undecided.
    "MMSSL": math.log(2) + 0.03 * math.log(2 * USERS - 1) - 0.0001 * 50,
}
#: The words of the items and of the names of their columns.
WORDS = ["title", *(f"{word}{n}" for word in ("kind", "place") for n in range(IN_GROUP))]
#: Packages without which a model cannot be trained.
NEEDS: dict[str, str] = {"VQRec": "faiss", "RecFormer": "transformers"}


def write_cycles(root: Path) -> None:
    """Users who walk around one of the cycles of items; every item occurs equally often.

    The next item depends on the last one alone. The 7 events of a user leave out one of the 8 items
    of their cycle, so no target is an item of the history. Text says group and place.
    """
    rows = [
        (f"u{user}", f"i{_item(user % GROUPS, user // GROUPS + step)}", 1000 + step)
        for user in range(USERS)
        for step in range(EVENTS)
    ]
    folder = write_inter(root, rows, "cycles")
    places = [(group, place) for group in range(GROUPS) for place in range(IN_GROUP)]
    table = [
        (f"i{_item(*at)}", f"kind{at[0]} place{at[1]}", f"c{at[0]} p{at[1] % 2}", f"b{at[1] % 3}")
        for at in places
    ]
    header = "item_id:token title:token_seq categories:token_seq brand:token"
    write_table(folder / "cycles.item", header, table)


def _item(group: int, place: int) -> int:
    return group + GROUPS * (place % IN_GROUP)


class Run:
    """Config, loaders, model and trainer of one run."""

    def __init__(self, root: Path, name: str, **keys: Any) -> None:
        places = {"data_path": str(root), "checkpoint_dir": str(root / "saved")}
        self.config = Config(
            name, "cycles", config_dict={**SMALL, **places, **KEYS.get(name, {}), **keys}
        )
        init_seed(1, True)
        self.train, self.valid, self.test = data_preparation(
            self.config, create_dataset(self.config)
        )
        self.model = self.config.model_class(self.config, self.train._dataset)
        self.trainer = trainer_class(self.config)(self.config, self.model)

    @property
    def sequential(self) -> bool:
        """Whether the order of a history matters to the model."""
        return bool(self.config["MODEL_TYPE"] == ModelType.SEQUENTIAL)

    def losses(self) -> list[float]:
        """Train; the loss of each epoch."""
        self.trainer.fit(self.train, self.valid, verbose=False, saved=False)
        return [epoch["train_loss"] for epoch in self.trainer.history]

    def scores(self) -> tuple[Interaction, torch.Tensor]:
        """The first batch of tests and its scores of all items."""
        self.model.eval()
        rows = next(iter(self.test))[0]
        with torch.no_grad():
            return rows, self.model.full_sort_predict(rows).view(-1, self.model.n_items)


def loss_of(model: Any, batch: Interaction) -> torch.Tensor:
    """The loss of a batch; RecBole adds up the parts of one that has several."""
    found = model.calculate_loss(batch)
    return torch.stack(found).sum() if isinstance(found, tuple) else found


MakeRun = Callable[..., Run]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """Make a run of a model; keys may be given."""
    monkeypatch.chdir(tmp_path)
    write_cycles(tmp_path)

    def make(name: str, **keys: Any) -> Run:
        if package := NEEDS.get(name):
            pytest.importorskip(package, reason=f"{name} needs the package {package}")
        if "encoder" in KEYS.get(name, {}):
            save_encoder(tmp_path / "encoder", WORDS)
        return Run(tmp_path, name, **keys)

    return make


every = pytest.mark.parametrize("name", list(BASELINES))


@every
def test_it_learns_a_rule_that_popularity_cannot(run: MakeRun, name: str) -> None:
    made = run(name, epochs=EPOCHS.get(name, 60))
    made.losses()
    found = made.trainer.evaluate(made.test, load_best_model=False)
    # By popularity: 1 / 32 and 8 / 32. A model without order can know the cycle, not the place.
    assert found["recall@1" if made.sequential else f"recall@{IN_GROUP}"] > 0.9


@every
def test_every_parameter_gets_a_gradient(run: MakeRun, name: str) -> None:
    made = run(name)
    made.model.train()
    for batch in made.train:
        loss_of(made.model, batch).backward()
    learned = {k: p.grad for k, p in made.model.named_parameters() if p.requires_grad}
    assert learned
    without = [k for k, grad in learned.items() if grad is None or not grad.any()]
    assert not without
    assert all(bool(grad.isfinite().all()) for grad in learned.values())


@every
def test_one_item_scores_alone_as_among_all(run: MakeRun, name: str) -> None:
    made = run(name)
    rows, scores = made.scores()
    assert scores.shape == (len(rows), ITEMS + 1)
    for item in range(1, ITEMS + 1):
        asked = {k: rows[k] for k in rows.interaction}
        asked[made.model.ITEM_ID] = torch.full((len(rows),), item)
        with torch.no_grad():
            alone = made.model.predict(Interaction(asked))
        torch.testing.assert_close(alone.view(-1), scores[:, item], rtol=1e-4, atol=1e-5)


@every
def test_a_score_is_the_product_of_vectors(run: MakeRun, name: str) -> None:
    made = run(name)
    rows, scores = made.scores()
    if not isinstance(made.model, VectorModel):
        pytest.skip(f"{name} declares no vectors")
    with torch.no_grad():
        items = made.model.ranked_vectors()
        histories = made.model.history_vectors(rows["item_id_list"], rows["item_length"])
    torch.testing.assert_close(histories @ items.t(), scores[:, 1:], rtol=1e-4, atol=1e-5)


@every
def test_a_user_scores_alone_as_in_a_batch(run: MakeRun, name: str) -> None:
    made = run(name)
    rows, scores = made.scores()
    for user in (0, len(rows) - 1):
        with torch.no_grad():
            alone = made.model.full_sort_predict(rows[user : user + 1]).view(1, -1)
        torch.testing.assert_close(alone[0, 1:], scores[user, 1:], rtol=1e-4, atol=1e-5)


@every
def test_the_padding_is_never_ranked(
    run: MakeRun, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run(name)
    before = made.trainer.evaluate(made.test, load_best_model=False)
    rank = made.model.full_sort_predict

    def padding_first(rows: Interaction) -> torch.Tensor:
        scores = rank(rows).view(-1, made.model.n_items).clone()
        scores[:, 0] = 1e9
        return scores

    monkeypatch.setattr(made.model, "full_sort_predict", padding_first)
    assert made.trainer.evaluate(made.test, load_best_model=False) == before


@every
def test_the_loss_of_no_knowledge_counts_the_items_alone(run: MakeRun, name: str) -> None:
    made = run(name)
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter.zero_()
    loss = loss_of(made.model, next(iter(made.train))).item()
    # Softmax over N equal scores; with the padding among them it would be log(N + 1).
    assert loss == pytest.approx(LOSS_AT_ZERO.get(name, math.log(ITEMS)), rel=1e-5)


@every
def test_a_repeated_run_gives_the_same_digits(run: MakeRun, name: str) -> None:
    first = run(name)
    losses = first.losses()
    second = run(name)
    assert second.losses() == losses
    other = second.model.state_dict()
    for key, value in first.model.state_dict().items():
        assert torch.equal(value, other[key]), key
    assert torch.equal(first.scores()[1], second.scores()[1])
