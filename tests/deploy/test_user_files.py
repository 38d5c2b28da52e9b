"""Files of users in, files of recommendations out, and the command around them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.deploy import Recommendations, Recommender
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.deploy.model_folder import save_model
from recbole_fmrlrec.deploy.user_files import as_text, read_users, writer
from recbole_fmrlrec.errors import UsageError
from tests.deploy.conftest import DESCRIPTION, ITEMS, lively_network, table_of


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
    "times",
    [
        ["3", "1", "2"],
        ["30", "9", "10"],
        ["1709290800000", "1709290799999", "1709290799999.5"],
        ["9007199254740993", "9007199254740991", "9007199254740992"],  # beyond float64
        ["2024-03-02", "2024-03-01 10:00", "2024-03-01T10:00:00.5"],
        ["2024-03-01T12:00:00+01:00", "2024-03-01T10:30:00Z", "2024-03-01 10:45"],
        ["2024-03-01T12:00:00+0100", "2024-03-01T10:30:00.25Z", "2024-03-01T12:45:00.5+02"],
        ["1709290800", "0", "5"],  # a time that is missing does not change the unit
        ["2", "1", "1"],  # a tie: the order of the file
    ],
)
def test_events_are_put_in_the_order_of_their_times(tmp_path: Path, times: list[str]) -> None:
    rows = [f"7,{item},{time}\n" for item, time in zip("cab", times, strict=True)]
    for name in ("timestamp", "Time", "timestamp:float"):
        file = write(tmp_path / "events.csv", f"user_id,item_id,{name}\n{''.join(rows)}")
        assert list(read_users(file)) == [("7", ["a", "b", "c"])]
    entry = {"user_id": 7, "history": list("cab"), "timestamps": times}
    users = read_users(write(tmp_path / "events.jsonl", json.dumps(entry)))
    assert list(users) == [("7", ["a", "b", "c"])]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "user_id,item_id,timestamp\n7,a,1\n7,b,01.03.2024\n",
            "line 3: the timestamp '01.03.2024'",
        ),
        ("user_id,item_id,timestamp\n7,a,\n", "line 2: the timestamp '' is neither"),
        ("user_id,item_id,time\n7,a,nan\n", "line 2: the timestamp 'nan' is neither"),
        ("user_id,item_id,time\n7,a,1e999\n", "line 2: the timestamp '1e999' is neither"),
        (
            "user_id,item_id,timestamp\n7,a,2024-03-01\n8,b,1709290800\n",
            "line 3: a timestamp in seconds, line 2 has one in ISO dates: events in two formats",
        ),
        (
            "user_id,item_id,timestamp\n7,a,1709290800\n7,b,1709290800000\n",
            "line 3: a timestamp in milliseconds, line 2 has one in seconds",
        ),
        (
            "user_id,history,timestamp\n7,a b,1\n",
            "line 1: the column timestamp together with history",
        ),
        ("user_id,item_id,date,time\n7,a,1,2\n", "columns date and time: which one is the order"),
        ("user_id,item_id,history\n7,a,b\n", "columns item_id and history: which one has the item"),
        ("user_id,item_id,item_id\n7,a,b\n", "columns item_id and item_id: which one"),
        ("user_id,user_id,item_id\n7,a,b\n", "columns user_id and user_id: which one has the user"),
        ('user_id,history\n7,"[""a"", 1.5]"\n', "line 2: 1.5 is not an item id"),
        (
            'user_id,history\n7,"[""a"", "\n',
            "line 2: the history looks like a JSON list but is not valid JSON",
        ),
    ],
)
def test_what_cannot_be_put_in_order_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        list(read_users(write(tmp_path / "a.csv", text)))
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ('"history": ["a", "b"], "timestamps": [1]', "line 1: timestamps: a history is put in"),
        ('"history": ["a"], "timestamp": 5', "line 1: timestamp: a history is put in order by one"),
        ('"history": [{"item_id": "a"}]', 'line 1: {"item_id": "a"} is not an item id'),
        ('"history": ["a", null]', "line 1: null is not an item id"),
    ],
)
def test_wrong_lines_of_json(tmp_path: Path, entry: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        list(read_users(write(tmp_path / "a.jsonl", f'{{"user_id": 1, {entry}}}\n')))
    assert says in str(error.value)


def test_ids_with_blanks(tmp_path: Path) -> None:
    text = 'user_id,history\n7,"[""MUG 1"", ""CUP-2"", 5]"\n8,MUG 1\n9,[a] b\n'
    users = list(read_users(write(tmp_path / "a.csv", text)))
    assert users == [("7", ["MUG 1", "CUP-2", "5"]), ("8", ["MUG", "1"]), ("9", ["[a]", "b"])]
    users = list(read_users(write(tmp_path / "b.csv", "user_id,history\n7,MUG 1;CUP-2\n"), ";"))
    assert users == [("7", ["MUG 1", "CUP-2"])]


def test_columns_that_are_not_used_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "a.csv", "user_id,rating,item_id,shop\n7,5,a,x\n")
    assert list(read_users(file)) == [("7", ["a"])]
    assert capsys.readouterr().err == f"note: {file}: not used: rating, shop\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "line 1: the columns are none"),
        ("a.csv", "user,history\n", "the columns are user, history; there must be user_id"),
        ("a.csv", "user_id,history\n1,a,b\n", "line 2: 3 fields, the header has 2"),
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
    assert capsys.readouterr().out.startswith("empty history: the model's initial state\n")


def test_a_file_of_users(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    users = write(tmp_path / "users.csv", "user_id,history\n" + "u,i1 i2\nv,i3\nw,x\n" * 3)
    out = tmp_path / "out.jsonl"
    words = ["recommend", "--model_dir", str(saved), "--users_file", str(users)]
    assert main([*words, f"--output={out}", "--k=4", "--batch_size=2"]) == 0
    said = capsys.readouterr().err
    assert "9 users answered; 3 unknown items were skipped ('x')" in said
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["user_id"] for line in lines] == list("uvw" * 3)
    model = Recommender.load(saved)
    expected = model.recommend([["i1", "i2"], ["i3"], []], k=4)
    for line, wanted in zip(lines, expected * 3, strict=True):
        assert [item["item_id"] for item in line["items"]] == wanted.ids
    assert lines[2]["unknown"] == ["x"] and "unknown" not in lines[1]
    assert main([*words, "--k=1"]) == 0  # to standard output
    assert capsys.readouterr().out.splitlines()[1].startswith(f"u,1,{expected[0].ids[0]},")


def test_nothing_is_printed_for_a_file_that_is_refused(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (tmp_path / "none.csv", write(tmp_path / "bad.csv", "who,what\n1,i1\n")):
        assert main(["recommend", f"--model_dir={saved}", f"--users_file={file}"]) == 2
        assert capsys.readouterr().out == ""


def test_ids_with_the_separator_in_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The item MUG 1 of a shop: three ways to give it, and a message where it was taken apart."""
    network = lively_network()
    ids = ["MUG 1", "CUP-2", "a,b", *(f"i{row}" for row in range(4, ITEMS + 1))]
    table = ItemTable(ids, [None] * ITEMS, table_of(network))
    save_model(tmp_path / "m", DESCRIPTION, network, table)
    words = ["recommend", f"--model_dir={tmp_path / 'm'}", "--k=1"]
    assert main([*words, '--history=["MUG 1", "a,b"]']) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1:3] == ["      MUG 1", "      a,b"] and shown.err == ""
    assert main([*words, "--history=a,b"]) == 0
    assert "2 unknown items were skipped; the model knows 'a,b': ids that hold" in (
        capsys.readouterr().err
    )
    assert main([*words, "--history=a,b", "--unknown=error"]) == 2
    assert 'given as a JSON list, ["a,b", ...], or' in capsys.readouterr().err
    assert main([*words, "--history=MUG 1 CUP-2"]) == 0
    assert "'MUG 1 CUP-2' was read as one id: --separator says" in capsys.readouterr().err
    users = write(tmp_path / "users.csv", "user_id,history\n7,MUG 1 CUP-2\n")
    assert main([*words, f"--users_file={users}"]) == 0
    said = capsys.readouterr().err
    assert "2 unknown items were skipped ('MUG', '1'); the model knows 'MUG 1'" in said
    write(users, "user_id,history\n7,MUG 1;CUP-2\n")
    assert main([*words, f"--users_file={users}", "--separator=;"]) == 0
    assert "unknown" not in capsys.readouterr().err
    assert main([*words, "--history=x", "--separator="]) == 2
    assert "--separator= is empty" in capsys.readouterr().err


def test_a_device_is_written_to_and_not_replaced(saved: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with writer(pipe, "csv") as put:
        put("7", RESULT)
    assert os.read(reading, 1000).decode().splitlines()[1] == '7,1,a,"A ""quoted"", one",1.5'
    os.close(reading)
    assert pipe.is_fifo()


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
        (["--model_dir=MODEL"], "the arguments --history --users_file --similar is required"),
        (["--model_dir=MODEL", "--history=x", "--unknown=error"], "1 unknown item"),
        (["--model_dir=MODEL", "--history=i1", "--k=0"], "--k and --batch_size must be 1"),
        (["--model_dir=MODEL", "--history=i1", "--output=a.csv"], "--output needs"),
        (["--model_dir=MODEL", "--users_file=no", "--output=MODEL"], "--output: MODEL is a folder"),
        (
            ["--model_dir=MODEL", "--users_file=no", "--output=MODEL/model.json/a.csv"],
            "--output: cannot write to MODEL/model.json",
        ),
        (["--model_dir=MODEL", "--history=i1", "--candidates_file=no"], "--candidates_file"),
        (["--model_dir=MODEL", "--history=i1", "--colour=red"], "unrecognized arguments"),
    ],
)
def test_wrong_use(
    saved: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["recommend", *(word.replace("MODEL", str(saved)) for word in words)]) == 2
    error = capsys.readouterr().err
    message = message.replace("MODEL", str(saved))
    assert error.startswith("error: ") and message in error and len(error.splitlines()) == 1


def test_formulas_are_text_for_a_spreadsheet(tmp_path: Path) -> None:
    ids = ["=1+1", "+1", "-1", "@a", "\ta", "\na", "\uff1da", "a=1", "", "\r=1", "a\r=1", "a\r\n=1"]
    safe = ["'=1+1", "'+1", "'-1", "'@a", "'\ta", "'\na", "'\uff1da", "a=1", ""]
    safe += ["'\r=1", "a\r=1", "a\r\n=1"]  # inside quotes: no new row begins there
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
    assert "--spreadsheet needs --users_file" in capsys.readouterr().err


def test_a_title_steers_no_terminal() -> None:
    titles = ["\x1b[2J\x1b]0;owned\x07", "two\r\nlines", "\u202egnp.exe", "Kaffee \u2615 \u05d0"]
    shown = str(Recommendations(["a"] * 4, list(titles), [1.0] * 4))
    assert shown.split("\n") == [
        "   1     1.0000  a  \ufffd[2J\ufffd]0;owned\ufffd",
        "   2     1.0000  a  two\ufffd\ufffdlines",
        "   3     1.0000  a  \ufffdgnp.exe",
        "   4     1.0000  a  Kaffee \u2615 \u05d0",
    ]
