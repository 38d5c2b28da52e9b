"""A trained model ranks the same whatever order the rows of its dataset have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recbole.utils import init_seed

from recbole_fmrlrec import compat
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.checkpoint import model_state
from recbole_fmrlrec.model_api.registry import list_models
from recbole_fmrlrec.train.continuing import continue_model
from recbole_fmrlrec.train.parent import Parent
from recbole_fmrlrec.train.restore import saved_model
from recbole_fmrlrec.train.tensorboard import tensorboard_in
from recbole_fmrlrec.train.trainer import trainer_class
from recbole_fmrlrec.train.vocabulary import columns_of, to_text, vocabulary_of
from tests.conftest import reverse_rows
from tests.data.test_prefix_rows import small
from tests.text_encoders import save_encoder
from tests.train.test_resume_of_models import KEYS, MODELS

compat.apply()

OTHER_KINDS = {
    name for kind in ("context_aware", "knowledge_aware") for name in list_models()[kind]
}
#: What a model says when its rows cannot be put into another order.
REFUSED: dict[str, str] = {
    "CKE": "has rows of columns, entities or trees",
    "FM": "has rows of columns, entities or trees",
    "GCMC": "how its rows depend on several kinds together is not known",
    "MMSSL": "neighbours cannot be taken over: made for the items of that training alone",
    "VQRec": "item_codes cannot be taken over: made for the items of that training alone",
    # Their pretrained vectors are of so many items.
    **dict.fromkeys(("GRU4RecKG", "KSR"), "for more of them fails"),
    **dict.fromkeys(
        ("ADMMSLIM", "AsymKNN", "EASE", "ItemKNN", "Pop", "Random", "SLIMElastic"),
        "is computed from all interactions at once",
    ),
}
#: Models with rows of the values of columns, which are never continued.
BY_COLUMNS = {"DIFF", "FDSA", "GRU4RecF", "SASRecF"}
#: Models whose test draws items, by their numbers, and one that reads neighbours in their order.
BY_ORDER = {"DIEN", "DIN", "NNCF"}
TRIED = sorted({*MODELS} - OTHER_KINDS - BY_ORDER | {"CKE", "FM"})


def parts(root: Path, model: str) -> tuple[Any, Any, Any]:
    """Configuration and loaders for training and test."""
    keys = {"train_batch_size": 64, "learning_rate": 0.02, **KEYS.get(model, {})}
    config = small(root, model, checkpoint_dir=str(root / "run"), **keys)
    init_seed(1, True)
    train, _, test = data_preparation(config, create_dataset(config))
    return config, train, test


def metrics(config: Any, model: Any, test: Any) -> dict[str, float]:
    trainer = trainer_class(config)(config, model.eval())
    return dict(trainer.evaluate(test, load_best_model=False))


def trained(
    root: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> tuple[dict[str, Any], dict[str, float]]:
    """The checkpoint of a model after an epoch, and its metrics."""
    monkeypatch.chdir(root)
    if model == "VQRec":
        pytest.importorskip("faiss", reason="VQRec needs the package faiss")
    if model == "RecFormer":
        pytest.importorskip("transformers", reason="RecFormer needs the package transformers")
        save_encoder(root / "encoder", ["words", "w0", "w1", "w2", "w3"], dropout=0.1)
    (root / "run").mkdir()
    tensorboard_in(root / "run")
    try:
        config, train, test = parts(root, model)
        made = config.model_class(config, train._dataset)
        trainer_class(config)(config, made).fit(train, verbose=False, saved=False)
    except ModuleNotFoundError as error:
        pytest.skip(f"{model} needs the package {error.name}")
    state = {
        "epoch": 0,
        "config": config.effective(),
        "features": getattr(made, "feature_info", {}),
        "vocabulary": to_text(vocabulary_of(train._dataset)),
        "columns": columns_of(train._dataset),
        **model_state(made),
    }
    return state, metrics(config, made, test)


@pytest.mark.parametrize("model", TRIED)
def test_rows_go_by_id(rich: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    root, file = rich.parent, rich.parent / "best.pth"
    state, expected = trained(root, monkeypatch, model)
    reverse_rows(rich / "rich.inter")
    config, train, test = parts(root, model)
    assert to_text(vocabulary_of(train._dataset)) != state["vocabulary"]
    if why := REFUSED.get(model):
        with pytest.raises(UsageError, match=why):
            saved_model(file, config, state, train)
    else:
        opened = saved_model(file, config, state, train)
        assert metrics(config, opened, test) == pytest.approx(expected, abs=1e-6)
    again = config.model_class(config, train._dataset)
    parent = Parent(file, "continue_from", state)
    if why := why or ("selected_features" if model in BY_COLUMNS else None):
        with pytest.raises(UsageError, match=why):
            continue_model(again, train._dataset, config, parent)
    else:
        continue_model(again, train._dataset, config, parent)
        assert metrics(config, again, test) == pytest.approx(expected, abs=1e-6)


def test_numbers_of_items_are_refused_where_users_stand_as_they_stood(
    rich: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MMSSL has rows of users that hold numbers of items."""
    state, _ = trained(rich.parent, monkeypatch, "MMSSL")
    reverse_rows(rich / "rich.inter")
    header, *rows = (rich / "rich.inter").read_text().splitlines()
    rows.sort(key=lambda row: int(row.split("\t")[0][1:]))
    (rich / "rich.inter").write_text("\n".join([header, *rows, ""]))
    config, train, _ = parts(rich.parent, "MMSSL")
    now = to_text(vocabulary_of(train._dataset))
    assert now["users"] == state["vocabulary"]["users"] and now != state["vocabulary"]
    model = config.model_class(config, train._dataset)
    parent = Parent(Path("best.pth"), "continue_from", state)
    with pytest.raises(UsageError, match=REFUSED["MMSSL"]):
        continue_model(model, train._dataset, config, parent)


@pytest.mark.parametrize("model", ["BPR", "DIFF", "FDSA", "FM", "SASRec"])
def test_values_of_columns_have_the_numbers_of_the_training(
    rich: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """Words of items are numbered in the order of the file of items."""
    state, expected = trained(rich.parent, monkeypatch, model)
    reverse_rows(rich / "rich.item")
    config, train, test = parts(rich.parent, model)
    assert to_text(vocabulary_of(train._dataset)) == state["vocabulary"]
    if model in ("BPR", "SASRec"):
        found = metrics(config, saved_model(Path("best.pth"), config, state, train), test)
        assert found == pytest.approx(expected, abs=1e-6)
        return
    with pytest.raises(UsageError, match=r"rows of .*columns|columns, entities or trees"):
        saved_model(Path("best.pth"), config, state, train)
    del state["columns"]  # as in a checkpoint of an earlier version
    saved_model(Path("best.pth"), config, state, train)
