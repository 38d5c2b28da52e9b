"""Every form in which a field of Amazon's metadata occurs, in each edition."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataset_tools.__main__ import main
from dataset_tools.formats.atomic_files import read_table
from dataset_tools.formats.literals import clean_text, parse_literal, plain_id, texts_of

EDITIONS = {
    "amazon2014": ("asin", "reviewerID", "overall", "unixReviewTime", "reviews_Toys.json"),
    "amazon2018": ("asin", "reviewerID", "overall", "unixReviewTime", "Toys_5.json"),
    "amazon2023": ("parent_asin", "user_id", "rating", "timestamp", "Toys.jsonl"),
}
CATEGORIES = {"amazon2014": "categories", "amazon2018": "category", "amazon2023": "categories"}
# value -> its texts: the value itself, then what stands in the file's column.
FORMS = [
    ("one plain text", "one plain text"),
    (["a", "b"], "a|b"),
    ([["a", "b"], ["c"]], "a|b|c"),
    (7, "7"),
    (9.5, "9.5"),
    (None, ""),
    ("", ""),
    ([], ""),
    ({}, ""),
    ([None, "a", ""], "a"),
    (float("nan"), ""),
    ("nan", ""),
    ("None", ""),
    ('["a", "b"]', "a|b"),
    ("['a', 'b']", "a|b"),
    ("[['a', nan], ['b']]", "a|b"),
    ("[new] a", "[new] a"),
    ({"x": ["a", "b"]}, "a|b"),
    ("Tom &amp;amp; <b>Co</b>", "Tom & Co"),
    ("two\nlines", "two lines"),
]


def convert(
    tmp_path: Path, edition: str, records: list[dict | str]
) -> tuple[int, dict[str, dict[str, str]]]:
    """Convert metadata records of items B0, B1, ...; the catalogue by item."""
    key, user, rating, time, reviews = EDITIONS[edition]
    raw = tmp_path / "raw"
    raw.mkdir(exist_ok=True)
    items = range(max(2, len(records)))
    events = [{user: "u", key: f"B{n}", rating: 5.0, time: 1500000000 + n} for n in items]
    (raw / reviews).write_text("".join(json.dumps(event) + "\n" for event in events))
    lines = [
        record if isinstance(record, str) else json.dumps({key: f"B{n}", **record})
        for n, record in enumerate(records)
    ]
    suffix = "jsonl" if edition == "amazon2023" else "json"
    (raw / f"meta_Toys.{suffix}").write_text("".join(f"{line}\n" for line in lines))
    out = tmp_path / "out"
    code = main(["convert", edition, str(raw), str(out), "--overwrite"])
    table = read_table(out / "out.item")[1] if code == 0 else ()
    return code, {row["item_id"]: row for row in table}


@pytest.mark.parametrize("edition", EDITIONS)
def test_a_text_in_any_form(tmp_path: Path, edition: str) -> None:
    categories = CATEGORIES[edition]
    records = [{"title": value, "description": value, categories: value} for value, _ in FORMS]
    code, items = convert(tmp_path, edition, records)
    assert code == 0
    for number, (value, texts) in enumerate(FORMS):
        row = items[f"B{number}"]
        assert row["description"] == texts.replace("|", " "), value
        assert row["categories"] == row["title"] == texts.replace("|", ", "), value


@pytest.mark.parametrize("edition", EDITIONS)
def test_what_holds_no_text_is_counted_with_its_line(
    tmp_path: Path, edition: str, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [{"title": "A"}, {"title": True, "description": [True, "x"]}, {"title": "C"}]
    code, items = convert(tmp_path, edition, records)
    assert code == 0 and items["B1"]["title"] == "" and items["B2"]["title"] == "C"
    said = capsys.readouterr().out
    for field in ("title", "description"):
        assert f"1 metadata fields '{field}' that are not text (first: meta_Toys.json" in said
    assert "line 2)" in said


@pytest.mark.parametrize("edition", EDITIONS)
@pytest.mark.parametrize(
    "line",
    ["{broken", "[]", "null", '"text"', "{}", '{"title": "no id"}', "[" * 5000, '{"asin": []}'],
)
def test_a_record_that_cannot_be_read_ends_nothing(
    tmp_path: Path, edition: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, items = convert(tmp_path, edition, [{"title": "A"}, line])
    assert code == 0 and items["B0"]["title"] == "A"
    assert "line 2)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("price", "shown"),
    [
        (9.99, "9.99"),
        ("$9.99", "$9.99"),
        ("9,99 €", "9,99 €"),
        ("$5.00 - $9.00", "$5.00 - $9.00"),
        ("1.234,50", "1.234,50"),
        ("None", ""),
        ("—", ""),
        (None, ""),
        (float("nan"), ""),
        (".a-box-inner{background-color:#fff}", ""),
        ("from 3 up to a price that goes on and on for long", ""),
    ],
)
@pytest.mark.parametrize("edition", EDITIONS)
def test_prices(tmp_path: Path, edition: str, price: object, shown: str) -> None:
    code, items = convert(tmp_path, edition, [{"title": "A", "price": price}])
    assert code == 0 and items["B0"].get("price", "") == shown


HUGGING_FACE = {
    "hi_res": [None, "http://x/h1.jpg"],
    "large": ["http://x/l0.jpg", "http://x/l1.jpg"],
    "thumb": ["http://x/t0.jpg", "http://x/t1.jpg"],
    "variant": ["MAIN", "PT01"],
}
PICTURES_2023 = [
    ([{"thumb": "t", "large": "l", "hi_res": None}], "l"),
    ([{"thumb": None, "large": None, "hi_res": None}, {"large": "l2"}], "l2"),
    (HUGGING_FACE, "http://x/l0.jpg"),
    (json.dumps(HUGGING_FACE), "http://x/l0.jpg"),
    (json.dumps([{"large": "l"}]), "l"),
    ({"hi_res": [], "large": [], "thumb": []}, None),
    ({"large": "l"}, "l"),
    (["l"], "l"),
    (None, None),
    ("", None),
    (True, None),
]


@pytest.mark.parametrize(("images", "url"), PICTURES_2023)
def test_pictures_of_2023(tmp_path: Path, images: object, url: str | None) -> None:
    assert convert(tmp_path, "amazon2023", [{"title": "A", "images": images}])[0] == 0
    listed = tmp_path / "out" / "images.tsv"
    found = [row["image"] for row in read_table(listed)[1]] if listed.exists() else []
    assert found == ([url] if url else [])


@pytest.mark.parametrize(
    ("edition", "key", "value"),
    [
        ("amazon2014", "imUrl", "u"),
        ("amazon2014", "imUrl", ["u"]),
        ("amazon2018", "imageURLHighRes", "u"),
        ("amazon2018", "imageURL", ["", "u"]),
        ("amazon2018", "image", "['u', 'v']"),
    ],
)
def test_pictures_of_the_others(tmp_path: Path, edition: str, key: str, value: object) -> None:
    assert convert(tmp_path, edition, [{"title": "A", key: value}])[0] == 0
    assert [row["image"] for row in read_table(tmp_path / "out" / "images.tsv")[1]] == ["u"]


@pytest.mark.parametrize(
    ("details", "brand"),
    [
        ({"Brand": "Acme"}, "Acme"),
        ('{"Brand": "Acme"}', "Acme"),
        ({"Brand": None}, "Shop"),
        ("{}", "Shop"),
        ("no JSON", "Shop"),
        (None, "Shop"),
        ([], "Shop"),
        ({"Brand": ["Acme"]}, "Acme"),
    ],
)
def test_brands_of_2023(tmp_path: Path, details: object, brand: str) -> None:
    record = {"title": "A", "details": details, "store": "Shop"}
    assert convert(tmp_path, "amazon2023", [record])[1]["B0"]["brand"] == brand


def test_literals_with_names_of_values() -> None:
    record = parse_literal("{'a': nan, 'b': true, 'c': [null, inf], 'd': -1}")
    assert record == {"a": None, "b": True, "c": [None, None], "d": -1}
    with pytest.raises(ValueError):
        parse_literal("{'a': open('x')}")


def test_texts_and_ids() -> None:
    assert texts_of({"a": [1, None, "x"]}) == ["1", "x"]
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(TypeError, match="too deep"):
        texts_of(deep)
    assert clean_text(deep) == "" and clean_text(float("nan")) == ""
    assert clean_text("['a', ['b']]") == "a, b" and clean_text("[a") == "[a"
    ids = [100.0, "100.0", " 100 ", 100, "100.50", "-3.0", float("nan"), float("inf"), None, ["x"]]
    assert list(map(plain_id, ids)) == [
        *("100", "100", "100", "100", "100.50", "-3"),
        *("", "", "", ""),
    ]


REVIEWS = {
    "amazon2014": '{"reviewerID": %s, "asin": %s, "overall": %s, "unixReviewTime": %s}\n',
    "amazon2018": '{"reviewerID": %s, "asin": %s, "overall": %s, "unixReviewTime": %s}\n',
    "amazon2023": '{"user_id": %s, "asin": %s, "rating": %s, "timestamp": %s}\n',
}


@pytest.mark.parametrize("edition", REVIEWS)
@pytest.mark.parametrize(
    "values",
    [
        ('""', '"i"', "5", "7"),
        ('"u"', "null", "5", "7"),
        ('"NA"', '"i"', "5", "7"),
        ('"u"', '"i"', "NaN", "7"),
        ('"u"', '"i"', "Infinity", "7"),
        ('"u"', '"i"', "5", "NaN"),
        ('"u"', '"i"', "5", "-Infinity"),
        ('"u"', '"i"', "5", '""'),
        ('"u"', '"i"', "5", "null"),
        ('"u"', '"i"', "5", "99999999999999999999"),
    ],
)
def test_reviews_that_cannot_be_used(
    tmp_path: Path,
    edition: str,
    values: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    good = REVIEWS[edition] % ('"u"', '"i"', "5", "7")
    (raw / EDITIONS[edition][4]).write_text(good + REVIEWS[edition] % values)
    arguments = ["convert", edition, str(raw), str(tmp_path / "out"), "--overwrite"]
    assert main(arguments) == 0
    assert f"(first: {EDITIONS[edition][4]} line 2)" in capsys.readouterr().out
    assert len(list(read_table(tmp_path / "out" / "out.inter")[1])) == 1
    assert main([*arguments, "--no-skip-bad-rows"]) == 2
    assert f"{EDITIONS[edition][4]}, line 2: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "first"),
    [("A1,B1,,10", True), ("A1,B1,nan,10", True), ("A1,B1,5.0,inf", False), ("A1,B1", False)],
)
def test_ratings_that_cannot_be_used(
    tmp_path: Path, line: str, first: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    header = "" if first else "user_id,item_id,rating,timestamp\n"
    (raw / "ratings_X.csv").write_text(f"{header}{line}\nA2,B1,4.0,11\n")
    assert main(["convert", "amazon2014", str(raw), str(tmp_path / "out")]) == 0
    place = f"ratings_X.csv line {1 if first else 2}"
    assert f"1 malformed ratings (first: {place})" in capsys.readouterr().out


def test_bytes_are_read_as_their_text() -> None:
    assert clean_text("Käse & Co".encode()) == "Käse & Co"
    assert clean_text([b"a", "b"]) == "a, b"
