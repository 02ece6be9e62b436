"""Request and reply over HTTP and /ws: the answer may be accepted at any peer."""

import json
import threading
import time
import uuid

import requests
from websockets.sync.client import connect

from cluster import poll


def event(**more) -> dict:
    return {"topic": f"jobs.{uuid.uuid4()}", "type": "do", "source": "ada", "data": {"n": 1}, **more}


def answer_at(node, topic: str, **more):
    """Waits for the first event on a topic at a node, answers it there, and returns the answer."""
    asked = poll(lambda: node.get(f"/api/events/topic/{topic}").json(), 10, "the request is there")[0]
    reply = node.post("/api/events", {"topic": asked["response_topic"], "type": "done", "source": "bob",
                                      "correlation_id": asked["correlation_id"], "data": {"ok": True}, **more})
    assert reply.status_code == 201, reply.text
    return reply.json()


def test_a_request_is_answered_across_peers(three):
    body, answers = event(), []
    worker = threading.Thread(target=lambda: answers.append(answer_at(three[2], body["topic"])))
    worker.start()
    reply = three[0].post("/api/request?timeout_ms=15000", body)
    worker.join(20)
    assert reply.status_code == 200 and [reply.json()] == answers, reply.text
    assert three[1].get(f"/api/events/{answers[0]['id']}",
                        headers={"Hypha-Clock": reply.headers["Hypha-Clock"]}).json() == answers[0]


def test_without_an_answer_it_ends_in_time_and_stays_published(three):
    body = event(id=str(uuid.uuid4()), correlation_id="c", response_topic="answers.here")
    begun = time.monotonic()
    reply = three[0].post("/api/request?timeout_ms=300", body)
    assert reply.status_code == 504 and time.monotonic() - begun < 10, reply.text
    found = reply.json()
    assert found.pop("message").startswith("no reply within 300 ms")
    assert found == {"id": body["id"], "correlation_id": "c", "response_topic": "answers.here"}
    poll(lambda: three[1].get(f"/api/events/{body['id']}").status_code == 200, 10, "it is published")
    late = answer_at(three[1], body["topic"])
    again = three[0].post("/api/request?timeout_ms=10000", body, headers={"Hypha-Ack": "mem:1"})
    assert again.status_code == 200 and again.json() == late, again.text


def test_only_the_type_asked_for_answers(three):
    body, answers = event(response_event="done"), []

    def work():
        answer_at(three[1], body["topic"], type="progress")
        answers.append(answer_at(three[1], body["topic"]))

    worker = threading.Thread(target=work)
    worker.start()
    reply = three[0].post("/api/request?timeout_ms=15000", body)
    worker.join(20)
    assert reply.status_code == 200 and [reply.json()] == answers, reply.text


def test_mistakes_are_named_and_nothing_is_published(three):
    for body, part in ((event(topic="a.*"), "topic"), ({"type": "x", "source": "y"}, "topic"),
                       (event(source=""), "source"), (event(correlation_id=3), "correlation_id")):
        reply = three[0].post("/api/request", body)
        assert reply.status_code == 400 and part in reply.json()["message"], reply.text
    assert three[0].post("/api/request?timeout_ms=0", event()).status_code == 400
    assert three[0].post("/api/request?timeout_ms=700000", event()).status_code == 400


def test_on_ws(three):
    with connect(three[0].ws_url) as ws:
        ws.send(json.dumps({"type": "unsubscribe", "ref": 0}))
        ws.recv(10)
        body = event()
        ws.send(json.dumps({"type": "request", "ref": "a", "timeout_ms": 15000, "event": body}))
        ws.send(json.dumps({"type": "request", "ref": "b", "timeout_ms": 200, "event": event()}))
        late = json.loads(ws.recv(10))
        assert (late["type"], late["ref"]) == ("error", "b") and late["message"].startswith("no reply within 200 ms")
        done = answer_at(three[1], body["topic"])
        assert json.loads(ws.recv(10)) == {"type": "reply", "ref": "a", "data": done}


def test_a_leaving_node_says_what_was_published(make_cluster):
    cluster = make_cluster(2).start()
    body, replies = event(id=str(uuid.uuid4())), []

    def ask():
        session = requests.Session()
        session.trust_env = False
        replies.append(session.post(f"{cluster[0].url}/api/request?timeout_ms=20000", json=body, timeout=30))

    worker = threading.Thread(target=ask)
    worker.start()
    poll(lambda: cluster[1].get(f"/api/events/{body['id']}").status_code == 200, 10, "it is published")
    cluster[0].end()
    worker.join(20)
    assert replies[0].status_code == 503 and replies[0].json()["id"] == body["id"], replies[0].text
