"""What costs nothing: thousands of clients that listen, and a peer with nothing to do."""

import json
import os
import resource
import time

import pytest

from cluster import poll
from rawsocket import WebSocketWire
from test_semp import event

CLIENTS = 5_000
BYTES_PER_CLIENT = 6 * 1_024
IDLE_SHARE = 0.01
IDLE_S = 10


@pytest.fixture
def many_files():
    """Raises the soft limit of open files for this process and the nodes it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CLIENTS + 500
    assert hard == resource.RLIM_INFINITY or hard >= needed, f"`ulimit -Hn` is {hard}, this test needs {needed}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1_024 for line in status if line.startswith("VmRSS:"))


def cpu_seconds(pid: int) -> float:
    """Time on a core over all threads, in nanoseconds' resolution."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as stat:
            total += int(stat.read().split()[0])
    return total / 1e9


def test_5_000_listeners_cost_at_most_6_kb_each(many_files, make_cluster):
    node = make_cluster(1).start()[0]
    before = resident_bytes(node.pid)
    clients = [WebSocketWire(node.host, node.http) for _ in range(CLIENTS)]
    try:
        # All of them are really connected: each answers to its name before the memory counts, and hears an event after.
        for client in clients:
            client.text({"type": "ping"})
        for client in clients:
            assert json.loads(client.next_frame()[1]) == {"type": "pong"}
        each = (resident_bytes(node.pid) - before) / CLIENTS
        print(f"{each:.0f} bytes of resident memory for each of {CLIENTS} clients")
        assert each <= BYTES_PER_CLIENT
        stored = node.emit(event())
        for client in clients:
            assert json.loads(client.next_frame()[1])["data"] == stored
    finally:
        for client in clients:
            client.socket.close()
    poll(lambda: node.alive(), 10, "the node is well after all have gone")


def test_a_peer_with_nothing_to_do_does_next_to_nothing(make_cluster):
    cluster = make_cluster(3, profile="lan").start(40)
    before = [cpu_seconds(node.pid) for node in cluster]
    began = time.monotonic()
    # The span of the measurement, not a wait for something to happen.
    time.sleep(IDLE_S)
    elapsed = time.monotonic() - began
    shares = [(cpu_seconds(node.pid) - start) / elapsed for node, start in zip(cluster, before)]
    print("shares of a core: " + ", ".join(f"{share:.3%}" for share in shares))
    assert max(shares) < IDLE_SHARE
