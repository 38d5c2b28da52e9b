"""Full disks, read-only places, and what killed writers leave."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from safetensors import SafetensorError

from recbole_fmrlrec.deploy.tensor_files import write_tensors
from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.atomic import FORGOTTEN, replacing, write_text
from recbole_fmrlrec.files.checkpoint import save_checkpoint
from recbole_fmrlrec.files.disk import NoRoom, is_no_room, readable

ROOT = Path(__file__).resolve().parents[2]
LIMITED = """
import resource, sys
from pathlib import Path
import torch
from recbole_fmrlrec.files.checkpoint import save_checkpoint
from recbole_fmrlrec.deploy.tensor_files import write_tensors
from recbole_fmrlrec.errors import RunError
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
for name, write in (("a.pth", save_checkpoint), ("a.safetensors", write_tensors)):
    try:
        write(Path(sys.argv[1]) / name, {"x": torch.ones(100_000)})
    except RunError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (27_300_000, "27.3 MB")],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert readable(count) == text


def test_libraries_that_write_by_themselves_at_a_limit_of_the_system(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    checkpoint, tensors = done.stdout.splitlines()
    start = f"NoRoom {tmp_path / 'a.pth'}: not enough disk space: it needs 400.0 kB, "
    assert checkpoint.startswith(start) and done.stderr == ""
    assert tensors.startswith(
        f"NoRoom {tmp_path / 'a.safetensors'}: not enough disk space: it needs"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "last.pth"
    save_checkpoint(file, {"x": torch.ones(3)})
    before = file.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoRoom, match=r"last\.pth: not enough disk space: it needs 4.0 kB, .* free"):
        save_checkpoint(file, {"x": torch.ones(1000)})
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "x"),
        OSError(errno.EDQUOT, "x"),
        RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
    ],
)
def test_words_of_a_full_disk(error: Exception) -> None:
    assert is_no_room(error)
    wrapped = ValueError("later")
    wrapped.__cause__ = error
    assert is_no_room(wrapped) and not is_no_room(OSError(errno.EIO, "No space left on device"))


def test_a_place_that_takes_no_files(tmp_path: Path, monkeypatch) -> None:
    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UsageError, match=r"cannot write .*a\.json: Read-only file system; .*--out"):
        write_text(tmp_path / "new" / "a.json", "{}")


def test_partial_files_of_dead_writers_are_cleared_by_the_next_one(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from recbole_fmrlrec.files.atomic import replacing\n"
        "with replacing(Path(sys.argv[1]) / 'a') as partial:\n"
        "    partial.write_text('half'); print('ready', flush=True); input()"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for _ in range(2)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    elsewhere, old = tmp_path / ".b.0123456789ab.partial", tmp_path / ".c.0123456789ab.partial"
    for file in (elsewhere, old):
        file.write_text("half")
    age = old.stat().st_mtime - FORGOTTEN - 60
    os.utime(old, (age, age))
    writers[0].kill()
    writers[0].communicate()
    write_text(tmp_path / "new", "whole")
    left = {file.name for file in tmp_path.iterdir()} - {"new", elsewhere.name}
    assert len(left) == 1 and f"-{writers[1].pid}-" in left.pop()
    writers[1].communicate("\n")  # it is alive, and ends well
    assert (tmp_path / "a").read_text() == "half"
    assert not psutil.pid_exists(writers[1].pid)


def test_our_own_partial_file_is_not_cleared_by_another_write(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as partial:
        partial.write_text("a")
        write_text(tmp_path / "b", "b")
    assert (tmp_path / "a").read_text() == "a"
    write_tensors(tmp_path / "t", {"x": torch.ones(2)})
