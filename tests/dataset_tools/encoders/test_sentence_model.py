"""Models of sentence-transformers against that library, two-tower models, and damaged folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_tools.__main__ import main
from dataset_tools.encoders import sentence_model
from dataset_tools.encoders.text_encoder import TextEncoder
from dataset_tools.errors import UsageError
from dataset_tools.features import read_features, read_manifest
from tests.dataset_tools.encoders.models import (
    TEXT,
    VISION,
    save_bert,
    save_sentence_files,
    save_tokenizer,
)
from tests.dataset_tools.encoders.test_encode_text import by_hand, make_dataset

sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="encoders need the extra 'encoders'"
)

TEXTS = ["Red nail polish", "soap", "A blue mug, by ACME"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that only transformers wrote."""
    return save_bert(tmp_path_factory.mktemp("models") / "plain", None)


@pytest.fixture
def model(plain: Path, tmp_path: Path) -> Path:
    """A model of sentence-transformers: tokens, their mean, length 1."""
    shutil.copytree(plain, tmp_path / "model")
    save_sentence_files(tmp_path / "model", "mean", normalise=True)
    return tmp_path / "model"


def change(path: Path, **entries: Any) -> None:
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**content, **entries}))


def add_step(model: Path, kind: str, path: str) -> None:
    modules = json.loads((model / "modules.json").read_text())
    modules.append({"idx": len(modules), "name": str(len(modules)), "path": path, "type": kind})
    (model / "modules.json").write_text(json.dumps(modules))


def ours(model: Path, **options: Any) -> np.ndarray:
    return TextEncoder(str(model), device="cpu", **options).encode(TEXTS)[0]


def theirs(model: Path, **options: Any) -> np.ndarray:
    """What the library's own users get for documents."""
    loaded = sentence_transformers.SentenceTransformer(str(model), device="cpu")
    return loaded.encode_document(TEXTS, **options)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last"])
def test_a_folder_of_transformers_alone_is_pooled_by_the_stated_rule(
    plain: Path, pooling: str
) -> None:
    vectors = ours(plain, pooling=pooling)
    for vector, text in zip(vectors, TEXTS, strict=True):
        expected = by_hand(plain, text, pooling)
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)


def test_the_same_vectors_as_before_of_models_with_steps(model: Path, plain: Path) -> None:
    vectors = ours(model)
    for vector, text in zip(vectors, TEXTS, strict=True):
        expected = by_hand(plain, text, "mean")
        assert vector @ expected / np.linalg.norm(expected) > 1 - 1e-6


def test_lower_case(model: Path, plain: Path) -> None:
    """A tokenizer that keeps capitals knows none of them: the file of the model asks for small."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (model / name).read_text()
        for old, new in (
            ('"lowercase": true', '"lowercase": false'),
            ('"do_lower_case": true', '"do_lower_case": false'),
        ):
            text = text.replace(old, new)
        (model / name).write_text(text)
    kept = ours(model)
    change(model / "sentence_bert_config.json", do_lower_case=True)
    lowered = ours(model)
    np.testing.assert_allclose(lowered, theirs(model), atol=1e-6)
    assert np.abs(lowered[0] - kept[0]).max() > 1e-3
    expected = by_hand(plain, TEXTS[0].lower(), "mean")
    np.testing.assert_allclose(lowered[0], expected / np.linalg.norm(expected), atol=1e-5)


def test_a_prompt_that_is_not_pooled(model: Path, plain: Path) -> None:
    """``include_prompt: false``: the prompt is read, and only the text's tokens are averaged."""
    change(model / "1_Pooling" / "config.json", include_prompt=False)
    change(model / "config_sentence_transformers.json", prompts={"document": "title: "})
    vectors = ours(model)
    np.testing.assert_allclose(vectors, theirs(model), atol=1e-6)
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(plain)("title: soap", return_tensors="pt")
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(plain).eval()(**tokens).last_hidden_state[0].numpy()
    expected = hidden[3:].mean(axis=0)  # after [CLS], title and the colon
    np.testing.assert_allclose(vectors[1], expected / np.linalg.norm(expected), atol=1e-5)


@pytest.mark.parametrize(
    ("config", "options", "prefix"),
    [
        ({"prompts": {"query": "q: ", "document": "d: "}}, {}, "d: "),
        ({"prompts": {"query": "q: ", "passage": "p: "}}, {}, "p: "),
        ({"prompts": {"query": "q: ", "corpus": "c: "}}, {}, "c: "),
        ({"prompts": {"mine": "m: "}, "default_prompt_name": "mine"}, {}, "m: "),
        ({"prompts": {"query": "q: ", "document": ""}, "default_prompt_name": "query"}, {}, ""),
        ({"prompts": {"query": "q: ", "document": "d: "}}, {"prompt": "query"}, "q: "),
        ({"prompts": {"query": "q: ", "document": "d: "}}, {"prefix": "x "}, "x "),
        ({"prompts": {"document": "d: "}}, {"prefix": ""}, ""),
    ],
)
def test_prompts(model: Path, config: dict[str, Any], options: dict[str, str], prefix: str) -> None:
    change(model / "config_sentence_transformers.json", **config)
    encoder = TextEncoder(str(model), device="cpu", **options)
    assert encoder.settings["prefix"] == prefix
    np.testing.assert_allclose(encoder.encode(TEXTS)[0], theirs(model, prompt=prefix), atol=1e-6)
    if "document" in config["prompts"] and not options:
        np.testing.assert_allclose(encoder.encode(TEXTS)[0], theirs(model), atol=1e-6)


def test_a_prompt_that_the_model_does_not_have(model: Path) -> None:
    change(model / "config_sentence_transformers.json", prompts={"query": "q: "})
    with pytest.raises(UsageError, match=r"--prompt doc: .* it has 'query'"):
        TextEncoder(str(model), device="cpu", prompt="doc")


@pytest.mark.parametrize(
    ("name", "prefix"), [("e5-small-v2", "query: "), ("multilingual-e5-large-instruct", "")]
)
def test_e5_without_prompts_of_its_own(plain: Path, tmp_path: Path, name: str, prefix: str) -> None:
    shutil.copytree(plain, tmp_path / "intfloat" / name)
    encoder = TextEncoder(str(tmp_path / "intfloat" / name), device="cpu")
    assert encoder.settings["prefix"] == prefix


@pytest.mark.parametrize("mode", ["mean_sqrt_len_tokens", "weightedmean_tokens"])
def test_rarer_poolings(model: Path, mode: str) -> None:
    entries = {"pooling_mode_mean_tokens": False, f"pooling_mode_{mode}": True}
    change(model / "1_Pooling" / "config.json", **entries)
    np.testing.assert_allclose(ours(model), theirs(model), atol=1e-6)


def test_two_poolings_side_by_side(model: Path, plain: Path) -> None:
    change(model / "1_Pooling" / "config.json", pooling_mode_cls_token=True)
    encoder = TextEncoder(str(model), device="cpu")
    assert encoder.settings["pooling"] == "cls+mean"
    expected = np.concatenate([by_hand(plain, "soap", "cls"), by_hand(plain, "soap", "mean")])
    vector = encoder.encode(["soap"])[0][0]
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_a_dense_layer_is_followed_and_left_out_with_pooling(model: Path, plain: Path) -> None:
    import torch
    from safetensors.torch import save_file

    weight = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    (model / "3_Dense").mkdir()
    save_file({"linear.weight": weight}, model / "3_Dense" / "model.safetensors")
    change(
        model / "3_Dense" / "config.json",
        in_features=16,
        out_features=4,
        bias=False,
        activation_function="torch.nn.modules.linear.Identity",
    )
    (model / "modules.json").write_text(
        json.dumps(json.loads((model / "modules.json").read_text())[:2])
    )
    add_step(model, "sentence_transformers.models.Dense", "3_Dense")
    encoder = TextEncoder(str(model), device="cpu")
    assert encoder.settings["normalised"] is False
    expected = weight.numpy() @ by_hand(plain, "soap", "mean")
    np.testing.assert_allclose(encoder.encode(["soap"])[0][0], expected, atol=1e-5)
    pooled = TextEncoder(str(model), device="cpu", pooling="cls").encode(["soap"])[0][0]
    np.testing.assert_allclose(pooled, by_hand(plain, "soap", "cls"), atol=1e-5)


def test_the_length_of_the_files_cuts_texts(model: Path) -> None:
    change(model / "sentence_bert_config.json", max_seq_length=4)
    encoder = TextEncoder(str(model), device="cpu")
    assert encoder.settings["max_length"] == 4
    vectors, _ = encoder.encode(["red nail polish soap", "red nail brush mug"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)  # [CLS] red nail [SEP]
    longer = TextEncoder(str(model), device="cpu", max_length=6)
    assert longer.settings["max_length"] == 6
    with pytest.raises(UsageError, match="--max-length 65: the model reads at most 64 tokens"):
        TextEncoder(str(model), device="cpu", max_length=65)


def test_a_length_beyond_the_positions_of_the_model(model: Path) -> None:
    change(model / "sentence_bert_config.json", max_seq_length=5000)
    encoder = TextEncoder(str(model), device="cpu")
    assert encoder.settings["max_length"] == 64
    whole, _ = encoder.encode(["red nail polish soap " * 100])
    cut, _ = TextEncoder(str(model), device="cpu", max_length=64).encode(
        ["red nail polish soap " * 100]
    )
    np.testing.assert_array_equal(whole, cut)


def test_vectors_of_words_without_a_transformer(tmp_path: Path) -> None:
    """A table of words: a text is the mean of its rows."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer

    save_tokenizer(tmp_path / "words")
    tokenizer = Tokenizer.from_file(str(tmp_path / "words" / "tokenizer.json"))
    table = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 6)).astype("f4")
    words = StaticEmbedding(tokenizer, embedding_weights=table)
    SentenceTransformer(modules=[words], device="cpu").save(str(tmp_path / "model"))
    dataset = make_dataset(tmp_path / "shop", ["red mug", "soap"])
    command = ["encode-text", str(dataset), "--model", str(tmp_path / "model")]
    assert main([*command, "--template", "{title}", "--device", "cpu"]) == 0
    features = read_features(dataset / "features", "text", width=6)
    rows = [tokenizer.encode(text, add_special_tokens=False).ids for text in ("red mug", "soap")]
    expected = [table[ids].mean(axis=0) for ids in rows]
    np.testing.assert_allclose(features.matrix, expected, rtol=2e-3, atol=1e-3)
    assert features.manifest["max_length"] is None
    with pytest.raises(UsageError, match="has no token vectors to pool"):
        TextEncoder(str(tmp_path / "model"), device="cpu", pooling="mean")


def test_a_model_without_an_end_reads_512_tokens(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = sentence_model._load

    def endless(name: str, revision: str | None) -> Any:
        steps = load(name, revision)
        steps.max_seq_length = 10**30  # as transformers says of a tokenizer that sets none
        return steps

    monkeypatch.setattr(sentence_model, "_load", endless)
    assert TextEncoder(str(model), device="cpu").settings["max_length"] == 512


def test_half_precision_pools_in_float32(model: Path) -> None:
    vectors = ours(model, dtype="bfloat16")
    assert vectors.dtype == np.float32
    assert (vectors * ours(model)).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


EVIL = "import pathlib; pathlib.Path(__file__).with_name('ran').touch()\nclass Step: pass\n"


@pytest.mark.parametrize(
    "kind",
    [
        "evil.Step",
        "os.system",
        "sentence_transformers.util.misc.importlib",
        "sentence_transformers.base.model.torch",
        "sentence_transformers.models.WordEmbeddings",
        "sentence_transformers.models.Asym",
        "sentence_transformers.models.Dense.load",
    ],
)
def test_a_model_does_not_choose_what_is_imported(
    model: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(model))
    add_step(model, kind, "3_Step")
    with pytest.raises(UsageError, match=f"modules.json asks for {kind}, .* never run"):
        TextEncoder(str(model), device="cpu")
    assert not (model / "ran").exists()


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"model_args": {"weights_only": False}}, "model_args.weights_only to False"),
        ({"model_kwargs": {"attn_implementation": "some/kernel"}}, "attn_implementation"),
        ({"processor_kwargs": {"custom": "/etc/passwd"}}, "processor_kwargs.custom"),
        ({"tokenizer_name_or_path": "other/model"}, "another model's tokenizer"),
        (
            {"modality_config": {"text": {"method": "save_pretrained"}}},
            "the method 'save_pretrained'",
        ),
    ],
)
def test_a_model_does_not_choose_how_it_is_loaded(
    model: Path, entries: dict[str, Any], words: str
) -> None:
    change(model / "sentence_bert_config.json", **entries)
    with pytest.raises(UsageError, match=words):
        TextEncoder(str(model), device="cpu")


@pytest.mark.parametrize("entry", ["attn_implementation", "experts_implementation"])
def test_a_model_does_not_fetch_kernels(model: Path, entry: str) -> None:
    change(model / "config.json", **{entry: "somebody/kernel"})
    with pytest.raises(UsageError, match=f"config.json sets {entry} to 'somebody/kernel'"):
        TextEncoder(str(model), device="cpu")


def test_an_activation_of_no_known_kind_is_refused(model: Path) -> None:
    add_step(model, "sentence_transformers.models.Dense", "3_Dense")
    change(model / "3_Dense" / "config.json", activation_function="os.system")
    with pytest.raises(UsageError, match=r"the function 'os\.system'"):
        TextEncoder(str(model), device="cpu")


def cut(name: str) -> Any:
    return lambda model: (model / name).write_bytes((model / name).read_bytes()[:20])


def no_tokenizer(model: Path) -> None:
    for name in ("tokenizer.json", "vocab.txt"):
        (model / name).unlink()


DAMAGES = {
    "modules": (cut("modules.json"), "modules.json: cut off or not JSON"),
    "no list": (lambda m: (m / "modules.json").write_text("{}"), "is not a list of modules"),
    "pooling": (cut("1_Pooling/config.json"), "cannot load the steps"),
    "length": (cut("sentence_bert_config.json"), "sentence_bert_config.json: cut off"),
    "config": (cut("config.json"), "config.json: cut off"),
    "weights": (cut("model.safetensors"), "cannot load the steps"),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), "cannot load the steps"),
    "no tokenizer": (no_tokenizer, "tokenizer|the steps"),
    "out": (lambda m: add_step(m, "sentence_transformers.models.Dense", "../x"), "leads out"),
    "kind": (
        lambda m: change(m / "config_sentence_transformers.json", model_type="SparseEncoder"),
        "a SparseEncoder",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_wrong_use(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    import re

    spoil, words = DAMAGES[damage]
    spoil(model)
    dataset = make_dataset(tmp_path / "shop", TEXTS)
    assert main(["encode-text", str(dataset), "--model", str(model)]) == 2
    said = capsys.readouterr().err
    assert re.search(words, said) and str(model) in said and "Traceback" not in said
    assert not (dataset / "features").exists()


@pytest.mark.parametrize("place", ["/no/such/model", "./nothing", "a/b/c"])
def test_a_folder_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    dataset = make_dataset(tmp_path / "shop", TEXTS)
    assert main(["encode-text", str(dataset), "--model", place]) == 2
    assert f"--model {place}: no such folder" in capsys.readouterr().err


def test_a_moved_model_is_the_same_and_a_changed_one_is_not(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_dataset(tmp_path / "shop", TEXTS)
    command = ["encode-text", str(dataset), "--model"]
    assert main([*command, str(model)]) == 0
    assert read_manifest(dataset / "features", "text")["encoder"] == "model"
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(model, moved)
    capsys.readouterr()
    assert main([*command, str(moved)]) == 0
    assert "already there" in capsys.readouterr().out
    change(moved / "1_Pooling" / "config.json", pooling_mode_max_tokens=True)
    assert main([*command, str(moved)]) == 2
    assert "files_sha256" in capsys.readouterr().err


def test_features_whose_manifest_names_a_folder_are_still_known(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_dataset(tmp_path / "shop", TEXTS)
    command = ["encode-text", str(dataset), "--model", str(model)]
    assert main(command) == 0
    path = dataset / "features" / "text.json"
    manifest = json.loads(path.read_text())
    del manifest["files_sha256"]
    path.write_text(json.dumps({**manifest, "encoder": str(model)}))
    capsys.readouterr()
    assert main(command) == 0
    assert "already there" in capsys.readouterr().out


def save_two_towers(folder: Path, name: str) -> Path:
    """A SigLIP or CLIP with a tokenizer; no picture half of a processor."""
    import torch
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    words = save_tokenizer(folder, 16)
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    text = {**TEXT, **ids, "vocab_size": words, "projection_size": 16}
    torch.manual_seed(0)
    if name == "siglip":
        SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(folder)
    else:
        config = CLIPConfig(text_config=text, vision_config=VISION, projection_dim=8)
        CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("name", "width"), [("siglip", 16), ("clip", 8)])
def test_the_text_half_of_a_two_tower_model(tmp_path: Path, name: str, width: int) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = save_two_towers(tmp_path / name, name)
    dataset = make_dataset(tmp_path / "shop", TEXTS)
    assert main(["encode-text", str(dataset), "--model", str(folder)]) == 0
    features = read_features(dataset / "features", "text", width=width)
    assert features.manifest["pooling"] == "text half"
    assert features.manifest["max_length"] == 16
    network, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for row, title in enumerate(TEXTS):
        text = f"Title: {title}"
        padding = {"padding": "max_length", "max_length": 16} if name == "siglip" else {}
        tokens = tokenizer(text, return_tensors="pt", **padding)
        with torch.no_grad():
            half = network.eval().text_model
            if name == "siglip":
                vector = half(input_ids=tokens["input_ids"]).pooler_output[0]
            else:
                ids = {key: tokens[key] for key in ("input_ids", "attention_mask")}
                vector = network.text_projection(half(**ids).pooler_output)[0]
        expected = (vector / vector.norm()).numpy()
        np.testing.assert_allclose(features.matrix[row], expected, atol=2e-3)


def test_pooling_is_refused_where_a_half_pools_by_itself(tmp_path: Path) -> None:
    folder = save_two_towers(tmp_path / "clip", "clip")
    with pytest.raises(
        UsageError, match=r"--pooling mean: the text half of .* does its own pooling"
    ):
        TextEncoder(str(folder), device="cpu", pooling="mean")
