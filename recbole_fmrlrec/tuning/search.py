"""One study from its opening to the test of its best trial."""

from __future__ import annotations

import sys
import uuid
from dataclasses import replace

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.files.writable import check_folder
from recbole_fmrlrec.launch.workers import Workers
from recbole_fmrlrec.tuning import outputs
from recbole_fmrlrec.tuning.outputs import state
from recbole_fmrlrec.tuning.owner import check_owner, claim_folder
from recbole_fmrlrec.tuning.plan import Plan, with_data
from recbole_fmrlrec.tuning.storage import file_of, open_storage
from recbole_fmrlrec.tuning.study import DEFINITION, open_study, outcomes, retry
from recbole_fmrlrec.tuning.team import work_together
from recbole_fmrlrec.tuning.worker import Job, finished


def check(plan: Plan, url: str) -> None:
    """Check that a study can be made, before it is; makes its folders and nothing else.

    Raises:
        DataError: the dataset is not there, and nothing says where it comes from.
        UsageError: no files can be written where they are to be, or those of another study are
            there.
    """
    from recbole_fmrlrec.data.prepare_missing import require_dataset

    require_dataset(plan.first_config())
    file = file_of(url)
    folders = {} if file is None else {file.parent: "--storage"}
    for folder, option in {**folders, plan.output: "--output"}.items():
        check_folder(folder, option)
    check_owner(plan, url)


def search(plan: Plan, url: str, workers: Workers, *, debug: bool = False) -> str:
    """Continue a study until its budget is used up; write its tables; test the best.

    Returns:
        What to print.

    Raises:
        UsageError: the stored study does not agree with the plan.
        RunError: no trial succeeded, or the workers died.
        KeyboardInterrupt: interrupted; the open trials are back in the queue.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    plan, study = _open(with_data(plan), url)
    print(
        f"{state(plan, study)}; {plan.model} on {plan.dataset}; everything goes to {plan.output}",
        file=sys.stderr,
    )
    job = Job(plan, url, uuid.uuid4().hex, debug)
    work_together(job, workers)
    if not finished(study, plan):
        raise RunError(
            f"{state(plan, study)}: not finished; run the same command again to continue"
        )
    best = outputs.write_outputs(plan, study)
    if best is None:
        raise RunError(f"{state(plan, study)}: no trial is complete; trials.md lists the errors")
    return _report(study, best, job)


def _open(plan: Plan, url: str) -> tuple[Plan, optuna.Study]:
    storage = open_storage(url)
    plan = _with_stored_sampler(plan, storage)
    study = open_study(storage, plan)
    claim_folder(plan, study, url)
    return plan, study


def _with_stored_sampler(plan: Plan, storage: BaseStorage) -> Plan:
    """The plan with the sampler that its study was begun with, where the file names none.

    It then follows from the budget, which may change when the study is continued.
    """
    if plan.sampler_named or plan.study not in optuna.get_all_study_names(storage):
        return plan
    study = optuna.load_study(storage=storage, study_name=plan.study)
    stored = study.user_attrs.get(DEFINITION)
    return replace(plan, sampler=stored["sampler"]) if stored else plan


def _report(study: optuna.Study, best: tuple[int, FrozenTrial], job: Job) -> str:
    plan, (slot, trial) = job.plan, best
    lines = [
        state(plan, study),
        f"best {plan.metric} on validation {trial.values[0]:.4f}, trial {slot}: "
        + ", ".join(f"{name} {value}" for name, value in outputs.chosen(plan, trial).items()),
    ]
    tested = str(slot) in study.user_attrs.get(outputs.TESTS, {})
    if tested or _is_last(study, job.command):
        content = outputs.test_of_best(plan, study, slot, trial, debug=job.debug)
        lines += ["its test:", outputs.test_table(content)]
        value = content["valid_of_tested"][plan.metric]
        if value != trial.values[0]:  # its checkpoint was not here, and training is not exact
            lines.append(f"trained again for the test: {value:.4f} on validation")
    else:
        lines.append("its test is run by the command that finished the last trial")
    names = ("best.yaml", "trials.csv", "trials.md", "plots.html", "test.json")
    lines += [str(plan.output / name) for name in names if (plan.output / name).is_file()]
    return "\n".join(lines)


def _is_last(study: optuna.Study, command: str) -> bool:
    """Whether this command finished the last trial, or none: of several, one is to test."""
    done = [
        (trial.datetime_complete, trial.user_attrs["owner"]["command"])
        for trial in outcomes(study).values()
        if trial.datetime_complete and "owner" in trial.user_attrs
    ]
    return command not in [name for _, name in done] or max(done)[1] == command


def show(plan: Plan, url: str) -> str:
    """The state of a study and its trials, best first; nothing is changed.

    Raises:
        UsageError: there is no such study yet.
    """
    file = file_of(url)
    if file is not None and not file.is_file():
        raise UsageError(f"there is no study `{plan.study}` yet: {file} is not there")
    try:
        storage = open_storage(url, look_only=True)
        names = optuna.get_all_study_names(storage)
    except optuna.exceptions.StorageInternalError as error:
        reason = getattr(error.__cause__, "orig", error)
        raise UsageError(f"--storage: no studies can be read there: {reason}") from error
    if plan.study not in names:
        raise UsageError(f"there is no study `{plan.study}` yet in this storage")
    plan = _with_stored_sampler(plan, storage)
    study = optuna.load_study(storage=storage, study_name=plan.study)
    return f"{state(plan, study)}\n\n{outputs.as_text(plan, study)}"


def retry_failed(plan: Plan, url: str) -> None:
    """Put trials that ended in an error back in the queue."""
    plan, study = _open(with_data(plan), url)
    for trial in outcomes(study).values():
        if trial.state == TrialState.FAIL:
            retry(study, trial)
