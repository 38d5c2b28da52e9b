"""Item texts and the features made of them without a download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataset_tools.__main__ import main
from dataset_tools.encoders.item_texts import item_texts
from dataset_tools.encoders.tfidf import make_text_features, tfidf_svd
from dataset_tools.errors import UsageError
from dataset_tools.features import read_features
from dataset_tools.formats.atomic_files import write_table

COLUMNS = [
    "item_id:token",
    "description:token_seq",
    "title:token_seq",
    "brand:token",
    "price:float",
]


@pytest.fixture
def item_file(tmp_path: Path) -> Path:
    rows = [
        ("1", "long", "red nail polish", "OPI", 9.5),
        ("2", "", "blue nail polish", "", None),
        ("3", "only a description", "", "", None),
        ("1", "", "a second row of item 1", "", None),
    ]
    write_table(tmp_path / "a.item", COLUMNS, rows)
    return tmp_path / "a.item"


def test_default_lines_in_the_published_order(item_file: Path) -> None:
    ids, texts = item_texts(item_file)
    assert ids == ["1", "2", "3"]
    assert texts == [
        "Title: red nail polish\nPrice: 9.5\nBrand: OPI",
        "Title: blue nail polish",
        "",
    ]


def test_chosen_columns_and_templates(item_file: Path) -> None:
    assert item_texts(item_file, columns=["description"])[1][0] == "Description: long"
    texts = item_texts(item_file, template="{brand}: {title}\nCost {price}")[1]
    assert texts == ["OPI: red nail polish\nCost 9.5", ": blue nail polish", ""]


def test_other_catalogues_use_every_text_column(tmp_path: Path) -> None:
    columns = ["item_id:token", "movie_title:token_seq", "release_year:token", "stars:float"]
    write_table(tmp_path / "m.item", columns, [("1", "Toy Story", "1995", 4)])
    assert item_texts(tmp_path / "m.item")[1] == ["Movie title: Toy Story\nRelease year: 1995"]


def test_an_unknown_column_is_named(item_file: Path) -> None:
    with pytest.raises(UsageError, match="no column 'titel'; it has item_id, description, title"):
        item_texts(item_file, columns=["titel"])


def test_a_file_without_text_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "a.item", ["item_id:token", "x:float"], [("1", 2)])
    with pytest.raises(UsageError, match="no text to encode"):
        item_texts(tmp_path / "a.item")


def test_template_fields_are_only_looked_up(item_file: Path) -> None:
    """Format fields that reach into objects stay as they are written."""
    texts = item_texts(item_file, template="{title} {title.__class__}")[1]
    assert texts[1] == "blue nail polish {title.__class__}"


TEXTS = ["red nail polish", "blue nail polish", "wooden train", "wooden toy train", "", "!!"]


def test_similar_texts_are_near_and_empty_ones_zero() -> None:
    matrix = tfidf_svd(TEXTS, width=2)
    assert matrix.shape == (6, 2) and matrix.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), [1, 1, 1, 1, 0, 0], atol=1e-6)
    scores = matrix @ matrix.T
    assert scores[0, 1] > 0.8 > 0.2 > abs(scores[0, 2])
    assert scores[2, 3] > 0.8


def test_same_seed_same_bytes_and_narrow_catalogues() -> None:
    assert tfidf_svd(TEXTS, 256).tobytes() == tfidf_svd(TEXTS, 256).tobytes()
    assert tfidf_svd(TEXTS, 256).shape == (6, 5)
    assert tfidf_svd(["one word", "one word"], 8).shape == (2, 1)
    assert not tfidf_svd(["", "?"], 8).any()


def test_features_are_stored_with_what_they_stand_for(item_file: Path, tmp_path: Path) -> None:
    features = make_text_features(item_file, tmp_path / "features", width=2)
    assert features.items == ["1", "2", "3"]
    assert features.manifest["encoder"] == "tfidf-svd"
    assert features.manifest["template"] == "{title}\n{price}\n{brand}"
    assert features.manifest["empty_items"] == ["3"]
    assert read_features(tmp_path / "features", "text").manifest == features.manifest


@pytest.mark.parametrize(
    "titles",
    [["red mug", "tea pot"], ["mug", "mug"], ["mug"], ["a b", "c d", "e f"], ["mug", "pot"]],
)
def test_no_item_of_a_small_catalogue_is_lost(titles: list[str]) -> None:
    """Titles of no common word are orthogonal, equal ones the same, and none is zero."""
    vectors = tfidf_svd(titles)
    same = np.array([[float(one == other) for other in titles] for one in titles])
    np.testing.assert_allclose(vectors @ vectors.T, same, atol=1e-5)


def test_what_has_no_word_that_counts_is_not_said_to_be_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    titles = ["red mug", "", "!!!", "..."] + ["mug"] * 1000 + ["unheard"]
    rows = [(str(row), title) for row, title in enumerate(titles)]
    write_table(tmp_path / "s" / "s.item", ["item_id:token", "title:token_seq"], rows)
    assert main(["encode-text", str(tmp_path / "s"), "--model", "tfidf-svd"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("1,005 items, 1 wide; 1 had nothing to encode")
    assert said[1].startswith("  3 have a text without a usable word")
    assert said[1].endswith("zero vectors: 2, 3, 1004")
