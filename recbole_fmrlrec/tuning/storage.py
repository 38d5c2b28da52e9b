"""Where a study is stored: in a database, in a journal, or behind a gRPC proxy."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage

from recbole_fmrlrec.errors import RunError, UsageError
from recbole_fmrlrec.files.writable import check_folder
from recbole_fmrlrec.tuning import study
from recbole_fmrlrec.tuning.journal import journal_file, open_journal
from recbole_fmrlrec.tuning.proxy_client import open_proxy, proxy_address

# What SQLite says of a file that will not do, however often it is tried.
_UNUSABLE = ("unable to open database file", "file is not a database", "readonly database")


def address_of(url: str) -> sqlalchemy.URL:
    """The parts of ``--storage``.

    Raises:
        UsageError: it is not a URL.
    """
    try:
        return sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError as error:
        raise UsageError(
            f"--storage={url} is not a URL such as sqlite:///study.db or "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, nor journal:FILE, FILE.journal or "
            "grpc://HOST:PORT"
        ) from error


def sqlite_file(address: sqlalchemy.URL) -> Path | None:
    """The file of an SQLite database; None for a server."""
    sqlite = address.drivername.startswith("sqlite")
    return Path(address.database) if sqlite and address.database else None


def file_of(storage: str) -> Path | None:
    """The file of a storage that is one: a journal, or SQLite's; None for a server.

    Raises:
        UsageError: it is no storage.
    """
    if proxy_address(storage) is not None:
        return None
    return journal_file(storage) or sqlite_file(address_of(storage))


def open_storage(storage: str, look_only: bool = False) -> BaseStorage:
    """Optuna's storage; a database keeps signs of life of its running trials.

    Args:
        storage: as ``--storage`` names it.
        look_only: make nothing and write nothing; a file may be read-only then.

    Raises:
        UsageError: it is no storage, a package is not installed, or its file will not do.
        RunError: the database or the proxy cannot be used.
    """
    address, file = proxy_address(storage), journal_file(storage)
    if address is None and file is None:
        return _open_database(storage, look_only)
    if address is not None:
        return open_proxy(*address)
    assert file is not None
    return open_journal(file, look_only)


def _open_database(url: str, look_only: bool) -> RDBStorage:
    """SQLite, PostgreSQL, MySQL."""
    address = address_of(url)
    if (file := sqlite_file(address)) is not None and not look_only:
        check_folder(file.parent, "--storage")
    shown = address.render_as_string(hide_password=True)
    for attempt in range(4):  # two processes that make the tables at once disturb one another
        try:
            return _look(address, file) if look_only else _connect(address)
        except (ImportError, sqlalchemy.exc.NoSuchModuleError) as error:
            raise UsageError(
                f"--storage: {error}; for PostgreSQL `pip install psycopg[binary]` and "
                "postgresql+psycopg://..., for MySQL `pip install pymysql` and mysql+pymysql://..."
            ) from error
        except sqlalchemy.exc.SQLAlchemyError as error:
            if any(words in str(error) for words in _UNUSABLE):
                raise UsageError(f"--storage={shown}: {getattr(error, 'orig', error)}") from error
            reason = error
            time.sleep(0.5 * attempt)
    said = str(getattr(reason, "orig", reason))
    if "malformed" in said:
        said += f": {file} is damaged; put a copy back, or move it away to start the study again"
    raise RunError(f"the storage {shown} cannot be used: {said}") from reason


def _look(address: sqlalchemy.URL, file: Path | None) -> RDBStorage:
    """A storage that is read."""
    if file is not None:
        place = f"file:{quote(str(file.absolute()))}"
        address = address.set(database=place, query={"mode": "ro", "uri": "true"})
    url = address.render_as_string(hide_password=False)
    return RDBStorage(url, skip_compatibility_check=True, skip_table_creation=True)


def _connect(address: sqlalchemy.URL) -> RDBStorage:
    sqlite = address.drivername.startswith("sqlite")
    with study.without_experimental_warnings():
        storage = RDBStorage(
            address.render_as_string(hide_password=False),
            engine_kwargs={"connect_args": {"timeout": 120}} if sqlite else None,
            heartbeat_interval=study.HEARTBEAT,
            grace_period=study.GRACE,
            heartbeat_stale_trial_callback=study.retry,
        )
    if sqlite:
        _serialise(storage.engine)
    return storage


def _serialise(engine: Any) -> None:
    """Let a transaction on SQLite have the file for itself from its first reading on.

    Optuna claims a waiting trial by reading its state under SELECT ... FOR UPDATE and writing it,
    and SQLite has no FOR UPDATE: two workers could both claim it.
    """

    @sqlalchemy.event.listens_for(engine, "connect")
    def _(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @sqlalchemy.event.listens_for(engine, "begin")
    def _(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()
