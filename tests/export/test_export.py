"""From a checkpoint to deployed models, through RecBole's own model classes and loaders."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.files.checkpoint import load_checkpoint, model_state, save_checkpoint
from tests import toy

SIZES = [2, 4, 8]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with the toy dataset; side files of RecBole go there too."""
    folder, before = tmp_path_factory.mktemp("export"), Path.cwd()
    toy.write_toy(folder)
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def run_dir(place: Path) -> Path:
    """The folder of a finished run on the toy dataset."""
    from recbole_fmrlrec import run

    return run("fMRLRec", "toy", config_dict=toy.settings(place)).run_dir


@pytest.fixture(scope="module")
def family(place: Path, run_dir: Path) -> Path:
    """All sizes of that run, exported."""
    assert main(["export", f"--checkpoint={run_dir / 'best.pth'}", "--output=family"]) == 0
    return place / "family"


def recbole_model(checkpoint: Path) -> tuple[Any, Any, Any]:
    """The training model of a checkpoint, its dataset and its test loader, put together here."""
    from recbole_fmrlrec.config.config import Config
    from recbole_fmrlrec.data.loaders import create_dataset, data_preparation
    from recbole_fmrlrec.files.checkpoint import load_model_state

    content = json.loads((checkpoint.parent / "config.json").read_text(encoding="utf-8"))
    config = Config(content["model"], content["dataset"], config_dict=content["overrides"])
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    model = config.model_class(config, loaders[0]._dataset)
    load_model_state(model, load_checkpoint(checkpoint))
    return model.eval(), dataset, loaders[2]


def check_scores(model: Any, dataset: Any, loader: Any, folder: Path, tolerance: float) -> None:
    """Deployed scores of every test history against ``full_sort_predict`` at each size."""
    tokens = dataset.field2id_token[dataset.iid_field]
    for size in model.sizes:
        deployed = Recommender.load(folder / str(size))
        assert deployed.items.ids == [str(token) for token in tokens[1:]]
        model.size = size
        for batch, *_ in loader:
            rows, lengths = batch[model.ITEM_SEQ].tolist(), batch[model.ITEM_SEQ_LEN].tolist()
            histories = [row[:length] for row, length in zip(rows, lengths, strict=True)]
            with torch.no_grad():
                expected = model.full_sort_predict(batch)[:, 1:]
                found = deployed.encode_rows(histories) @ deployed.items.vectors[1:].t()
            assert float(expected.std()) > 100 * tolerance
            torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_the_deployed_sizes_score_as_the_training_model(run_dir: Path, family: Path) -> None:
    check_scores(*recbole_model(run_dir / "best.pth"), family, tolerance=1e-6)


def test_their_metrics_are_those_of_the_run(run_dir: Path, family: Path) -> None:
    result = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    for row in result["test"]:
        description = Recommender.load(family / str(row["size"])).description
        assert description.metrics["test"]["float32"] == row["metrics"]
        assert description.metrics["rows"] == toy.USERS
        assert description.metrics["candidates"] == toy.ITEMS
        assert description.sizes == tuple(SIZES[: SIZES.index(row["size"]) + 1])
    page = json.loads((family / "family.json").read_text(encoding="utf-8"))
    counts = [member["parameters"] for member in page["members"]]
    assert counts == [row["parameters"] for row in result["test"]]


def test_a_description_says_what_the_model_is(family: Path) -> None:
    model = Recommender.load(family / "4")
    described = model.description
    assert (described.model, described.dataset) == ("fMRLRec", "toy")
    assert (described.size, described.trained_sizes) == (4, tuple(SIZES))
    assert [m.name for m in described.modalities] == ["text"]
    assert described.modalities[0].encoder == "tfidf-svd"
    assert (described.max_history, described.start_trained) == (4, False)
    title = model.items.titles[model.items.row_of["i3"] - 1]
    assert title == "red lamp steel 3"


def test_ml_100k_with_random_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    from dataset_tools.features import write_features
    from recbole_fmrlrec.config.config import Config
    from recbole_fmrlrec.data.loaders import create_dataset, data_preparation

    features = np.random.default_rng(0).normal(size=(1682, 12))
    ids = [str(row) for row in range(1, 1683)]
    write_features(tmp_path / "dataset" / "ml-100k" / "features", "text", features, ids, {})
    keys = {"sizes": [8, 64], "use_gpu": False, "predict_first_item": True, "r_max": 0.9}
    config = Config("fMRLRecID", "ml-100k", config_dict=keys)
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    torch.manual_seed(0)
    model = config.model_class(config, loaders[0]._dataset).eval()
    with torch.no_grad():
        model.network.id_embedding.weight.mul_(5)
    state = {"epoch": 0, "config": config.effective(), **model_state(model)}
    save_checkpoint(tmp_path / "run" / "best.pth", state)
    command = ["export", "--checkpoint=run/best.pth", "--output=out", "--no_evaluation"]
    assert main(command) == 0
    check_scores(model, dataset, loaders[2], tmp_path / "out", tolerance=1e-6)
    deployed = Recommender.load(tmp_path / "out" / "64")
    assert deployed.items.titles[deployed.items.row_of["50"] - 1] == "Star Wars"
    assert deployed.description.uses_ids and deployed.description.start_trained
    assert deployed.description.metrics == {}
    empty, one = torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, dtype=torch.int64)
    with torch.no_grad():
        start = model.network.encode_last(model.item_table(), empty, one)
        best = float((start @ model.item_table()[1:].t()).max())
    torch.testing.assert_close(deployed.session().hidden, start[0])
    assert deployed.recommend([], k=1).scores[0] == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_the_measured_loss_of_a_small_table_is_that_of_its_files(
    place: Path, run_dir: Path, dtype: str
) -> None:
    words = ["export", f"--checkpoint={run_dir / 'best.pth'}", f"--output={dtype}", "--size=4"]
    assert main([*words, f"--dtype={dtype}"]) == 0
    deployed = Recommender.load(place / dtype)
    _, _, loader = recbole_model(run_dir / "best.pth")
    gains = []
    for batch, _, _, targets in loader:
        rows, lengths = batch["item_id_list"].tolist(), batch["item_length"].tolist()
        hidden = deployed.encode_rows([r[:n] for r, n in zip(rows, lengths, strict=True)])
        scores = (hidden @ deployed.items.vectors[1:].t()).numpy()
        own = scores[np.arange(len(rows)), targets.numpy() - 1]
        rank = 1 + (scores > own[:, None]).sum(1) + ((scores == own[:, None]).sum(1) - 1) // 2
        gains += np.where(rank <= 10, 1 / np.log2(rank + 1), 0).tolist()
    measured = deployed.description.metrics["test"][dtype]["ndcg@10"]
    assert measured == pytest.approx(np.mean(gains), abs=1e-6)
    assert not (place / dtype / "family.md").exists()


def test_another_catalogue_brings_new_items(
    place: Path, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataset_tools.features import attach_features, read_features, read_items

    # The features of two trained items under new names: their scores must be the same.
    known = read_features(place / "toy" / "features", "text")
    twins = place / "shop"
    twins.mkdir()
    (twins / "shop.item").write_text("item_id:token\ttitle:token_seq\nnew0\tA new one\n")
    ids = ["new0", known.items[5], "new1"]
    np.save(place / "shop.npy", known.matrix[[3, 5, 8]])
    attach_features(twins / "features", "text", place / "shop.npy", ids, {"encoder": "tfidf-svd"})
    assert read_items(twins / "features") == ids
    words = ["export", f"--checkpoint={run_dir / 'best.pth'}", "--size=8", "--output=grown"]
    assert main([*words, "--catalogue=shop"]) == 2
    assert "fitted to each catalogue separately" in capsys.readouterr().err
    assert main([*words, "--catalogue=shop", "--same_encoder"]) == 0
    model = Recommender.load(place / "grown")
    assert model.items.ids[-2:] == ["new0", "new1"]
    assert model.items.titles[-2:] == ["A new one", None]
    assert (model.description.num_items, model.description.trained_items) == (27, 25)
    scores = model.scores([known.items[1], known.items[2]])
    place_of = {item: row - 1 for item, row in model.items.row_of.items()}
    for new, old in (("new0", known.items[3]), ("new1", known.items[8])):
        assert float(scores[place_of[new]]) == pytest.approx(
            float(scores[place_of[old]]), rel=1e-3, abs=1e-5
        )


def test_changed_features_are_noticed(
    place: Path, run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import shutil

    shutil.copytree(place / "toy", tmp_path / "toy")
    matrix = np.load(tmp_path / "toy" / "features" / "text.npy")
    np.save(tmp_path / "toy" / "features" / "text.npy", matrix[::-1].copy())
    words = ["export", f"--checkpoint={run_dir / 'best.pth'}", f"--output={tmp_path / 'out'}"]
    assert main([*words, f"--data_path={tmp_path}"]) == 0
    assert "the dataset or its features have changed since the training" in caplog.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size=5"], "the model has no size 5; it has [2, 4, 8]"),
        (["--sizes=2,x"], "--sizes takes integers separated by commas, or all, not '2,x'"),
        (["--size=2", "--sizes=2,4"], "not allowed with argument"),
        (["--checkpoint=none.pth"], "--checkpoint: there is no checkpoint none.pth"),
        (["--checkpoint=text.pth"], "--checkpoint: text.pth: not a readable checkpoint"),
        (["--data_path=nowhere"], "--data_path: there is no folder"),
        (["--data_path=saved"], "dataset 'toy' not found"),
        (["--catalogue=nowhere"], "--catalogue: there is no folder"),
        (["--catalogue=toy"], "fitted to each catalogue separately"),
    ],
)
def test_wrong_use(
    run_dir: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    given = [f"--checkpoint={run_dir / 'best.pth'}", "--output=wrong", "--no_evaluation"]
    Path("text.pth").write_text("no checkpoint", encoding="utf-8")
    assert main(["export", *given, *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("wrong").exists()


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = [f"--checkpoint={run_dir / 'best.pth'}", f"--output={tmp_path / 'file' / 'x'}"]
    assert main(["export", *words]) == 2
    assert "--output: cannot write to" in capsys.readouterr().err
