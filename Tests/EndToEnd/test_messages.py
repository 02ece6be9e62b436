"""Direct messages and mailboxes over HTTP and /ws at three peers: posted at one, taken at another, once."""

import json
import threading
import uuid

import pytest
import requests
from websockets.sync.client import connect

from cluster import poll


def message(sender="ada", receiver=None, **more) -> dict:
    return {"sender": sender, "receiver": receiver or f"agent-{uuid.uuid4()}", "message_type": "query",
            "content": {"q": 1}, **more}


def post(node, **fields) -> dict:
    reply = node.post("/api/bus/messages", message(**fields))
    assert reply.status_code == 201, reply.text
    return reply.json() | {"clock": reply.headers["Hypha-Clock"]}


def take(node, agent: str, query: str = "", **headers) -> list[dict]:
    reply = node.request("POST", f"/api/bus/mailbox/{agent}/take{query}", headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


def ids(messages) -> list[str]:
    return [entry["id"] for entry in messages]


def test_a_message_is_stored_shown_everywhere_and_taken_once(three):
    posted = post(three[0], metadata={"k": [1]}, run_id="r", extra=True)
    agent, clock = posted["receiver"], {"Hypha-Clock": posted.pop("clock")}
    assert posted["priority"] == 5 and posted["metadata"] == {"k": [1]} and posted["extra"] is True
    for peer in three:
        assert peer.get(f"/api/bus/peek?agent={agent}", headers=clock).json() == [posted]
        assert peer.get(f"/api/bus/count?agent={agent}").json() == {"agent": agent, "count": 1, "dropped": 0}
        assert peer.get(f"/api/events/{posted['id']}").status_code == 404
    reply = three[2].request("POST", f"/api/bus/mailbox/{agent}/take", headers=clock)
    assert reply.status_code == 200 and reply.json() == [posted], reply.text
    for peer in three:
        headers = {"Hypha-Clock": reply.headers["Hypha-Clock"]}
        assert peer.get(f"/api/bus/count?agent={agent}", headers=headers).json()["count"] == 0
        assert take(peer, agent) == []
        assert peer.get(f"/api/bus/history?agent={agent}").json() == [posted]


def test_many_takers_at_three_peers_get_each_message_once(three):
    agent = f"agent-{uuid.uuid4()}"
    sent = [post(three[i % 3], receiver=agent)["id"] for i in range(150)]
    got: list[str] = []
    lock = threading.Lock()

    def work(node):
        while len(got) < len(sent):
            with own_session() as session:
                reply = session.post(f"{node.url}/api/bus/mailbox/{agent}/take?max=4", timeout=20)
                assert reply.status_code == 200, reply.text
                with lock:
                    got.extend(ids(reply.json()))

    workers = [threading.Thread(target=work, args=(three[i % 3],)) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sorted(got) == sorted(sent)


def own_session() -> requests.Session:
    """A thread's own."""
    session = requests.Session()
    session.trust_env = False
    return session


def test_priority_types_conversations_and_stats(three):
    agent, correlation = f"agent-{uuid.uuid4()}", str(uuid.uuid4())
    sent = [post(three[0], receiver=agent, priority=priority, message_type=kind, correlation_id=correlation)
            for priority, kind in ((5, "query"), (9, "vote"), (0, "query"), (9, "query"))]
    clock = {"Hypha-Clock": sent[-1]["clock"]}
    order = [sent[i]["id"] for i in (1, 3, 0, 2)]
    for peer in three:
        assert ids(peer.get(f"/api/bus/peek?agent={agent}", headers=clock).json()) == order
        assert ids(peer.get(f"/api/bus/conversation/{correlation}").json()) == ids(sent)
        assert ids(peer.get(f"/api/bus/history?agent={agent}&since={sent[1]['id']}").json()) == ids(sent[2:])
        assert peer.get("/api/bus/stats").json()["by_agent"][agent] == {"sent": 0, "received": 4}
    assert ids(take(three[1], agent, "?type=vote", **clock)) == [sent[1]["id"]]
    assert ids(take(three[2], agent, "?max=1", **clock))[0] == sent[3]["id"]


def test_broadcasts_reach_open_mailboxes(three):
    early, late = f"agent-{uuid.uuid4()}", f"agent-{uuid.uuid4()}"
    opened = three[1].request("POST", f"/api/bus/mailbox/{early}/take")
    assert opened.json() == []
    to_all = three[0].post("/api/bus/messages", message("ada", "broadcast"),
                           headers={"Hypha-Clock": opened.headers["Hypha-Clock"]})
    assert to_all.status_code == 201, to_all.text
    clock = {"Hypha-Clock": to_all.headers["Hypha-Clock"]}
    assert ids(take(three[2], early, **clock)) == [to_all.json()["id"]]
    assert take(three[2], late, **clock) == []


def test_ids_are_idempotent_and_mistakes_are_named(three):
    body = message(id=str(uuid.uuid4()))
    first = three[0].post("/api/bus/messages", body)
    again = three[1].post("/api/bus/messages", body, headers={"Hypha-Clock": first.headers["Hypha-Clock"]})
    assert (first.status_code, again.status_code) == (201, 200) and again.json() == first.json()
    assert three[0].post("/api/bus/messages", body | {"content": 2}).status_code == 409
    assert len(take(three[2], body["receiver"], **{"Hypha-Clock": first.headers["Hypha-Clock"]})) == 1
    for change, field in (({"receiver": ""}, "receiver"), ({"message_type": "x"}, "message_type"),
                          ({"priority": 12}, "priority"), ({"sender": None}, "sender"), ({"id": "x"}, "id")):
        reply = three[0].post("/api/bus/messages", message() | change)
        assert reply.status_code == 400 and reply.json()["message"].startswith(f"Validation error: {field}: ")
    for path in ("/api/bus/peek", "/api/bus/count", "/api/bus/history?since=never", "/api/bus/peek?agent=a&max=0"):
        assert three[0].get(path).status_code == 400, path
    assert three[0].get("/api/bus/nothing").status_code == 404
    assert three[0].get("/api/bus/mailbox/a/take").status_code == 405


def test_a_connected_agent_is_told_at_once_and_takes_on_ws(three):
    agent = f"agent-{uuid.uuid4()}"
    with connect(f"{three[1].ws_url}?agent={agent}") as ws:
        ws.send(json.dumps({"type": "unsubscribe", "ref": 1}))
        assert json.loads(ws.recv(10))["type"] == "unsubscribed"
        posted = post(three[0], receiver=agent)
        posted.pop("clock")
        assert json.loads(ws.recv(10)) == {"type": "message", "data": posted}
        ws.send(json.dumps({"type": "take", "max": 3, "ref": "t"}))
        assert json.loads(ws.recv(10)) == {"type": "taken", "ref": "t", "data": [posted]}
        ws.send(json.dumps({"type": "send", "ref": 2, "message": message(agent, "ada-of-ws")}))
        sent = json.loads(ws.recv(10))
        assert sent["type"] == "sent" and sent["ref"] == 2
    poll(lambda: sent["id"] in ids(three[2].get("/api/bus/peek?agent=ada-of-ws").json()), 10, "it waits elsewhere")


def test_a_stream_of_an_agent_is_told(three):
    agent = f"agent-{uuid.uuid4()}"
    with three[2].session.get(f"{three[2].url}/api/stream?topic=none&agent={agent}", stream=True, timeout=10) as stream:
        lines = stream.iter_lines(decode_unicode=True)
        next(lines)
        posted = post(three[0], receiver=agent)
        posted.pop("clock")
        assert next(line for line in lines if line == "event: direct")
        assert json.loads(next(lines).removeprefix("data: ")) == posted


def test_a_taking_has_levels(three):
    agent = f"agent-{uuid.uuid4()}"
    posted = post(three[0], receiver=agent)
    reply = three[1].request("POST", f"/api/bus/mailbox/{agent}/take?ack=mem:3",
                             headers={"Hypha-Clock": posted["clock"]})
    assert reply.status_code == 200 and reply.headers["Hypha-Ack"] == "mem:3" and len(reply.json()) == 1
    assert three[1].request("POST", f"/api/bus/mailbox/{agent}/take?ack=mem:4").status_code == 409


@pytest.mark.parametrize("killed", [0, 1, 2])
def test_messages_and_takings_outlive_kills(make_cluster, killed):
    cluster = make_cluster(3, durable=True).start()
    sent = [post(cluster[i % 3], receiver="bob")["id"] for i in range(9)]
    poll(lambda: all(node.get("/api/bus/count?agent=bob").json()["count"] == 9 for node in cluster), 10, "all have all")
    taken = ids(take(cluster[killed], "bob", "?max=4"))
    assert len(taken) == 4
    cluster[killed].kill()
    other = cluster[(killed + 1) % 3]

    def more():
        reply = other.request("POST", "/api/bus/mailbox/bob/take?max=2")
        assert reply.status_code == 200, reply.text
        return ids(reply.json())

    taken += poll(more, 20, "another node follows the owner")
    cluster[killed].start()
    cluster.wait_ready()
    rest = poll(lambda: [n.get("/api/bus/peek?agent=bob").json() for n in cluster], 10, "all answer")
    poll(lambda: all(node.get("/api/bus/count?agent=bob").json()["count"] == 9 - len(set(taken)) for node in cluster),
         10, f"the rest waits everywhere; seen {[ids(r) for r in rest]}")
    # A durable node that has just started asks its peers first.
    taken += ids(poll(lambda: take(cluster[killed], "bob"), 20, "the rest can be taken"))
    assert set(taken) == set(sent)
