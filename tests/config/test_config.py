"""The configuration of a run: precedence, what each kind of model gets, fingerprints."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.model_api import registry
from recbole_fmrlrec.models.fmrlrec import fMRLRec

FULL_LEAVE_ONE_OUT = {
    "split": {"LS": "valid_and_test"},
    "order": "TO",
    "group_by": "user",
    "mode": {"valid": "full", "test": "full"},
}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_without_anything_it_is_fmrlrec_on_ml_100k() -> None:
    config = Config()
    assert (config["model"], config["dataset"]) == ("fMRLRec", "ml-100k")
    assert config["sizes"] == [16, 32, 64, 128]
    assert Config(dataset="toy")["sizes"] == [8, 16, 32, 64, 128, 256, 512, 1024]
    assert config["eval_args"] == FULL_LEAVE_ONE_OUT
    assert config["train_neg_sample_args"]["distribution"] == "none"


def test_command_line_over_dict_over_files_over_properties(tmp_path: Path) -> None:
    first = write(tmp_path / "first.yaml", "epochs: 3\nseed: 3\nlearning_rate: 3e-3\nworker: 3\n")
    second = write(tmp_path / "second.yaml", "epochs: 4\nseed: 4\nlearning_rate: 4e-3\n")
    config = Config(
        "SASRec",
        "ml-100k",
        config_file_list=[first, second],
        config_dict={"epochs": 5, "seed": 5},
        cli_args={"epochs": "6"},
    )
    assert config["epochs"] == 6  # command line
    assert config["seed"] == 5  # dict
    assert config["learning_rate"] == 0.004  # second file
    assert config["worker"] == 3  # first file
    assert config["stopping_step"] == 9  # our overall.yaml
    assert config["train_batch_size"] == 2048  # RecBole's overall.yaml
    assert config["n_layers"] == 2  # RecBole's SASRec.yaml


def test_our_model_stands_over_overall_and_dataset_over_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "dataset").mkdir()
    write(tmp_path / "overall.yaml", "model: BPR\ndataset: d\nepochs: 1\nseed: 1\nworker: 1\n")
    write(tmp_path / "model" / "SASRec.yaml", "epochs: 2\nseed: 2\n")
    write(
        tmp_path / "dataset" / "d.yaml",
        "epochs: 3\nsource: {url: x}\n"
        "models:\n  SASRec: {n_heads: 1}\n  BPR: {embedding_size: 8}\n",
    )
    for module in ("config.config", "keys.known"):
        monkeypatch.setattr(f"recbole_fmrlrec.{module}.properties_dir", lambda: tmp_path)
    config = Config("SASRec", "d")
    assert (config["epochs"], config["seed"], config["worker"]) == (3, 2, 1)
    assert config["n_heads"] == 1
    assert "source" not in config
    assert "models" not in config
    assert config["embedding_size"] is None


def test_a_file_may_name_model_and_dataset_and_arguments_win(tmp_path: Path) -> None:
    file = write(tmp_path / "run.yaml", "model: BPR\ndataset: here\n")
    config = Config(config_file_list=[file])
    assert (config["model"], config["dataset"]) == ("BPR", "here")
    config = Config("Pop", config_file_list=[file], cli_args={"dataset": "there"})
    assert (config["model"], config["dataset"]) == ("Pop", "there")


def test_dotted_keys_change_one_entry() -> None:
    config = Config(
        "SASRec",
        "ml-100k",
        cli_args={"eval_args.mode.valid": "uni100", "clip_grad_norm.max_norm": "2"},
    )
    assert config["eval_args"] == FULL_LEAVE_ONE_OUT | {"mode": {"valid": "uni100", "test": "full"}}
    assert config["valid_neg_sample_args"] == {"distribution": "uniform", "sample_num": 100}
    assert config["clip_grad_norm"] == {"max_norm": 2}


def test_a_mapping_takes_the_place_of_the_old_one_as_in_recbole() -> None:
    config = Config("BPR", "ml-100k", config_dict={"eval_args": {"split": {"RS": [8, 1, 1]}}})
    assert config["eval_args"] == {
        "split": {"RS": [8, 1, 1]},
        "order": "RO",
        "group_by": "user",
        "mode": {"valid": "full", "test": "full"},
    }


def test_sys_argv_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["pytest", "--epochs=7", "--no_such_key=1"])
    assert Config("BPR", "ml-100k")["epochs"] == 300


def test_ml_100k_is_the_users_copy_or_the_one_inside_recbole(tmp_path: Path) -> None:
    config = Config("BPR", "ml-100k", config_dict={"data_path": str(tmp_path)})
    assert config["data_path"] == str(registry.recbole_dir() / "dataset_example" / "ml-100k")
    assert config["dataset_root"] == str(tmp_path)
    (tmp_path / "ml-100k").mkdir()
    write(tmp_path / "ml-100k" / "ml-100k.inter", "user_id:token\n")
    config = Config("BPR", "ml-100k", config_dict={"data_path": str(tmp_path)})
    assert config["data_path"] == str(tmp_path / "ml-100k")
    assert config.notes == [
        f"ml-100k is read from {tmp_path / 'ml-100k'}, not from RecBole's own copy"
    ]


def test_negatives_are_off_under_ce_and_on_under_bpr() -> None:
    assert Config("SASRec", "ml-100k")["train_neg_sample_args"]["distribution"] == "none"
    config = Config("SASRec", "ml-100k", config_dict={"loss_type": "BPR"})
    assert config["train_neg_sample_args"]["distribution"] == "uniform"
    none = Config("SASRec", "ml-100k", cli_args={"train_neg_sample_args": "None"})
    assert none["train_neg_sample_args"]["distribution"] == "none"


@pytest.mark.parametrize(
    ("model", "end"), [("SASRec", ", or set loss_type to BPR if the model has it"), ("fMRLRec", "")]
)
def test_negatives_asked_for_under_ce_are_refused(model: str, end: str) -> None:
    with pytest.raises(UsageError) as error:
        Config(model, "ml-100k", cli_args={"train_neg_sample_args.dynamic": "True"})
    assert str(error.value) == (
        f"train_neg_sample_args: {model} ranks all items in its loss and samples no negatives; "
        f"leave the key out{end}"
    )


def test_each_kind_of_model_gets_what_it_needs_on_ml_100k() -> None:
    bpr, fm, din = (Config(name, "ml-100k") for name in ("BPR", "FM", "DIN"))
    assert (bpr["eval_args"], bpr["repeatable"]) == (FULL_LEAVE_ONE_OUT, False)
    assert (fm["metrics"], fm["valid_metric"]) == (["AUC", "LogLoss"], "AUC")
    assert fm["eval_args"]["mode"] == {"valid": "labeled", "test": "labeled"}
    assert din["eval_args"]["mode"] == {"valid": "uni100", "test": "uni100"}
    assert Config("FDSA", "ml-100k")["load_col"]["item"] == ["item_id", "release_year", "class"]
    assert Config("CKE", "ml-100k")["load_col"]["kg"] == ["head_id", "relation_id", "tail_id"]


def test_timestamps_are_loaded_where_they_give_the_order() -> None:
    assert Config("BPR", "unheard-of")["load_col"] == {"inter": ["user_id", "item_id", "timestamp"]}
    mine = {"load_col": {"inter": ["user_id", "item_id"]}}
    assert Config("BPR", "unheard-of", config_dict=mine)["load_col"] == mine["load_col"]
    by_chance = Config("BPR", "unheard-of", cli_args={"eval_args.order": "RO"})
    assert by_chance["load_col"] == {"inter": ["user_id", "item_id"]}


def test_a_configuration_is_made_for_every_model_of_recbole() -> None:
    """On ml-100k, without a flag; the two that cannot need a package that is not here."""
    failed = {}
    for name in registry.recbole_models():
        try:
            assert Config(name, "ml-100k")["model"] == name
        except UsageError as error:
            failed[name] = str(error)
    there = {p: importlib.util.find_spec(p) is not None for p in ("lightgbm", "xgboost")}
    expected = set() if all(there.values()) else {"LightGBM", "XGBoost"}
    assert set(failed) == expected
    assert all("is not installed: pip install" in text for text in failed.values())


def test_a_class_of_the_users_own_keeps_its_keys() -> None:
    class Mine(fMRLRec):
        pass

    config = Config(Mine, "ml-100k", config_dict={"my_key": 3, "train_neg_sample_args": None})
    assert (config["model"], config["my_key"]) == ("Mine", 3)
    assert config["train_neg_sample_args"]["distribution"] == "none"


def test_use_gpu_false_means_the_cpu_and_leaves_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recbole_fmrlrec.config.config._VISIBLE_GPUS", "3")
    config = Config("BPR", "ml-100k", cli_args={"use_gpu": "False"})
    assert config["device"].type == "cpu"
    assert config["gpu_id"] == "3"
    assert Config("BPR", "ml-100k", cli_args={"gpu_id": "1"})["gpu_id"] == "1"


def test_fingerprint_is_about_the_outcome_only(tmp_path: Path) -> None:
    def fingerprint(**settings: Any) -> str:
        return Config("SASRec", "ml-100k", config_dict=settings).fingerprint()

    same = fingerprint()
    assert len(same) == 16
    assert int(same, 16) >= 0
    assert same == fingerprint(adam_beta2=None)  # a key that earlier versions lack
    assert same == fingerprint(
        data_path=str(tmp_path), show_progress=True, gpu_id="1", state="ERROR", worker=1
    )
    assert len({same, fingerprint(seed=1), fingerprint(n_heads=1), fingerprint(topk=[10])}) == 4
    assert same != Config("SASRecF", "ml-100k").fingerprint()


def test_fingerprint_stays_when_a_model_adds_to_its_config() -> None:
    config = Config("BERT4Rec", "ml-100k")
    before = config.fingerprint()
    config["MASK_ITEM_SEQ"] = "Mask_item_id_list"
    assert config.fingerprint() == before


def test_effective_is_json_and_overrides_make_the_same_again() -> None:
    args = {"eval_args.mode.valid": "uni100", "topk": "10", "user_inter_num_interval": "[5,inf)"}
    config = Config("SASRec", "ml-100k", config_dict={"n_heads": 1}, cli_args=args)
    effective = config.effective()
    assert json.loads(json.dumps(effective)) == effective
    assert effective["MODEL_TYPE"] == "SEQUENTIAL"
    assert effective["device"] in ("cpu", "cuda")
    overrides = json.loads(json.dumps(config.overrides()))
    assert overrides["topk"] == [10]
    again = Config("SASRec", "ml-100k", config_dict=overrides)
    assert again.effective() == effective
    assert again.fingerprint() == config.fingerprint()


def test_recboles_shared_list_of_dataset_keys_does_not_grow() -> None:
    from recbole.utils.argument_list import dataset_arguments

    before = list(dataset_arguments)
    Config("BPR", "ml-100k")
    assert dataset_arguments == before


def test_rows_of_prefixes_predict_no_first_item():
    made = Config("LRURec", "ml-100k", config_dict={"training_windows": "prefix"})
    assert made["predict_first_item"] is False
    assert any("predict no first item" in note for note in made.notes)
    assert Config("LRURec", "ml-100k")["predict_first_item"] is True
    both = {"training_windows": "prefix", "predict_first_item": True}
    with pytest.raises(UsageError, match="predict_first_item = True: the rows of training_windows"):
        Config("LRURec", "ml-100k", config_dict=both)
