"""Which study a folder of runs and tables belongs to: two would overwrite each other's files.

A study has an id of its own, kept with it in its storage, so that it is the same one behind a
proxy, in a folder that other machines call by another name, or with its database moved. The folder
holds that id, the study's name and its storage.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import optuna

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.files.atomic import write_json
from recbole_fmrlrec.tuning.journal import journal_file
from recbole_fmrlrec.tuning.plan import Plan
from recbole_fmrlrec.tuning.proxy_client import proxy_address
from recbole_fmrlrec.tuning.storage import address_of, file_of, open_storage

#: The file in the folder, and the attribute of the study that its id is.
NAME, ID = "study.json", "id"


def check_owner(plan: Plan, url: str) -> None:
    """Check before a study is opened that its folder is not another one's; makes nothing.

    Raises:
        UsageError: it is; the message names both storages.
    """
    mark = _mark(plan)
    if mark is None or _fits(mark, plan, shown(url)):
        return
    _refuse_other(mark, plan, _stored_id(plan, url), url)


def claim_folder(plan: Plan, study: optuna.Study, url: str) -> None:
    """Mark the study's folder as its own.

    Raises:
        UsageError: it is another one's; the message names both storages.
    """
    mark = _mark(plan)
    if mark is not None and not _fits(mark, plan, shown(url)):
        _refuse_other(mark, plan, study.user_attrs.get(ID), url)
    if ID not in study.user_attrs:
        study.set_user_attr(ID, uuid.uuid4().hex)
    # Of several commands that begin a study at once, the last one to write has given it its id.
    wanted = {"study": plan.study, "storage": shown(url), ID: study.user_attrs[ID]}
    if mark != wanted:
        write_json(plan.output / NAME, wanted)


def _stored_id(plan: Plan, url: str) -> str | None:
    """The id of the plan's study; None where there is no such study, or it has none yet."""
    file = file_of(url)
    if file is not None and not file.is_file():
        return None
    try:
        storage = open_storage(url, look_only=True)
        if plan.study not in optuna.get_all_study_names(storage):
            return None
    except optuna.exceptions.StorageInternalError:  # a database without tables
        return None
    return optuna.load_study(storage=storage, study_name=plan.study).user_attrs.get(ID)


def shown(url: str) -> str:
    """A storage as messages name it: the whole path of a file, and no password."""
    if (journal := journal_file(url)) is not None:
        return f"journal:{journal.resolve()}"
    if proxy_address(url) is not None:
        return url
    address, file = address_of(url), file_of(url)
    if file is not None:
        address = address.set(database=str(file.resolve()))
    return address.render_as_string(hide_password=True)


def _mark(plan: Plan) -> dict[str, Any] | None:
    """What the folder says; None of a folder that belongs to nobody yet."""
    path = plan.output / NAME
    if not path.is_file():
        return None
    try:
        mark = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        mark = None
    if not isinstance(mark, dict) or not {"study", "storage", ID} <= mark.keys():
        raise UsageError(
            f"{path} does not say which study this folder belongs to; remove the file if it is "
            f"`{plan.study}`, or give --output=DIR"
        )
    return mark


def _fits(mark: dict[str, Any], plan: Plan, storage: str) -> bool:
    """Whether the study has the same name and storage as the one in the mark."""
    return bool(mark["study"] == plan.study and mark["storage"] == storage)


def _refuse_other(mark: dict[str, Any], plan: Plan, known: str | None, url: str) -> None:
    if mark["study"] == plan.study and mark[ID] == known:
        return
    raise UsageError(
        f"{plan.output} has the runs and tables of the study `{mark['study']}` in "
        f"--storage={mark['storage']}; `{plan.study}` in --storage={shown(url)} is another study "
        "and would overwrite them: give --study=NEW_NAME or --output=DIR, or the first storage "
        "to continue its study"
    )
