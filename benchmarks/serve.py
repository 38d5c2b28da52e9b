"""The HTTP service on 127.0.0.1: requests a second, latency, errors, memory over session events.

    python -m benchmarks serve [--seconds=S] [--catalogues N ...] [--json=FILE] [--quick]

Models have random weights: times depend on shapes alone. A request asks for 10 items after a
history of 20, over connections that stay open; server and clients share the machine. SASRec is
RecBole's with its defaults at the same width, behind the same server. "CPU ms" is the server's own
processor time for a request, which hardly depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
from tabulate import tabulate
from tqdm import tqdm

from benchmarks.serve_worker import MODELS
from recbole_fmrlrec.files.atomic import write_json
from recbole_fmrlrec.runs.result import machine_facts

HISTORY = 20
#: Events that one request adds to a session in the part about memory.
EVENTS = 10
HEAD = ["model", "items", "size", "together", "clients", "requests/s", "p50 ms", "p95 ms"]
HEAD += ["p99 ms", "CPU ms", "errors"]


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks serve", description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=4.0, help="seconds for each row (4)")
    add("--sizes", type=int, nargs="+", default=[16, 128])
    add("--catalogues", type=int, nargs="+", default=[12_000, 100_000, 1_000_000])
    add("--clients", type=int, nargs="+", default=[1, 8, 64])
    add("--model", choices=MODELS, action="append", help="only this one; may be given again")
    add("--events", type=int, default=200_000, help="session events of the memory part (200000)")
    add("--json", type=Path, metavar="FILE", help="write the figures there too")
    add("--quick", action="store_true", help="a short trial: one small catalogue")
    return parser


@contextmanager
def server(*words: object) -> Iterator[tuple[int, str, int]]:
    """A server in a process of its own: its process number, host and port."""
    command = [sys.executable, "-m", "benchmarks.serve_worker", *map(str, words)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    drained = None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if '"serving"' in line:
                break
        else:
            raise RuntimeError("the server did not start:\n" + "".join(said[-20:]))
        url = urlsplit(json.loads(line)["url"])
        assert url.hostname is not None and url.port is not None
        # Its log must go somewhere, or it waits for a reader.
        drained = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        yield process.pid, url.hostname, url.port
    finally:
        process.terminate()
        process.wait()
        if drained is not None:
            drained.wait()


class Connection:
    """One client: requests over one connection, one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, host: str, port: int) -> Connection:
        """Connect."""
        return cls(*await asyncio.open_connection(host, port))

    async def post(self, path: str, body: Any) -> tuple[int, bytes]:
        """Status and body of an answer."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        got = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in got.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        return int(got.split(b" ", 2)[1]), await self._reader.readexactly(length)

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()


def _processor_seconds(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return float(spent.user + spent.system)


async def drive(
    host: str, port: int, pid: int, items: int, clients: int, seconds: float
) -> dict[str, Any]:
    """Ask from several clients for some seconds, after a tenth of it that does not count."""
    spent: list[float] = []
    errors = asked = 0
    process = psutil.Process(pid)
    cpu = -_processor_seconds(process)
    begin = time.perf_counter() + seconds / 10
    end = begin + seconds

    async def ask(seed: int) -> None:
        nonlocal errors, asked
        draw = random.Random(seed)
        connection = await Connection.open(host, port)
        while (started := time.perf_counter()) < end:
            history = [str(draw.randrange(items)) for _ in range(HISTORY)]
            status, body = await connection.post("/recommend", {"history": history})
            done = time.perf_counter()
            asked += 1
            if started >= begin:
                spent.append(done - started)
                errors += status != 200 or len(json.loads(body)["items"]) != 10
        connection.close()

    await asyncio.gather(*(ask(seed) for seed in range(clients)))
    took = time.perf_counter() - begin
    cpu += _processor_seconds(process)
    p50, p95, p99 = 1000 * np.percentile(spent, (50, 95, 99))
    times = {"p50 ms": p50, "p95 ms": p95, "p99 ms": p99, "CPU ms": 1000 * cpu / asked}
    return {"requests/s": len(spent) / took, **times, "errors": errors}


async def feed(host: str, port: int, pid: int, items: int, events: int) -> dict[str, Any]:
    """Feed sessions, ten times as many as have room in memory, and look at the server's memory."""
    process, memory, errors, opened = psutil.Process(pid), [], 0, 0
    left = events
    step = max(EVENTS, events // 10)

    async def client(seed: int) -> None:
        nonlocal left, errors, opened
        draw = random.Random(seed)
        connection = await Connection.open(host, port)
        while left > 0:
            status, body = await connection.post("/sessions", {})
            session, opened = json.loads(body)["session_id"], opened + 1
            for _ in range(2):
                left -= EVENTS
                if left // step != (left + EVENTS) // step:
                    memory.append(process.memory_info().rss)
                words = [str(draw.randrange(items)) for _ in range(EVENTS)]
                status, _ = await connection.post(f"/sessions/{session}/events", {"items": words})
                errors += status != 200
        connection.close()

    started = time.perf_counter()
    await asyncio.gather(*(client(seed) for seed in range(8)))
    rate = events / (time.perf_counter() - started)
    megabytes = [round(bytes_ / 2**20) for bytes_ in memory]
    return {"events/s": rate, "sessions": opened, "memory MB": megabytes, "errors": errors}


def main(words: Sequence[str]) -> int:
    """Print the figures; 0 done, 1 a request failed."""
    options = build_parser().parse_args(words)
    if options.quick:
        options.seconds, options.catalogues = min(options.seconds, 1.0), [12_000]
        options.sizes, options.events = options.sizes[:1], min(options.events, 5_000)
    facts = machine_facts()
    print(f"{facts['platform']}, {facts['threads']} threads, torch {facts['packages']['torch']}")
    cases = [
        (model, items, size, together)
        for model in options.model or MODELS
        for items in options.catalogues
        for size in options.sizes
        for together in (64, 1)
    ]
    rows: list[dict[str, Any]] = []
    for case in tqdm(cases, desc="servers", leave=False, disable=None):
        with server(*case) as (pid, host, port):
            for clients in options.clients:
                found = asyncio.run(drive(host, port, pid, case[1], clients, options.seconds))
                about = dict(zip(HEAD, (*case, clients), strict=False))
                rows.append({**about, **found})
    print(tabulate([[row[name] for name in HEAD] for row in rows], HEAD, floatfmt=".1f"))
    with server("fMRLRec", 12_000, options.sizes[-1], 64) as (pid, host, port):
        memory = asyncio.run(feed(host, port, pid, 12_000, options.events))
    print(
        f"\n{options.events:,} events of {memory['sessions']:,} sessions, 2,000 in memory: "
        f"{memory['events/s']:,.0f} a second; the server's memory at every tenth of them, MB: "
        f"{memory['memory MB']}; {memory['errors']} errors"
    )
    if options.json is not None:
        write_json(options.json, {"machine": facts, "requests": rows, "sessions": memory})
    return 1 if memory["errors"] or any(row["errors"] for row in rows) else 0
