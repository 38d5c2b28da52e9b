"""Recommendations from an exported folder with onnxruntime alone, without torch.

    pip install numpy safetensors onnxruntime
    python onnx_client.py deploy/small 1,50,9

The folder was written by `export --format=onnx`. This file needs nothing else of the package: copy
it. Answers are those of `Recommender.recommend(history, k)`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from safetensors.numpy import load_file

#: What a folder that does not say it is searched by: all dimensions at once.
EXACT = {"prefix": None, "shortlist": 1}


class Client:
    """One deployed model; `titles` and `ids` are in the order of the item table."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        items = json.loads((folder / "items.json").read_text("utf-8"))
        about = json.loads((folder / "model.json").read_text("utf-8"))
        self.ids, self.titles = items["ids"], items["titles"]
        self.row_of = {item: row for row, item in enumerate(self.ids, start=1)}
        self.max_history, self.search = about["max_history"], about.get("search", EXACT)
        table = load_file(folder / "items.safetensors")
        scale = table.get("scale", np.ones(1, np.float32))  # of each item where they are int8
        vectors = table["vectors"].astype(np.float32) * scale[:, None]
        self.vectors = np.concatenate([table["start"][None], vectors])  # row 0: the empty input
        self.encoder = onnxruntime.InferenceSession(str(folder / "encoder.onnx"))

    def recommend(self, history: list[str], k: int = 10) -> list[tuple[str, float]]:
        """Ids and scores of the k best items that are not in the history."""
        rows = [self.row_of[item] for item in history if item in self.row_of]
        read, seen, wide = rows[-self.max_history :] or [0], set(rows), self.search["prefix"]
        given = {"item_vectors": self.vectors[read][None], "lengths": np.array([len(read)])}
        user = self.encoder.run(["hidden"], given)[0][0]
        rough = self.vectors[1:, :wide] @ user[:wide]
        near = np.argsort(-rough)[: max(self.search["shortlist"], k + len(seen))] + 1
        among = [row for row in near.tolist() if row not in seen]
        scores = self.vectors[among] @ user
        best = np.argsort(-scores)[:k]
        return [(self.ids[among[at] - 1], float(scores[at])) for at in best]


if __name__ == "__main__":
    client = Client(sys.argv[1])
    for item, score in client.recommend(sys.argv[2].split(",")):
        print(f"{score:9.4f}  {item}  {client.titles[client.row_of[item] - 1] or ''}")
