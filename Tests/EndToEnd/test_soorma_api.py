"""Soorma's event service as its SDKs use it, asked without them: what each request is answered with, exactly where a
client of theirs would notice."""

import json
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest

from cluster import poll
from rawsocket import Wire, request

TOPICS = ["business-facts", "action-requests", "action-results", "billing-events", "notification-events",
          "system-events", "plan-events", "task-events"]


def envelope(topic: str = "business-facts", **more) -> dict:
    """An event as SDK 0.9 publishes it."""
    return {"id": str(uuid.uuid4()), "source": "ada", "specversion": "1.0", "type": "bell.rang", "topic": topic,
            "time": "2026-01-02T03:04:05.678901+00:00", "data": {"text": "ü 🌱"},
            "correlation_id": str(uuid.uuid4()), **more}


def publish(node, event: dict, status: int = 200) -> dict:
    reply = node.post("/v1/events/publish", {"event": event})
    assert reply.status_code == status, f"{node.name} answered {reply.status_code} {reply.text!r} to {event!r}"
    return reply.json()


def name() -> str:
    return f"agent-{uuid.uuid4()}"


class Stream(Wire):
    """A stream over a plain socket, read line by line as the SDK does."""

    def __init__(self, node, topics: str, agent_name: str | None, agent_id: str | None = None):
        super().__init__(node.host, node.http, seconds=40)
        query = {"topics": topics, "agent_id": agent_id or name(), "agent_name": agent_name}
        query = urlencode({key: value for key, value in query.items() if value is not None}, safe=",")
        self.agent_id = agent_id
        self.send(request("GET", f"/v1/events/stream?{query}", headers=("Accept: */*",)))
        self.head = self.answer(head=True)
        assert self.head.status == 200, self.take(int(self.head.headers["content-length"]))
        assert self.head.headers["content-type"].split(";")[0] == "text/event-stream"
        assert self.head.headers["transfer-encoding"] == "chunked"
        self.text = b""
        self.ended: str | None = None

    def close(self):
        self.socket.close()

    def lines(self) -> list[str] | None:
        """The lines of the next frame; None once the stream is over, `ended` says how."""
        while b"\n\n" not in self.text:
            try:
                size = int(self.take_through(b"\r\n"), 16)
            except AssertionError:
                self.ended = "broken"
                return None
            self.text += self.take(size)
            assert self.take(2) == b"\r\n"
            if size == 0:
                self.ended = "well"
                return None
        block, _, self.text = self.text.partition(b"\n\n")
        return block.decode().split("\n")

    def frame(self) -> tuple[str, dict] | None:
        """The next frame, which has both a kind and data, each once."""
        if (lines := self.lines()) is None:
            return None
        assert re.fullmatch(r"event: ?\w+", lines[0]) and re.match(r"data: ?\{", lines[1]) and len(lines) == 2, lines
        return lines[0][6:].strip(), json.loads(lines[1][5:])

    def next(self, kind: str) -> dict:
        frame = self.frame()
        while kind != "heartbeat" and frame and frame[0] == "heartbeat":
            frame = self.frame()
        assert frame and frame[0] == kind, f"{kind} expected, got {frame}, ended {self.ended}"
        return frame[1]

    def until(self, type: str) -> list[dict]:
        """The events up to one of a type, without it."""
        found = []
        while (event := self.next("message"))["type"] != type:
            found.append(event)
        return found


def opened(node, topics: str, agent_name: str | None, agent_id: str | None = None) -> Stream:
    """A stream whose first frame has come."""
    stream = Stream(node, topics, agent_name, agent_id)
    stream.connected = stream.next("connected")
    return stream


def known(nodes, agent_name: str, topic: str = "business-facts"):
    """Waits until every node knows the queue group of an agent name."""
    for node in nodes:
        poll(lambda: node.get(f"/api/groups/soorma/{agent_name}/{topic}").status_code == 200
             or f"soorma/{agent_name}/{topic}" in [g["group"] for g in node.get("/api/groups").json()["groups"]],
             10, f"{node.name} knows the group of {agent_name}")


# Publishing


def test_a_publication_is_answered_with_200_and_three_members(three):
    event = envelope()
    answer = publish(three[0], event)
    assert answer.keys() == {"success", "event_id", "message"}
    assert answer["success"] is True and answer["event_id"] == event["id"] and isinstance(answer["message"], str)
    again = publish(three[0], event)
    assert again["success"] is True and again["event_id"] == event["id"], "the same id is the same event"
    without = publish(three[1], {key: value for key, value in envelope().items() if key != "id"})
    assert uuid.UUID(without["event_id"])


@pytest.mark.parametrize("topic", TOPICS)
def test_each_topic_is_taken(three, topic):
    publish(three[0], envelope(topic))


@pytest.mark.parametrize("change, word", [
    ({"topic": "nonsense"}, "topic"), ({"topic": ""}, "topic"), ({"topic": "business"}, "topic"),
    ({"topic": 7}, "topic"), ({"topic": None}, "topic"), ({"topic": "business-facts.more"}, "topic"),
    ({"type": None}, "type"), ({"type": 5}, "type"), ({"source": None}, "source"), ({"data": "text"}, "data"),
    ({"correlation_id": []}, "correlation"),
])
def test_what_is_no_event_is_422_with_a_detail(three, change, word):
    answer = publish(three[0], envelope() | change, status=422)
    assert word in json.dumps(answer["detail"]), answer


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"event": null}', b'{"event": []}', b'{"event": "x"}'])
def test_a_body_without_an_event_is_422_with_a_detail(three, body):
    reply = three[0].request("POST", "/v1/events/publish", data=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 422 and reply.json()["detail"], reply.text


def test_health_is_2xx_and_json(three):
    for node in three:
        reply = node.get("/health")
        assert 200 <= reply.status_code < 300 and isinstance(reply.json(), dict)


# Streams


def test_the_first_frame_names_connection_topics_and_agent(three):
    agent = name()
    with opened(three[0], "business-facts,action-results", name(), agent) as stream:
        assert stream.connected.keys() >= {"connection_id", "topics", "agent_id"}
        assert stream.connected["agent_id"] == agent and stream.connected["connection_id"]
        assert stream.connected["topics"] == ["business-facts", "action-results"]


@pytest.mark.parametrize("query", ["", "topics=", "topics=business-facts", "agent_id=ada"])
def test_a_stream_without_topics_or_agent_is_422_with_a_detail(three, query):
    reply = three[0].get(f"/v1/events/stream?{query}", stream=True)
    assert reply.status_code == 422 and reply.json()["detail"], reply.text


def test_an_envelope_comes_as_it_was_published(three):
    agent = name()
    event = envelope(subject="a", response_event="b", response_topic="action-results", response_schema_name="c",
                     trace_id="d", parent_event_id=str(uuid.uuid4()), payload_schema_name="e", tenant_id="f",
                     user_id="g", session_id="h", goal_id="i", plan_id="j")
    with opened(three[0], "business-facts", agent) as stream:
        known(three, agent)
        publish(three[1], event)
        got = stream.next("message")
    assert {key: got.get(key) for key in event} == event


def test_camel_case_is_taken_and_nulls_are_left_out(three):
    agent = name()
    snake = {"correlation_id": str(uuid.uuid4()), "response_event": "a", "response_topic": "action-results",
             "trace_id": "b", "tenant_id": "c", "user_id": "d", "session_id": "e", "goal_id": "f", "plan_id": "g",
             "payload_schema_name": "h", "response_schema_name": "i", "parent_event_id": str(uuid.uuid4())}
    camel = {re.sub(r"_(\w)", lambda match: match[1].upper(), key): value for key, value in snake.items()}
    plain = {key: value for key, value in envelope().items() if key != "correlation_id"}
    with opened(three[2], "business-facts", agent) as stream:
        known(three, agent)
        publish(three[0], plain | camel | {"subject": None, "claims": None})
        got = stream.next("message")
    assert {key: got.get(key) for key in plain | snake} == plain | snake
    assert "subject" not in got and "claims" not in got and not got.keys() & camel.keys()
    assert None not in got.values()


def test_an_envelope_has_what_the_sdk_requires_even_if_it_was_published_elsewhere(three):
    """A plain bus event on one of the topics is Soorma's, too."""
    agent = name()
    with opened(three[0], "business-facts", agent) as stream:
        known(three, agent)
        sent = three[1].emit({"topic": "business-facts", "type": "bell.rang", "source": "ada", "data": {"n": 1}})
        got = stream.next("message")
    assert got["id"] == sent["id"] and got["specversion"] == "1.0" and got["time"] and got["correlation_id"]
    assert got["data"] == {"n": 1} and got["source"] == "ada" and got["topic"] == "business-facts"


@pytest.mark.parametrize("topics, wanted", [
    ("business-facts", {"business-facts"}), ("business-facts,plan-events", {"business-facts", "plan-events"}),
    ("*", set(TOPICS)), (">", set(TOPICS)),
])
def test_patterns_of_topics(three, topics, wanted):
    agent, mark = name(), str(uuid.uuid4())
    with opened(three[0], topics, agent) as stream:
        for topic in wanted:
            known(three, agent, topic)
        sent = {topic: publish(three[0], envelope(topic, trace_id=mark))["event_id"] for topic in TOPICS}
        got = {}
        while len(got) < len(wanted):
            event = stream.next("message")
            # The peers are shared with other tests.
            if event.get("trace_id") == mark:
                got[event["topic"]] = event["id"]
    assert got == {topic: sent[topic] for topic in wanted}


def test_each_group_gets_each_event_once_whichever_peers_are_asked(three):
    shared, lonely, count = name(), name(), 60
    members = [opened(node, "business-facts", shared) for node in three] + [opened(three[0], "business-facts", shared)]
    alone = opened(three[2], "business-facts", lonely)
    try:
        for agent in (shared, lonely):
            known(three, agent)
        events = [envelope(type="piece") for _ in range(count)]

        def tell(n: int):
            publish(three[n % 3], events[n])
            # A second try, as after a lost answer; elsewhere once it is known there.
            if n % 5 == 0:
                publish(three[n % 3], events[n])
                other = three[(n + 1) % 3]
                poll(lambda: other.get(f"/api/events/{events[n]['id']}").status_code == 200, 10, "it is there")
                publish(other, events[n])

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(tell, range(count)))
        wanted = sorted(event["id"] for event in events)
        found = []
        while len(found) < count:
            event = alone.next("message")
            if event["type"] == "piece":
                found.append(event["id"])
        assert sorted(found) == wanted, "a group of one gets each event once"
        shares = [taken(member, {event["id"] for event in events}) for member in members]
        assert sorted(id for share in shares for id in share) == wanted, "a group of four shares them"
        assert sum(bool(share) for share in shares) > 1, "more than one has something to do"
        assert taken(alone, set(wanted)) == [], "nothing comes twice"
    finally:
        for stream in [*members, alone]:
            stream.close()


def taken(stream: Stream, of: set[str]) -> list[str]:
    """What of these events has come to a stream, once nothing has come for a moment."""
    stream.socket.settimeout(1.5)
    found, deadline = [], time.monotonic() + 20
    try:
        while time.monotonic() < deadline and (frame := stream.frame()):
            if frame[0] == "message" and frame[1]["id"] in of:
                found.append(frame[1]["id"])
    except TimeoutError:
        pass
    stream.socket.settimeout(40)
    return found


def test_without_a_name_the_agent_is_its_own_group(three):
    agent = name()
    with opened(three[0], "business-facts", None, agent) as stream:
        known(three, agent)
        event = envelope(type="own")
        publish(three[1], event)
        while (got := stream.next("message"))["type"] != "own":
            pass
        assert got["id"] == event["id"]


def test_names_with_any_characters(three):
    agent = "ada/ü 🌱 %2F*>?"
    with opened(three[0], "business-facts", agent, agent) as stream:
        event = envelope(type="odd")

        def comes():
            # The group has a name of the node's own choice.
            publish(three[0], event)
            return True
        poll(comes, 5, "published")
        while (got := stream.next("message"))["type"] != "odd":
            pass
        assert got["id"] == event["id"]


def test_a_heartbeat_comes_every_15_seconds(three):
    with opened(three[0], "system-events", name()) as stream:
        beat = stream.next("heartbeat")
        assert beat["connection_id"] == stream.connected["connection_id"]
        assert stream.next("heartbeat") == beat


def test_a_peer_that_leaves_says_so_and_does_not_end_the_stream_well(make_cluster):
    """A stream that ends well would be opened again at once, over and over."""
    cluster = make_cluster(2).start()
    with opened(cluster[0], "business-facts", name()) as stream:
        cluster[0].end()
        assert isinstance(stream.next("disconnected"), dict)
        assert stream.lines() is None and stream.ended == "broken"


def test_what_waits_for_an_agent_that_is_away_comes_when_it_is_back(three):
    agent = name()
    with opened(three[0], "business-facts", agent):
        known(three, agent)
    events = [envelope(type="waits") for _ in range(5)]
    for node, event in zip([*three, *three], events):
        publish(node, event)
    with opened(three[1], "business-facts", agent) as stream:
        found = []
        while len(found) < len(events):
            event = stream.next("message")
            if event["type"] == "waits":
                found.append(event["id"])
    assert sorted(found) == sorted(event["id"] for event in events)
