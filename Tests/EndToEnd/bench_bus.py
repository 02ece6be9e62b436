"""What a bus costs, in figures; not a test, and not run by CI.

    python bench_bus.py filters     10,000 filters of which 10 match, against 10 in all: the node's CPU time per event
    python bench_bus.py silent      one subscriber that never reads among 1,000, against none: throughput and latency

Needs Linux (`/proc`, `taskset`). HYPHA_BIN names the binary. Each figure is a median of five interleaved pairs.
"""

import json
import os
import random
import selectors
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from cluster import Cluster, clean_environment, hypha_binary
from rawsocket import WebSocketWire, Wire, request
from readers import post_all

PAIRS = 5


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def one_node(directory: Path) -> Cluster:
    """One peer, pinned to one core; the load runs on the others."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:-1] or cores)
    return Cluster(1, directory, wrap=lambda index: ("taskset", "-c", str(cores[-1]))).start()


def post(node, topic: str, count: int, at_once: int = 200):
    """Events over one connection, pipelined, so that the load costs little."""
    body = json.dumps({"topic": topic, "type": "note", "source": "bench", "data": {"text": "x" * 100}}).encode()
    batch = request("POST", "/api/events", body) * at_once
    with Wire(node.host, node.http, seconds=60) as wire:
        for _ in range(count // at_once):
            wire.send(batch)
            for _ in range(at_once):
                assert wire.answer().status == 201


def subscriber(node, filters: list[dict]) -> WebSocketWire:
    wire = WebSocketWire(node.host, node.http, seconds=60)
    for first in range(0, len(filters), 64):
        wire.text({"type": "subscribe", "filters": filters[first : first + 64], "ref": first})
        while json.loads(wire.next_frame()[1]).get("ref") != first:
            pass
    return wire


def swallow(wires: list[WebSocketWire]):
    """Reads whatever comes, until the node is gone."""
    with selectors.DefaultSelector() as selector:
        for wire in wires:
            selector.register(wire.socket, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                try:
                    if key.fileobj.recv(1 << 20):
                        continue
                except OSError:
                    pass
                selector.unregister(key.fileobj)


def filters():
    """10 connections want what comes, each with one filter; 9,990 more filters want something near it."""
    events = 50_000
    costs: dict[int, list[float]] = {10: [], 10_000: []}
    for pair in range(PAIRS):
        for total in random.sample(sorted(costs), 2):
            with tempfile.TemporaryDirectory() as directory:
                cluster = one_node(Path(directory))
                try:
                    node = cluster[0]
                    matching = ["jobs.eu.build", "jobs.eu.*", "jobs.*.build", "jobs.>", "*.eu.build", "*.*.build", ">",
                                "*.*.*", "jobs.*.*", "*.eu.*"]
                    wires = [subscriber(node, [{"topic": topic}]) for topic in matching]
                    others = [{"topic": f"jobs.eu.build-{n}"} if n % 4 == 0 else {"topic": f"jobs.r{n}.*"} if n % 4 == 1
                              else {"topic": "jobs.eu.build", "agents": [f"agent-{n}"]} if n % 4 == 2
                              else {"topic": f"jobs.*.step-{n}.>"} for n in range(total - 10)]
                    wires += [subscriber(node, others[n : n + 60]) for n in range(0, len(others), 60)]
                    threading.Thread(target=swallow, args=(wires,), daemon=True).start()
                    post(node, "jobs.eu.build", 1_000)
                    before = cpu_seconds(node.pid)
                    post(node, "jobs.eu.build", events)
                    costs[total].append((cpu_seconds(node.pid) - before) / events * 1e6)
                finally:
                    cluster.stop()
            print(f"pair {pair + 1}: {total:>6} filters: {costs[total][-1]:.2f} µs of CPU per event", flush=True)
    few, many = (statistics.median(costs[n]) for n in (10, 10_000))
    print(f"median: 10 filters {few:.2f} µs, 10,000 filters {many:.2f} µs: {many / few:.2f} times")


def fan_out(node, *rate: str) -> dict:
    """What `hypha bench fanout` finds with 999 subscribers."""
    done = subprocess.run([hypha_binary(), "bench", "fanout", "--subscribers", "999", "--node", node.url, "--json",
                           "--seconds", "3", *rate], capture_output=True, text=True, check=True, env=clean_environment())
    return json.loads(done.stdout)


def silent():
    """999 that read, and one more that does not or does. The silent one is some MiB behind before it is measured, and
    stays on its channel or goes over its budget meanwhile."""
    found: dict[str, list] = {"all read": [], "one is silent": []}
    for pair in range(PAIRS):
        for name in random.sample(sorted(found), 2):
            with tempfile.TemporaryDirectory() as directory:
                cluster = one_node(Path(directory))
                try:
                    node = cluster[0]
                    wire = WebSocketWire(node.host, node.http, receive_buffer=4_096)
                    if name == "all read":
                        threading.Thread(target=swallow, args=([wire],), daemon=True).start()
                    heavy = {"type": "proposal", "scope": "bench", "trace_id": "t", "agent_id": "a",
                             "payload": {"action": "a", "weight": "x" * 60_000}}
                    post_all(node, [heavy] * 100, at_once=10)
                    before = cpu_seconds(node.pid)
                    full = fan_out(node)
                    cost = (cpu_seconds(node.pid) - before) / full["deliveries"] * 1e6
                    paced = fan_out(node, "--rate", "20")
                    resident = int(Path(f"/proc/{node.pid}/statm").read_text().split()[1]) * 4 / 1_024
                    assert full["missing"] == full["closed"] == paced["missing"] == paced["closed"] == 0
                    found[name].append((full["deliveries_per_second"], cost, paced["p50_ms"], paced["p99_ms"], resident))
                finally:
                    cluster.stop()
            print(f"pair {pair + 1}: {name:>13}: {line(found[name][-1])}", flush=True)
    for name, results in found.items():
        print(f"median, {name}: {line([statistics.median(column) for column in zip(*results)])}")


def line(figures) -> str:
    rate, cost, p50, p99, resident = figures
    return (f"{rate:,.0f} deliveries/s at full speed, {cost:.3f} µs of the node's CPU each; at 20 events/s p50 {p50:.1f} "
            f"ms, p99 {p99:.1f} ms; {resident:.0f} MiB resident")


if __name__ == "__main__":
    {"filters": filters, "silent": silent}[sys.argv[1]]()
