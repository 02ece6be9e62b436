"""`Hypha-Clock`: a client that hops between peers reads its own writes, and no wait is without a bound."""

import base64
import json
import random
import re
import socket
import struct
import threading

import pytest
import requests

from cluster import Cluster, poll
from rawsocket import Wire, request
from test_cli import hypha, succeeded
from test_semp import event
from workload import Load

WAIT_MS = 400


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three peers on which nobody waits for long."""
    cluster = Cluster(3, tmp_path_factory.mktemp("clock"), extra=("--clock-wait", f"{WAIT_MS}ms"))
    try:
        yield cluster.start()
    finally:
        cluster.stop()


def token(*logs: tuple[str, int]) -> str:
    """A clock, made as README and source say: version, then length, bytes and number of each log."""
    raw = b"\x01"
    for replica, number in sorted(logs):
        raw += bytes([len(replica) // 2]) + bytes.fromhex(replica)
        while number >= 0x80:
            raw, number = raw + bytes([number & 0x7F | 0x80]), number >> 7
        raw += bytes([number])
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def replica(node) -> str:
    return node.get("/api/cluster").json()["replica"]


def metrics(node) -> dict[str, int]:
    rows = re.findall(r"^hypha_(clock_\w+) (\d+)$", node.get("/metrics").text, re.M)
    return {name: int(value) for name, value in rows}


def test_a_write_is_read_at_any_peer_that_is_shown_its_clock_while_load_runs(make_cluster):
    three = make_cluster(3, extra=("--clock-wait", "30s")).start()
    dice = random.Random(17)
    load = Load(three.nodes, 12_000, agents=6, seed="clock")
    background = threading.Thread(target=load.run)
    background.start()
    clients = [requests.Session() for _ in three]
    for client in clients:
        client.trust_env = False
    try:
        clock = {}
        for number in range(300):
            writer, reader = dice.sample(range(3), 2)
            sent = event(payload={"action": f"p{number}"})
            posted = clients[writer].post(three.url(writer) + "/api/events", json=sent, headers=clock, timeout=20)
            assert posted.status_code == 201, posted.text
            assert "Hypha-Clock-Behind" not in posted.headers and "Hypha-Clock-Lost" not in posted.headers
            clock = {"Hypha-Clock": posted.headers["Hypha-Clock"]}
            body = posted.json()
            assert clock["Hypha-Clock"] == token((body["replica"], body["seq"]))
            paths = ["/api/events/" + body["id"], "/api/signals?scope=" + body["scope"], "/api/events?limit=100000"]
            path = paths[2 if number % 40 == 0 else number % 2]
            read = clients[reader].get(three.url(reader) + path, headers=clock, timeout=20)
            assert read.status_code == 200, f"round {number}, {path}: {read.status_code} {read.text[:300]}"
            found = read.json()
            if path.startswith("/api/signals"):
                assert [signal["pattern"] for signal in found] == [f"p{number}"], f"round {number} reads {found}"
            else:
                assert body in (found if isinstance(found, list) else [found]), f"round {number} misses its event"
            if number % 3 == 0:
                clock = {"Hypha-Clock": read.headers["Hypha-Clock"]}
                assert len(clock["Hypha-Clock"]) <= 64
    finally:
        background.join()
        for client in clients:
            client.close()
    for node in three:
        assert metrics(node)["clock_waiting"] == 0
        assert metrics(node)["clock_timeouts_total"] == 0


def test_a_request_waits_until_what_its_client_saw_has_come(make_cluster):
    a, b, _ = make_cluster(3, extra=("--clock-wait", "30s")).start()
    last = a.emit(event())
    with Wire(b.host, b.http) as reader, Wire(b.host, b.http) as writer:
        # The clock of a write that is still to come: whoever shows it has to wait for sure.
        ahead = (f"Hypha-Clock: {token((last['replica'], last['seq'] + 1))}",)
        reader.send(request("GET", "/api/events?limit=1", headers=ahead))
        writer.send(request("POST", "/api/events", json.dumps(event()).encode(), headers=ahead))
        poll(lambda: metrics(b)["clock_waiting"] == 2, 10, "both requests wait")
        cause = a.emit(event())
        assert json.loads(reader.answer().body) == [cause]
        reply = writer.answer()
    assert reply.status == 201 and "hypha-clock-behind" not in reply.headers
    assert json.loads(reply.body)["stamp"] > cause["stamp"], "the effect is stamped after its cause"
    assert metrics(b)["clock_waits_total"] == 2 and metrics(b)["clock_timeouts_total"] == 0


def test_several_clocks_count_together(three):
    a, b, c = three
    first, second = (node.post("/api/events", event()) for node in (a, b))
    clocks = [reply.headers["Hypha-Clock"] for reply in (first, second)]
    ids = [reply.json()["id"] for reply in (first, second)]
    for headers in [f"Hypha-Clock: {clocks[0]}, {clocks[1]}"], [f"hypha-clock: {one}" for one in clocks]:
        with Wire(c.host, c.http) as wire:
            reply = wire.send(request("GET", "/api/events?limit=10", headers=tuple(headers))).answer()
        assert reply.status == 200
        assert {stored["id"] for stored in json.loads(reply.body)} >= set(ids)
    # One of several that cannot be met is enough to wait, whichever header it stands in.
    far = token((replica(a), 1 << 40))
    for headers in [f"Hypha-Clock: {clocks[0]},{far}"], [f"Hypha-Clock: {far}", f"Hypha-Clock: {clocks[0]}"]:
        with Wire(c.host, c.http) as wire:
            reply = wire.send(request("GET", "/api/events", headers=tuple(headers))).answer()
        assert reply.status == 503 and reply.headers["hypha-clock-behind"] == far


@pytest.mark.parametrize("bad", ["x", "AQ==", "AQ ", "AR", "é", "AgQBAgMEBQ", "AQQBAgMEBQ,!", "null", "A" * 8_193, "*"])
def test_what_is_no_clock_is_refused_with_a_reason(three, bad):
    if bad == "AQ ":
        bad = "AQ AQ"
    for method, path, body in [("GET", "/api/signals", b""), ("POST", "/api/events", json.dumps(event()).encode())]:
        with Wire(three[0].host, three[0].http) as wire:
            wire.send(request(method, path, body, headers=(f"Hypha-Clock: {bad}",)) + request("GET", "/health"))
            reply = wire.answer()
            assert reply.status == 400 and "Hypha-Clock" in reply.message and "leave the header out" in reply.message
            assert wire.answer().status == 200, "the connection goes on"


def test_an_empty_clock_and_no_clock_are_the_same(three):
    for clock in "", "AQ", ",", "AQ,,AQ":
        assert three[0].get("/api/signals", headers={"Hypha-Clock": clock}).status_code == 200


def test_what_does_not_come_ends_a_read_and_lets_a_write_through(three):
    a, b, _ = three
    far = token((replica(a), 1 << 40))
    read = b.get("/api/events", headers={"Hypha-Clock": far})
    assert read.status_code == 503 and "retry" in read.json()["message"] and str(WAIT_MS) in read.json()["message"]
    assert "Hypha-Clock" not in read.headers
    sent = event()
    written = b.post("/api/events", sent, headers={"Hypha-Clock": far})
    assert written.status_code == 201 and written.headers["Hypha-Clock-Behind"] == far
    assert a.get("/api/events/" + written.json()["id"], headers={"Hypha-Clock": written.headers["Hypha-Clock"]}).ok
    for path in "/health", "/api/cluster", "/metrics":
        reply = b.get(path, headers={"Hypha-Clock": far})
        assert reply.status_code == 200 and "Hypha-Clock" not in reply.headers, "what shows no state never waits"


def test_what_only_a_dead_log_held_is_named_and_dropped(three):
    gone = token(("00000000deadbeef", 9))
    known = three[0].emit(event())
    both = token(("00000000deadbeef", 9), (known["replica"], known["seq"]))
    read = three[1].get("/api/events/" + known["id"], headers={"Hypha-Clock": both})
    assert read.status_code == 200 and read.headers["Hypha-Clock-Lost"] == gone
    assert "Hypha-Clock-Behind" not in read.headers
    assert three[1].get("/api/events", headers={"Hypha-Clock": read.headers["Hypha-Clock"]}).status_code == 200
    written = three[1].post("/api/events", event(), headers={"Hypha-Clock": gone})
    assert written.status_code == 201 and written.headers["Hypha-Clock-Lost"] == gone


def test_requests_behind_one_that_waits_keep_their_order(three):
    node = three[0]
    gone = token(("00000000deadbeef", 9))
    bodies = [json.dumps(event(payload={"action": f"{n}"})).encode() for n in range(4)]
    with Wire(node.host, node.http) as wire:
        for n, body in enumerate(bodies):
            wire.send(request("POST", "/api/events", body, headers=(f"Hypha-Clock: {gone}",) if n % 2 == 0 else ()))
        stored = [json.loads(wire.answer().body) for _ in bodies]
    assert [one["payload"]["action"] for one in stored] == ["0", "1", "2", "3"]
    assert [one["seq"] for one in stored] == sorted(one["seq"] for one in stored)


def test_clients_that_go_away_while_they_wait_leave_nothing_behind(three):
    node = three[0]
    far = token((replica(three[1]), 1 << 40))
    wires = [Wire(node.host, node.http) for _ in range(50)]
    for wire in wires:
        wire.send(request("POST", "/api/events", json.dumps(event()).encode(), headers=(f"Hypha-Clock: {far}",)))
    for wire in wires:
        # A reset and not an orderly end, after which an answer could still be wanted.
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.socket.close()
    poll(lambda: metrics(node)["clock_waiting"] == 0, 10, "nobody waits any more")
    assert node.alive()


def test_the_command_line_passes_clocks_on(three):
    urls = [f"--node={node.url}" for node in three]
    fields = ["--type", "proposal", "--agent", "ada", "--pattern", "x"]
    clock = ""
    for number in range(6):
        scope = f"cli.clock.{number}"
        done = hypha("emit", urls[number % 3], *fields, "--scope", scope, "--clock", clock)
        made = succeeded(done).strip()
        clock = re.fullmatch(r"clock: ([\w-]+)\n", done.stderr).group(1)
        listed = hypha("events", urls[(number + 1) % 3], "--json", "--scope", scope, "--clock", clock)
        assert [json.loads(line)["id"] for line in succeeded(listed).splitlines()] == [made]
        read = hypha("signals", urls[(number + 2) % 3], "--json", "--scope", scope, "--clock", f"{clock},{clock}")
        assert json.loads(succeeded(read))["scope"] == scope
        clock = re.fullmatch(r"clock: ([\w-]+)\n", read.stderr).group(1)
    quiet = hypha("events", urls[0], "--limit", "1")
    assert succeeded(quiet) and quiet.stderr == ""
    far = token((replica(three[1]), 1 << 40))
    late = hypha("signals", urls[0], "--clock", far)
    assert late.returncode == 1 and "Hypha-Clock" in late.stderr
    behind = hypha("emit", urls[0], *fields, "--scope", "cli.clock", "--clock", far)
    assert succeeded(behind) and f"behind: {far}\n" in behind.stderr
    assert hypha("events", urls[0], "--clock", "a\r\nX: y").returncode == 2
