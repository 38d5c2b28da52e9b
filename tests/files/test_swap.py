"""Folders that are replaced as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_fmrlrec.files.atomic import is_being_written, writer_mark
from recbole_fmrlrec.files.swap import put_back, staging, swap_in

# Ends as a killed process does, after the first of the two renames of 8.
KILLED = """
import os, sys
from pathlib import Path
from recbole_fmrlrec.files.swap import staging
place = Path(sys.argv[1])
with staging(place) as stage:
    (stage / "shop" / "8").mkdir(parents=True)
    (stage / "shop" / "4").mkdir()
    os.rename(place / "8", stage / "shop" / "8.old")
    print(stage, flush=True)
    sys.stdin.read()
    os._exit(9)
"""


def family(place: Path) -> Path:
    for size in ("4", "8"):
        (place / size).mkdir()
        (place / size / "file").write_text(f"old {size}")
    return place


def names(place: Path) -> list[str]:
    return sorted(entry.name for entry in place.iterdir())


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    with staging(family(tmp_path)) as stage:
        (stage / "8").mkdir()
        (stage / "8" / "file").write_text("new 8")
        assert is_being_written(stage)
        swap_in(stage / "8", tmp_path / "8")
    assert (tmp_path / "8" / "file").read_text() == "new 8"
    assert names(tmp_path) == ["4", "8"]


def test_what_a_killed_process_left_is_put_right(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(family(tmp_path))]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        put_back(tmp_path)  # it still runs: its stage is its own
        assert (left / "shop" / "8.old").is_dir() and not (tmp_path / "8").exists()
        process.communicate()
    assert process.returncode == 9 and left.is_dir()
    put_back(tmp_path)
    assert (tmp_path / "8" / "file").read_text() == "old 8"
    assert names(tmp_path) == ["4", "8"]


@pytest.mark.parametrize("name", [".update-dead", ".update-mine", ".update.d"])
def test_folders_that_no_update_marked_are_kept(tmp_path: Path, name: str) -> None:
    (family(tmp_path) / name).mkdir()
    os.utime(tmp_path / name, (0, 0))
    put_back(tmp_path)
    assert names(tmp_path) == [name, "4", "8"]


def test_a_stage_of_another_machine_goes_after_a_day(tmp_path: Path) -> None:
    other = tmp_path / f".update.{'0' * 8}-{writer_mark().split('-', 1)[1]}"
    other.mkdir()
    put_back(tmp_path)
    assert other.is_dir()
    os.utime(other, (0, 0))
    put_back(tmp_path)
    assert names(tmp_path) == []
