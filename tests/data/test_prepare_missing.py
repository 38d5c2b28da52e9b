"""A dataset that is not there: prepared from its description, or a clear end."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_fmrlrec import run
from recbole_fmrlrec.errors import RunError
from tests import toy


@pytest.fixture
def described(tmp_path, monkeypatch) -> Path:
    """A description, in the working folder, of a dataset in MovieLens' layout; nothing fetched."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "properties" / "dataset"
    folder.mkdir(parents=True)
    (folder / "films.yaml").write_text(
        "source:\n"
        "  format: movielens\n"
        "  files:\n"
        "    - url: http://127.0.0.1:9/ratings.csv\n"
        "    - url: http://127.0.0.1:9/movies.csv\n"
        "  text: {model: tfidf-svd}\n",
        encoding="utf-8",
    )
    return tmp_path


def write_raw(root: Path) -> None:
    raw = root / "films" / "raw"
    raw.mkdir(parents=True)
    ratings = [
        f"{user},{1 + (user + step) % 20},4.0,{1000 + step}"
        for user in range(1, 31)
        for step in range(6)
    ]
    (raw / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *ratings]))
    movies = [f"{item},Film {item} (19{50 + item}),Drama|War" for item in range(1, 21)]
    (raw / "movies.csv").write_text("\n".join(["movieId,title,genres", *movies]))


def test_raw_files_that_are_there_are_converted_encoded_and_trained_on(described, capsys):
    write_raw(described)
    result = run("fMRLRec", "films", config_dict=toy.settings(described, epochs=1))
    assert result.features["encoders"] == {"text": "tfidf-svd"}
    assert (described / "films" / "features" / "text.npy").is_file()
    said = capsys.readouterr().err
    assert f"films is not in {described}: preparing it" in said


def test_a_model_without_features_is_given_none(described):
    write_raw(described)
    keys = {"data_path": str(described), "checkpoint_dir": "saved", "use_gpu": False}
    run("Pop", "films", config_dict=keys)
    assert not (described / "films" / "features").exists()


def test_an_unreachable_source_ends_with_the_ways_out(described, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(RunError, match="Two ways out") as caught:
        run("fMRLRec", "films", config_dict=toy.settings(described))
    assert str(described / "films" / "raw") in str(caught.value)
    assert not (described / "saved").exists()
