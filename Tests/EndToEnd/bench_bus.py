"""What a bus costs, in figures; not a test, and not run by CI.

    python bench_bus.py filters     10,000 filters of which 10 match, against 10 in all: the node's CPU time per event
    python bench_bus.py silent      one subscriber that never reads among 1,000, against none: events/s and latency

Needs Linux (`/proc`, `taskset`). HYPHA_BIN names the binary. Each figure is a median of five interleaved pairs.
"""

import asyncio
import json
import os
import random
import selectors
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from cluster import Cluster
from rawsocket import WebSocketWire, Wire, request

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
    events = 20_000
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


async def listen(host: str, port: int, key: str, seen: list, wanted: int):
    """Reads a WebSocket as cheaply as Python can: the event's number is looked for in the bytes."""
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
    writer.write((f"GET /ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
    await reader.readuntil(b"\r\n\r\n")
    count = 0
    while count < wanted:
        head = await reader.readexactly(2)
        length = head[1]
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2), "big")
        payload = await reader.readexactly(length)
        sent = payload.find(b'"sent":')
        if sent > 0:
            count += 1
            seen.append(time.time() - float(payload[sent + 7 : payload.index(b"}", sent)]))
    writer.close()


async def fan_out(node, listeners: int, events: int, pause_s: float) -> tuple[float, float, float]:
    """Deliveries per second, and the median and 99th percentile of the delay in milliseconds."""
    seen: list[float] = []
    tasks = [asyncio.create_task(listen(node.host, node.http, "dGhlIHNhbXBsZSBub25jZQ==", seen, events))
             for _ in range(listeners)]
    await asyncio.sleep(2)
    reader, writer = await asyncio.open_connection(node.host, node.http)
    began = time.monotonic()
    for n in range(events):
        body = json.dumps({"type": "proposal", "scope": "bench", "trace_id": "t", "agent_id": "a",
                           "payload": {"action": "a", "weight": "x" * 8_000, "sent": time.time()}}).encode()
        writer.write(request("POST", "/api/events", body))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        await asyncio.sleep(pause_s)
    await asyncio.wait_for(asyncio.gather(*tasks), 120)
    seconds = time.monotonic() - began
    seen.sort()
    return len(seen) / seconds, statistics.median(seen) * 1e3, seen[len(seen) * 99 // 100] * 1e3


def silent():
    """999 that read, and one more that does not or does. Enough is sent to go over the silent one's budget."""
    found: dict[str, list] = {"all read": [], "one is silent": []}
    for pair in range(PAIRS):
        for name in random.sample(sorted(found), 2):
            with tempfile.TemporaryDirectory() as directory:
                cluster = one_node(Path(directory))
                try:
                    node = cluster[0]
                    if name == "one is silent":
                        wire = WebSocketWire(node.host, node.http, receive_buffer=4_096)
                    result = asyncio.run(fan_out(node, 999, events=1_500, pause_s=0.02))
                    resident = int(Path(f"/proc/{node.pid}/statm").read_text().split()[1]) * 4 / 1_024
                    found[name].append((*result, resident))
                finally:
                    cluster.stop()
            print(f"pair {pair + 1}: {name:>13}: {result[0]:,.0f} deliveries/s, p50 {result[1]:.1f} ms, "
                  f"p99 {result[2]:.1f} ms, {resident:.0f} MiB resident", flush=True)
    for name, results in found.items():
        rate, p50, p99, resident = (statistics.median(column) for column in zip(*results))
        print(f"median, {name}: {rate:,.0f} deliveries/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {resident:.0f} MiB")


if __name__ == "__main__":
    {"filters": filters, "silent": silent}[sys.argv[1]]()
