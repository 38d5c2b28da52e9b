"""Files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_fmrlrec.files.atomic import replacing, write_json


def test_what_was_there_stands_until_the_new_file_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "a.json"
    write_json(file, {"a": 1})
    with pytest.raises(ValueError, match="half-way"), replacing(file) as partial:
        partial.write_text("{")
        raise ValueError("half-way")
    with pytest.raises(ValueError, match="JSON"):
        write_json(file, {"a": float("nan")})
    assert file.read_text() == '{\n "a": 1\n}\n'
    assert list(file.parent.iterdir()) == [file]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    file = tmp_path / "a"
    with replacing(file) as first, replacing(file) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert file.read_text() == "first"
