"""Reading YAML as RecBole writes it: numbers, lines, comments, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.keys.yaml_files import Entry, entries, load_with_lines, load_yaml, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2E4", -20000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("7", 7),
        ("1-2", "1-2"),
        ("B004756", "B004756"),
        ("2020-01-01", "2020-01-01"),  # YAML knows dates; no key of ours does
        ("[0,inf)", "[0,inf)"),
        ("{'RS':[0.8,0.1,0.1]}", {"RS": [0.8, 0.1, 0.1]}),
        ("None", None),
        ("!!python/object/apply:os.getpid []", "!!python/object/apply:os.getpid []"),
    ],
)
def test_values(text: str, value: Any) -> None:
    read = parse_value(text)
    assert read == value
    assert type(read) is type(value)


def test_keys_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("# mine\na: 1\n\nb:\n  c: 2\nd.e: 3\n", encoding="utf-8")
    assert load_with_lines(file) == ({"a": 1, "b": {"c": 2}, "d.e": 3}, {"a": 2, "b": 4, "d.e": 6})
    file.write_text("# nothing\n", encoding="utf-8")
    assert load_yaml(file) == {}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a: 1\nb: 2\na: 3\n", ", line 3: duplicate key `a`, also on line 1"),
        (b"- a\n- b\n", " must hold keys and values, such as `epochs: 10`"),
        (b"a: [1\n", " not valid YAML: while parsing a flow sequence"),
        (b"a: \xff\n", "'utf-8' codec can't decode byte 0xff"),
        (None, "No such file or directory"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "a.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError) as error:
        load_yaml(file)
    assert says in str(error.value)
    assert str(file) in str(error.value)


def test_comments_are_the_help_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("# title\na: [1, 2]  # (list) One # two.\nb: ~\nc:\n  d: 3  # no key\n")
    assert list(entries(file)) == [
        Entry("a", "[1, 2]", "(list) One # two."),
        Entry("b", "~", ""),
        Entry("c", "", ""),
    ]
