"""Deployed models: an event against the length of its history, batches of sessions, retrieval.

    python -m benchmarks deploy [--model_dir=DIR] [--quick]

Times depend on shapes alone, so a model with random weights serves where none is given; recall does
not, so without a model the retrieval part says that its vectors are made up.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.deploy_events import event_times, sasrec_times, session_rate
from benchmarks.deploy_retrieval import base_of, grow, measure
from recbole_fmrlrec.deploy import Recommender
from recbole_fmrlrec.deploy.description import Description, Modality
from recbole_fmrlrec.deploy.items import ItemTable
from recbole_fmrlrec.nn.network import FMRLRecNetwork
from recbole_fmrlrec.runs.result import machine_facts

PARTS = ("events", "sessions", "retrieval")


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks deploy", description=__doc__)
    add = parser.add_argument
    add("--model_dir", type=Path, help="an exported model; random weights if left out")
    add("--part", choices=PARTS, action="append", help="only this part; may be given again")
    add("--items", type=int, default=12_101, help="items of the random model (12101)")
    add("--size", type=int, default=64, help="size of the random model (64)")
    add("--lengths", type=int, nargs="+", default=[5, 50, 500, 5000], help="history lengths")
    add("--sessions", type=int, default=10_000, help="sessions of a batch (10000)")
    add("--catalogues", type=int, nargs="+", default=[12_000, 100_000, 1_000_000])
    add("--recall", type=float, default=0.99, help="wanted share of the exact top 10 (0.99)")
    add("--no_faiss", action="store_true", help="leave faiss out of the retrieval part")
    add("--quick", action="store_true", help="a short trial: small lengths and catalogues")
    return parser


def random_model(items: int, size: int) -> Recommender:
    """A deployed model with random weights."""
    torch.manual_seed(0)
    sizes = [s for s in (8, 16, 32, 64, 128, 256, 512) if s < size] + [size]
    network = FMRLRecNetwork(sizes, 384, r_max=0.9).eval().requires_grad_(False)
    features = torch.nn.functional.normalize(torch.randn(items + 1, 384))
    features[0] = 0
    description = Description(
        model="fMRLRec",
        size=size,
        sizes=tuple(sizes),
        trained_sizes=tuple(sizes),
        num_blocks=1,
        modalities=(Modality("text", 384, "random"),),
        feature_scale=1.0,
        uses_ids=False,
        start_trained=False,
        max_history=50,
        dataset="random",
        num_items=items,
        trained_items=items,
        table_dtype="float32",
    )
    ids = [str(row) for row in range(items)]
    table = ItemTable(ids, [None] * items, network.item_table(features))
    return Recommender(description, network, table)


def main(words: Sequence[str]) -> int:
    """Print the figures; returns 0."""
    options = build_parser().parse_args(words)
    if options.quick:
        options.lengths = [length for length in options.lengths if length <= 200] or [5, 50]
        options.catalogues = [min(20_000, max(options.catalogues))]
        options.sessions = min(1000, options.sessions)
    facts = machine_facts()
    print(f"{facts['platform']}, {facts['threads']} threads, torch {facts['packages']['torch']}")
    parts = options.part or PARTS
    if options.model_dir is not None:
        model = Recommender.load(options.model_dir)
    else:
        model = random_model(options.items, options.size)
    repeats = 20 if options.quick else 100
    if "events" in parts:
        _print_events(model, options.lengths, repeats)
    if "sessions" in parts:
        rate = session_rate(model, options.sessions, 3 if options.quick else 10)
        print(f"\n{options.sessions:,} sessions at size {model.size}: {rate:,.0f} events a second")
    if "retrieval" in parts:
        _print_retrieval(model, options)
    sys.stdout.flush()
    return 0


def _print_events(model: Recommender, lengths: Sequence[int], repeats: int) -> None:
    print(
        f"\nMilliseconds (median) for one event of one user, size {model.size}, "
        f"{len(model.items):,} items; `top` also ranks all items for the best 10. SASRec is "
        f"RecBole's (hidden_size {model.size}), which computes the whole history again and ranks "
        "all items."
    )
    rows = []
    for length in lengths:
        update, top = event_times(model, length, repeats)
        again, state = sasrec_times(model.size, len(model.items), length, max(5, repeats // 10))
        rows.append([length, update, update + top, again, again / (update + top), state])
    head = ["history", "update", "update + top", "SASRec", "times", "SASRec, note"]
    print(tabulate(rows, head, floatfmt=".2f"))


def _print_retrieval(model: Recommender, options: argparse.Namespace) -> None:
    vectors, queries, origin = base_of(model, given=options.model_dir is not None)
    print(f"\nRetrieval of the top 10 for one query, {vectors.shape[1]} dimensions; {origin}")
    with_faiss = not options.no_faiss
    if with_faiss and importlib.util.find_spec("faiss") is None:
        with_faiss = False
        print('faiss is not installed, its rows are skipped: pip install ".[faiss]" adds them')
    rows = []
    for count in tqdm(options.catalogues, desc="catalogues", leave=False, disable=None):
        table = grow(vectors, count)
        rows += measure(table, model.description.sizes, queries, options.recall, with_faiss)
    head = ["items", "search", "prefix", "shortlist", "recall@10", "ms", "table bytes", "extra"]
    print(tabulate(rows, head, floatfmt=".3f", intfmt=","))
