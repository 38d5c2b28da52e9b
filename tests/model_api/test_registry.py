"""Names to classes, and what is said about names that are no model's."""

from __future__ import annotations

import subprocess
import sys

import pytest

from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.data.loaders import dataset_class
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.model_api import registry
from recbole_fmrlrec.train.trainer import Trainer, trainer_class


def test_recboles_models_are_found_in_its_files() -> None:
    found = registry.recbole_models()
    assert len(found) == 94
    assert found["SASRec"] == "recbole.model.sequential_recommender.sasrec"
    assert found["xDeepFM"] == "recbole.model.context_aware_recommender.xdeepfm"
    assert found["Random"] == "recbole.model.general_recommender.random"
    kinds = registry.list_models()
    assert kinds["ours"] == ["fMRLRec", "fMRLRecID"]
    assert sum(map(len, kinds.values())) == 94 + len(registry.SHIPPED)


def test_every_name_is_a_class_of_its_module() -> None:
    for name in set(registry.recbole_models()) - {"LightGBM", "XGBoost"}:
        assert registry.get_model_class(name).__name__ == name


def test_ours_come_first() -> None:
    ours, with_ids = (registry.get_model_class(name) for name in registry.OUR_MODELS)
    assert ours.__module__ == "recbole_fmrlrec.models.fmrlrec"
    assert issubclass(with_ids, ours)
    assert registry.is_nested("fMRLRecID")
    assert not registry.is_nested("SASRec")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("sasrec", "unknown model `sasrec`: it is spelled `SASRec`"),
        ("FMRLRec", "unknown model `FMRLRec`: it is spelled `fMRLRec`"),
        (
            "SASRek",
            "unknown model `SASRek` (ours: fMRLRec, fMRLRecID; near names of RecBole: SASRec, "
            "SASRecF, SASRecCPR, EASE); `run_recbole.py models` lists all",
        ),
        (
            "fMLRec",
            "unknown model `fMLRec` (ours: fMRLRec, fMRLRecID; near names of RecBole: FEARec, "
            "DiffRec, FPMC); `run_recbole.py models` lists all",
        ),
        (
            "../zzz",
            "unknown model `../zzz` (ours: fMRLRec, fMRLRecID); `run_recbole.py models` lists all",
        ),
    ],
)
def test_unknown_models(name: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whatever baselines there are: near names of those that always were.
    monkeypatch.setattr(registry, "SHIPPED", registry.OUR_MODELS)
    with pytest.raises(UsageError) as error:
        registry.get_model_class(name)
    assert str(error.value) == says


def test_a_model_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'lightgbm'", name="lightgbm")

    monkeypatch.setattr(registry.importlib, "import_module", missing)
    with pytest.raises(UsageError) as error:
        registry.get_model_class("LightGBM")
    assert str(error.value) == (
        "the model `LightGBM` cannot be used: the package `lightgbm` is not installed: "
        "pip install lightgbm"
    )


def test_without_recbole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match="RecBole is not installed"):
        registry.recbole_dir.__wrapped__()


def test_recboles_special_trainers_keep_their_models() -> None:
    for model, trainer in [("CKE", "KGTrainer"), ("KGAT", "KGATTrainer")]:
        assert trainer_class(Config(model, "ml-100k")).__name__ == trainer


def test_dataset_classes() -> None:
    ours = dataset_class(Config("fMRLRec", "ml-100k"))
    theirs = dataset_class(Config("BERT4Rec", "ml-100k"))
    assert ours.__name__ == "UserWindowDataset"
    assert [kind.__name__ for kind in theirs.__mro__].count("SequentialDataset") == 1


def test_our_trainer_serves_the_others() -> None:
    for model in ("fMRLRec", "SASRec", "BPR", "Pop"):
        assert trainer_class(Config(model, "ml-100k")) is Trainer


def test_looking_names_up_imports_nothing_heavy() -> None:
    code = (
        "import sys; from recbole_fmrlrec.model_api import registry;"
        "from recbole_fmrlrec.keys import known as keys; registry.list_models();"
        "keys.general_keys(); print({'torch', 'recbole', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
