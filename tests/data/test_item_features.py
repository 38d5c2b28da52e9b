"""Features that follow the text they were made of, and that --resume compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataset_tools.encoders.item_texts import item_texts
from dataset_tools.encoders.tfidf import TFIDF_NAME, make_text_features, texts_changed, tfidf_svd
from dataset_tools.features import read_features
from recbole_fmrlrec import compat, run
from recbole_fmrlrec.data.item_features import chosen_features, features_fingerprint
from recbole_fmrlrec.errors import UsageError
from tests import toy


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy dataset, in ``toy/`` below the working folder."""
    monkeypatch.chdir(tmp_path)
    compat.apply()
    return toy.write_toy(tmp_path)


def configure(folder: Path, **keys: Any) -> Any:
    from recbole_fmrlrec.config.config import Config

    return Config("fMRLRec", "toy", config_dict=toy.settings(folder.parent, **keys))


def rename(folder: Path, old: str = "lamp", new: str = "lantern candle") -> Path:
    file = folder / "toy.item"
    file.write_text(file.read_text().replace(old, new))
    return file


def test_tfidf_features_follow_the_text_that_they_were_made_of(folder, caplog):
    config = configure(folder)
    before = features_fingerprint(config)
    place, names = chosen_features(config)
    assert names == ["text"] and "making TF-IDF" in caplog.text
    caplog.clear()
    assert features_fingerprint(config) == before and caplog.text == ""
    file = rename(folder)
    assert features_fingerprint(config) != before
    assert f"made from texts that {file} no longer has; making them again" in caplog.text
    ids, texts = item_texts(file, template="{title}")
    anew = read_features(place, "text")
    assert anew.items == ids
    assert np.array_equal(anew.matrix, tfidf_svd(texts).astype(np.float16))
    assert not texts_changed(file, anew.manifest)


def test_features_made_by_hand_are_remade_as_they_were_made(folder):
    make_text_features(folder / "toy.item", folder / "features", width=3, seed=4)
    file = rename(folder)
    features_fingerprint(configure(folder))
    anew = read_features(folder / "features", "text")
    assert anew.matrix.shape == (toy.ITEMS, 3) and anew.manifest["revision"].startswith("seed 4,")
    assert not texts_changed(file, anew.manifest)


@pytest.mark.parametrize("change", ["another encoder", "a column is gone", "a huge width"])
def test_what_cannot_be_made_anew_here_is_refused(folder, change):
    place = folder / "features"
    make_text_features(folder / "toy.item", place)
    manifest = json.loads((place / "text.json").read_text())
    if change == "another encoder":
        (place / "text.json").write_text(json.dumps({**manifest, "encoder": "big/one"}))
    if change == "a huge width":
        huge = {**manifest, "revision": "seed 0, at most 100000000 wide"}
        (place / "text.json").write_text(json.dumps(huge))
    file = rename(folder, *(("title", "name") if change == "a column is gone" else ("lamp", "")))
    made = (place / "text.npy").read_bytes()
    with pytest.raises(UsageError, match=r"text\.npy: made from texts that .* no longer") as error:
        features_fingerprint(configure(folder))
    assert f"encode-text {folder} --output {place} --overwrite" in str(error.value)
    assert features_fingerprint(configure(folder, feature_path=str(place)))
    assert (place / "text.npy").read_bytes() == made and texts_changed(file, manifest)


def test_features_of_unknown_origin_are_taken_as_they_are(folder):
    place = folder / "features"
    make_text_features(folder / "toy.item", place)
    manifest = json.loads((place / "text.json").read_text())
    del manifest["inputs_sha256"]
    (place / "text.json").write_text(json.dumps(manifest))
    assert manifest["encoder"] == TFIDF_NAME and not texts_changed(rename(folder), manifest)
    made = (place / "text.npy").read_bytes()
    features_fingerprint(configure(folder))
    assert (place / "text.npy").read_bytes() == made


def test_a_part_of_the_texts_is_compared_with_that_part(folder):
    place, file = folder / "features", folder / "toy.item"
    template = "{title}"
    _, texts = item_texts(file, template=template)
    from dataset_tools.files.hashes import digest_of

    digest = digest_of(texts[:2] + [""] * (len(texts) - 2))
    manifest = {"template": template, "inputs_sha256": digest, "limit": 2}
    assert not texts_changed(file, manifest)
    assert texts_changed(rename(folder, texts[0], "other"), manifest) and not place.exists()


def test_a_run_is_resumed_on_the_features_that_it_read(folder):
    settings = toy.settings(folder.parent, feature_path=str(folder / "features"))
    make_text_features(folder / "toy.item", folder / "features")
    first = run("fMRLRec", "toy", config_dict=settings)
    config = configure(folder, feature_path=str(folder / "features"))
    before = features_fingerprint(config)
    make_text_features(folder / "toy.item", folder / "features", width=5)
    assert features_fingerprint(config) != before
    with pytest.raises(UsageError, match=r"other data \(items, interactions, features\)"):
        run("fMRLRec", "toy", config_dict=settings, resume=first.run_dir)
    assert features_fingerprint(configure(folder, use_features=False, use_id_embedding=True)) == ""


def test_a_trained_model_keeps_to_the_features_that_it_has_seen(folder):
    from recbole_fmrlrec.export.open_checkpoint import open_checkpoint

    first = run("fMRLRec", "toy", config_dict=toy.settings(folder.parent)).run_dir / "best.pth"
    before = open_checkpoint(first).model.item_table()
    rename(folder)
    assert torch.equal(open_checkpoint(first).model.item_table(), before)
    second = run("fMRLRec", "toy", config_dict=toy.settings(folder.parent)).run_dir / "best.pth"
    open_checkpoint(second)
    with pytest.raises(UsageError, match=r"best\.pth does not fit toy .* other texts, since"):
        open_checkpoint(first)
