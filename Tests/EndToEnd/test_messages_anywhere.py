"""Direct messages, mailboxes, and requests with replies, over three peers: at any node, wherever the agents are."""

import json
import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from cluster import poll
from rawsocket import Wire, request
from readers import EventStream, Socket
from test_stream import bus, ids, topic
from test_ws import Client


def agent(name: str) -> str:
    return f"{name}-{uuid.uuid4()}"


def message(sender: str, receiver: str, content="hi", **more) -> dict:
    return {"sender": sender, "receiver": receiver, "message_type": "notification", "content": content, **more}


def send(node, *args, **more) -> dict:
    reply = node.post("/api/bus/messages", message(*args, **more))
    assert reply.status_code == 201, reply.text
    return reply.json()


def take(node, name: str, most: int = 100, query: str = "") -> list[dict]:
    reply = node.request("POST", f"/api/bus/mailbox/{quote(name, safe='')}/take?max={most}{query}")
    assert reply.status_code == 200, reply.text
    return reply.json()


def count(node, name: str) -> int:
    return node.get("/api/bus/count", params={"agent": name}).json()["count"]


def waits(node, name: str, expected: int):
    poll(lambda: count(node, name) == expected, 10, f"{node.name} shows {expected} messages for {name}")


def test_a_message_waits_at_every_node_and_is_taken_once(three):
    ada, bob = agent("ada é"), agent("bob")
    sent = [send(three[n % 3], ada, bob, content={"n": n}) for n in range(6)]
    for node in three:
        waits(node, bob, 6)
        assert node.get("/api/bus/peek", params={"agent": bob}).json() == sorted(sent, key=lambda m: m["stamp"])
    taken = take(three[1], bob, 4) + take(three[2], bob, 4)
    assert sorted(ids(taken)) == sorted(ids(sent)), "each once, at whichever node"
    for node in three:
        waits(node, bob, 0)
        assert take(node, bob) == []
        assert sorted(ids(node.get("/api/bus/history", params={"agent": bob}).json())) == sorted(ids(sent))


def test_what_matters_more_comes_first(three):
    bob = agent("bob")
    sent = [send(three[0], "ada", bob, priority=priority, content=n)
            for n, priority in enumerate([5, 0, 10, 5, 7])]
    waits(three[2], bob, 5)
    assert [m["content"] for m in take(three[2], bob)] == [2, 4, 0, 3, 1]
    assert all(m["priority"] in (0, 5, 7, 10) for m in sent)


def test_takers_at_all_nodes_share_a_mailbox(three):
    bob = agent("bob")
    sent = {send(three[n % 3], "ada", bob, content=n)["id"] for n in range(90)}
    for node in three:
        waits(node, bob, 90)

    def some(number: int) -> list[dict]:
        found = []
        while batch := take(three[number % 3], bob, 7):
            found += batch
        return found

    with ThreadPoolExecutor(3) as pool:
        taken = [m["id"] for part in pool.map(some, range(3)) for m in part]
    assert sorted(taken) == sorted(sent)


def test_a_message_reaches_its_receiver_wherever_it_is_connected_and_nobody_else(three):
    ada, bob, on = agent("ada"), agent("bob"), topic()
    with (Client(three[1]) as there, EventStream(three[2], {"topic": on}, agent=bob) as stream,
          Client(three[0]) as stranger, Socket(three[0], {"topic": ">"}) as everything):
        for client, name in ((there, bob), (stranger, agent("eve"))):
            client.send({"type": "identify", "agent": name, "ref": "i"})
            client.next("identified")
        assert stream.read()["type"] == "cursor"
        sent = send(three[0], ada, bob, content=[1, {"two": None}], correlation_id="c-1")
        assert there.next("message")["data"] == sent
        last = three[0].emit(bus(on))
        lines = stream.block().split("\n")
        assert lines[0] == "event: direct" and not any(line.startswith("id:") for line in lines)
        assert stream.event() == last
        assert everything.event()["id"] == last["id"], "a message is no event"
        assert all(m["type"] not in ("message", "event") or m["data"].get("id") != sent["id"]
                   for m in stranger.until_pong())
    assert three[0].get(f"/api/events/{sent['id']}").status_code == 404
    for node in three:
        poll(lambda: node.get("/api/bus/conversation/c-1").json(), 10, "the conversation is there")
        assert sent in node.get("/api/bus/conversation/c-1").json()
        assert sent["id"] not in ids(node.get("/api/events?limit=1000").json())


def test_a_broadcast_is_for_everybody_but_its_sender(three):
    ada, bob, eve = agent("ada"), agent("bob"), agent("eve")
    for name in (ada, bob, eve):
        send(three[0], "opener", name)
    for node in three:
        for name in (ada, bob, eve):
            waits(node, name, 1)
    sent = send(three[1], ada, "broadcast", content="all")
    for node, name in ((three[0], bob), (three[2], eve)):
        waits(node, name, 2)
        assert sent in take(node, name)
    assert sent["id"] not in ids(take(three[2], ada))


def test_of_too_many_messages_the_oldest_are_dropped_and_counted(three):
    bob = agent("bob")
    body = json.dumps(message("ada", bob)).encode()
    with Wire(three[0].host, three[0].http) as wire:
        for _ in range(11):
            wire.send(request("POST", "/api/bus/messages", body) * 100)
            last = [json.loads(wire.answer().body)["id"] for _ in range(100)]
    for node in three:
        waits(node, bob, 1_000)
        poll(lambda: node.get("/api/bus/count", params={"agent": bob}).json()["dropped"] == 100, 10, "counted")
    found = take(three[1], bob, 1_000)
    assert len(found) == 1_000 and set(last) <= set(ids(found))


@pytest.mark.parametrize("wrong, word", [
    ({"sender": "broadcast"}, "sender"), ({"receiver": ""}, "receiver"), ({"priority": 11}, "priority"),
    ({"priority": 1.5}, "priority"), ({"message_type": "gossip"}, "message_type"), ({"metadata": []}, "metadata"),
])
def test_a_message_that_makes_no_sense_is_refused(one, wrong, word):
    reply = one.post("/api/bus/messages", message("ada", "bob") | wrong)
    assert reply.status_code == 400 and word in reply.json()["message"], reply.text


def test_the_same_id_again_is_the_same_message(three):
    bob, id = agent("bob"), str(uuid.uuid4())
    first = send(three[0], "ada", bob, id=id)
    poll(lambda: three[1].post("/api/bus/messages", message("ada", bob, id=id)).status_code == 200, 10, "known at n2")
    assert three[0].post("/api/bus/messages", message("ada", bob, content="other", id=id)).status_code == 409
    waits(three[2], bob, 1)
    assert take(three[2], bob) == [first]


def test_messages_survive_kills_of_durable_peers(make_cluster):
    """Sent, and taken at any node, while peers are killed: nothing is lost, and nothing that was taken comes again."""
    cluster = make_cluster(3, durable=True).start()
    dice, bob = random.Random(5), agent("bob")
    sent, taken, unsure = set(), [], set()

    def patiently(ask):
        deadline = time.monotonic() + 60
        while True:
            try:
                reply = ask(dice.choice(cluster.nodes))
                if reply.status_code in (200, 201):
                    return reply.json()
                assert reply.status_code in (503, 504), reply.text
            except OSError:
                # An answer that was lost may have been a taking.
                unsure.add(len(taken))
            assert time.monotonic() < deadline, "nobody answers"
            time.sleep(0.02)

    for round in range(6):
        for n in range(20):
            sent.add(patiently(lambda node: node.post(
                "/api/bus/messages", message("ada", bob, content=n, id=str(uuid.uuid4())), timeout=10))["id"])
        victim = dice.choice(cluster.nodes)
        victim.kill()
        # While one is away.
        taken += ids(patiently(lambda node: node.request(
            "POST", f"/api/bus/mailbox/{bob}/take?max=7", timeout=10)))
        victim.start()
        cluster.wait_ready(30)
    while batch := ids(patiently(lambda node: node.request("POST", f"/api/bus/mailbox/{bob}/take?max=50", timeout=10))):
        taken += batch
    poll(lambda: all(count(node, bob) == 0 for node in cluster), 20, "nothing waits any more")
    assert len(taken) == len(set(taken)), "something came twice"
    lost = sent - set(taken)
    assert not lost or unsure, f"{len(lost)} of {len(sent)} messages were never given to anybody"


# Requests


def test_a_request_is_answered_by_whoever_listens_at_another_node(three):
    on, done = topic(), threading.Event()

    def work():
        with EventStream(three[2], {"topic": on}) as stream:
            stream.read()
            done.set()
            asked = stream.event()
            three[2].emit({"topic": asked["response_topic"], "type": "answer", "source": "worker",
                           "correlation_id": asked["correlation_id"], "data": {"sum": sum(asked["data"])}})

    worker = threading.Thread(target=work)
    worker.start()
    assert done.wait(20)
    reply = three[0].post("/api/request?timeout_ms=15000", bus(on, "add", data=[1, 2, 3]))
    worker.join(20)
    assert reply.status_code == 200, reply.text
    assert reply.json()["data"] == {"sum": 6} and reply.json()["source"] == "worker"


def test_a_request_that_nobody_answers_says_so_in_time(three):
    on = topic()
    reply = three[0].post("/api/request?timeout_ms=200", bus(on, "add"))
    assert reply.status_code == 504, reply.text
    told = reply.json()
    assert "200 ms" in told["message"]
    [kept] = three[0].get(f"/api/events/topic/{on}").json()
    assert (kept["id"], kept["correlation_id"], kept["response_topic"]) == (
        told["id"], told["correlation_id"], told["response_topic"])
    # Its answer comes late, and the request is sent again under its id.
    three[1].emit(bus(kept["response_topic"], "answer", correlation_id=kept["correlation_id"], data="late"))
    poll(lambda: three[0].get(f"/api/events/topic/{kept['response_topic']}").json(), 10, "the answer is there")
    again = three[0].post("/api/request?timeout_ms=5000", bus(on, "add", id=kept["id"]) | {
        "correlation_id": kept["correlation_id"], "response_topic": kept["response_topic"]})
    assert again.status_code == 200 and again.json()["data"] == "late", again.text
