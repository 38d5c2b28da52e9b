"""RecFormer in RecBole: what it reads, its two stages, and the encoders that it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.utils import init_seed

from recbole_fmrlrec import compat
from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.nn.text_sequences import NAME, VALUE
from recbole_fmrlrec.runs.folder import run_fingerprint
from recbole_fmrlrec.train.trainer import Trainer
from tests.conftest import write_inter, write_table
from tests.text_encoders import FIRST, SPECIAL, save_encoder

pytest.importorskip("transformers", reason="RecFormer needs the package transformers")
compat.apply()

WORDS = ["title", "brand", "categories", "red", "blue", "lamp", "chair", "oak", "acme"]
NUMBER = {word: len(SPECIAL) + n for n, word in enumerate(WORDS)}
ITEMS = [
    ("i0", "red lamp", "acme", "chair oak"),
    ("i1", "blue chair", "", "oak"),
    ("i2", "red oak lamp", "acme", ""),
    ("i3", "blue", "", ""),
    ("i4", "oak chair", "acme", "lamp"),
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of texts, and an encoder that knows their words."""
    monkeypatch.chdir(tmp_path)
    rows = [(f"u{u}", f"i{(u + step) % 5}", 100 + step) for u in range(8) for step in range(5)]
    folder = write_inter(tmp_path, rows, "texts")
    header = "item_id:token title:token_seq brand:token categories:token_seq"
    write_table(folder / "texts.item", header, ITEMS)
    save_encoder(tmp_path / "encoder", WORDS)
    return tmp_path


def make(root: Path, **keys: Any) -> tuple[Trainer, Any, Any]:
    """A trainer and the data for training and validation."""
    fixed = {
        "data_path": str(root),
        "checkpoint_dir": str(root / "saved"),
        "encoder": "encoder",
        "use_gpu": False,
        "show_progress": False,
        "num_threads": 1,
        "warmup_steps": 0,
        "lr_scheduler": "constant",
        "learning_rate": 0.003,
        "train_batch_size": 8,
    }
    config = Config("RecFormer", "texts", config_dict={**fixed, **keys})
    init_seed(1, True)
    train, valid, _ = data_preparation(config, create_dataset(config))
    return Trainer(config, config.model_class(config, train._dataset)), train, valid


def item_number(item: str, data: Any) -> int:
    """RecBole's number of an item."""
    return int(data._dataset.field2token_id["item_id"][item])


def test_an_item_is_the_names_and_values_of_its_attributes(root: Path) -> None:
    trainer, train, _ = make(root)
    tokens = trainer.model.tokens
    item = item_number("i1", train)
    count = int(tokens.counts[item])
    words = ["title", "blue", "chair", "brand", "categories", "oak"]  # no brand: its name alone
    assert tokens.ids[item, :count].tolist() == [NUMBER[word] for word in words]
    assert tokens.kinds[item, :count].tolist() == [NAME, VALUE, VALUE, NAME, NAME, VALUE]
    assert int(tokens.counts[0]) == 0
    assert trainer.model.first == FIRST


def test_an_attribute_is_cut_with_its_name(root: Path) -> None:
    trainer, train, _ = make(root, text_columns=["title", "brand"], max_attribute_tokens=2)
    item = item_number("i2", train)
    words = ["title", "red", "brand", "acme"]
    assert trainer.model.tokens.ids[item].tolist() == [NUMBER[word] for word in words]


def test_the_score_is_a_cosine_over_the_temperature(root: Path) -> None:
    """Encoded by the transformer itself, without this package's layout."""
    trainer, _, valid = make(root)
    model = trainer.model.eval()
    rows = next(iter(valid))[0]
    with torch.no_grad():
        scores = model.full_sort_predict(rows)

        def encoded(items: list[int]) -> torch.Tensor:
            ids, kinds, places = [FIRST], [0], [0]
            for place, item in enumerate(reversed(items), start=1):
                count = int(model.tokens.counts[item])
                ids += model.tokens.ids[item, :count].tolist()
                kinds += model.tokens.kinds[item, :count].tolist()
                places += [place] * count
            text = model.text
            x = text.words(torch.tensor([ids])) + text.kind_embedding(torch.tensor([kinds]))
            x = x + text.place_embedding(torch.tensor([places]))
            return text.body(inputs_embeds=x).last_hidden_state[0, 0]

        length = int(rows[model.ITEM_SEQ_LEN][3])
        history = encoded(rows[model.ITEM_SEQ][3, :length].tolist())
        for item in range(1, model.n_items):
            expected = torch.cosine_similarity(history, encoded([item]), dim=0) / 0.05
            torch.testing.assert_close(scores[3, item], expected, rtol=1e-4, atol=1e-4)


def test_items_stay_while_an_epoch_trains_and_in_the_second_stage(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, train, valid = make(root, epochs=4, first_stage_epochs=2)
    model, tables = trainer.model, []
    loss = model.calculate_loss

    def watched(rows: Any) -> torch.Tensor:
        found = loss(rows)
        tables.append((model.stage, model.table.clone()))
        return found

    monkeypatch.setattr(model, "calculate_loss", watched)
    before = model.text.place_embedding.weight.detach().clone()
    trainer.fit(train, valid, verbose=False)
    steps = len(train)
    assert [stage for stage, _ in tables] == [0] * 2 * steps + [1] * 2 * steps
    first, second, third, fourth = (
        [table for _, table in tables[n * steps : (n + 1) * steps]] for n in range(4)
    )
    for epoch in (first, second, third, fourth):
        assert all(torch.equal(table, epoch[0]) for table in epoch)
    assert not torch.equal(first[0], second[0])
    assert torch.equal(third[0], fourth[0])
    best = max(range(2), key=lambda n: trainer.history[n]["valid"]["ndcg@10"])
    assert torch.equal(third[0], (first, second)[best][0])  # the best epoch's items
    assert not torch.equal(before, model.text.place_embedding.weight)


def test_validation_ends_each_stage(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, train, valid = make(root, epochs=9, stopping_step=1)
    scores = iter([0.5, 0.4, 0.3, 0.6, 0.1, 0.2, 0.9])
    monkeypatch.setattr(trainer, "_valid_epoch", lambda *a, **k: validated(trainer, next(scores)))
    trainer.fit(train, valid, verbose=False)
    # Two validations without a better one end a stage: after 3 epochs, and after 3 more.
    assert [epoch["epoch"] for epoch in trainer.history] == [0, 1, 2, 3, 4, 5]
    assert trainer.best_valid_score == 0.6
    assert trainer.finished


def validated(trainer: Trainer, score: float) -> tuple[float, dict[str, float]]:
    """The outcome of a validation, noted as the trainer does."""
    trainer.history[-1]["valid"] = {"ndcg@10": score}
    return score, {"ndcg@10": score}


def test_a_history_is_as_long_as_the_encoder_has_positions(root: Path) -> None:
    save_encoder(root / "short", WORDS, positions=7)
    trainer, _, valid = make(root, encoder="short")
    assert trainer.model.max_tokens == 7
    with torch.no_grad():
        scores = trainer.model.eval().full_sort_predict(next(iter(valid))[0])
    assert bool(scores.isfinite().all())


def test_the_files_of_the_encoder_belong_to_what_a_run_is(root: Path) -> None:
    config = make(root)[0].config
    before = run_fingerprint(config)
    assert run_fingerprint(config) == before
    with (root / "encoder" / "vocab.txt").open("a") as file:
        file.write("sofa\n")
    assert run_fingerprint(config) != before


def spoil(root: Path, **changes: Any) -> None:
    """Change entries of the encoder's config.json."""
    file = root / "encoder" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"encoder": None}, "encoder: not set; the key `encoder` names the folder"),
        ({"encoder": "nowhere"}, "there is no folder .*nowhere"),
        ({"encoder": "texts"}, r"texts has no \*.safetensors"),
        ({"text_columns": ["colour"]}, "no column 'colour'; it has item_id, title, brand"),
    ],
    ids=["none", "no folder", "no weights", "no column"],
)
def test_wrong_use_is_said(root: Path, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make(root, **keys)


def test_weights_as_a_pickle_are_not_read(root: Path) -> None:
    weights = root / "encoder" / "model.safetensors"
    torch.save({}, root / "encoder" / "pytorch_model.bin")
    weights.rename(root / "encoder" / "other.safetensors")
    with pytest.raises(UsageError, match="cannot be loaded"):
        make(root)


def test_code_that_comes_with_a_model_is_not_run(root: Path) -> None:
    (root / "encoder" / "own.py").write_text("open('ran', 'w')\nclass Own: ...\n")
    names = {"AutoConfig": "own.Own", "AutoModel": "own.Own"}
    spoil(root, auto_map=names, model_type="own")
    with pytest.raises(UsageError, match="cannot be loaded"):
        make(root)
    assert not (root / "ran").exists()


def test_weights_of_another_architecture_are_refused(root: Path) -> None:
    spoil(root, num_hidden_layers=2)
    with pytest.raises(UsageError, match="of another model"):
        make(root)
