"""MovieLens, MMRec and tables of one's own."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from dataset_tools.__main__ import main
from dataset_tools.features import read_features
from tests.dataset_tools.sources.test_amazon import rows


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def convert(source: str, raw: Path, out: Path, *options: object) -> int:
    return main(["convert", source, str(raw), str(out), *map(str, options)])


def test_ml_100k(raw: Path, tmp_path: Path) -> None:
    (raw / "u.data").write_text("196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    (raw / "u.genre").write_text("unknown|0\nAction|1\nComedy|2\n\n")
    line = "242|Kolya — été (1996)|24-Jan-1997||http://x|0|1|1\n"
    (raw / "u.item").write_bytes(line.replace("—", "-").encode("latin-1"))
    assert convert("movielens", raw, tmp_path / "out") == 0
    assert rows(tmp_path / "out" / "out.inter")[0] == ("196", "242", "3.0", "881250949")
    assert rows(tmp_path / "out" / "out.item") == [
        ("242", "Kolya - été (1996)", "Action, Comedy"),
        ("302", "", ""),
    ]


def test_ml_1m(raw: Path, tmp_path: Path) -> None:
    (raw / "ratings.dat").write_text("1::1193::5::978300760\n1::661::3::978302109\n")
    (raw / "movies.dat").write_text("661::James (1996)::Animation|Musical\n1193::A: B::Drama\n")
    assert convert("movielens", raw, tmp_path / "out", "--min-rating", 4) == 0
    assert rows(tmp_path / "out" / "out.inter") == [("1", "1193", "5.0", "978300760")]
    assert rows(tmp_path / "out" / "out.item") == [("1193", "A: B", "Drama")]


def test_ml_latest(raw: Path, tmp_path: Path) -> None:
    (raw / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,11,4.5,1112486027\n")
    (raw / "movies.csv").write_text(
        'movieId,title,genres\n11,"American President, The (1995)",Comedy|Drama\n'
        "12,Other,(no genres listed)\n"
    )
    assert convert("movielens", raw, tmp_path / "out", "--all-items") == 0
    assert rows(tmp_path / "out" / "out.inter") == [("1", "11", "4.5", "1112486027")]
    assert rows(tmp_path / "out" / "out.item") == [
        ("11", "American President, The (1995)", "Comedy, Drama"),
        ("12", "Other", ""),
    ]


def write_mmrec(raw: Path) -> None:
    (raw / "baby.inter").write_text(
        "userID\titemID\trating\ttimestamp\tx_label\n"
        "0\t1\t5.0\t100\t0\n0\t0\t4.0\t200\t2\n1\t1\t5.0\t90\t0\n1\t2\t5.0\t91\t1\n1\t1\tx\t9\t0\n"
    )
    np.save(raw / "image_feat.npy", np.array([[1, 0], [0, 1], [0, 0]], dtype=np.float64))
    np.save(raw / "text_feat.npy", np.arange(9, dtype=np.float32).reshape(3, 3))


def test_mmrec_with_its_split_and_features(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mmrec(raw)
    (raw / "i_id_mapping.csv").write_text("asin\titemID\nBX\t0\nBY\t1\nBZ\t2\n")
    (raw / "u_id_mapping.csv").write_text("user_id\tuserID\nann\t0\nbob\t1\n")
    out = tmp_path / "out"
    assert convert("mmrec", raw, out) == 0
    assert rows(out / "out.inter") == [
        ("ann", "BY", "5.0", "100"),
        ("ann", "BX", "4.0", "200"),
        ("bob", "BY", "5.0", "90"),
        ("bob", "BZ", "5.0", "91"),
    ]
    assert [len(rows(out / f"out.{part}.inter")) for part in ("train", "valid", "test")] == [
        2,
        1,
        1,
    ]
    assert rows(out / "out.valid.inter") == [("bob", "BZ", "5.0", "91")]
    image = read_features(out / "features", "image")
    assert image.items == ["BX", "BY", "BZ"] and image.manifest["empty_items"] == ["BZ"]
    np.testing.assert_array_equal(read_features(out / "features", "text").matrix[2], [6, 7, 8])
    assert "1 malformed interactions (first: baby.inter line 6)" in capsys.readouterr().out


def test_recbole_takes_the_split_of_mmrec(raw: Path, tmp_path: Path) -> None:
    pytest.importorskip("recbole")
    pytest.importorskip("recbole_fmrlrec.compat").apply()
    from recbole.config import Config
    from recbole.data.dataset import Dataset

    write_mmrec(raw)
    assert convert("mmrec", raw, tmp_path / "data" / "baby") == 0
    settings = {
        "data_path": str(tmp_path / "data"),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "use_gpu": False,
    }
    dataset = Dataset(Config(model="Pop", dataset="baby", config_dict=settings))
    parts = dataset.build()
    tokens = [dataset.id2token("item_id", part.inter_feat["item_id"].numpy()) for part in parts]
    assert [sorted(map(str, part)) for part in tokens] == [["1", "1"], ["2"], ["0"]]


def test_mmrec_without_names_keeps_numbers(raw: Path, tmp_path: Path) -> None:
    write_mmrec(raw)
    assert convert("mmrec", raw, tmp_path / "out") == 0
    assert read_features(tmp_path / "out" / "features", "text").items == ["0", "1", "2"]


SHOP_LOG = (
    "customer;article;when;stars\n"
    "Zoë K.;A 1;2021-01-01T10:00:00;5\n"
    "Zoë K.;B-2;2021-01-01 09:00;4\n"
    "bob;A 1;never;3\n"
    ";A 1;2021-01-01;3\n"
)
SHOP_ITEMS = (
    'article,name,vendor,photo,Colour (main)\nA 1,"Mug, ""big""",Acme,a.jpg,red\nC,New,,,\n'
)


def test_a_shop_export(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (raw / "log.csv").write_text(SHOP_LOG)
    (raw / "items.csv").write_text(SHOP_ITEMS)
    out = tmp_path / "shop"
    columns = ["--user", "customer", "--item", "article", "--time", "when", "--rating", "stars"]
    more = ["--items", raw / "items.csv", "--image", "photo"]
    assert convert("csv", raw / "log.csv", out, *columns, *more) == 2
    said = capsys.readouterr().err
    assert "log.csv, line 4: when 'never' is neither a number nor a date" in said
    assert "--skip-bad-rows" in said and not out.exists()
    more.append("--skip-bad-rows")
    assert convert("csv", raw / "log.csv", out, *columns, *more) == 0
    assert rows(out / "shop.inter") == [
        ("Zoë K.", "A 1", "5.0", "1609495200"),
        ("Zoë K.", "B-2", "4.0", "1609491600"),
    ]
    assert (out / "shop.item").read_text() == (
        "item_id:token\tname:token_seq\tvendor:token_seq\tcolour_main:token_seq\n"
        'A 1\tMug, "big"\tAcme\tred\nC\tNew\t\t\nB-2\t\t\t\n'
    )
    assert rows(out / "images.tsv") == [("A 1", "a.jpg")]
    said = capsys.readouterr().out
    assert "1 interactions with an unreadable time or rating (first: log.csv line 4)" in said
    assert "1 interactions without a user or an item" in said and "(first: log.csv line 5)" in said
    assert "timestamps count seconds since 1970, 2021-01-01 09:00 to 2021-01-01 10:00 UTC" in said
    chosen = ["--columns", "title=name,brand=vendor", "--no-all-items", "--overwrite"]
    assert convert("csv", raw / "log.csv", out, *columns, *more, *chosen) == 0
    assert rows(out / "shop.item") == [("A 1", 'Mug, "big"', "Acme"), ("B-2", "", "")]


def test_other_kinds_of_tables_give_the_same(raw: Path, tmp_path: Path) -> None:
    table = [{"u": "ann", "i": 7, "t": 5}, {"u": "bob", "i": 8, "t": 6}]
    (raw / "a.tsv").write_text("u\ti\tt\nann\t7\t5\nbob\t8\t6\n")
    (raw / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, table)).encode()))
    (raw / "c.csv.gz").write_bytes(gzip.compress(b"u|i|t\nann|7|5\nbob|8|6\n"))
    for name in ("a.tsv", "b.jsonl.gz", "c.csv.gz"):
        options = ["--user", "u", "--item", "i", "--time", "t", "--overwrite"]
        assert convert("csv", raw / name, tmp_path / "out", *options) == 0
        assert rows(tmp_path / "out" / "out.inter") == [("ann", "7", "5"), ("bob", "8", "6")]


def test_parquet(raw: Path, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="reading Parquet needs pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"u": ["ann", "bob"], "i": [7.0, None], "t": [5, 6]})
    parquet.write_table(table, raw / "log.parquet")
    options = ["--user", "u", "--item", "i", "--time", "t", "--skip-bad-rows"]
    assert convert("csv", raw / "log.parquet", tmp_path / "out", *options) == 0
    assert rows(tmp_path / "out" / "out.inter") == [("ann", "7", "5")]


@pytest.mark.parametrize(
    ("name", "content", "options", "code", "words"),
    [
        ("a.csv", "user_id,x\nu,1\n", [], 2, "no column 'item_id'; it has user_id, x"),
        ("a.csv", "", [], 2, "a.csv, line 1: no header"),
        ("a.xls", "x", [], 2, "name ends in none of .csv"),
        ("a.csv", "user_id,item_id\nu,i,3\n", [], 2, "line 2: 3 fields, the header has 2"),
        ("a.csv", "user_id,user_id\nu,i\n", [], 2, "duplicate column name"),
        (
            "a.csv",
            "user_id,item_id\nu,i\n",
            ["--time-format", "%Q", "--time", "item_id"],
            2,
            "--time-format '%Q': 'Q' is a bad directive",
        ),
        ("a.csv", "user_id,item_id\nu,i\n", ["--columns", "a,a"], 2, "twice"),
        ("a.csv", "user_id,item_id\nu,i\n", ["--items", "none.csv"], 2, "none.csv: no such file"),
    ],
)
def test_wrong_tables(
    raw: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str,
    options: list[str],
    code: int,
    words: str,
) -> None:
    (raw / name).write_text(content)
    assert convert("csv", raw / name, tmp_path / "out", *options) == code
    assert words in capsys.readouterr().err


def test_another_encoding_is_named_with_its_place(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (raw / "a.csv").write_bytes("user_id,item_id\nZoë,1\n".encode("latin-1"))
    assert convert("csv", raw / "a.csv", tmp_path / "out") == 2
    assert "a.csv, line 2: not utf-8" in capsys.readouterr().err
    assert convert("csv", raw / "a.csv", tmp_path / "out", "--encoding", "nonsense") == 2
    assert "--encoding" in capsys.readouterr().err
    assert convert("csv", raw / "a.csv", tmp_path / "out", "--encoding", "latin-1") == 0
    assert rows(tmp_path / "out" / "out.inter") == [("Zoë", "1", "1")]


@pytest.mark.parametrize(
    "line",
    [
        *("0\t1\t5.0\t7", "0\t1", "0\t1\tnan\t7\t0", "0\t1\t5\tinf\t0", "0\t1\t5\t\t0"),
        *("\t1\t5\t7\t0", "0\t1\t5\t7\t3", "0\t1\t5\t7\tnan"),
    ],
)
def test_bad_rows_of_mmrec(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    head = "userID\titemID\trating\ttimestamp\tx_label\n"
    (raw / "baby.inter").write_text(f"\ufeff{head}0\t0.0\t5\t7\t0\n{line}\n\n", encoding="utf-8")
    assert convert("mmrec", raw, tmp_path / "out") == 0
    assert rows(tmp_path / "out" / "out.inter") == [("0", "0", "5.0", "7")]
    assert "(first: baby.inter line 3)" in capsys.readouterr().out
    options = ["--overwrite", "--no-skip-bad-rows"]
    assert convert("mmrec", raw, tmp_path / "out", *options) == 2
    assert "baby.inter, line 3: " in capsys.readouterr().err


MOVIELENS = {
    "u.data": ("{}\t{}\t{}\t{}", None),
    "ratings.dat": ("{}::{}::{}::{}", None),
    "ratings.csv": ("{},{},{},{}", "userId,movieId,rating,timestamp"),
}


@pytest.mark.parametrize("name", MOVIELENS)
@pytest.mark.parametrize(
    "values", [("1", "2", "", "7"), ("1", "2", "3", "inf"), ("", "2", "3", "7")]
)
def test_bad_rows_of_movielens(
    raw: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    values: tuple[str, ...],
) -> None:
    form, header = MOVIELENS[name]
    lines = [*([header] if header else []), form.format(*values), form.format(1, 2, 3, 8)]
    (raw / name).write_text("\n".join(lines) + "\n")
    assert convert("movielens", raw, tmp_path / "out") == 0
    assert rows(tmp_path / "out" / "out.inter") == [("1", "2", "3.0", "8")]
    assert f"(first: {name} line {len(lines) - 1})" in capsys.readouterr().out


def test_a_line_in_another_encoding_in_a_public_source(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (raw / "u.data").write_bytes(b"1\t2\t3\t7\n\xe9\t2\t3\t7\n")
    assert convert("movielens", raw, tmp_path / "out") == 2
    assert "u.data, line 2: not utf-8" in capsys.readouterr().err
    assert convert("movielens", raw, tmp_path / "out", "--skip-bad-rows") == 0
    assert "lines in another encoding (first: u.data line 2)" in capsys.readouterr().out
