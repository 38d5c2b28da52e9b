"""A hash of the code that decides the outcome of a run."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
from pathlib import Path

#: The rooms whose code trains and ranks. A change anywhere else, and one of comments or docstrings
#: anywhere, leaves the finished cells of a comparison as they are.
ROOMS = (
    "atomic_files",
    "compat",
    "config",
    "data",
    "evaluation",
    "keys",
    "model_api",
    "models",
    "nn",
    "train",
)


@functools.cache
def code_version() -> str:
    """12 hexadecimal digits over the syntax of what a run executes, and RecBole's version.

    Properties and data are no part of it: they enter a cell's key by the configuration that they
    make and by their own hashes.
    """
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256(importlib.metadata.version("recbole").encode())
    for room in ROOMS:
        for file in sorted((package / room).rglob("*.py")):
            name = file.relative_to(package).as_posix()
            digest.update(name.encode() + b"\0" + syntax(file.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()[:12]


def syntax(source: str) -> str:
    """What a module does: its syntax tree as text, without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str())), *_]:
                    node.body[0] = ast.Pass()
    return ast.dump(tree)
