"""A trained model ranks the same whatever order the dataset's rows have, for every model there is."""

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
from recbole_fmrlrec.train.vocabulary import to_text, vocabulary_of
from tests.data.test_prefix_rows import small
from tests.text_encoders import save_encoder
from tests.train.test_resume_of_models import KEYS, MODELS

compat.apply()

#: Nothing to take over, or rows of columns, entities and trees.
OTHER_KINDS = {name for kind in ("context_aware", "knowledge_aware") for name in list_models()[kind]}
REFUSED: dict[str, str] = {}


def reverse(folder: Path) -> None:
    """Turn the rows of a dataset's files around, below their header."""
    for file in folder.glob("rich.*"):
        header, *rows = file.read_text().splitlines()
        file.write_text("\n".join([header, *rows[::-1], ""]))


def parts(root: Path, model: str) -> tuple[Any, Any, Any]:
    keys = {"train_batch_size": 64, "learning_rate": 0.02, **KEYS.get(model, {})}
    config = small(root, model, checkpoint_dir=str(root / "run"), **keys)
    init_seed(1, True)
    train, _, test = data_preparation(config, create_dataset(config))
    return config, train, test


def metrics(config: Any, model: Any, test: Any) -> dict[str, float]:
    init_seed(1, True)
    trainer = trainer_class(config)(config, model.eval())
    return dict(trainer.evaluate(test, load_best_model=False))


@pytest.mark.parametrize("model", MODELS)
def test_rows_go_by_id(rich: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    root = rich.parent
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
        trained = config.model_class(config, train._dataset)
        trainer_class(config)(config, trained).fit(train, verbose=False, saved=False)
    except ModuleNotFoundError as error:
        pytest.skip(f"{model} needs the package {error.name}")
    expected = metrics(config, trained, test)
    vocabulary = {"vocabulary": to_text(vocabulary_of(train._dataset))}
    about = {"config": config.effective(), "features": getattr(trained, "feature_info", {})}
    state = {**about, **vocabulary, **model_state(trained), "epoch": 0}
    reverse(rich)
    config, train, test = parts(root, model)
    assert vocabulary_of(train._dataset) != vocabulary["vocabulary"]
    file = root / "best.pth"
    for way in ("saved", "continued"):
        try:
            if way == "saved":
                again = saved_model(file, config, state, train)
            else:
                again = config.model_class(config, train._dataset)
                continue_model(again, train._dataset, config, Parent(file, "continue_from", state))
        except UsageError as error:
            print("REFUSED", model, way, error)
            continue
        found = metrics(config, again, test)
        print("SAME" if found == pytest.approx(expected, abs=1e-6) else "DIFFERENT", model, way, expected, found)
