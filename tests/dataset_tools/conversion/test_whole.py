"""A dataset appears at once or not at all, and what killed commands left is cleared away."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from dataset_tools.__main__ import main
from dataset_tools.conversion import convert, publish
from dataset_tools.errors import UsageError
from dataset_tools.features import list_modalities, read_features
from dataset_tools.files import atomic_write, unfinished
from dataset_tools.formats import atomic_files
from dataset_tools.interactions.database import Database
from tests.dataset_tools.sources.test_amazon import rows
from tests.dataset_tools.sources.test_other_sources import write_mmrec

# A conversion that stops before its Nth call of a function of dataset_tools, and waits.
STOPPED = """
import importlib, sys
from dataset_tools.__main__ import main
module, name, left = importlib.import_module(sys.argv[1]), sys.argv[2], int(sys.argv[3])
inner = getattr(module, name)
def stop(*arguments, **options):
    global left
    if left == 0:
        print("ready", flush=True)
        import time; time.sleep(60)
    left -= 1
    return inner(*arguments, **options)
setattr(module, name, stop)
sys.exit(main(sys.argv[4:]))
"""


def kill_at(module: str, name: str, calls: int, command: list[object]) -> None:
    """Run a command as a process and kill -9 it before that call."""
    arguments = [sys.executable, "-c", STOPPED, module, name, str(calls), *map(str, command)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    write_mmrec(folder)
    (folder / "meta-baby.csv").write_text("itemID,title\n0,Bib\n1,Cup\n2,Cot\n")
    return folder


def command(raw: Path, out: Path, *options: object) -> list[object]:
    return ["convert", "mmrec", raw, out, *options]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run(*arguments: object) -> int:
    return main(list(map(str, arguments)))


@pytest.mark.parametrize(
    ("module", "name", "calls"),
    [
        ("dataset_tools.conversion.convert", "write_lines", 1),
        ("dataset_tools.conversion.convert", "write_table", 0),
        ("dataset_tools.formats.atomic_files", "_drop_columns", 0),
        ("dataset_tools.conversion.convert", "attach_features", 1),
        ("dataset_tools.conversion.publish", "publish", 0),
    ],
)
def test_a_new_dataset_killed_before_it_is_whole_is_not_there(
    raw: Path, tmp_path: Path, module: str, name: str, calls: int
) -> None:
    out = tmp_path / "data" / "baby"
    where = "dataset_tools.conversion.convert" if name == "publish" else module
    kill_at(where, name, calls, command(raw, out))
    assert not out.exists()
    assert len(list(out.parent.iterdir())) == 1
    assert run(*command(raw, out)) == 0
    assert [path.name for path in out.parent.iterdir()] == ["baby"]
    assert len(rows(out / "baby.inter")) == 4 and len(rows(out / "baby.item")) == 3


def replace_raw(raw: Path) -> None:
    """Other interactions, texts and features: nothing of the old dataset goes with them."""
    lines = "0\t1\t5.0\t500\t0\n1\t2\t4.0\t501\t1\n2\t0\t4.0\t502\t2\n"
    (raw / "baby.inter").write_text("userID\titemID\trating\ttimestamp\tx_label\n" + lines)
    (raw / "meta-baby.csv").write_text("itemID,title\n0,New bib\n1,New cup\n2,New cot\n")
    np.save(raw / "text_feat.npy", np.full((3, 2), 7, dtype=np.float32))


# Ten files move: the catalogue, two matrices and their item list, two manifests, three parts of
# the split, and the log as the last.
@pytest.mark.parametrize("moves", [0, 3, 6, 8, 9])
def test_an_old_dataset_is_never_mixed_with_the_new_one(
    raw: Path, tmp_path: Path, moves: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out, wanted = tmp_path / "data" / "baby", tmp_path / "wanted" / "baby"
    assert run(*command(raw, out)) == 0
    (out / "images").mkdir()
    (out / "images" / "mine.jpg").write_bytes(b"mine")
    old = contents(out)
    replace_raw(raw)
    assert run(*command(raw, wanted)) == 0
    new = {**contents(wanted), "images/mine.jpg": b"mine"}
    kill_at("dataset_tools.conversion.publish", "move", moves, command(raw, out, "--overwrite"))
    there = {name: data for name, data in contents(out).items() if ".partial" not in name}
    logs = [name for name in there if name.endswith(".inter")]
    assert len(logs) == max(0, moves - 6) and "baby.inter" not in logs
    if logs:  # then everything that they stand on is there
        rest = {name for name in new if not name.endswith(".inter")}
        assert all(there[name] == new[name] for name in [*logs, *rest])
    capsys.readouterr()
    assert run("inspect", out) == 0
    assert "an interrupted conversion was finished" in capsys.readouterr().err
    assert contents(out) == new and old != new


@pytest.mark.parametrize("calls", [0, 3])
def test_killed_while_it_writes_the_old_dataset_stands(
    raw: Path, tmp_path: Path, calls: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "baby"
    assert run(*command(raw, out)) == 0
    old = contents(out)
    replace_raw(raw)
    module = "dataset_tools.conversion.convert"
    kill_at(module, "write_lines", calls, command(raw, out, "--overwrite"))
    assert len(contents(out)) > len(old) or calls == 0
    assert run("inspect", out) == 0
    assert contents(out) == old
    assert "1 unfinished files of interrupted commands were removed" in capsys.readouterr().err


def test_an_older_dataset_is_replaced_only_when_asked(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "baby"
    assert run(*command(raw, out)) == 0
    np.save(tmp_path / "x.npy", np.eye(3, dtype=np.float32))
    old = contents(out)
    replace_raw(raw)
    (raw / "image_feat.npy").unlink()
    assert run(*command(raw, out)) == 2
    said = capsys.readouterr().err
    assert "baby.inter: already there; --overwrite replaces baby.inter, baby.item" in said
    assert "its features (text, image) stay as they are" in said and contents(out) == old
    assert run(*command(raw, out, "--overwrite")) == 0
    assert "kept from before: the features image;" in capsys.readouterr().out
    assert read_features(out / "features", "text").matrix.tolist() == [[7, 7]] * 3
    assert read_features(out / "features", "image").matrix.tolist() == [[1, 0], [0, 1], [0, 0]]


def test_files_of_the_old_dataset_that_the_new_one_lacks_go(raw: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "baby", tmp_path / "log.csv"
    assert run(*command(raw, out)) == 0
    log.write_text("user_id,item_id\nu,i\n")
    assert run("convert", "csv", log, out, "--overwrite") == 0
    assert sorted(path.name for path in out.iterdir()) == ["baby.inter", "baby.item", "features"]


def test_kept_features_of_other_items_do_not_go_with_attached_ones(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, log = tmp_path / "baby", tmp_path / "log.csv"
    assert run(*command(raw, out)) == 0
    old = contents(out)
    log.write_text("user_id,item_id\nu,i\n")
    np.save(tmp_path / "x.npy", np.ones((1, 2), dtype=np.float32))
    attach = ["--features", f"text={tmp_path}/x.npy"]
    assert run("convert", "csv", log, out, "--overwrite", *attach) == 2
    assert "image was made there for another item list" in capsys.readouterr().err
    assert contents(out) == old


def test_an_empty_folder_stays_the_same_folder(raw: Path, tmp_path: Path) -> None:
    """It may be a mount, or somebody's working directory."""
    out = tmp_path / "baby"
    out.mkdir()
    before = out.stat().st_ino
    assert run(*command(raw, out)) == 0
    assert out.stat().st_ino == before and len(rows(out / "baby.inter")) == 4
    assert not list(out.glob(".*"))


def test_a_refused_conversion_leaves_nothing(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "data" / "baby"
    assert run(*command(raw, out, "--min-rating", "6")) == 2
    assert list(out.parent.iterdir()) == []


def partial(folder: Path, place: str, pid: int, start: int) -> Path:
    path = folder / f".x.inter.{place}-{pid}-{start}.partial"
    path.write_bytes(b"half")
    return path


def test_only_what_nobody_writes_any_more_is_removed(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    here, other, own = unfinished._machine(), "0123456789", unfinished._start(os.getpid())
    living = partial(tmp_path / "x", here, os.getpid(), own)
    reused = partial(tmp_path / "x", here, os.getpid(), own - 1000)
    dead = partial(tmp_path / "x", here, 2**22 + 1, own)
    elsewhere = partial(tmp_path / "x", other, os.getpid(), own)
    older = partial(tmp_path / "x", other, 5, own)
    nameless = tmp_path / "x" / ".x.item.17.partial"
    nameless.write_bytes(b"")
    old = time.time() - unfinished.PATIENCE - 60
    for path in (older, nameless):
        os.utime(path, (old, old))
    (said,) = publish.tidy(tmp_path / "x")
    assert "4 unfinished files" in said
    assert living.exists() and elsewhere.exists()
    assert not any(path.exists() for path in (reused, dead, older, nameless))


@pytest.mark.parametrize("way", ["parent", "absolute", "link", "link of the plan", "no text"])
def test_a_plan_of_a_stranger_touches_nothing_outside(tmp_path: Path, way: str) -> None:
    data, foreign = tmp_path / "x", tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "keys").write_text("mine")
    dead = data / f".dataset.{unfinished._machine()}-{2**22 + 1}-1.partial"
    staged = foreign if way == "link of the plan" else dead
    (staged / "features").mkdir(parents=True)
    (staged / "features" / "keys").write_text("theirs")
    names = {"parent": "../foreign/keys", "absolute": str(foreign / "keys"), "no text": 7}
    replaced = [names[way]] if way in names else []
    (staged / publish.PLAN_NAME).write_text(json.dumps({"files": [], "replaced": replaced}))
    if way == "link":
        (data / "features").symlink_to(foreign)
    if way == "link of the plan":
        data.mkdir()
        dead.symlink_to(foreign)
    (said,) = [line for line in publish.tidy(data) if "unfinished files" not in line]
    assert "names files outside of" in said
    assert (foreign / "keys").read_text() == "mine"
    assert not (data / "features").is_dir() or way == "link"
    assert len(list(foreign.iterdir())) == (3 if way == "link of the plan" else 1)


def full_after(limit: int) -> object:
    """An ``open`` whose files of the name ending in .partial take that many bytes."""

    def opened(path: Path, mode: str = "r", **options: object) -> IO:
        stream = open(path, mode, **options)  # type: ignore[call-overload]  # noqa: SIM115
        if not str(path).endswith(".partial"):
            return stream
        inner, left = stream.write, [limit]

        class Full:
            def write(self, data: bytes) -> int:
                left[0] -= len(data)
                if left[0] < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return inner(data)

            def __getattr__(self, name: str) -> object:
                return getattr(stream, name)

            def __enter__(self) -> Full:
                return self

            def __exit__(self, *_: object) -> None:
                stream.close()

        return Full()  # type: ignore[return-value]

    return opened


def test_a_full_disk_names_the_file_and_what_it_needs(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(*command(raw, tmp_path / "first" / "baby")) == 0
    size = (tmp_path / "first" / "baby" / "baby.inter").stat().st_size
    monkeypatch.setattr(atomic_write, "open", full_after(80), raising=False)
    out = tmp_path / "baby"
    assert run(*command(raw, out)) == 1
    said = capsys.readouterr().err
    assert f"{out / 'baby.inter'}: not enough disk space: {size:,} bytes are needed" in said
    assert "another place" in said and not out.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_place_that_cannot_be_written_to_is_refused_at_once(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    (tmp_path / "file").write_text("")
    assert run(*command(raw, tmp_path / "file" / "baby")) == 2
    assert "a file is in the way of the folder" in capsys.readouterr().err
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert run(*command(raw, tmp_path / "baby")) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'baby'}: cannot be written to (Read-only file system)" in said
    assert "choose another OUTPUT" in said


def test_head_ends_a_command_quietly(raw: Path, tmp_path: Path) -> None:
    for options in (["convert", "csv", "--help"], ["--help"]):
        line = f"{sys.executable} -u -m dataset_tools {' '.join(options)} | head -1"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=60
        )
        assert done.stderr == "" and done.stdout.startswith("usage:")


def test_rows_that_do_not_end_are_no_reason_to_wait() -> None:
    """The lines of a full disk are still counted to the end: so they must have one."""

    def lines() -> Iterator[str]:
        yield from ["head\n", "a\n", "b\n"]

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(errno.EDQUOT, "quota")

        def flush(self) -> None:
            pass

    with pytest.raises(atomic_write.DiskFullError, match="9 bytes are needed"):
        atomic_files._write_lines(Full(), Path("/tmp/x.inter"), lines())  # type: ignore[arg-type]


def test_modalities_survive_a_rewrite(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "baby"
    assert run(*command(raw, out)) == 0
    assert run(*command(raw, out, "--overwrite")) == 0
    assert list_modalities(out / "features") == ["text", "image"]


def test_an_interrupt_ends_what_the_database_does_meanwhile() -> None:
    database = Database()

    def count() -> None:
        database.run("SELECT count(*) FROM range(1000000000) a, range(1000000000) b")

    with pytest.raises(KeyboardInterrupt), convert._meanwhile(database, count):
        time.sleep(0.5)  # the query is at work
        raise KeyboardInterrupt


def test_of_two_errors_that_of_the_interactions_is_raised() -> None:
    def fail() -> None:
        raise UsageError("interactions")

    with pytest.raises(UsageError, match="interactions"), convert._meanwhile(Database(), fail):
        raise UsageError("items")
