"""A tiny dataset with text on which our models train in a second, and its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import write_inter, write_table

USERS, ITEMS, EVENTS = 40, 25, 9

SMALL: dict[str, Any] = {
    "sizes": [2, 4, 8],
    "epochs": 3,
    "train_batch_size": 8,
    "learning_rate": 0.01,
    "warmup_steps": 4,
    "dropout_prob": 0.2,
    "input_dropout_prob": 0.0,
    "MAX_ITEM_LIST_LENGTH": 4,
    "use_gpu": False,
    "topk": [5, 10],
    "metrics": ["Recall", "NDCG"],
}


def write_toy(root: Path, name: str = "toy") -> Path:
    """Users who walk through the items with a stride of their own; titles of three words."""
    rows = [
        (f"u{user}", f"i{(user + step * (1 + user % 3)) % ITEMS}", 1000 + step)
        for user in range(USERS)
        for step in range(EVENTS)
    ]
    folder = write_inter(root, rows, name)
    words = ["red", "blue", "green", "lamp", "chair", "table", "oak", "steel"]
    titles = [
        (f"i{item}", f"{words[item % 3]} {words[3 + item % 3]} {words[6 + item % 2]} {item}")
        for item in range(ITEMS)
    ]
    write_table(folder / f"{name}.item", "item_id:token title:token_seq", titles)
    return folder


def settings(root: Path, **keys: Any) -> dict[str, Any]:
    """Settings of a small run on the toy dataset below ``root``."""
    places = {"data_path": str(root), "checkpoint_dir": str(root / "saved")}
    return {**SMALL, **places, **keys}
