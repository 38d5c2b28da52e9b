"""The page of a study, and values on a step in everything that a study writes."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.launch.workers import Workers
from recbole_fmrlrec.tuning import outputs, search
from recbole_fmrlrec.tuning.space import Parameter, Space
from recbole_fmrlrec.tuning.storage import open_storage
from recbole_fmrlrec.tuning.study import open_study
from tests.page_checks import check_page
from tests.tuning.conftest import Runs, make, url, work


def test_values_on_a_step_are_written_with_its_places(
    tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(outputs, "run_slot", runs)
    monkeypatch.setattr(search, "with_data", lambda plan: plan)
    monkeypatch.setattr(outputs, "write_plots", lambda plan, study: None)
    space = Space.of([Parameter("learning_rate", "uniform", (0.1, 0.7, 0.1))])
    plan = make(tmp_path, sampler="random", space=space, trials=12)
    said = search.search(plan, url(plan), Workers(1))
    written = said + capsys.readouterr().err + search.show(plan, url(plan))
    for name in ("best.yaml", "test.json"):
        written += (tmp_path / name).read_text()
    shown = re.findall(r'learning_rate"?:? ([\d.]+)', written)
    assert len(shown) > 12 and {len(value) for value in shown} == {3}
    with (tmp_path / "trials.csv").open(newline="") as file:
        values = {row["learning_rate"] for row in csv.DictReader(file)}
    assert len(values) > 2 and values <= {f"0.{tenths}" for tenths in range(1, 8)}


def test_a_study_stored_with_spelt_out_ends_goes_on(tmp_path: Path) -> None:
    plan = make(tmp_path, space=Space.of([Parameter("p", "uniform", (0.1, 0.3, 0.1))]))
    study = open_study(open_storage(url(plan)), plan)
    before = json.loads(json.dumps(plan.definition()))
    before["parameters"]["p"]["uniform"][1] = 0.1 + 2 * 0.1
    study.set_user_attr("definition", before)
    assert open_study(open_storage(url(plan)), plan).study_name == "s"
    wider = Space.of([Parameter("p", "uniform", (0.1, 0.4, 0.1))])
    with pytest.raises(UsageError, match="was made by another file"):
        open_study(open_storage(url(plan)), replace(plan, space=wider))


def test_a_page_of_long_names_and_many_trials(tmp_path: Path) -> None:
    """44 letters, markup and a $ in names and values; trials of every state."""
    name = "a_parameter_with_a_name_of_forty_four_letter"
    values = ("<b>$x$</b>" * 6, "b")
    parameters = [
        Parameter(name, "choice", values),
        Parameter("rate", "loguniform", (0.001, 0.1)),
        Parameter("step", "uniform", (0.1, 0.7, 0.1)),
    ]
    plan = make(tmp_path, study="s<i>", space=Space.of(parameters), trials=300)
    study = optuna.create_study(direction="maximize")
    states = {
        0: optuna.trial.TrialState.COMPLETE,
        1: optuna.trial.TrialState.PRUNED,
        2: optuna.trial.TrialState.FAIL,
    }
    for place in range(300):
        state, value = states[place % 3], place / 1000
        params = {name: values[place % 2], "rate": 0.001 + place / 10_000, "step": 0.1 + 2 * 0.1}
        kept = {"place": place, **({"error": "<script>" * 60} if place % 3 == 2 else {})}
        study.add_trial(
            optuna.create_trial(
                state=state,
                value=value if place % 3 == 0 else None,
                params=params,
                distributions={
                    name: optuna.distributions.CategoricalDistribution(values),
                    "rate": optuna.distributions.FloatDistribution(0.001, 0.1, log=True),
                    "step": optuna.distributions.FloatDistribution(0.1, 0.7, step=0.1),
                },
                intermediate_values={epoch: value * epoch / 50 for epoch in range(50)},
                user_attrs=kept,
            )
        )
    outputs.write_plots(plan, study)
    page = (tmp_path / "plots.html").read_text()
    tags = check_page(page)
    assert len(page) < 400_000  # it was 4.9 MB
    assert "Trial 297: NDCG@10 0.2970 on validation." in tags.text and "<b>$x$" in tags.text
    assert "the best 60 of 300 trials" in tags.text
    assert tags.text.count(name) >= 4 and "The best 30 of 300 trials" in tags.text


def test_show_writes_nothing(tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "run_slot", runs)
    folder = tmp_path / "a folder with 100%"
    plan = make(folder, trials=2)
    work(plan)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    file, stamp = folder / "study.db", (folder / "study.db").stat().st_mtime_ns
    file.chmod(0o400)
    assert search.show(plan, url(plan)).startswith("s: 2 of 2 trials (2 complete), sampler random")
    after = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert after == before and file.stat().st_mtime_ns == stamp
    with pytest.raises(UsageError, match="there is no study `other` yet in this storage"):
        search.show(replace(plan, study="other"), url(plan))
    empty = tmp_path / "empty.db"
    empty.touch()
    with pytest.raises(UsageError, match="no studies can be read there: no such table"):
        search.show(plan, f"sqlite:///{empty}")
    assert empty.stat().st_size == 0
