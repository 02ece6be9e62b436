"""Levels that count disks: what is acknowledged by N durable nodes survives the loss of all but one of their disks."""

import shutil
import signal
import uuid

import pytest

from cluster import poll
from test_acks import TIMEOUT_MS, stopped, whole
from test_semp import event
from test_ws import Client


@pytest.fixture
def durable(make_cluster, tmp_path):
    """Makes clusters of which these nodes (all, unless told) have a data directory each: `node.data`."""

    made = 0

    def make(size: int, on_disk=None, extra=()):
        nonlocal made
        made += 1
        cluster = make_cluster(size, extra=("--ack-timeout", f"{TIMEOUT_MS}ms", *extra))
        for number, node in enumerate(cluster):
            if on_disk is None or number in on_disk:
                node.data = tmp_path / f"data{made}-{node.name}"
                node.command += ["--data", str(node.data)]
        return cluster.start()

    return make


def test_a_number_and_a_majority_count_disks(durable):
    three = durable(3)
    for number in range(30):
        for level, least in ("2", 2), ("3", 3), ("majority", 2), ("mem:3", 3):
            reply = three[number % 3].post(f"/api/events?ack={level}", event())
            assert reply.status_code == 201, reply.text
            assert int(reply.headers["Hypha-Ack"].removeprefix("mem:")) >= least
    beyond = three[0].post("/api/events?ack=4", event())
    assert beyond.status_code == 409 and "knows 3 among 3 members" in beyond.json()["message"]


def test_what_two_disks_have_survives_the_loss_of_either(durable):
    three = durable(3)
    ids = {n: [] for n in range(3)}
    for number in range(60):
        reply = three[number % 3].post("/api/events?ack=2", event())
        assert reply.status_code == 201, reply.text
        ids[number % 3].append(reply.json()["id"])
    for node in three:
        node.kill()
    # The disk of the node that took a third of them is gone; what it acknowledged with one other is there.
    shutil.rmtree(three[0].data)
    for node in three:
        node.start()
    three.wait_ready(60)
    for id in sum(ids.values(), []):
        for node in three:
            poll(lambda: node.get("/api/events/" + id).status_code == 200, 20, f"{node.name} has {id}")


def test_what_three_disks_have_survives_the_loss_of_two(durable):
    three = durable(3)
    kept = [three[0].post("/api/events?ack=3", event()) for _ in range(20)]
    assert [reply.status_code for reply in kept] == [201] * 20
    for node in three:
        node.kill()
    for node in three.nodes[:2]:
        shutil.rmtree(node.data)
    three[2].start()
    poll(lambda: three[2].get("/health").status_code == 200, 30, "the third is back")
    for reply in kept:
        assert three[2].get("/api/events/" + reply.json()["id"]).json() == reply.json()


def test_a_node_in_memory_takes_writes_for_the_disks_of_others(durable):
    three = durable(3, on_disk=[1, 2])
    memory = three[0]
    for level, reached in ("2", "2"), ("majority", "2"), ("mem:3", "mem:3"):
        reply = memory.post(f"/api/events?ack={level}", event())
        assert reply.status_code == 201 and reply.headers["Hypha-Ack"] == reached, reply.text
    beyond = memory.post("/api/events?ack=3", event())
    assert beyond.status_code == 409 and "knows 2 among 3 members" in beyond.json()["message"]
    with stopped(three[2]):
        late = memory.post("/api/events?ack=2", event())
        assert late.status_code == 504 and late.headers["Hypha-Ack"] == "1"
        assert [node["name"] for node in late.json()["nodes"]] == ["n2"]
    whole(three)


def test_a_majority_is_of_the_size_that_the_cluster_should_have(durable):
    two = durable(2, extra=("--cluster-size", "3"))
    assert two[0].post("/api/events?ack=majority", event()).headers["Hypha-Ack"] == "2"
    larger = durable(2, extra=("--cluster-size", "5"))
    refused = larger[0].post("/api/events?ack=majority", event())
    assert refused.status_code == 409 and "3 nodes with --data (more than half of 5)" in refused.json()["message"]


def test_a_disk_that_does_not_answer_is_named_by_its_absence(durable):
    a, _, c = three = durable(3)
    sent = event(id=str(uuid.uuid4()))
    with stopped(c):
        late = a.post("/api/events?ack=3", sent)
        assert late.status_code == 504 and late.headers["Hypha-Ack"] == "2", late.text
        assert [node["name"] for node in late.json()["nodes"]] == ["n1", "n2"]
        assert "2 of 3 nodes had the write on disk" in late.json()["message"]
        assert a.post("/api/events?ack=majority", event()).status_code == 201
        with Client(a) as client:
            client.subscribe(scope="nobody.says.this")
            client.send({"type": "publish", "ref": 1, "ack": 3, "event": event()})
            client.send({"type": "publish", "ref": 2, "ack": 2, "event": event()})
            assert [client.next("published")["ref"], client.next("error")["ref"]] == [2, 1]
    again = poll(lambda: (reply := a.post("/api/events?ack=3", sent)).status_code == 200 and reply, 30, "n3 has it")
    assert again.headers["Hypha-Ack"] == "3" and again.json() == late.json()["written"]
    whole(three)


def test_a_dead_disk_counts_as_known_and_confirms_when_it_is_back(durable):
    a, _, c = three = durable(3)
    c.kill()
    sent = event(id=str(uuid.uuid4()))
    assert a.post("/api/events?ack=3", sent).status_code == 504, "it may come back, so this is no 409"
    c.start()
    three.wait_ready(60)
    again = poll(lambda: (reply := a.post("/api/events?ack=3", sent)).status_code == 200 and reply, 30, "n3 has it")
    assert again.headers["Hypha-Ack"] == "3"
    c.child.send_signal(signal.SIGTERM)
    assert c.child.wait(5) == 0
    poll(lambda: a.post("/api/events?ack=3", event()).status_code == 409, 20, "who has left is not waited for")
