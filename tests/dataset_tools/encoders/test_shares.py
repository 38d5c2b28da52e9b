"""Encoding in several processes: the bytes of one, whoever dies and whoever ends last."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dataset_tools.__main__ import main
from dataset_tools.encoders.encode_features import encode_features
from dataset_tools.encoders.merge import LOCK
from dataset_tools.encoders.share import Share, local_device
from dataset_tools.errors import UsageError
from dataset_tools.files.unfinished import partial_path
from tests.dataset_tools.encoders.killing import kill_after
from tests.dataset_tools.encoders.models import save_bert
from tests.dataset_tools.encoders.test_encode_text import make_dataset
from tests.dataset_tools.encoders.test_interrupted import GONE, Numbers, inputs

FILES = ("items.txt", "text.npy", "text.json")


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def run(folder: Path, share: Share | None, encoder: Numbers | None = None, **keys: Any) -> Any:
    """64 inputs, in shards of 16."""
    return encode_features(folder, "text", inputs(), encoder or Numbers(), 1, share=share, **keys)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_three_parts_give_the_bytes_of_one(tmp_path: Path, order: tuple[int, ...]) -> None:
    run(tmp_path / "one", None)
    # Shards 0, 3 | 1 | 2 of 16 inputs each
    own = {1: [*range(16), *range(48, 64)], 2: list(range(16, 32)), 3: list(range(32, 48))}
    for place, number in enumerate(order):
        encoder = Numbers()
        outcome = run(tmp_path / "three", Share(number, 3), encoder)
        assert encoder.asked == own[number]
        assert (outcome.waiting is None) == (place == 2)
    assert contents(tmp_path / "three") == contents(tmp_path / "one")
    assert not list((tmp_path / "three").glob(".*"))
    assert run(tmp_path / "three", Share(2, 3)).skipped


def test_a_part_that_died_is_started_again(tmp_path: Path) -> None:
    run(tmp_path / "one", None)
    folder = tmp_path / "two"
    with pytest.raises(KeyboardInterrupt):
        run(folder, Share(1, 2), Numbers(fail_at=40))  # its second shard
    outcome = run(folder, Share(2, 2))
    assert outcome.waiting == "1 shards of the parts 1/2 are not there yet"
    # What the dead process of another machine has left does not hinder it.
    (folder / ".text-work" / f".writer-1-of-2.{GONE}.partial").touch()
    last = Numbers()
    assert run(folder, Share(1, 2), last).waiting is None
    assert last.asked == list(range(32, 48))
    assert contents(folder) == contents(tmp_path / "one")


def test_one_process_finishes_what_parts_have_begun(tmp_path: Path) -> None:
    run(tmp_path / "one", None)
    run(tmp_path / "two", Share(1, 2))
    encoder = Numbers()
    run(tmp_path / "two", None, encoder)
    assert encoder.asked == [*range(16, 32), *range(48, 64)]
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_one_process_alone_merges(tmp_path: Path) -> None:
    run(tmp_path, Share(1, 2))
    work = tmp_path / ".text-work"
    alive = partial_path(work / LOCK).name
    (work / LOCK).write_text(alive, encoding="utf-8")
    assert "another process merges" in run(tmp_path, Share(2, 2)).waiting
    assert not (tmp_path / "text.json").exists()
    dead = alive.replace(f"-{os.getpid()}-", "-4194304-")  # a number that no process has
    (work / LOCK).write_text(dead, encoding="utf-8")
    assert run(tmp_path, Share(2, 2)).waiting is None
    assert (tmp_path / "text.json").exists() and not work.exists()


def test_parts_of_other_settings_are_refused(tmp_path: Path) -> None:
    run(tmp_path, Share(1, 2))
    with pytest.raises(UsageError, match=r"factor 1\.0, now 2\.0"):
        run(tmp_path, Share(2, 2), Numbers(2.0))
    with pytest.raises(UsageError, match="--overwrite with --shard"):
        run(tmp_path, Share(2, 2), overwrite=True)
    (tmp_path / ".text-work" / "plan.json").unlink()
    with pytest.raises(UsageError, match=r"shards without plan\.json; delete it"):
        run(tmp_path, Share(2, 2))


def test_which_part_a_process_has() -> None:
    assert Share.parse("2/3") == Share(2, 3)
    torchrun = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    slurm = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"}
    assert Share.parse("auto", torchrun) == Share(1, 2)
    assert Share.parse("auto", slurm) == Share(4, 4)
    assert Share.parse("auto", slurm | torchrun) == Share(1, 2)
    assert [local_device(each) for each in ({}, torchrun, slurm)] == [0, 0, 1]
    for text in ("0/3", "4/3", "1", "1/0", "a/b", "-1/2", "auto"):
        with pytest.raises(UsageError, match="--shard"):
            Share.parse(text, {})


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers", reason="needs the extra `encoders`")
    bert = save_bert(tmp_path / "bert")
    titles = [f"item number {number}" for number in range(40)]
    one, two = (make_dataset(tmp_path / name / "toy", titles) for name in ("one", "two"))
    command = ["encode-text", "--model", str(bert), "--batch-size", "1"]
    assert main([*command, str(one)]) == 0
    kill_after(1, [*command, str(two), "--shard", "1/2"])  # it has shards 0 and 2
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    capsys.readouterr()
    assert main([*command, str(two), "--shard", "auto"]) == 0
    said = capsys.readouterr().out
    assert "this part is done, 16 inputs; 1 shards of the parts 1/2 are not there yet" in said
    assert main([*command, str(two), "--shard", "1/2"]) == 0
    assert contents(two / "features") == contents(one / "features")
    assert main(["encode-text", str(two), "--model", "tfidf-svd", "--shard", "1/2"]) == 2
    assert "fitted to all texts together" in capsys.readouterr().err
