"""YAML that would not end, not fit or not mean what it says: refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.compare.plan_file import read_plan
from recbole_fmrlrec.config.settings import Setting, apply
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.keys.yaml_files import load_with_entry_lines, load_yaml, parse_value
from recbole_fmrlrec.tuning.search_file import read_drafts

# Nine values, of which the next line holds nine, of which the next ...: 9 ** 9 at the end.
_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{one}: &{one} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, one in zip("abcdefgh", "bcdefghi", strict=True)
)
_MERGE_BOMB = "a: &a {x: 1}\n" + "".join(
    f"{one}: &{one} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
    for before, one in zip("abcdefgh", "bcdefghi", strict=True)
)
REFUSED = [
    (_BOMB, 6, "with its aliases written out"),  # 9 ** 6 is the first above 100,000
    (_MERGE_BOMB, 6, "with its aliases written out"),
    ("a: 1\nb: &b [*b]\n", 2, "an alias refers to a value that contains it"),
    ("a: 1\nb: &b {<<: *b}\n", 2, "an alias refers to a value that contains it"),
    ("a: 1\nb: " + "[" * 3000 + "\n", 2, "more than 50 brackets"),
    ("a: 1\nb: " + "[" * 3000 + "]" * 3000 + "\n", 2, "more than 50 brackets"),
    ("a: 1\nb: " + "{c: " * 3000 + "\n", 2, "more than 50 brackets"),
    ("a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 90)), 50, "levels"),
    ("a: 1\nseed: " + "1" * 5000 + "\n", 2, "an integer of 5,000 digits is too large"),
    ("a: 1\nseed: 1" + "0" * 30 + "\n", 2, "an integer of 31 digits is too large"),
    ("a: 1\nseed: 0x" + "f" * 5000 + "\n", 2, "is too large"),
    ("a:\n  b: 1\n  c: 2\n  b: 3\n", 4, "duplicate key `b`, also on line 2"),
    ("a: 1\n? [b]\n: 1\n", 2, "a key must be a string"),
    ("a: 1\nb: !!set {c}\n", 2, "the tag !!set is not allowed here"),
    ("a: 1\nb: !!python/object/apply:os.getpid []\n", 2, "python/object/apply"),
    ("a: 1\nb: !!timestamp x\n", 2, "not valid YAML"),
    ("a: 1\nb: !!int abc\n", 2, "invalid literal for int"),
    ("a: 1\nb:\n  <<: 5\n", 3, "expected a mapping or list of mappings for merging"),
    ("a: 1\nb: \x00\n", 2, "special characters are not allowed"),
]
NO_TEXT = [("true: 1", "bool"), ("1_0: 1", "int"), ("~: 1", "null"), ("2.5: 1", "float")]


@pytest.mark.parametrize(("text", "line", "says"), REFUSED, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("read", [load_yaml, load_with_entry_lines, read_plan, read_drafts])
def test_refused_with_file_and_line(
    tmp_path: Path, read: object, text: str, line: int, says: str
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as error:
        read(file)  # type: ignore[operator]
    assert f"{file}, line {line}: " in str(error.value)
    assert says in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(("entry", "kind"), NO_TEXT)
def test_keys_that_are_no_text(tmp_path: Path, entry: str, kind: str) -> None:
    file = tmp_path / "a.yaml"
    for text, line in ((f"a: 1\n{entry}\n", 2), (f"a: 1\nb:\n  {entry}\n", 3)):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match=rf", line {line}: the key `.*\({kind}\)"):
            load_yaml(file)
    # In a comparison and a search they are names as they are written.
    assert list(load_with_entry_lines(file)[0]["b"]) == [entry.partition(":")[0]]


def test_merge_keys_are_followed(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "base: &base {x: 1, y: 2}\nmore: &more {y: 5, z: 6}\nc:\n  <<: [*base, *more]\n  x: 3\n"
    )
    values, lines = load_with_entry_lines(file)
    assert values["c"] == {"x": 3, "y": 2, "z": 6}  # an own key first, then the earlier mapping
    assert {key: lines["c", key] for key in "xyz"} == {"x": 5, "y": 1, "z": 2}
    assert load_yaml(file)["c"] == values["c"]


def test_aliases_that_are_no_bomb(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: &a {x: [1, 2]}\nb: *a\nc: [*a, *a]\n")
    one = {"x": [1, 2]}
    assert load_yaml(file) == {"a": one, "b": one, "c": [one, one]}


def test_a_file_that_is_no_file_of_settings(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\n" + "# much\n" * 700_000)
    with pytest.raises(UsageError, match="longer than 4,194,304 bytes"):
        load_yaml(file)


@pytest.mark.parametrize("text", ["1" * 5000, "[" * 3000, "[" * 3000 + "]" * 3000, "1" + "0" * 30])
def test_values_of_the_command_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"^the value ") as error:
        parse_value(text)
    assert len(str(error.value)) < 200
    with pytest.raises(UsageError, match=r"^seed \(command line\): the value "):
        apply([Setting("seed", text, "command line", is_text=True)], {"seed": 1}, "fMRLRec")


@pytest.mark.parametrize("seed", ["10**30", "2020-13-45", "2020-01-01", "4294967296", "-1"])
def test_seeds(tmp_path: Path, seed: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"epochs: 1\nseed: {seed}\n")
    for words in ([f"--config_files={file}"], [f"--seed={seed}"]):
        with pytest.raises(UsageError, match="seed must be an integer of at least 0 and at most"):
            _train(words)
    file.write_text(f"models: [Pop]\ndatasets: [ml-100k]\nseeds: [{seed}]\n")
    with pytest.raises(UsageError, match=r"line 3: seeds: "):
        read_plan(file)


@pytest.mark.parametrize("text", [_BOMB, "true: 1\n", "a: " + "[" * 3000, "seed: 2020-13-45\n"])
def test_the_exit_code_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    for words in ([f"--config_files={file}"], ["compare", str(file)], ["tune", str(file)]):
        assert main(words) == 2
        shown = capsys.readouterr().err
        assert f"{file}, line " in shown and "Traceback" not in shown


def _train(words: list[str]) -> None:
    from recbole_fmrlrec.cli.main import parse, train

    train(parse(words))
