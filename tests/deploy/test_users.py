"""Files of users in, files of recommendations out, and the command around them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from recbole_fmrlrec.cli import main
from recbole_fmrlrec.deploy import Recommendations, Recommender
from recbole_fmrlrec.deploy.users import as_text, read_users, writer
from recbole_fmrlrec.errors import UsageError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("wide.csv", 'user_id,history\n"7",a b\n8,\n"x, y",c\n'),
        ("swapped.csv", "\ufeffhistory,age,user_id\na b,30,7\n,31,8\nc,32,x, y\n".replace("x, y", '"x, y"')),  # noqa: E501
        ("users.jsonl", '{"user_id": 7, "history": ["a", "b"]}\n\n{"user_id": "8", "history": []}\n{"user_id": "x, y", "history": ["c"]}\n'),  # noqa: E501
    ],
)  # fmt: skip
def test_users_are_read(tmp_path: Path, name: str, text: str) -> None:
    users = list(read_users(write(tmp_path / name, text)))
    assert users == [("7", ["a", "b"]), ("8", []), ("x, y", ["c"])]


def test_events_of_a_user_are_put_together(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp\n7,item a,1\n7,b,2\n8,a,1\n"
    users = read_users(write(tmp_path / "events.csv", text))
    assert isinstance(users, Iterator)  # a stream: nothing is read ahead
    assert list(users) == [("7", ["item a", "b"]), ("8", ["a"])]
    broken = write(tmp_path / "broken.csv", "user_id,item_id\n7,a\n8,a\n7,b\n")
    with pytest.raises(UsageError, match="lines of user '7' are not together"):
        list(read_users(broken))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "line 1: the columns are none"),
        ("a.csv", "user,history\n", "the columns are user, history; there must be user_id"),
        ("a.csv", "user_id,history\n1,a,b\n", "line 2: 3 fields, the head has 2"),
        ("a.csv", 'user_id,history\n1,"a\n', "line 2: unexpected end of data"),
        ("a.jsonl", '{"user_id": 1, "history": ["a"]}\n{"user', "line 2: not JSON"),
        ("a.jsonl", '{"user_id": 1, "history": "a"}\n', "line 1: not like"),
        ("a.jsonl", '["a"]\n', "line 1: not like"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        list(read_users(write(tmp_path / name, text)))


def test_not_utf8_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes(b"user_id,history\n1,caf\xe9\n")
    with pytest.raises(UsageError, match="not UTF-8"):
        list(read_users(tmp_path / "latin.csv"))
    with pytest.raises(UsageError, match="there is no file"):
        list(read_users(tmp_path / "none.csv"))


RESULT = Recommendations(["a", "b"], ['A "quoted", one', None], [1.5, -0.25], ["zz"])


def test_recommendations_are_written(tmp_path: Path) -> None:
    for name in ("out.csv", "out.jsonl"):
        with writer(tmp_path / name) as put:
            put("7", RESULT)
            assert not (tmp_path / name).exists()  # it appears when all is written
    rows = list(csv.reader((tmp_path / "out.csv").open(encoding="utf-8")))
    assert rows == [
        ["user_id", "rank", "item_id", "title", "score"],
        ["7", "1", "a", 'A "quoted", one', "1.5"],
        ["7", "2", "b", "", "-0.25"],
    ]
    assert json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8")) == {
        "user_id": "7",
        "items": [
            {"item_id": "a", "title": 'A "quoted", one', "score": 1.5},
            {"item_id": "b", "title": None, "score": -0.25},
        ],
        "unknown": ["zz"],
    }
    with pytest.raises(UsageError, match=r"neither in \.csv nor in \.jsonl"), writer(Path("a.txt")):
        pass


def test_an_interrupted_file_does_not_appear(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writer(tmp_path / "out.csv") as put:
        put("7", RESULT)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_one_history_for_a_person(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["recommend", f"--model_dir={saved}", "--history=i1,nobody,i2", "--k=2"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["history:", "      i1  Title 1", "      nobody  (unknown)", "      i2"]
    best = Recommender.load(saved).recommend(["i1", "i2"], k=2)
    assert [line.split()[2] for line in lines[-2:]] == best.ids
    assert main(["recommend", f"--model_dir={saved}", "--history="]) == 0
    assert capsys.readouterr().out.startswith("empty history: the model's own start\n")


def test_a_file_of_users(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    users = write(tmp_path / "users.csv", "user_id,history\n" + "u,i1 i2\nv,i3\nw,x\n" * 3)
    out = tmp_path / "out.jsonl"
    words = ["recommend", "--model_dir", str(saved), "--users_file", str(users)]
    assert main([*words, f"--output={out}", "--k=4", "--batch_size=2"]) == 0
    assert "9 users answered; 3 unknown items were skipped" in capsys.readouterr().err
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["user_id"] for line in lines] == list("uvw" * 3)
    model = Recommender.load(saved)
    expected = model.recommend([["i1", "i2"], ["i3"], []], k=4)
    for line, wanted in zip(lines, expected * 3, strict=True):
        assert [item["item_id"] for item in line["items"]] == wanted.ids
    assert lines[2]["unknown"] == ["x"] and "unknown" not in lines[1]
    assert main([*words, "--k=1"]) == 0  # to standard output
    assert capsys.readouterr().out.splitlines()[1].startswith(f"u,1,{expected[0].ids[0]},")


def test_candidates_and_seen_items(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = write(tmp_path / "chosen.txt", "i1\n\ni5\n")
    words = ["recommend", f"--model_dir={saved}", "--history=i1", f"--candidates_file={chosen}"]
    assert main(words) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()[4:]] == ["i5"]
    assert main([*words, "--include_seen"]) == 0
    shown = {line.split()[2] for line in capsys.readouterr().out.splitlines()[4:]}
    assert shown == {"i1", "i5"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--history=i1"], "the following arguments are required: --model_dir"),
        (["--model_dir=none", "--history=i1"], "there is no folder"),
        (["--model_dir=MODEL"], "one of the arguments --history --users_file is required"),
        (["--model_dir=MODEL", "--history=x", "--unknown=error"], "1 unknown item"),
        (["--model_dir=MODEL", "--history=i1", "--k=0"], "--k and --batch_size must be 1"),
        (["--model_dir=MODEL", "--history=i1", "--output=a.csv"], "--output goes with"),
        (["--model_dir=MODEL", "--history=i1", "--candidates_file=no"], "--candidates_file"),
        (["--model_dir=MODEL", "--history=i1", "--colour=red"], "unrecognized arguments"),
    ],
)
def test_wrong_use(
    saved: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["recommend", *(word.replace("MODEL", str(saved)) for word in words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and len(error.splitlines()) == 1


def test_formulas_are_text_for_a_spreadsheet(tmp_path: Path) -> None:
    ids = ["=1+1", "+1", "-1", "@a", "\ta", "\na", "\uff1da", "a=1", ""]
    safe = ["'=1+1", "'+1", "'-1", "'@a", "'\ta", "'\na", "'\uff1da", "a=1", ""]
    result = Recommendations(ids, list(ids), [-1.5] * len(ids))
    for spreadsheet, expected in ((False, ids), (True, safe)):
        file = tmp_path / "out.csv"
        with writer(file, spreadsheet=spreadsheet) as write:
            write("=u", result)
        with open(file, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [row["item_id"] for row in rows] == expected
        assert [row["title"] for row in rows] == expected
        assert {row["user_id"] for row in rows} == {"'=u" if spreadsheet else "=u"}
        assert {row["score"] for row in rows} == {"-1.5"}  # a number, and stays one
    assert as_text("\r=1") == "'\r=1"
    with pytest.raises(UsageError, match="--spreadsheet is for CSV"):
        writer(tmp_path / "out.jsonl", spreadsheet=True).__enter__()


def test_a_file_for_a_spreadsheet(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    users, output = tmp_path / "users.csv", tmp_path / "out.csv"
    users.write_text("user_id,history\n=cmd(),i1 i2\n", encoding="utf-8")
    words = ["recommend", f"--model_dir={saved}", f"--users_file={users}", f"--output={output}"]
    assert main([*words, "--k=1", "--spreadsheet"]) == 0
    assert output.read_text(encoding="utf-8").splitlines()[1].startswith("'=cmd(),1,i")
    assert main(["recommend", f"--model_dir={saved}", "--history=i1", "--spreadsheet"]) == 2
    assert "--spreadsheet goes with --users_file" in capsys.readouterr().err
