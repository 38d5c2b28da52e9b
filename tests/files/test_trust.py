"""A stranger's files are data: what could run code from them does not, and the message says why.

Every payload makes a folder, the marker, when it is executed.
"""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_fmrlrec import compat
from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.config.config import Config
from recbole_fmrlrec.console import open_to_append, run_log
from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.export.open_checkpoint import _recorded_metrics
from recbole_fmrlrec.files import trust
from recbole_fmrlrec.files.checkpoint import load_checkpoint, load_model_state, save_checkpoint
from recbole_fmrlrec.runs.folder import RunFolder
from recbole_fmrlrec.train.restore import saved_config
from tests import toy
from tests.conftest import MakeConfig

#: Keys that name a pickle, a model that has the key, and what else makes it read the file.
NAMED = [
    ("mf_pretrain_path", "NeuMF", {"use_pretrain": True}),
    ("mlp_pretrain_path", "NeuMF", {"use_pretrain": True}),
    ("pretrain_path", "NAIS", {}),
    ("pre_model_path", "S3Rec", {"train_stage": "finetune"}),
    ("pre_model_path", "ConvNCF", {"train_method": "after_pretrain"}),
    ("pre_model_path", "RaCT", {"train_stage": "finetune"}),
    ("warm_up", "KD_DAGFM", {"phase": "finetuning"}),
]


class Payload:
    """Makes the marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What must not be there at the end; the toy dataset lies beside it."""
    monkeypatch.chdir(tmp_path)
    toy.write_toy(tmp_path)
    compat.apply()
    return tmp_path / "executed"


@pytest.fixture
def evil(marker: Path) -> Path:
    """A pickle with a payload."""
    file = marker.parent / "evil.pth"
    file.write_bytes(pickle.dumps(Payload(marker)))
    return file


def forged(file: Path, model: str, **keys: Any) -> Path:
    """A checkpoint of plain values that says what a stranger likes."""
    config = {"model": model, "dataset": "toy", "dataset_root": str(file.parent), **keys}
    state = {"epoch": 1, "config": config, "state_dict": {}, "other_parameter": {}}
    save_checkpoint(file, state)
    return file


def run_in_recbole(code: str, **names: Any) -> Any:
    """Call something as if a module of RecBole's did."""
    space = {"__name__": "recbole.somewhere", **names}
    exec(f"def call():\n    return {code}\n", space)
    return space["call"]()


def test_the_payload_works(marker: Path, evil: Path) -> None:
    with open(evil, "rb") as file:
        pickle.load(file)
    assert marker.is_dir()


@pytest.mark.parametrize(("key", "model", "more"), NAMED)
def test_a_checkpoint_names_no_pickle(
    marker: Path, evil: Path, capsys: pytest.CaptureFixture[str], key: str, model: str, more: Any
) -> None:
    file = forged(marker.parent / "x.pth", model, **{key: str(evil)}, **more)
    assert main(["evaluate", f"--checkpoint={file}"]) == 2
    shown = capsys.readouterr().err
    assert f"{key} = '{evil}' (the configuration in {file})" in shown
    assert f"give --{key}=FILE" in shown
    assert not marker.exists()


@pytest.mark.parametrize("key", ["dataset_save_path", "dataloaders_save_path"])
@pytest.mark.parametrize("entry", ["cli", "python", "cell"])
def test_a_run_folder_names_no_pickle(
    marker: Path, evil: Path, capsys: pytest.CaptureFixture[str], key: str, entry: str
) -> None:
    folder = marker.parent / "stranger"
    folder.mkdir()
    settings = toy.settings(marker.parent, **{key: str(evil)})
    content = {"model": "fMRLRec", "dataset": "toy", "fingerprint": "0", "overrides": settings}
    (folder / "config.json").write_text(json.dumps(content))
    if entry == "cli":
        assert main([f"--resume={folder}"]) == 2
        shown = capsys.readouterr().err
    else:
        from recbole_fmrlrec.train.run import run

        own = {} if entry == "python" else toy.settings(marker.parent)
        with pytest.raises(UsageError) as error:
            run("fMRLRec", "toy", config_dict=own, resume=folder)
        shown = str(error.value)
    assert f"{key} = '{evil}' ({folder / 'config.json'})" in shown
    assert f"give --{key}=FILE" in shown
    assert not marker.exists()


def test_a_run_folder_with_no_model_in_it(marker: Path) -> None:
    folder = marker.parent / "stranger"
    folder.mkdir()
    content = {"model": ["Pop"], "dataset": "toy", "fingerprint": "0", "overrides": {}}
    (folder / "config.json").write_text(json.dumps(content))
    assert main([f"--resume={folder}"]) == 2


@pytest.mark.parametrize("text", ["__import__('os').mkdir('executed')", "DAGFM", "nn.Module", ""])
def test_the_teacher_of_kd_dagfm_is_one_of_two(
    marker: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = forged(marker.parent / "x.pth", "KD_DAGFM", teacher=text)
    for words in (
        ["evaluate", f"--checkpoint={file}"],
        ["--model=KD_DAGFM", "--dataset=toy", f"--data_path={file.parent}", f"--teacher={text}"],
    ):
        assert main(words) == 2
        assert "teacher must be one of CrossNet, CIN" in capsys.readouterr().err
    assert not marker.exists()


def test_recbole_looks_the_teacher_up() -> None:
    compat.apply()
    from recbole.model.context_aware_recommender import kd_dagfm

    assert kd_dagfm.eval("CIN") is kd_dagfm.CIN
    with pytest.raises(UsageError, match="must be one of CrossNet, CIN"):
        kd_dagfm.eval("__import__('os')")


@pytest.mark.parametrize("name", ["os.path", "Trainer", "../Pop", "SASRec\0"])
def test_a_checkpoint_names_no_class_outside_the_registry(marker: Path, name: str) -> None:
    file = forged(marker.parent / "x.pth", name)
    with pytest.raises(UsageError, match="unknown model"):
        saved_config(file)


@pytest.mark.parametrize(
    "config",
    [
        {},
        [],
        {"model": ["Pop"]},
        {"model": ""},
        {"model": "Pop", "dataset": 3, "dataset_root": "."},
    ],
)
def test_a_checkpoint_without_a_usable_configuration(marker: Path, config: Any) -> None:
    file = marker.parent / "x.pth"
    save_checkpoint(file, {"config": config, "state_dict": {}, "other_parameter": {}})
    with pytest.raises(UsageError, match="damaged: its configuration does not say its"):
        saved_config(file)


def test_the_embeddings_of_ldiffrec_are_plain_numbers(marker: Path) -> None:
    file = marker.parent / "item_emb.npy"
    np.save(file, np.array([Payload(marker)], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match="not a plain array of numbers"):
        run_in_recbole("np.load(file, allow_pickle=True)", np=np, file=file)
    assert not marker.exists()
    np.save(file, np.ones((2, 3)))
    assert run_in_recbole("np.load(file, allow_pickle=True)", np=np, file=file).shape == (2, 3)


def test_recbole_reads_only_what_is_named_or_was_written_here(marker: Path, evil: Path) -> None:
    def load(file: Path) -> Any:
        return run_in_recbole("torch.load(file)", torch=torch, file=file)

    def load_unsafely(file: Path) -> Any:
        return run_in_recbole("torch.load(file, weights_only=False)", torch=torch, file=file)

    own = marker.parent / "own.pth"
    run_in_recbole("torch.save({'a': Path}, file)", torch=torch, Path=Path, file=own)
    assert load(own) == {"a": Path}  # a class: no plain value
    torch.save({"config": Payload(marker)}, own)  # somebody puts another in its place
    for file in (own, evil):
        for read in (load, load_unsafely):
            with pytest.raises(UsageError, match=f"{file.name}: holds more than tensors"):
                read(file)
    assert not marker.exists()
    torch.save({"a": torch.ones(2)}, own)
    assert load(own)["a"].tolist() == [1, 1]  # plain values are read from anywhere
    torch.save({"config": Payload(marker)}, own)
    trust.name("own.pth")  # below the working folder
    load(own)
    assert marker.is_dir()


def test_recbole_takes_no_saved_data_that_only_lies_there(config: MakeConfig, marker: Path) -> None:
    from recbole.data.utils import create_dataset, load_split_dataloaders

    keys = config("SASRec", "toy", save_dataset=True)
    saved = marker.parent / "saved"
    saved.mkdir()
    for name, read in (
        ("toy-SequentialDataset.pth", create_dataset),
        ("toy-for-SASRec-dataloader.pth", load_split_dataloaders),
    ):
        (saved / name).write_bytes(pickle.dumps(Payload(marker)))
        with pytest.raises(UsageError, match=f"{name}: holds more than tensors"):
            read(keys)
        (saved / name).unlink()
    first = create_dataset(keys)  # saved by this process, and read again
    assert str(create_dataset(keys)) == str(first)
    assert not marker.exists()


def test_a_file_counts_when_it_is_named_now(marker: Path) -> None:
    places = {"data_path": str(marker.parent), "use_gpu": False}
    named = {"mf_pretrain_path": "mine.pth"}
    Config("NeuMF", "toy", config_dict={**places, **named}, recorded=(named, "somewhere"))
    assert trust.may_execute(marker.parent / "mine.pth")
    Config("NeuMF", "toy", config_dict=places, recorded=({"mf_pretrain_path": None}, "somewhere"))
    with pytest.raises(UsageError, match=r"mf_pretrain_path = 'other.pth' \(somewhere\)"):
        Config(
            "NeuMF",
            "toy",
            config_dict=places,
            recorded=({"mf_pretrain_path": "other.pth"}, "somewhere"),
        )
    assert not trust.may_execute("other.pth")


def test_other_parameters_are_those_of_the_model() -> None:
    class Model(torch.nn.Module):
        other_parameter_name = ("seen",)

        def load_other_parameter(self, values: dict[str, Any]) -> None:
            for key, value in values.items():
                setattr(self, key, value)

    model = Model()
    load_model_state(model, {"state_dict": {}, "other_parameter": {"seen": 3}})
    assert model.seen == 3
    with pytest.raises(RuntimeError, match="no other parameter 'forward'"):
        load_model_state(model, {"state_dict": {}, "other_parameter": {"forward": 3}})


@pytest.mark.parametrize(
    ("kind", "shape"), [("csr", [10**12, 2]), ("array", [2, 2]), ("__class__", [2, 2])]
)
def test_sparse_matrices_of_a_checkpoint(tmp_path: Path, kind: str, shape: list[int]) -> None:
    one = {"__plain__": "array", "data": torch.ones(1, dtype=torch.int64)}
    matrix = {"__plain__": "sparse", "kind": kind, "shape": shape, "data": one, "row": one}
    torch.save({"format": 1, "m": {**matrix, "col": one}}, tmp_path / "x.pth")
    with pytest.raises(RunError, match="damaged"):
        load_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("model", "keys", "says"),
    [
        ("fMRLRec", {"num_blocks": 10**9}, "num_blocks = 1,000,000,000, its tensors 1"),
        ("fMRLRec", {"sizes": [2, 10**9]}, "of sizes = 1,000,000,000, its tensors 4"),
        ("SASRec", {"hidden_size": 10**9}, "hidden_size = 1,000,000,000, and its tensors have 904"),
        ("SASRec", {"n_layers": 10**9}, "n_layers = 1,000,000,000, and its tensors have 904"),
        ("NeuMF", {"mlp_hidden_size": [8, 10**9]}, "mlp_hidden_size = 1,000,000,000"),
        ("SRGNN", {"step": 10**9}, "step = 1,000,000,000"),
        ("DiffRec", {"steps": 10**9}, "steps = 1,000,000,000"),
        ("fMRLRec", {"MAX_ITEM_LIST_LENGTH": 10**9}, "MAX_ITEM_LIST_LENGTH = 1,000,000,000"),
        ("SRGNN", {"MAX_ITEM_LIST_LENGTH": 9999}, "MAX_ITEM_LIST_LENGTH = 9,999"),
    ],
)
def test_numbers_of_a_checkpoint_are_those_of_its_tensors(
    marker: Path, model: str, keys: dict[str, Any], says: str
) -> None:
    file = marker.parent / "x.pth"
    sizes = {"sizes": [2, 4]} if model == "fMRLRec" else {}
    config = {"model": model, "dataset": "toy", "dataset_root": str(file.parent), **sizes, **keys}
    tensors = {"network.blocks.0.norm_recurrence.weight": torch.ones(4), "x": torch.ones(900)}
    save_checkpoint(file, {"config": config, "state_dict": tensors, "other_parameter": {}})
    with pytest.raises(UsageError, match=says):
        saved_config(file)


@pytest.mark.parametrize("key", ["local_rank", "world_size", "nproc", "offset", "ip", "port"])
def test_what_is_stored_joins_no_other_processes(
    marker: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    folder = marker.parent / "stranger"
    folder.mkdir()
    settings = toy.settings(marker.parent, **{key: "example.org" if key == "ip" else 1})
    content = {"model": "fMRLRec", "dataset": "toy", "fingerprint": "0", "overrides": settings}
    (folder / "config.json").write_text(json.dumps(content))
    assert main([f"--resume={folder}"]) == 2
    shown = capsys.readouterr().err
    assert f"`{key}` ({folder / 'config.json'}): torchrun starts several processes" in shown


@pytest.mark.parametrize(("key", "most"), [("worker", 256), ("num_threads", 1024)])
def test_nobody_asks_for_a_million_processes(marker: Path, key: str, most: int) -> None:
    places = {"data_path": str(marker.parent), "use_gpu": False}
    assert Config("Pop", "toy", config_dict={**places, key: most})[key] == most
    with pytest.raises(UsageError, match=f"{key} must be an integer .* at most {most}"):
        Config("Pop", "toy", config_dict={**places, key: most + 1})


@pytest.mark.parametrize("threads", [10**9, -1, True, "4", [4], 1.5])
def test_threads_of_a_run_folder_are_a_number_of_threads(tmp_path: Path, threads: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"threads": threads}))
    with pytest.raises(UsageError, match="damaged: threads = "):
        RunFolder(tmp_path, "Pop", "toy", "0", {}).threads()


def test_nothing_is_appended_to_a_file_that_a_run_folder_links_to(tmp_path: Path) -> None:
    foreign, log = tmp_path / "profile", tmp_path / "run" / "run.log"
    foreign.write_text("mine\n")
    log.parent.mkdir()
    log.symlink_to(foreign)
    with (
        pytest.raises(UsageError, match=r"run\.log: a link or not a plain file"),
        run_log(log, None),
    ):
        raise AssertionError("not reached")
    with pytest.raises(UsageError, match=r"run\.log: a link or not a plain file"):
        open_to_append(log)
    assert foreign.read_text() == "mine\n"
    log.unlink()
    for word in ("a", "b"):
        with open_to_append(log) as file:
            file.write(word)
    assert log.read_text() == "ab"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"test": 3}',
        '{"test": [3]}',
        '{"test": [{"size": 4}]}',
        '{"test": [{"size": 4, "metrics": {"ndcg@10": "0.1"}}]}',
        '{"test": [{"size": [4], "metrics": {}}]}',
        '{"test": [{"size": 4, "metrics": {"a": NaN}}]}',
    ],
)
def test_a_damaged_result_beside_a_checkpoint_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(UsageError, match=r"result.json: damaged"):
        _recorded_metrics(tmp_path / "best.pth")
    with pytest.raises(UsageError, match=r"result.json: damaged"):
        RunFolder(tmp_path, "Pop", "toy", "0", {}).result()
    assert _recorded_metrics(tmp_path / "last.pth") == {}
