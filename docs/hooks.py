"""What the documentation takes from the sources when it is built, so that it cannot fall behind.

A page has a line ``<!-- keys: FILE.yaml -->``, ``<!-- faults: MODULE -->`` or ``<!-- rooms: PACKAGE
-->``. In its place comes a table: of the keys of a file below ``properties/``; of the faults of
RecBole that a module of ``recbole_fmrlrec.compat`` deals with; of the sub-packages in the order in
which they may import each other, as ``pyproject.toml`` has it. All texts are docstrings.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # mkdocs is started from its own folder
    sys.path.insert(0, str(ROOT))

from recbole_fmrlrec.keys.yaml_files import entries  # noqa: E402

COMPAT = ROOT / "recbole_fmrlrec" / "compat"
_PLACE = re.compile(r"^<!-- (keys|faults|rooms): (\S+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page; returns the page with its tables."""
    makers: dict[str, Callable[[str], str]] = {
        "keys": keys_table,
        "faults": faults_table,
        "rooms": rooms_table,
    }
    return _PLACE.sub(lambda found: makers[found.group(1)](found.group(2)), markdown)


def keys_table(file: str) -> str:
    """The keys of ``properties/FILE``: name, default, comment.

    Raises:
        ValueError: the file has no key.
    """
    rows = [
        (f"`{entry.key}`", f"`{entry.default}`", entry.comment)
        for entry in entries(ROOT / "properties" / file)
    ]
    if not rows:
        raise ValueError(f"properties/{file} has no key")
    return _table(("key", "default", "meaning"), rows)


def faults_table(module: str) -> str:
    """The faults that a module of ``recbole_fmrlrec/compat`` deals with: function, fault, remedy.

    Raises:
        ValueError: ``compat.apply`` calls no function of the module.
    """
    applied = applied_functions().get(module, [])
    if not applied:
        raise ValueError(f"compat.apply() calls no function of compat/{module}.py")
    documents = _docstrings(COMPAT / f"{module}.py")
    rows = []
    for name in applied:
        first, _, rest = documents[name].partition("\n")
        rows.append((f"`{name}`", first, " ".join(rest.split())))
    return _table(("function", "what breaks", "why, what is done, and when it is obsolete"), rows)


def rooms_table(package: str) -> str:
    """The sub-packages and modules of a package, from the top layer down, and what each is for.

    Raises:
        ValueError: a layer names something that is not there, or that has no docstring.
    """
    rows = []
    for layer in _layers(package):
        names = [name.strip(" ()") for name in re.split("[|:]", layer)]
        for name in names:
            says = _purpose(ROOT / package / name)
            beside = ", ".join(f"`{other}`" for other in names if other != name)
            rows.append((f"`{name}`", says, beside))
    return _table(("room", "what is in it", "in one line with"), rows)


def _layers(package: str) -> list[str]:
    import tomllib  # Python 3.11, like mkdocs-material

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in settings["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers" and contract["containers"] == [package]:
            return list(contract["layers"])
    raise ValueError(f"pyproject.toml has no layers of {package}")


def _purpose(path: Path) -> str:
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    says = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not says:
        raise ValueError(f"{file} has no docstring")
    return says.partition("\n")[0]


def applied_functions() -> dict[str, list[str]]:
    """Module of ``compat`` to the functions that ``compat.apply`` calls, in its order."""
    tree = ast.parse((COMPAT / "__init__.py").read_text(encoding="utf-8"))
    apply = next(
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "apply"
    )
    modules = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(apply)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    found: dict[str, list[str]] = {}
    for node in apply.body:
        call = node.value if isinstance(node, ast.Expr) else None
        if not isinstance(call, ast.Call):
            continue
        if isinstance(call.func, ast.Name):
            found.setdefault("__init__", []).append(call.func.id)
        elif isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
            found.setdefault(modules[call.func.value.id], []).append(call.func.attr)
    return found


def _docstrings(file: Path) -> dict[str, str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return {node.name: ast.get_docstring(node) or "" for node in functions}


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines
    )
