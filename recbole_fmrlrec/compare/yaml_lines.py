"""A YAML file with the line of every entry, so that an error can say where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from recbole_fmrlrec.errors import UsageError
from recbole_fmrlrec.yaml_files import Loader, load_yaml

#: Keys and list positions from the top of the file.
Place = tuple[str | int, ...]


def load_with_places(path: str | Path) -> tuple[dict[str, Any], dict[Place, int]]:
    """The mapping of a YAML file, and the line (from 1) of each entry at any depth.

    Raises:
        UsageError: there is no such file, it is no mapping, or a mapping in it has a key twice.
    """
    values = load_yaml(path)
    lines: dict[Place, int] = {}
    node = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=Loader)
    if node is not None:
        _collect(node, (), lines, path)
    return values, lines


def _collect(node: yaml.Node, place: Place, lines: dict[Place, int], path: str | Path) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen and name != "<<":
                raise UsageError(f"{path}, line {line}: `{name}` stands on line {seen[name]} too")
            here = (*place, name)
            seen[name] = lines[here] = line
            _collect(value, here, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for at, value in enumerate(node.value):
            here = (*place, at)
            lines[here] = value.start_mark.line + 1
            _collect(value, here, lines, path)
