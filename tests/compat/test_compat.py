"""Every mend of compat: RecBole fails without it, and does as it means to with it."""

from __future__ import annotations

import importlib.util
import json
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data.interaction import Interaction
from recbole.evaluator import Collector
from recbole.utils import get_trainer
from scipy.sparse import dok_matrix

from recbole_fmrlrec import compat
from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
from tests.conftest import MakeConfig, as_shipped

compat.apply()


def prepared(config: Any) -> tuple[Any, Any, Any, Any]:
    """The model, and the three loaders."""
    loaders = data_preparation(config, create_dataset(config))
    torch.manual_seed(0)
    return config.model_class(config, loaders[0]._dataset), *loaders


def trained(config: Any) -> tuple[Any, Any]:
    """RecBole's trainer after one epoch with its best checkpoint saved, and the test loader."""
    model, train, valid, test = prepared(config)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(train, valid, verbose=False)
    return trainer, test


def test_applying_twice_patches_once() -> None:
    load = torch.load
    compat.apply()
    assert torch.load is load


def test_numpy_aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("float_", "complex_", "unicode_", "float"):
        monkeypatch.delattr(np, name)
    with pytest.raises(AttributeError, match="float_"):
        Config.compatibility_settings(None)
    with pytest.raises(AttributeError, match="float"):
        Interaction({"user_id": [1, 2]})
    compat.numpy_aliases()
    Config.compatibility_settings(None)
    assert np.float is np.float64 and np.complex is np.complex128 and np.unicode is np.str_
    assert Interaction({"user_id": [1, 2]})["user_id"].tolist() == [1, 2]


def test_dok_matrix_update(monkeypatch: pytest.MonkeyPatch) -> None:
    if dok_matrix._update.__module__ != compat.__name__:
        pytest.skip("this scipy has dok_matrix._update")
    cells = {(0, 1): 2.0, (2, 0): 3.0}
    monkeypatch.delattr(dok_matrix, "_update")
    matrix = dok_matrix((3, 2))
    with pytest.raises(AttributeError):
        matrix._update(cells)
    compat.scipy_dok_update()
    matrix._update(cells)
    assert matrix.toarray().tolist() == [[0, 2], [0, 0], [3, 0]]


def test_lightgcn_has_its_adjacency_matrix(config: MakeConfig, rich: Path) -> None:
    negatives = {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False}
    model, train, *_ = prepared(config("LightGCN", "rich", train_neg_sample_args=negatives))
    matrix = model.norm_adj_matrix.to_dense()
    assert torch.equal(matrix, matrix.T)
    pairs = set(zip(*train._dataset.inter_matrix().nonzero(), strict=True))
    assert int((matrix > 0).sum()) == 2 * len(pairs)


def test_best_checkpoint_is_loaded(
    config: MakeConfig, rich: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, test = trained(config("Pop", "rich"))
    assert trainer.evaluate(test)["recall@10"] > 0
    with pytest.raises(pickle.UnpicklingError):
        torch.load(trainer.saved_model_file)  # not RecBole's own call: torch's safe default stands
    monkeypatch.setattr(torch, "load", torch.load.__wrapped__)
    with pytest.raises(pickle.UnpicklingError):
        trainer.evaluate(test)


def test_epochs_do_not_warn_of_amp(config: MakeConfig, rich: Path) -> None:
    if not hasattr(torch.amp, "GradScaler"):
        pytest.skip("this torch has no torch.amp.GradScaler, and does not warn")
    import recbole.trainer.trainer as module

    with pytest.warns(FutureWarning, match="GradScaler"):
        as_shipped("recbole.trainer.trainer").amp.GradScaler(enabled=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*torch.cuda.amp", FutureWarning)
        assert not module.amp.GradScaler(enabled=False).is_enabled()
        trained(config("SASRec", "rich"))


WITHOUT_RAY = """
import importlib, json, pkgutil, sys

class NoRay:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")

def outcome(name):
    try:
        importlib.import_module(name)
    except Exception as error:
        return getattr(error, "name", None) or repr(error)

sys.meta_path.insert(0, NoRay)
import recbole.config, recbole.data, recbole.evaluator, recbole.trainer, recbole.utils
import recbole.model
models = pkgutil.walk_packages(recbole.model.__path__, "recbole.model.", lambda name: None)
missing = sorted({outcome(model.name) for model in models} - {None})
before = outcome("recbole.quick_start")
from recbole_fmrlrec import compat
compat.apply()
print(json.dumps([missing, before, outcome("recbole.quick_start")]))
"""


def test_anomaly_detection_stays_off() -> None:
    script = """
import sys, torch
if sys.argv[1] == "mended":
    from recbole_fmrlrec import compat
    compat.apply()
import numpy
numpy.float = getattr(numpy, "float", float)
import recbole.model.sequential_recommender
print(torch.is_anomaly_enabled())
with torch.autograd.set_detect_anomaly(True):
    print(torch.is_anomaly_enabled())
"""
    for state, left_on in (("shipped", "True"), ("mended", "False")):
        command = [sys.executable, "-c", script, state]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [left_on, "True"]


def test_recbole_without_ray() -> None:
    run = subprocess.run([sys.executable, "-c", WITHOUT_RAY], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    missing, before, after = json.loads(run.stdout.splitlines()[-1])
    assert set(missing) <= {"lightgbm", "xgboost"}
    assert (before, after) == ("ray", None)


def test_unknown_model_names() -> None:
    from recbole.utils import get_model

    for name in ("NoSuchModel", "sasrec"):
        with pytest.raises((ModuleNotFoundError, AttributeError, ValueError)) as shipped:
            get_model.__wrapped__(name)
        if name == "sasrec" or importlib.util.find_spec("lightgbm") is None:
            assert shipped.type is not ValueError
        with pytest.raises(ValueError, match=rf"\[{name}\] is not the name of an existing model"):
            get_model(name)
    assert get_model("SASRec").__name__ == "SASRec"
    if importlib.util.find_spec("lightgbm") is None:
        with pytest.raises(ModuleNotFoundError, match="lightgbm"):
            get_model("LightGBM")


def test_download_in_one_process(
    config: MakeConfig, rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recbole.data.dataset import Dataset

    archive = tmp_path / "far.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(rich / "rich.inter", "far.inter")
    monkeypatch.setattr(Dataset, "_get_download_url", lambda *_: archive.as_uri())
    dataset = Dataset(config("BPR", "rich"))
    for name, download in (("one", Dataset._download.__wrapped__), ("two", Dataset._download)):
        dataset.dataset_name, dataset.dataset_path = name, str(tmp_path / name)
        if name == "one":
            with pytest.raises((ValueError, RuntimeError), match="process group"):
                download(dataset)
        else:
            download(dataset)
        assert (tmp_path / name / f"{name}.inter").read_text() == (rich / "rich.inter").read_text()


def test_a_failing_download_still_fails(config: MakeConfig, rich: Path, tmp_path: Path) -> None:
    from recbole.data.dataset import Dataset

    dataset = Dataset(config("BPR", "rich"))
    dataset.dataset_name = "no-such-dataset"
    with pytest.raises(ValueError, match="no-such-dataset"):
        dataset._download()


def test_metrics_of_counts(config: MakeConfig, rich: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = ["NDCG", "ItemCoverage", "AveragePopularity", "GiniIndex", "TailPercentage"]
    keys = {"metrics": metrics, "topk": [20]}
    trainer, test = trained(config("Pop", "rich", **keys | {"valid_metric": "NDCG@20"}))
    # The list of 20 holds all 20 items; RecBole counts the padding as one more.
    assert trainer.evaluate(test)["itemcoverage@20"] == pytest.approx(20 / 21, abs=1e-4)
    shipped = as_shipped("recbole.evaluator.collector").Collector.get_data_struct
    monkeypatch.setattr(Collector, "get_data_struct", shipped)
    with pytest.raises(AttributeError, match="cpu"):
        trainer.evaluate(test)


def test_preloaded_weights(config: MakeConfig, rich: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recbole.data.dataset import Dataset

    keys = {
        "additional_feat_suffix": ["ent", "rel"],
        "alias_of_entity_id": ["ent_id"],
        "alias_of_relation_id": ["rel_id"],
        "preload_weight": {"ent_id": "ent_emb", "rel_id": "rel_emb"},
    }
    model, train, *_ = prepared(config("KSR", "rich", **keys))
    assert torch.isfinite(model.calculate_loss(next(iter(train))))
    weights = train._dataset.get_preload_weight("ent_id")
    assert weights.dtype == np.float32 and weights[1:].tolist() == [[0.5] * 64] * 24
    monkeypatch.setattr(Dataset, "get_preload_weight", Dataset.get_preload_weight.__wrapped__)
    model, train, *_ = prepared(config("KSR", "rich", **keys))
    with pytest.raises(RuntimeError, match="dtype"):
        model.calculate_loss(next(iter(train)))


def test_our_checkpoints_in_recboles_loader(tmp_path: Path) -> None:
    """RecBole's ``load_data_and_model`` says which calls read a checkpoint of ours."""
    from recbole.quick_start import load_data_and_model

    from recbole_fmrlrec.errors import UsageError
    from recbole_fmrlrec.files.checkpoint import save_checkpoint
    from recbole_fmrlrec.train import restore

    save_checkpoint(tmp_path / "best.pth", {"config": {"model": "BPR"}, "epoch": 1})
    with pytest.raises(UsageError, match="evaluate --checkpoint") as refused:
        load_data_and_model(str(tmp_path / "best.pth"))
    for call in (restore.saved_config, restore.saved_model):
        assert call.__module__ in str(refused.value) and call.__name__ in str(refused.value)
    with pytest.raises(FileNotFoundError):
        load_data_and_model(str(tmp_path / "none.pth"))
