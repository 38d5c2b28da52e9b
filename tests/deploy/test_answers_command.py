"""``recommend`` with reasons, varied items, groups, and similar items."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from dataset_tools.features import write_features
from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.deploy import Recommender
from tests.deploy.conftest import ITEMS, features_of

IDS = [f"i{row}" for row in range(1, ITEMS + 1)]


def shown_ids(text: str) -> list[str]:
    """The ids of a printed list: lines that begin with a rank."""
    return [line.split()[2] for line in text.splitlines() if line[:4].strip().isdigit()]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A dataset folder with genres and features of the random model's items."""
    folder = tmp_path / "shop"
    folder.mkdir()
    lines = ["item_id:token\tgenre:token_seq\tyear:float\tplace:float_seq"]
    lines += [f"{item}\tg{n % 3} h{n % 2}\t{1990 + n % 2}\t1 2" for n, item in enumerate(IDS)]
    (folder / "shop.item").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for (name, rows), encoder in zip(
        features_of(ITEMS).items(), ("encoder-a", "encoder-b"), strict=True
    ):
        write_features(folder / "features", name, rows.numpy(), IDS, {"encoder": encoder})
    return folder


def test_reasons_are_printed(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recommend", f"--model_dir={saved}", "--history=i1,i2,i3", "--k=5", "--explain"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    model = Recommender.load(saved)
    ids = model.recommend(["i1", "i2", "i3"], k=5).ids
    told = [line.strip() for line in lines if "because you liked" in line]
    expected = [one.reasons() for one in model.explain(["i1", "i2", "i3"], ids)]
    assert told == [str(reasons[0]) for reasons in expected if reasons] and told
    assert told[0].startswith(("because you liked Title ", "because you liked i2"))


def test_reasons_in_files(saved: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.csv"
    users.write_text("user_id,history\nu,i1 i2 i3\nv,\n", encoding="utf-8")
    words = ["recommend", f"--model_dir={saved}", f"--users_file={users}", "--k=3", "--explain"]
    assert main([*words, f"--output={tmp_path / 'out.csv'}"]) == 0
    assert main([*words, f"--output={tmp_path / 'out.jsonl'}"]) == 0
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = Recommender.load(saved).recommend(["i1", "i2", "i3"], k=3, explain=True)
    for row, reason in zip(rows[:3], found.reasons, strict=True):
        assert row["because_item_id"] == ("" if reason is None else reason.id)
        if reason is not None:
            assert float(row["contribution"]) == pytest.approx(reason.contribution, rel=1e-4)
    assert any(found.reasons)
    assert [row["because_item_id"] + row["contribution"] for row in rows[3:]] == [""] * 3
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    because = [item["because"] for item in json.loads(lines[0])["items"]]
    assert because == [r if r is None else pytest.approx(r.to_json()) for r in found.reasons]
    assert all(item["because"] is None for item in json.loads(lines[1])["items"])


def test_varied_items_and_groups(
    saved: Path, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recommend", f"--model_dir={saved}", "--history=i1,i2", "--k=4"]
    model = Recommender.load(saved)
    assert main([*words, "--diversify=0.6"]) == 0
    varied = model.recommend(["i1", "i2"], k=4, diversify=0.6).ids
    assert shown_ids(capsys.readouterr().out) == varied
    assert varied != model.recommend(["i1", "i2"], k=4).ids
    item_file = f"--items_file={shop / 'shop.item'}"
    assert main([*words, "--max_per_group=1", "--group_by=genre", item_file]) == 0
    numbers = [int(item[1:]) - 1 for item in shown_ids(capsys.readouterr().out)]
    # An item has one of g0, g1, g2 and one of h0, h1: there is room for two.
    assert len(numbers) == 2 == len({n % 3 for n in numbers}) == len({n % 2 for n in numbers})
    assert main([*words, "--max_per_group=2", "--group_by=year", item_file]) == 0
    numbers = [int(item[1:]) - 1 for item in shown_ids(capsys.readouterr().out)]
    assert sorted(n % 2 for n in numbers) == [0, 0, 1, 1]
    model.add_column("parity", {item: item[-1] for item in IDS})
    model.save(shop / "grown")
    words[1] = f"--model_dir={shop / 'grown'}"
    assert main([*words, "--max_per_group=1", "--group_by=parity"]) == 0
    assert len({item[-1] for item in shown_ids(capsys.readouterr().out)}) == 4


def test_similar_items_by_the_model_and_by_features(
    saved: Path, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recommend", f"--model_dir={saved}", "--similar=i1", "--k=3"]
    model = Recommender.load(saved)
    assert main([*words, "--size=4"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "like:\n      i1  Title 1\n\nby the model's vectors\nrank     cosine  item"
    )
    assert shown_ids(out) == model.similar("i1", k=3, size=4).ids
    assert main([*words, f"--features_dir={shop}"]) == 0
    given = {name: rows.numpy() for name, rows in features_of(ITEMS).items()}
    by_features = model.similar("i1", k=3, features=given).ids
    assert shown_ids(capsys.readouterr().out) == model.similar("i1", k=3).ids + by_features


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--similar=nobody"], "1 unknown item(s): nobody"),
        (["--similar=i1", "--size=5"], "size = 5: this model has the sizes [4, 8, 16]"),
        (["--similar=i1", "--explain"], "--explain is for recommendations and means nothing with"),
        (["--similar=i1", "--output=a.csv"], "--output is for recommendations and means nothing"),
        (["--similar=i1", "--features_dir=no"], "--features_dir: there is no folder"),
        (["--history=i1", "--size=4"], "--size needs --similar"),
        (["--history=i1", "--features_dir=SHOP"], "--features_dir needs --similar"),
        (["--history=i1", "--diversify=2"], "diversify must be a number from 0 to 1, not 2.0"),
        (["--history=i1", "--max_per_group=2"], "max_per_group and group_by belong together"),
        (["--history=i1", "--items_file=SHOP/shop.item"], "--items_file needs --group_by"),
        (["--history=i1", "--group_by=genre", "--max_per_group=1"], "no column 'genre' of items"),
        (
            ["--history=i1", "--group_by=x", "--max_per_group=1", "--items_file=SHOP/shop.item"],
            "has no column 'x'; it has genre, year, place",
        ),
        (
            [
                "--history=i1",
                "--group_by=place",
                "--max_per_group=1",
                "--items_file=SHOP/shop.item",
            ],
            "the column place of SHOP/shop.item holds lists of numbers",
        ),
        (
            ["--history=i1", "--group_by=x", "--items_file=no.item"],
            "--items_file: there is no file",
        ),
    ],
)
def test_wrong_use(
    saved: Path, shop: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    words = [word.replace("SHOP", str(shop)) for word in words]
    assert main(["recommend", f"--model_dir={saved}", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message.replace("SHOP", str(shop)) in error
    assert len(error.splitlines()) == 1


def test_features_of_another_encoder_are_refused(
    saved: Path, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = features_of(ITEMS)["text"].numpy()
    write_features(shop / "features", "text", rows, IDS, {"encoder": "encoder-x"})
    words = ["recommend", f"--model_dir={saved}", "--similar=i1", f"--features_dir={shop}"]
    assert main(words) == 2
    assert "was made by 'encoder-x', the model's text features by 'encoder-a'" in (
        capsys.readouterr().err
    )
