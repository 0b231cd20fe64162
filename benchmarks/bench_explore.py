"""The server of `actlas explore`: how soon the first page is there, how long every view takes, ten clients at once, memory.

    python -m benchmarks.bench_explore large=STORE [demo=STORE ...] [--rounds 5] [--clients 10]

Every answer of every table is first compared with that of `store.sql` over the same store; sums of floats differ in the last
digits with the number of threads. A view is asked as the page asks it: its description, then all its tables over six connections,
which is what browsers open to one host. The first page is that of a process that was not there before; files of the store are in
the system's cache. Memory is that of the server and of all processes that it started: private pages and its share of the others
(PSS), and the plain sum, in which shared pages count in each (RSS).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from actlas.explore.view import answer, chosen
from actlas.explore.views import VIEWS
from actlas.query import open_store
from benchmarks.harness import save

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "a-token-of-a-benchmark"
CONNECTIONS = 6


class Server:
    """`actlas explore` in a process of its own."""

    def __init__(self, store: Path) -> None:
        self.begun = time.perf_counter()
        command = [sys.executable, "-m", "actlas", "--quiet", "explore", str(store), "--token", TOKEN]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().split("/")[2].rpartition(":")[2])

    def get(self, address: str) -> bytes:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request("GET", address, headers={"Cookie": f"actlas-{self.port}={TOKEN}"})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        if response.status != 200:
            raise RuntimeError(f"{address}: {response.status} {body.decode()}")
        return body

    def processes(self) -> Iterator[tuple[Path, list[str]]]:
        """All of its session: folder of each below /proc, and what stands in its stat behind the name."""
        for each in Path("/proc").glob("[0-9]*"):
            try:
                stat = (each / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(stat[3]) == self.process.pid:
                yield each, stat

    def processor_seconds(self) -> float:
        return sum(int(stat[11]) + int(stat[12]) for _, stat in self.processes()) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> dict[str, float]:
        """Megabytes of all its processes."""
        found = {"pss": 0.0, "rss": 0.0, "processes": 0}
        for each, _ in self.processes():
            sizes = dict(line.split()[:2] for line in (each / "smaps_rollup").read_text().splitlines()[1:])
            found["pss"] += int(sizes["Pss:"]) / 1000
            found["rss"] += int(sizes["Rss:"]) / 1000
            found["processes"] += 1
        return found

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


@contextmanager
def served(store: Path) -> Iterator[Server]:
    server = Server(store)
    try:
        yield server
    finally:
        server.end()


def addresses(server: Server, view: str) -> list[str]:
    """Its tables, with all that is chosen, as the page asks for them."""
    chosen_there = json.loads(server.get(f"/data/{view}.json"))["params"]
    query = urlencode({name: value for name, value in chosen_there.items() if value is not None})
    return [f"/data/{view}/{part.name}.json?{query}" for part in VIEWS[view].parts]


def check(store: Path, server: Server) -> int:
    """Compare every table with the answer of `store.sql`; gives how many there are."""
    opened = open_store(store)
    n_tables = 0
    for view in VIEWS.values():
        params = chosen(view, {}, opened.sql)
        for part in view.parts:
            given = json.loads(server.get(f"/data/{view.name}/{part.name}.json"))
            own = json.loads(json.dumps(answer(part, params, opened.sql)).replace(f"{store.parent}/", ""))
            if not _agree(given, own):
                raise SystemExit(f"{view.name}/{part.name} of {store} differs from store.sql")
            n_tables += given["error"] is None
    opened.close()
    return n_tables


def _agree(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_agree, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_agree(value, other[name]) for name, value in one.items())
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return bool(one == other)


def first_page(store: Path) -> dict[str, float]:
    """Seconds from the start of the process to what a person sees first."""
    with served(store) as server:
        seconds = {"address": time.perf_counter() - server.begun}
        for what, address in (
            ("page", "/store"),
            ("description", "/data/store.json"),
            ("first table", "/data/store/sizes.json"),
        ):
            server.get(address)
            seconds[what] = time.perf_counter() - server.begun
        seconds["processor"] = server.processor_seconds()
    return seconds


def first_description(store: Path, view: str) -> float:
    """The same to the page and the description of one view, whose choices are answers of queries."""
    with served(store) as server:
        server.get(f"/{view}")
        server.get(f"/data/{view}.json")
        return time.perf_counter() - server.begun


def one_view(server: Server, view: str, pool: ThreadPoolExecutor) -> dict[str, float]:
    """Milliseconds of a description, of all tables together, and of the slowest alone."""
    begun = time.perf_counter()
    tables = addresses(server, view)
    described = time.perf_counter()
    list(pool.map(server.get, tables))
    whole = time.perf_counter()
    slowest = 0.0
    for address in tables:
        start = time.perf_counter()
        server.get(address)
        slowest = max(slowest, time.perf_counter() - start)
    return {"description": (described - begun) * 1e3, "tables": (whole - described) * 1e3, "slowest": slowest * 1e3}


def client(server: Server, seed: int, n_requests: int) -> tuple[list[float], int]:
    """Milliseconds of every request of one client, and how many failed."""
    rng = random.Random(seed)
    everything = [f"/{view}" for view in VIEWS] + [f"/data/{view}.json" for view in VIEWS]
    everything += [address for view in VIEWS for address in addresses(server, view)]
    found, n_failed = [], 0
    for _ in range(n_requests):
        start = time.perf_counter()
        try:
            server.get(rng.choice(everything))
        except (RuntimeError, OSError):
            n_failed += 1
        found.append((time.perf_counter() - start) * 1e3)
    return found, n_failed


def measured(label: str, store: Path, rounds: int, n_clients: int, n_requests: int) -> dict[str, Any]:
    row: dict[str, Any] = {"store": label, "first": [first_page(store) for _ in range(rounds)]}
    row["first_concept"] = [first_description(store, "concept") for _ in range(rounds)]
    with served(store) as server, ThreadPoolExecutor(CONNECTIONS) as pool:
        row["n_tables"] = check(store, server)
        row["memory_warm"] = server.memory()
        row["views"] = {view: [one_view(server, view, pool) for _ in range(rounds)] for view in VIEWS}
        begun = time.perf_counter()
        with ThreadPoolExecutor(n_clients) as clients:
            found = list(clients.map(lambda seed: client(server, seed, n_requests), range(n_clients)))
        seconds = time.perf_counter() - begun
        each = sorted(one for times, _ in found for one in times)
        row["load"] = {
            "clients": n_clients,
            "requests": len(each),
            "failed": sum(failed for _, failed in found),
            "per_second": len(each) / seconds,
            "ms": {
                name: each[min(int(share * len(each)), len(each) - 1)]
                for name, share in (("p50", 0.5), ("p95", 0.95), ("max", 1))
            },
        }
        row["memory_after"] = server.memory()
    opened = open_store(store)
    row["n_scores"] = _n_scores(opened)
    opened.close()
    return row


def _n_scores(opened: Any) -> int:
    sizes = opened.sql("SELECT coalesce(sum(n_layers::BIGINT * n_neurons), 0)::BIGINT AS n FROM sites WHERE has_scores").item()
    return int(sizes * opened.sql("SELECT count(*) AS n FROM label_counts").item())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", metavar="LABEL=STORE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args()
    before = os.getloadavg()[0]
    rows = []
    for label, _, path in (store.partition("=") for store in given.stores):
        rows.append(measured(label, Path(path).resolve(), given.rounds, given.clients, given.requests))
        _show(rows[-1])
    if given.save:
        settings = {"rounds": given.rounds, "connections": CONNECTIONS, "load_before": round(before, 2)}
        print(save("explore", settings, rows))


def _show(row: dict[str, Any]) -> None:
    for what in row["first"][0]:
        print(f"{row['store']}: {what} after {statistics.median(one[what] for one in row['first']):.2f} s")
    print(f"{row['store']}: concept described after {statistics.median(row['first_concept']):.2f} s")
    for view, rounds in row["views"].items():
        medians = {what: statistics.median(one[what] for one in rounds) for what in rounds[0]}
        print(f"{row['store']}: {view} " + ", ".join(f"{what} {value:.0f} ms" for what, value in medians.items()))
    print(row["load"], row["memory_warm"], row["memory_after"])


if __name__ == "__main__":
    main()
