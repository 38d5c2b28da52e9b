"""Inspection and neighbours against numbers worked out by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from dataset_tools.__main__ import main
from dataset_tools.features import write_features
from dataset_tools.formats.atomic_files import write_table
from dataset_tools.inspection.facts import inspect_dataset
from dataset_tools.inspection.nearest_items import find_neighbours
from tests.dataset_tools.encoders.test_encode_images import picture
from tests.page_checks import check_page


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three users, items a-e: d has no metadata, e no interactions."""
    folder = tmp_path / "shop"
    events = ["ua", "ub", "uc", "ud", "va", "va", "wa"]
    write_table(
        folder / "shop.inter",
        ["user_id:token", "item_id:token", "timestamp:float"],
        [(user, item, 1609459200 + at) for at, (user, item) in enumerate(events)],
    )
    items = [("a", "<b>Mug & cup</b>", "red"), ("b", "Cup", ""), ("c", "", ""), ("e", "New", "")]
    columns = ["item_id:token", "title:token_seq", "colour:token_seq"]
    write_table(folder / "shop.item", columns, items)
    matrix = np.array([[1, 0], [0.6, 0.8], [0, 0], [-1, 0]])
    write_features(folder / "features", "text", matrix, list("abce"), {"empty_items": ["c"]})
    return folder


def test_the_numbers(dataset: Path) -> None:
    facts = inspect_dataset(dataset, shown=2)
    assert (facts["users"], facts["items"], facts["interactions"]) == (3, 4, 7)
    assert facts["density"] == 7 / 12
    assert facts["user_lengths"]["max"] == 4 and facts["user_lengths"]["median"] == 2
    assert facts["user_histogram"] == [
        {"from": 1, "to": 1, "count": 1},
        {"from": 2, "to": 2, "count": 1},
        {"from": 3, "to": 4, "count": 1},
    ]
    assert (facts["catalogue_items"], facts["cold_items"]) == (4, 1)
    assert facts["items_without_metadata"] == 1
    assert facts["columns"]["title"] == {"share": 0.75, "mean_length": (16 + 3 + 3) / 3}
    assert facts["time"]["first_date"] == "2021-01-01 00:00"
    text = facts["features"]["text"]
    assert text["coverage"] == 0.5 and text["empty_items"] == 1
    assert text["norm_max"] == pytest.approx(1, abs=1e-3)
    # cosines of the three pairs: 0.6, -1, -0.6
    assert text["mean_cosine"] == pytest.approx(-1 / 3, abs=0.02)
    assert [card["item"] for card in facts["most_popular"]] == ["a", "b"]
    assert facts["most_popular"][0]["interactions"] == 4
    assert [card["item"] for card in facts["cold_sample"]] == ["e"]


def test_json_is_the_facts(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(dataset), "--json", "--shown", "2"]) == 0
    assert json.loads(capsys.readouterr().out) == inspect_dataset(dataset, shown=2)


def test_text_names_what_matters(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(dataset)]) == 0
    said = capsys.readouterr().out
    assert "shop: 3 users, 4 items, 7 interactions, 58.3333% of all pairs" in said
    assert "4 items, 1 without interactions; 1 items with interactions are not in it" in said
    assert "features text: unknown, 2 wide, 50.0% of the items with interactions, 1 empty" in said


def test_the_page_stands_alone_and_shows_pictures(dataset: Path, tmp_path: Path) -> None:
    (dataset / "images").mkdir()
    picture().save(dataset / "images" / "a.png")
    (dataset / "images" / "b.png").write_bytes(b"broken")
    page = tmp_path / "report.html"
    assert main(["inspect", str(dataset), "--html", str(page), "--json"]) == 0
    text = page.read_text()
    tags = check_page(text)
    assert "<b>Mug & cup</b>" in tags.text and "<b>Mug" not in text
    assert tags.images and all(url.startswith("data:image/jpeg;base64,") for url in tags.images)
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "no picture" in tags.text and "3–4" in tags.text


def test_a_data_set_without_catalogue_and_features(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(tmp_path / "x" / "x.inter", ["user_id:token", "item_id:token"], [("u", "i")])
    assert main(["inspect", str(tmp_path / "x"), "--html", str(tmp_path / "p.html")]) == 0
    said = capsys.readouterr().out
    assert "features: none" in said and "time: none" in said
    assert main(["inspect", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_neighbours_by_hand(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = find_neighbours(dataset, "a", count=5)["text"]
    assert [one["item"] for one in found] == ["a", "b", "e"]
    cosines = [one["cosine"] for one in found]
    assert cosines == pytest.approx([1, 0.6, -1], abs=1e-3)
    assert main(["neighbours", str(dataset), "--item", "b", "--count", "1"]) == 0
    assert re.search(r"0\.600  a +<b>Mug & cup</b>  red", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--item", "c"], "'c' has no features"),
        (["--item", "zz"], "'zz' has no features"),
        (["--item", "a", "--modality", "image"], "no features image; there are text"),
    ],
)
def test_neighbours_of_nothing(
    dataset: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(["neighbours", str(dataset), *options]) == 2
    assert words in capsys.readouterr().err


def test_neighbours_page(dataset: Path, tmp_path: Path) -> None:
    page = tmp_path / "n.html"
    assert main(["neighbours", str(dataset), "--item", "a", "--html", str(page), "--json"]) == 0
    assert "cosine 0.600" in check_page(page.read_text()).text


def test_a_page_that_cannot_be_written_is_named(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for command in (["inspect", str(dataset)], ["neighbours", str(dataset), "--item", "a"]):
        for place in (tmp_path, tmp_path / "file" / "page.html"):
            assert main([*command, "--html", str(place)]) == 2
            assert f"--html: cannot write {place}: " in capsys.readouterr().err
