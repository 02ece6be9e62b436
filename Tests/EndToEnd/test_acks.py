"""`?ack=` and `Hypha-Ack`: a write is answered once so many nodes have it. Nodes in memory; test_acks_on_disk.py has
those with --data.
"""

import json
import re
import signal
import socket
import struct
import uuid
from contextlib import contextmanager

import pytest

from cluster import Cluster, poll
from rawsocket import Wire, request
from test_semp import event
from test_ws import Client

# Enough for a busy machine, and short enough to wait for in a test.
TIMEOUT_MS = 1_500


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three peers on which no write waits for long."""
    cluster = Cluster(3, tmp_path_factory.mktemp("acks"), extra=("--ack-timeout", f"{TIMEOUT_MS}ms"))
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@contextmanager
def stopped(node):
    """The process stands still meanwhile: its peers wait for it."""
    node.child.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        node.child.send_signal(signal.SIGCONT)


def metrics(node) -> dict[str, int]:
    rows = re.findall(r"^hypha_(ack_\w+) (\d+)$", node.get("/metrics").text, re.M)
    return {name: int(value) for name, value in rows}


def whole(cluster, size=3):
    """Every node talks to every other again."""
    for node in cluster:
        poll(lambda: node.get("/health").json()["peers_linked"] == size - 1, 20, f"{node.name} is linked to all")
        poll(lambda: node.reachable() == size, 20, f"{node.name} reaches all")


def test_what_is_acknowledged_by_three_nodes_is_at_each_of_them_at_once(three):
    for number in range(60):
        writer, sent = three[number % 3], event(payload={"action": f"p{number}"})
        posted = writer.post("/api/events?ack=mem:3", sent)
        assert posted.status_code == 201 and posted.headers["Hypha-Ack"] == "mem:3", posted.text
        for node in three:
            assert node.get("/api/events/" + posted.json()["id"]).json() == posted.json()


def test_every_kind_of_write_waits_and_is_answered_as_it_would_be_without(three):
    a, b, c = three
    ids = [str(uuid.uuid4()) for _ in range(2)]
    writes = [
        ("POST", "/api/nodes", {"type": "idea", "id": ids[0], "data": {"x": 1}}, 201),
        ("POST", "/api/nodes", {"type": "idea", "id": ids[1], "data": {}}, 201),
        ("POST", "/api/nodes", {"type": "idea", "id": ids[1], "data": {}}, 200),
        ("PATCH", f"/api/nodes/{ids[0]}", {"data": {"x": 2, "y": 3}}, 200),
        ("PATCH", f"/api/nodes/{ids[0]}", {}, 200),
        ("POST", f"/api/nodes/{ids[0]}/edges", {"to": ids[1], "type": "t"}, 201),
        ("POST", f"/api/nodes/{ids[0]}/edges", {"to": ids[1], "type": "t"}, 201),
        ("DELETE", f"/api/nodes/{ids[0]}/edges/{ids[1]}?type=t", None, 204),
        ("DELETE", f"/api/nodes/{ids[1]}", None, 204),
    ]
    for number, (method, path, body, status) in enumerate(writes):
        node = three[number % 3]
        done = node.request(method, path, json=body, headers={"Hypha-Ack": "mem:3"})
        assert done.status_code == status and done.headers["Hypha-Ack"] == "mem:3", (method, path, done.text)
        assert done.headers["Hypha-Clock"] and ("Hypha-Stamp" in done.headers) == (body != {})
        if status != 204:
            assert done.json()["id"] in ids
    for node in three:
        found = node.get(f"/api/nodes/{ids[0]}").json()
        assert found["data"] == {"x": 2, "y": 3} and found["edges"] == []
        assert node.get(f"/api/nodes/{ids[1]}").status_code == 404
    sent = event(id=str(uuid.uuid4()))
    first = a.post("/api/events?ack=mem:2", sent)
    again = b.post("/api/events?ack=mem:3", sent)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json() and again.headers["Hypha-Clock"] == first.headers["Hypha-Clock"]
    assert first.headers["Hypha-Ack"] in ("mem:2", "mem:3") and again.headers["Hypha-Ack"] == "mem:3"
    assert c.get("/api/events/" + sent["id"]).status_code == 200


def test_what_cannot_be_reached_is_refused_and_not_written(three):
    node = three[0]
    refused = metrics(node)["ack_refused_total"]
    levels = [
        ("2", "asks for 2 nodes with --data, and this node knows 0 among 3 members", "ack=mem:2"),
        ("majority", "asks for 2 nodes with --data (more than half of 3)", "ack=mem:2"),
        ("mem:4", "asks for 4 nodes, and this node knows 3 among 3 members", "at most ack=mem:3"),
    ]
    for level, reason, remedy in levels:
        sent = event(id=str(uuid.uuid4()))
        reply = node.post(f"/api/events?ack={level}", sent)
        assert reply.status_code == 409 and "Hypha-Ack" not in reply.headers and "Hypha-Clock" not in reply.headers
        for part in reason, remedy, "nothing was written":
            assert part in reply.json()["message"]
        assert node.get("/api/events/" + sent["id"]).status_code == 404
    assert metrics(node)["ack_refused_total"] == refused + len(levels)


def test_the_size_that_the_cluster_should_have_counts_for_a_majority(make_cluster):
    (alone,) = make_cluster(1, extra=("--cluster-size", "5")).start()
    reply = alone.post("/api/events?ack=majority", event())
    assert reply.status_code == 409
    assert "3 nodes with --data (more than half of 5), and this node knows 0 among 1 member" in reply.json()["message"]
    assert alone.post("/api/events?ack=mem:2", event()).status_code == 409
    assert alone.post("/api/events?ack=mem:1", event()).headers["Hypha-Ack"] == "mem:1"
    assert "Hypha-Ack" not in alone.post("/api/events?ack=local", event()).headers


def test_the_parameter_is_stronger_than_the_header_and_reads_have_no_level(three):
    node = three[0]
    strong = node.post("/api/events?ack=mem:3", event(), headers={"Hypha-Ack": "mem:99"})
    assert strong.status_code == 201 and strong.headers["Hypha-Ack"] == "mem:3"
    assert node.post("/api/events?ack=local", event(), headers={"Hypha-Ack": "99"}).status_code == 201
    assert node.post("/api/events?other=1", event(), headers={"Hypha-Ack": "99"}).status_code == 409
    assert node.post("/api/events?ack=mem%3A2&x=%20", event()).status_code == 201
    for path in "/api/events?ack=99", "/api/signals?ack=nonsense", "/health?ack=99":
        reply = node.get(path, headers={"Hypha-Ack": "nonsense"})
        assert reply.status_code == 200 and "Hypha-Ack" not in reply.headers


@pytest.mark.parametrize("bad", ["", "0", "-1", "two", "mem", "mem:", "mem:0", "mem:1025", "1025", "2,3", "2.0", "%ff"])
def test_what_is_no_level_is_refused_with_the_choices(three, bad):
    node = three[0]
    ways = [(f"?ack={bad}", {})] + ([("", {"Hypha-Ack": bad})] if bad != "" else [])
    for query, headers in ways:
        reply = node.post("/api/events" + query, event(), headers=headers)
        assert reply.status_code == 400, (bad, reply.text)
        for choice in "local", "majority", "mem:", "--data":
            assert choice in reply.json()["message"]


def test_a_level_that_is_not_reached_in_time_says_what_was_and_the_write_stays(three):
    a, b, c = three
    sent, graph = event(id=str(uuid.uuid4())), {"type": "idea", "id": str(uuid.uuid4())}
    with stopped(c):
        late = a.post("/api/events?ack=mem:3", sent)
        assert late.status_code == 504 and late.headers["Hypha-Ack"] == "mem:2", late.text
        said = late.json()
        assert (said["reached"], said["needed"]) == (2, 3)
        assert [node["name"] for node in said["nodes"]] == ["n1", "n2"]
        assert said["written"]["id"] == sent["id"] and late.headers["Hypha-Clock"]
        for part in "2 of 3 nodes", "n1, this node", f"{TIMEOUT_MS} ms", "do not send it again under another id":
            assert part in said["message"]
        assert b.get("/api/events/" + sent["id"]).json() == said["written"]
        # Two of them go on acknowledging each other.
        assert a.post("/api/events?ack=mem:2", event()).status_code == 201
        other = a.post("/api/nodes?ack=mem:3", graph)
        assert other.status_code == 504 and other.headers["Hypha-Stamp"]
        assert metrics(a)["ack_timeouts_total"] == 2 and metrics(a)["ack_waiting"] == 0
    # It spreads by itself; to wait on, it is sent again under its id.
    again = poll(lambda: (reply := a.post("/api/events?ack=mem:3", sent)).status_code == 200 and reply, 30, "n3 has it")
    assert again.json() == said["written"] and again.headers["Hypha-Ack"] == "mem:3"
    assert c.get("/api/events/" + sent["id"]).json() == said["written"]
    assert a.post("/api/nodes?ack=mem:3", graph).status_code == 200
    whole(three)


def test_messages_on_the_socket_are_acknowledged_one_by_one(three):
    a, _, c = three
    with Client(a) as client:
        client.subscribe(scope="nobody.says.this")
        with stopped(c):
            for ref, ack in [("late", "mem:3"), ("soon", "mem:2"), ("now", "local"), ("never", "mem:9"), ("bad", "x")]:
                client.send({"type": "publish", "ref": ref, "ack": ack, "event": event()})
            said = {}
            while len(said) < 5:
                message = client.read()
                said[message["ref"]] = message
        assert list(said)[-1] == "late", "it waited, and none of the others for it"
        assert said["soon"]["type"] == "published" and said["soon"]["ack"] == "mem:2"
        assert said["now"]["type"] == "published" and "ack" not in said["now"]
        assert said["never"]["type"] == "error" and "nothing was written" in said["never"]["message"]
        assert said["bad"]["type"] == "error" and "majority" in said["bad"]["message"]
        assert said["late"]["type"] == "error" and "2 of 3 nodes" in said["late"]["message"]
        assert a.get("/api/events/" + said["late"]["id"]).status_code == 200
    whole(three)


def test_clients_that_go_away_while_they_wait_leave_nothing_behind(make_cluster):
    three = make_cluster(3, extra=("--ack-timeout", "60s")).start()
    a, _, c = three
    with stopped(c):
        wires = [Wire(a.host, a.http) for _ in range(30)]
        ids = [str(uuid.uuid4()) for _ in wires]
        for wire, id in zip(wires, ids):
            wire.send(request("POST", "/api/events?ack=mem:3", json.dumps(event(id=id)).encode()))
        poll(lambda: metrics(a)["ack_waiting"] == len(wires), 10, "all wait")
        for wire in wires[1:]:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.socket.close()
        poll(lambda: metrics(a)["ack_waiting"] == 1, 10, "only one waits still")
    with wires[0] as wire:
        assert wire.answer().status == 201
    for id in ids:
        assert a.get("/api/events/" + id).status_code == 200, "what was written stays"


def test_a_node_that_leaves_says_how_far_a_write_has_come(make_cluster):
    three = make_cluster(3, extra=("--ack-timeout", "60s")).start()
    a, b, c = three
    sent = event(id=str(uuid.uuid4()))
    with stopped(c), Wire(a.host, a.http) as wire:
        wire.send(request("POST", "/api/events?ack=mem:3", json.dumps(sent).encode()))
        poll(lambda: b.get("/api/events/" + sent["id"]).status_code == 200, 10, "the other one has it")
        a.child.send_signal(signal.SIGTERM)
        reply = wire.answer()
        assert reply.status == 504 and reply.headers["hypha-ack"] == "mem:2", reply.body
        assert "leaves the cluster" in reply.message and "2 of 3 nodes" in reply.message
        assert a.child.wait(5) == 0
