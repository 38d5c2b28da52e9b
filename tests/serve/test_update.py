"""A deployed family follows a newer training while a server answers with it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from recbole_fmrlrec.cli.main import main
from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.deploy.description import TwoStage
from recbole_fmrlrec.deploy.errors import DeployError
from tests.patience import wait_for
from tests.serve.conftest import Start, ids_of
from tests.train.test_continue import NEW, OLD, train, write

SIZES = [2, 4, 8]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The checkpoints of a training and of one that goes on from it with other items."""
    root = tmp_path_factory.mktemp("update")
    write(root, "older", OLD, 30)
    write(root, "newer", NEW, 40)
    first = train(root, "fMRLRecID", "older", epochs=2).run_dir
    then = train(root, None, "newer", continue_from=first, learning_rate=0.05).run_dir
    return first / "best.pth", then / "best.pth"


@pytest.fixture
def deployed(runs: tuple[Path, Path], tmp_path: Path) -> Path:
    output = tmp_path / "shop"
    words = [f"--checkpoint={runs[0]}", "--no_evaluation", "--dtype=float16"]
    assert main(["export", *words, f"--output={output}"]) == 0
    for size in SIZES:
        model = Recommender.load(output / str(size))
        model.add_column("kind", {"i3": ["round"]})
        if size == 8:
            model.use_two_stage(prefix=4, shortlist=12)
        model.save(output / str(size))
    return output


def follow(runs: tuple[Path, Path], folder: Path, *words: str) -> int:
    arguments = [f"--checkpoint={runs[1]}", f"--update={folder}", "--no_evaluation"]
    return main(["export", *arguments, *words])


def test_a_family_follows_with_the_next_version(
    runs: tuple[Path, Path], deployed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = Recommender.load(deployed / "8")
    session = old.session()
    session.update("i3")
    assert follow(runs, deployed) == 0
    said = capsys.readouterr().out
    assert "version 1 is now version 2: 12 items kept, 3 new, 2 gone" in said
    assert "column kind: kept; the 3 new items have no value in it" in said
    assert "search of size 8: kept, the best 12 by 4 dimensions" in said
    assert sorted(entry.name for entry in deployed.iterdir() if entry.is_dir()) == ["2", "4", "8"]
    for size in SIZES:
        new = Recommender.load(deployed / str(size))
        assert (new.description.version, new.description.table_dtype) == (2, "float16")
        assert sorted(new.items.ids) == sorted(NEW)
        kinds = dict(zip(new.items.ids, new.items.columns["kind"], strict=True))
        assert kinds["i3"] == ("round",) and kinds["i15"] == ()
        assert new.description.search == (TwoStage(4, 12) if size == 8 else None)
    with pytest.raises(DeployError, match="another version of this one"):
        Recommender.load(deployed / "8").session().load_state_dict(session.state_dict())
    one = deployed / "4"  # a size alone, in the folder of the others
    assert follow(runs, one) == 0
    assert Recommender.load(one).description.version == 3
    assert Recommender.load(deployed / "2").description.version == 2


def test_a_server_goes_over_without_losing_a_request(
    runs: tuple[Path, Path], deployed: Path, start: Start, tmp_path: Path
) -> None:
    client = start(
        deployed, watch_seconds=0.02, session_store=str(tmp_path / "s.sqlite"), sessions=1
    )
    history = ["i0", "i3", "i4"]  # the newer training has no i0
    opened = [client.post("/sessions", json={"history": history}) for _ in range(2)]
    names = [answer.json()["session_id"] for answer in opened]
    asked, wrong, stop = [0], [], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answer = client.post("/recommend", json={"history": ["i3", "i4"], "k": 3})
            asked[0] += 1
            if answer.status_code != 200 or len(answer.json()["items"]) != 3:
                wrong.append(answer.text)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert follow(runs, deployed) == 0
        wait_for(lambda: {m["update"] for m in client.get("/models").json()["models"]} == {2})
    finally:
        stop.set()
        asking.join()
    assert asked[0] and not wrong
    expected = Recommender.load(deployed / "8").recommend(["i3", "i4"], k=5).ids
    for name in names:  # one is in memory, the other in the store alone
        answer = client.get(f"/sessions/{name}/top", params={"k": 5})
        assert ids_of(answer) == expected
        assert (answer.json()["replayed"], answer.json()["gone"]) == (2, ["i0"])
        assert "gone" not in client.get(f"/sessions/{name}/top", params={"k": 5}).json()


def test_what_cannot_be_updated_is_refused(
    runs: tuple[Path, Path], deployed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert follow(runs, tmp_path / "none") == 2
    assert "no deployed model in" in capsys.readouterr().err
    assert follow(runs, deployed, "--dtype=int8") == 2
    assert "--dtype is not for --update" in capsys.readouterr().err
    before = {file: file.read_bytes() for file in deployed.rglob("*") if file.is_file()}
    assert main(["export", "--checkpoint=none.pth", f"--update={deployed}"]) == 2
    assert {file: file.read_bytes() for file in deployed.rglob("*") if file.is_file()} == before


def test_a_killed_update_is_put_right(runs: tuple[Path, Path], deployed: Path) -> None:
    """Between the two renames of a size there is none: the next update puts it back first."""
    left = deployed / ".update-dead" / "shop"
    left.mkdir(parents=True)
    (deployed / "8").rename(left / "8.old")
    assert follow(runs, deployed) == 0
    assert Recommender.load(deployed / "8").description.version == 2
