"""Parts of a configuration as frozen dataclasses, whose fields have types."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, TypeVar

View = TypeVar("View")


def typed(view: type[View], config: Any) -> View:
    """Fill a dataclass from a configuration: each field has the name of a key.

    The values were checked when the configuration was made (`recbole_fmrlrec.keys.schema`). A key
    that is null or not there takes the field's default where it has one: RecBole's own Config does
    not read our properties.

    Args:
        view: a dataclass.
        config: our Config or RecBole's.
    """
    values = {field.name: config[field.name] for field in fields(view)}  # type: ignore[arg-type]
    defaulted = {
        field.name
        for field in fields(view)  # type: ignore[arg-type]
        if field.default is not MISSING and values[field.name] is None
    }
    return view(**{name: value for name, value in values.items() if name not in defaulted})
