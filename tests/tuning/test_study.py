"""Places, budgets, dead trials, pruning: on trials that train nothing."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.files.process import this_process
from recbole_fmrlrec.launch.workers import Workers
from recbole_fmrlrec.tuning import outputs, search, trial, worker
from recbole_fmrlrec.tuning.beats import Watch
from recbole_fmrlrec.tuning.space import Parameter, Space
from recbole_fmrlrec.tuning.storage import open_storage
from recbole_fmrlrec.tuning.study import (
    GRACE,
    begun_first,
    best_of,
    open_study,
    outcomes,
    requeue_dead,
    retry,
)
from tests.page_checks import check_page
from tests.tuning.conftest import Runs, make, url, work

GONE = {**this_process(), "started": 1.0, "command": "before"}  # our pid, of a process before us


def id_of(storage: BaseStorage, trial: Trial | FrozenTrial) -> int:
    """What a storage calls a trial of the study."""
    study = storage.get_study_id_from_name("s")
    return storage.get_trial_id_from_study_id_trial_number(study, trial.number)


def rates(study: Any) -> list[float]:
    return [trial.params["learning_rate"] for trial in outcomes(study).values()]


@pytest.mark.parametrize(("sampler", "count"), [("random", 4), ("tpe", 12)])
def test_the_same_file_gives_the_same_trials_however_often_it_is_taken_up(
    tmp_path: Path, runs: Runs, sampler: str, count: int
) -> None:
    plan = make(tmp_path / "a", sampler=sampler, trials=count)
    at_once = rates(work(plan))
    assert len(set(at_once)) == count
    in_parts = make(tmp_path / "b", sampler=sampler)
    for trials in (count - 1, count):
        study = work(replace(in_parts, trials=trials))
        assert rates(study) == at_once[:trials]
    assert rates(work(make(tmp_path / "c", sampler=sampler, seed=2, trials=1))) != at_once[:1]


def test_a_grid_takes_each_point_once(tmp_path: Path, runs: Runs) -> None:
    space = Space.of([Parameter("learning_rate", "choice", (0.1, 0.2, 0.3))])
    study = work(make(tmp_path, sampler="grid", space=space, trials=3))
    assert rates(study) == [0.1, 0.3, 0.2] and runs.begun == [0, 1, 2]  # the shuffle of seed 1
    assert best_of(study, True)[0] == 1 and best_of(study, False)[0] == 0


def test_a_grid_goes_on_with_a_larger_budget(tmp_path: Path, runs: Runs) -> None:
    values = (0.1, 0.2, 0.3, 0.4)
    space = Space.of([Parameter("learning_rate", "choice", values)])
    plan = make(tmp_path, sampler="grid", space=space, trials=2)
    study = work(plan)
    assert "2 of 2 trials (2 complete), sampler grid: 2 of 4 points" in search.state(plan, study)
    begun = rates(study)
    study = work(replace(plan, trials=4))
    assert rates(study)[:2] == begun and sorted(rates(study)) == sorted(values)
    assert runs.begun == [0, 1, 2, 3]


def test_a_sampler_that_no_file_names_stays_that_of_the_study(tmp_path: Path) -> None:
    space = Space.of([Parameter("learning_rate", "choice", (0.1, 0.2, 0.3))])
    begun = make(tmp_path, sampler="tpe", space=space, trials=2, sampler_named=False)
    search._open(begun, url(begun))
    later = replace(begun, sampler="grid", trials=3)
    plan, study = search._open(later, url(begun))
    assert plan.sampler == "tpe" and search.state(plan, study) == "s: 0 of 3 trials, sampler tpe"
    with pytest.raises(UsageError, match="sampler: 'tpe' in the study, 'grid' now"):
        search._open(replace(later, sampler_named=True), url(begun))


def test_a_trial_of_a_dead_process_is_taken_up_in_its_place(tmp_path: Path, runs: Runs) -> None:
    undisturbed = rates(work(make(tmp_path / "a")))
    plan = make(tmp_path / "b")
    runs.begun.clear()

    class Killed(BaseException):
        pass

    def kill(place: int, epoch: int) -> None:
        if (place, epoch) == (1, 1):
            raise Killed

    runs.do = kill
    with pytest.raises(Killed):
        work(plan)
    storage = open_storage(url(plan))
    study = open_study(storage, plan)
    running = outcomes(study)[1]
    assert running.state == TrialState.RUNNING
    requeue_dead(study, Watch())
    assert outcomes(study)[1].state == TrialState.RUNNING  # this process lives
    storage.set_trial_user_attr(id_of(storage, running), "owner", GONE)
    runs.do = lambda place, epoch: None
    study = work(plan)
    assert runs.begun == [0, 1, 1, 2, 3]
    assert rates(study) == undisturbed
    assert [trial.number for trial in outcomes(study).values()] == [0, 2, 3, 4]
    assert study.trials[1].state == TrialState.FAIL
    assert study.trials[2].intermediate_values == pytest.approx(
        {epoch: undisturbed[1] * (epoch + 1) for epoch in range(3)}
    )


def test_a_trial_that_was_marked_dead_and_not_queued_is_found(tmp_path: Path, runs: Runs) -> None:
    study = work(make(tmp_path, trials=2))
    study.add_trial(study.trials[0])  # any; only its state and its place count
    lost = study.ask()
    lost.set_user_attr("place", 3)
    study.tell(lost.number, state=TrialState.FAIL)
    study = work(make(tmp_path, trials=2))
    assert runs.begun == [0, 1, 3] and outcomes(study)[3].state == TrialState.COMPLETE


def test_an_interrupted_trial_waits_for_the_next_command(tmp_path: Path, runs: Runs) -> None:
    plan = make(tmp_path)

    def interrupt(place: int, epoch: int) -> None:
        if (place, epoch) == (2, 1):
            raise KeyboardInterrupt

    runs.do = interrupt
    with pytest.raises(KeyboardInterrupt):
        work(plan)
    study = open_study(open_storage(url(plan)), plan)
    assert outcomes(study)[2].state == TrialState.WAITING
    assert "owner" not in outcomes(study)[2].user_attrs
    runs.do = lambda place, epoch: None
    assert len(rates(work(plan))) == 4 and runs.begun == [0, 1, 2, 2, 3]


def test_a_trial_beyond_the_budget_is_given_up(tmp_path: Path, runs: Runs) -> None:
    plan = make(tmp_path, trials=2)
    study = work(plan)
    study = open_study(open_storage(url(plan)), plan)
    job = worker.Job(plan, url(plan), "c")
    study.sampler = worker.SlotSampler(plan, study)
    study.optimize(worker.Objective(plan, study, job.command), n_trials=1, catch=(RunError,))
    assert runs.begun == [0, 1] and study.trials[2].user_attrs["surplus"]
    assert [begun_first(trial) for trial in study.trials] == [True, True, False]
    assert list(outcomes(work(replace(plan, trials=3)))) == [0, 1, 2] and runs.begun == [0, 1, 2]


def test_pruned_trials_keep_their_last_value(tmp_path: Path, runs: Runs) -> None:
    space = Space.of([Parameter("learning_rate", "choice", (0.5, 0.6, 0.1, 0.4))])  # shuffled
    pruner = {"name": "median", "startup_trials": 2, "warmup_epochs": 1}
    study = work(make(tmp_path, sampler="grid", space=space, pruner=pruner))
    found = {place: (t.state.name, t.values[0]) for place, t in outcomes(study).items()}
    assert found == {
        0: ("COMPLETE", 1.5),
        1: ("COMPLETE", pytest.approx(1.2)),
        2: ("PRUNED", 0.2),  # after the second epoch: the first passes
        3: ("COMPLETE", pytest.approx(1.8)),
    }


def test_equal_values_are_not_trained_twice(tmp_path: Path, runs: Runs) -> None:
    space = Space.of([Parameter("learning_rate", "choice", (0.1, 0.2))])
    study = work(make(tmp_path, space=space, trials=8))
    assert sorted(runs.begun) == [
        min(p for p in range(8) if rates(study)[p] == r) for r in dict.fromkeys(rates(study))
    ]
    assert all(
        t.values[0] == pytest.approx(3 * t.params["learning_rate"])
        for t in outcomes(study).values()
    )


def test_hours_are_those_of_all_trials(
    tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10**6, 600))  # every look at it is ten minutes later
    monkeypatch.setattr("recbole_fmrlrec.tuning.trial.time.monotonic", lambda: next(clock))
    plan = make(tmp_path, trials=None, hours=2.0)  # 40 minutes a trial: 3 reports, 1 end
    study = work(plan)
    assert len(outcomes(study)) == 3 and worker.hours_used(study) == pytest.approx(2)
    assert len(outcomes(work(replace(plan, hours=2.1)))) == 4


def test_failures_are_recorded_and_end_a_hopeless_study(tmp_path: Path, runs: Runs) -> None:
    def fail(place: int, epoch: int) -> None:
        if place in (0, 2):
            raise RunError("loss is nan")

    runs.do = fail
    study = work(make(tmp_path / "a"))
    assert [t.state.name for t in outcomes(study).values()] == ["FAIL", "COMPLETE"] * 2
    assert outcomes(study)[0].user_attrs["error"] == "loss is nan"

    runs.do = lambda place, epoch: fail(0, 0)
    plan = make(tmp_path / "b", trials=9)
    with pytest.raises(RunError, match="3 trials failed and none succeeded; the last: loss is nan"):
        work(plan)


def test_outputs(tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "run_slot", runs)
    monkeypatch.setattr(search, "with_data", lambda plan: plan)
    space = Space.of(
        [
            Parameter("learning_rate", "choice", (0.1, 0.3, 0.2)),
            Parameter("sizes", "choice", ([8], [8, 16]), {"learning_rate": (0.3,)}),
        ]
    )
    plan = make(tmp_path, sampler="grid", space=space, settings={"epochs": 3})
    shown = search.search(plan, url(plan), Workers(1))
    assert "best NDCG@10 on validation 0.9000, trial 2: learning_rate 0.3, sizes [8, 16]" in shown
    assert yaml.safe_load((tmp_path / "best.yaml").read_text()) == {
        "model": "fMRLRec",
        "dataset": "toy",
        "epochs": 3,
        "learning_rate": 0.3,
        "sizes": [8, 16],
    }
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["trial"], row["state"], row["learning_rate"], row["sizes"]) for row in rows] == [
        ("0", "complete", "0.1", ""),
        ("1", "complete", "0.2", ""),
        ("2", "complete", "0.3", "[8, 16]"),
        ("3", "complete", "0.3", "[8]"),
    ]
    lines = (tmp_path / "trials.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["2", "3", "1", "0"]
    page = (tmp_path / "plots.html").read_text()
    tags = check_page(page)
    # History, curves, importance, and a slice for each of the two parameters.
    assert page.count("<figure>") == page.count("<svg") == 5 and len(page) < 200_000
    assert tags.text.count("best, trial 2") == 3 and "NDCG@10 by learning_rate" in tags.text
    assert "Trial 2: NDCG@10 0.9000 on validation." in tags.text
    assert "s: 4 of 4 trials (4 complete), sampler grid: 4 of 4 points" in tags.text
    assert runs.tested == [2] and "trained again" not in shown
    monkeypatch.setattr(outputs, "write_plots", lambda plan, study: None)  # they take long
    assert search.search(plan, url(plan), Workers(1)) == shown and runs.tested == [2]
    assert "4 of 4 trials (4 complete), sampler grid: 4 of 4 points" in search.show(plan, url(plan))


def test_checkpoints_of_all_but_the_best_are_removed(tmp_path: Path, runs: Runs) -> None:
    plan = make(tmp_path)

    def save(place: int, epoch: int) -> None:
        folder = plan.run_root(place) / "run"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "best.pth").write_text("")
        (folder / "run.log").write_text("")

    runs.do = save
    best = best_of(work(plan), True)
    assert [file.parts[-3] for file in tmp_path.glob("trials/*/*/*.pth")] == [f"{best[0]:04d}"]
    assert len(list(tmp_path.glob("trials/*/*/run.log"))) == 4


def test_a_trial_that_becomes_the_best_meanwhile_keeps_its_checkpoint(
    tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make(tmp_path)
    study = work(plan)
    everything, best = outcomes(study), best_of(study, True)[0]
    before = {place: trial for place, trial in everything.items() if place != best}
    file = plan.run_root(best) / "run" / "best.pth"
    file.parent.mkdir(parents=True)
    file.write_text("")
    looks = iter([before, everything])
    monkeypatch.setattr(trial, "outcomes", lambda study: next(looks))
    assert trial.drop_checkpoints(plan, study)[0] in before and file.is_file()


def test_one_of_several_commands_tests(tmp_path: Path, runs: Runs) -> None:
    study = work(make(tmp_path, trials=1), "first")
    assert search._is_last(study, "first") and search._is_last(study, "started later")
    study = work(make(tmp_path, trials=2), "second")
    assert search._is_last(study, "second") and not search._is_last(study, "first")


def test_failed_trials_run_again_when_asked(
    tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "with_data", lambda plan: plan)
    plan = make(tmp_path, trials=2)

    def fail(place: int, epoch: int) -> None:
        if place == 0:
            raise RunError("out of memory")

    runs.do = fail
    study = work(plan)
    runs.do = lambda place, epoch: None
    search.retry_failed(plan, url(plan))
    study = work(plan)
    assert [t.state.name for t in outcomes(study).values()] == ["COMPLETE"] * 2
    assert "error" not in outcomes(study)[0].user_attrs


def test_a_trial_that_kills_its_process_is_given_up_in_the_end(tmp_path: Path, runs: Runs) -> None:
    study = work(make(tmp_path, trials=1))
    trial = study.trials[0]
    for _ in range(12):
        retry(study, trial)
        waiting = [t for t in study.trials if t.state == TrialState.WAITING]
        if not waiting:
            break
        study.tell(study.ask().number, state=TrialState.FAIL)
        trial = study.trials[-1]
    assert len(study.trials) == 11


def test_a_trial_of_another_machine_is_dead_when_it_gives_no_sign(
    tmp_path: Path, runs: Runs
) -> None:
    plan = make(tmp_path)
    storage = open_storage(url(plan))
    assert isinstance(storage, RDBStorage)
    study = open_study(storage, plan)
    study.sampler = worker.SlotSampler(plan, study)
    far = study.ask()
    far.set_user_attr("place", 0)
    far.set_user_attr("owner", {**GONE, "place": "elsewhere"})
    storage.record_heartbeat(id_of(storage, far))
    requeue_dead(study, Watch())
    assert outcomes(study)[0].state == TrialState.RUNNING
    with storage.engine.begin() as connection:
        before = f"datetime(heartbeat, '-{GRACE + 1} seconds')"
        connection.exec_driver_sql(f"UPDATE trial_heartbeats SET heartbeat = {before}")
    requeue_dead(study, Watch())
    requeue_dead(study, Watch())
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    assert outcomes(study)[0].number == 1
