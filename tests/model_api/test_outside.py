"""Models of a user's own, from a file or a module: run, resumed, evaluated, compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.model_api import outside, registry
from recbole_fmrlrec.runs.folder import run_fingerprint
from tests import toy

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
OWN = "--model=mine/feature_gru.py:FeatureGRU"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's, with toy data and the example model in it."""
    toy.write_toy(tmp_path / "dataset")
    (tmp_path / "mine").mkdir()
    for name in ("feature_gru.py", "feature_gru.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outside, "_loaded", {})
    return tmp_path


def train(*more: str) -> int:
    words = [OWN, "--dataset=toy", "--epochs=2", "--use_gpu=False", "--num_threads=1", *more]
    return main(words)


def test_a_model_of_a_file_goes_through_every_door(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train("--hidden_size=8") == 0
    (run_dir,) = place.glob("saved/FeatureGRU-toy-*")
    config = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))["config"]
    assert config["hidden_size"] == 8 and config["train_batch_size"] == 64  # its own YAML
    assert config["max_missing_features"] == 0.5  # comes with FeatureModel
    assert config["model_source"] == f"{place / 'mine' / 'feature_gru.py'}:FeatureGRU"
    features = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))["features"]
    assert features["encoders"]
    checkpoint = f"--checkpoint={run_dir / 'best.pth'}"
    monkeypatch.setattr(outside, "_loaded", {})  # as in another process
    capsys.readouterr()
    for words in (["evaluate", checkpoint], [f"--resume={run_dir}"], ["export", checkpoint]):
        more = ["--output=out"] if words[0] == "export" else []
        assert main([*words, *more]) == 2
        assert "if you trust its code, give --model=" in capsys.readouterr().err
    assert outside.specs() == []
    assert main(["evaluate", checkpoint, OWN, "--num_threads=1"]) == 0
    assert main(["export", checkpoint, OWN, "--output=out"]) == 2
    assert "which cannot be exported" in capsys.readouterr().err
    assert main([f"--resume={run_dir}", OWN]) == 0
    assert "is finished" in capsys.readouterr().err


def test_compared_beside_others(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "mine" / "table.yaml").write_text(
        "datasets: [toy]\nseeds: [1]\nbudget: {epochs: 1}\noutput: out\ntopk: [5]\n"
        "valid_metric: NDCG@5\nsettings: {num_threads: 1, use_gpu: False}\n"
        "models:\n  feature_gru.py:FeatureGRU:\n  Pop:\n",
        encoding="utf-8",
    )
    assert main(["compare", "mine/table.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "\nFeatureGRU" in shown and "\nPop" in shown
    assert list(place.glob("out/cells/toy/FeatureGRU-*/result.json"))


def test_its_source_is_part_of_what_a_run_is(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint() -> str:
        monkeypatch.setattr(outside, "_loaded", {})
        return run_fingerprint(Config(OWN.removeprefix("--model="), "toy"))

    before = fingerprint()
    assert fingerprint() == before
    file = place / "mine" / "feature_gru.py"
    file.write_text(file.read_text(encoding="utf-8") + "\n# another source\n", encoding="utf-8")
    assert fingerprint() != before


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("mine/none.py:X", "there is no file "),
        ("no.such.package:X", "there is no module no.such.package"),
        ("mine/feature_gru.py:Nobody", "has no class Nobody"),
        ("mine/feature_gru.py:Tensor", "not a RecBole model"),
        ("mine/feature_gru.py:", "give a model from outside as path/to/file.py:ClassName"),
        ("mine/broken.py:X", "its code raises ZeroDivisionError"),
        ("mine/taken.py:SASRec", "there is a model SASRec already"),
        ("mine/needs.py:X", "pip install no_such_package"),
    ],
)
def test_what_cannot_be_loaded(place: Path, spec: str, says: str) -> None:
    sources = {
        "broken": "1 / 0\n",
        "needs": "import no_such_package\n",
        "taken": "from recbole.model.sequential_recommender import GRU4Rec\n"
        "class SASRec(GRU4Rec):\n    pass\n",
    }
    for name, source in sources.items():
        (place / "mine" / f"{name}.py").write_text(source, encoding="utf-8")
    with pytest.raises(UsageError) as error:
        registry.class_name(spec)
    assert says in str(error.value)


def test_keys_are_those_of_its_yaml_source_and_capabilities(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--hiden_size=8") == 2
    assert "the nearest known keys are hidden_size" in capsys.readouterr().err
    assert not list(place.glob("saved/*"))


def test_several_devices_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nproc=2"]) == 2
    shown = capsys.readouterr().err
    assert "`nproc` (command line): torchrun starts several processes or devices" in shown


def test_models_of_installed_packages(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = f"{place / 'mine' / 'feature_gru.py'}:FeatureGRU"
    monkeypatch.setattr(outside, "installed", lambda: {"FeatureGRU": spec})
    assert registry.list_models()["installed"] == ["FeatureGRU"]
    assert registry.get_model_class("FeatureGRU").__name__ == "FeatureGRU"
