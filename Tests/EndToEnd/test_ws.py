"""`/ws`: what a SEMP client sees without asking, what our additions offer, and what RFC 6455 forbids.

That something is *not* sent is shown without waiting: after the write's answer the client sends a ping, and whatever
the node owed it stands before the pong.
"""

import json
import uuid

import pytest
from websockets.sync.client import connect

from cluster import poll
from rawsocket import BINARY, CLOSE, PING, PONG, TEXT, WebSocketWire, Wire, frame_bytes, request
from test_semp import event


class Client:
    """A WebSocket client that waits with a bound."""

    def __init__(self, node):
        self.context = connect(node.ws_url, compression=None, proxy=None, max_size=None)
        self.socket = self.context.__enter__()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.context.__exit__(*error)

    def send(self, message):
        self.socket.send(message if isinstance(message, str) else json.dumps(message))

    def read(self) -> dict:
        """The next message."""
        return json.loads(self.socket.recv(timeout=10))

    def next(self, kind: str) -> dict:
        """The next message of a type, past those of other types."""
        while (message := self.read())["type"] != kind:
            pass
        return message

    def until_pong(self) -> list[dict]:
        """What the node has sent so far: everything before the pong."""
        self.send({"type": "ping"})
        found = []
        while (message := self.read())["type"] != "pong":
            found.append(message)
        return found

    def drain(self) -> list[dict]:
        """The events that the node has sent so far."""
        return [message["data"] for message in self.until_pong() if message["type"] == "event"]

    def subscribe(self, **filters):
        self.send({"type": "subscribe", "filter": filters})
        self.drain()

    def unsubscribe(self, **filters):
        self.send({"type": "unsubscribe", "filter": filters})
        self.drain()


@pytest.fixture
def client(one):
    with Client(one) as client:
        client.drain()
        yield client


def ids(events) -> list[str]:
    return [e["id"] for e in events]


# Without asking


def test_every_event_is_delivered_to_a_client_that_says_nothing(three):
    with Client(three[0]) as first, Client(three[1]) as second, Client(three[2]) as third:
        clients = [first, second, third]
        for client in clients:
            client.drain()
        for node in three:
            stored = node.emit(event("reward", payload={"value": 0.5, "pattern": "é🌱"}, mood=[1, {"a": None}]))
            for client in clients:
                assert client.next("event") == {"type": "event", "data": stored}
        for client in clients:
            assert client.drain() == []


def test_the_same_id_again_is_not_delivered_again(one, client):
    sent = event(id=str(uuid.uuid4()))
    stored = one.emit(sent)
    one.emit(sent, expected=200)
    assert client.drain() == [stored]


def test_a_refused_event_is_not_delivered(one, client):
    assert one.post("/api/events", event(kind="rumour")).status_code == 400
    assert client.drain() == []


# Subscriptions


@pytest.mark.parametrize("pattern, matching, others", [
    ("ui.>", ["ui.login", "ui.login.form"], ["ui", "uix.login", "api.ui.login"]),
    ("ui.*", ["ui.login"], ["ui", "ui.login.form", "uix.login"]),
    ("*.login", ["ui.login", "api.login"], ["login", "ui.login.form", "ui.logout"]),
    ("ui.*.form", ["ui.login.form"], ["ui.form", "ui.a.b.form", "ui.login.other"]),
    ("ui.login", ["ui.login"], ["ui.login.form", "ui", "ui.loginx", "UI.login"]),
    (">", ["ui", "ui.login"], []),
    ("*", ["ui"], ["ui.login"]),
])
def test_scope_patterns(one, client, pattern, matching, others):
    client.subscribe(scope=pattern)
    wanted = []
    for scope in matching + others + matching:
        stored = one.emit(event(scope=scope))
        wanted += [stored["id"]] if scope in matching else []
    assert ids(client.drain()) == wanted


def test_types_and_agents_narrow_a_subscription(one, client):
    client.subscribe(scope="narrow.>", types=["reward", "penalty"], agents=["ada", "bob"])

    def emit(kind, agent, scope="narrow.x"):
        return one.emit({**event(kind, scope, {"value": 0.1, "pattern": "p"}), "agent_id": agent})["id"]

    wanted = [emit("reward", "ada"), emit("penalty", "bob")]
    emit("proposal", "ada"), emit("reward", "eve"), emit("reward", "ada", "wide.x")
    assert ids(client.drain()) == wanted


@pytest.mark.parametrize("filters, wanted", [({"types": ["test"]}, [1]), ({"agents": ["eve"]}, [0]), ({}, [0, 1])])
def test_each_part_of_a_filter_may_be_left_out(one, client, filters, wanted):
    client.subscribe(**filters)
    stored = [one.emit({**event("ready"), "agent_id": "eve"}), one.emit(event("test"))]
    assert ids(client.drain()) == [stored[n]["id"] for n in wanted]


def test_two_subscriptions_that_match_deliver_once(one, client):
    client.subscribe(scope="both.>")
    client.subscribe(scope="both.*")
    client.subscribe(types=["proposal"])
    stored = one.emit(event(scope="both.x"))
    other = one.emit(event("ready", scope="both.x.y"))
    one.emit(event("ready", scope="neither"))
    assert ids(client.drain()) == [stored["id"], other["id"]]


def test_unsubscribing_ends_one_subscription(one, client):
    client.subscribe(scope="a.>")
    client.subscribe(scope="b.>")
    client.unsubscribe(scope="a.>")
    one.emit(event(scope="a.x"))
    kept = one.emit(event(scope="b.x"))
    assert ids(client.drain()) == [kept["id"]]
    client.unsubscribe(scope="b.>")
    one.emit(event(scope="b.x"))
    assert client.drain() == []


def test_a_subscription_at_one_peer_sees_what_another_accepts(three):
    with Client(three[2]) as client:
        client.subscribe(scope="far.*")
        three[0].emit(event(scope="near.x"))
        stored = three[0].emit(event(scope="far.x"))
        assert client.next("event")["data"] == stored


@pytest.mark.parametrize("message, word", [
    ({"type": "subscribe", "filter": {"scope": ""}}, "scope"),
    ({"type": "subscribe", "filter": {"scope": 5}}, "scope"),
    ({"type": "subscribe", "filter": {"scope": "a.>.b"}}, "scope"),
    ({"type": "subscribe", "filter": {"types": ["rumour"]}}, "types"),
    ({"type": "subscribe", "filter": {"types": "reward"}}, "types"),
    ({"type": "subscribe", "filter": {"agents": [1]}}, "agents"),
    ({"type": "subscribe", "filter": []}, "filter"),
    ({"type": "dance"}, "dance"),
    ({"kind": "subscribe"}, "type"),
    ({"type": 7}, "type"),
    ([1, 2], "object"),
    ('{"type":"ping"', "JSON"),
])
def test_a_message_that_makes_no_sense_is_answered_and_the_connection_stays(one, client, message, word):
    client.send(message)
    error = client.next("error")
    assert word.lower() in error["message"].lower(), error
    client.drain()
    stored = one.emit(event())
    assert ids(client.drain()) == [stored["id"]], "a refused message changes nothing"


# Publishing


def test_publish_is_answered_with_the_id(one, client):
    sent = event(payload={"action": "über"})
    client.send({"type": "publish", "event": sent, "ref": "r-1"})
    published = client.next("published")
    assert published["ref"] == "r-1"
    stored = one.get(f"/api/events/{published['id']}").json()
    assert {key: stored[key] for key in sent} == sent and stored["origin"] == one.name


def test_a_published_event_reaches_subscribers_and_its_publisher_once(one, client):
    with Client(one) as other:
        other.drain()
        client.send({"type": "publish", "event": event(), "ref": "mine"})
        # The answer and the delivery are two streams: which comes first is not promised.
        mine = {message["type"]: message for message in (client.read(), client.read())}
        assert mine["published"]["id"] == mine["event"]["data"]["id"]
        assert client.until_pong() == []
        assert other.drain() == [mine["event"]["data"]]


def test_publish_with_a_known_id_is_idempotent(one, client):
    sent = event(id=str(uuid.uuid4()))
    for ref in ("first", "again"):
        client.send({"type": "publish", "event": sent, "ref": ref})
        published = client.next("published")
        assert (published["ref"], published["id"]) == (ref, sent["id"])
    client.send({"type": "publish", "event": {**sent, "agent_id": "eve"}, "ref": "other"})
    error = client.next("error")
    assert error["ref"] == "other" and sent["id"] in error["message"]


@pytest.mark.parametrize("bad, word", [
    ({**event(), "type": "rumour"}, "type"), ({**event(), "payload": []}, "payload"), (None, "object"), ("x", "object"),
])
def test_a_publish_that_is_refused_says_why_under_its_ref(client, bad, word):
    client.send({"type": "publish", "event": bad, "ref": "r-2"})
    error = client.next("error")
    assert error["ref"] == "r-2" and word in error["message"], error
    assert client.drain() == []


# Slow readers


def test_clients_that_never_read_delay_nobody(one):
    silent = [WebSocketWire(one.host, one.http, receive_buffer=4_096) for _ in range(5)]
    with Client(one) as reader:
        reader.drain()
        wanted = []
        for n in range(300):
            wanted.append(one.emit(event(payload={"action": "a", "n": n, "weight": "x" * 50_000}))["id"])
            assert reader.next("event")["data"]["id"] == wanted[-1]
        assert reader.drain() == []
    assert one.alive()
    for wire in silent:
        wire.socket.close()


# RFC 6455


def raw(node, **options) -> WebSocketWire:
    return WebSocketWire(node.host, node.http, **options)


PING_TEXT = b'{"type":"ping"}'


@pytest.mark.parametrize("code, frames", [
    (1002, [frame_bytes(TEXT, PING_TEXT, masked=False)]),
    (1002, [frame_bytes(TEXT, PING_TEXT, reserved=4)]),
    (1002, [frame_bytes(TEXT, PING_TEXT, reserved=2)]),
    (1002, [frame_bytes(TEXT, PING_TEXT, reserved=1)]),
    (1002, [frame_bytes(3, b"")]),
    (1002, [frame_bytes(11, b"")]),
    (1002, [frame_bytes(0, b"goes on from nothing")]),
    (1002, [frame_bytes(TEXT, b"{", final=False), frame_bytes(TEXT, PING_TEXT)]),
    (1002, [frame_bytes(PING, b"a", final=False)]),
    (1002, [frame_bytes(PING, b"x" * 126)]),
    (1002, [frame_bytes(CLOSE, b"x")]),
    (1002, [frame_bytes(CLOSE, (1005).to_bytes(2, "big"))]),
    (1002, [frame_bytes(CLOSE, (999).to_bytes(2, "big"))]),
    (1007, [frame_bytes(CLOSE, (1000).to_bytes(2, "big") + b"\xff")]),
    (1007, [frame_bytes(TEXT, b'{"type":"\xff"}')]),
    (1007, [frame_bytes(TEXT, b"\xed\xa0\x80")]),
    (1007, [frame_bytes(TEXT, b"\xc0\xaf")]),
    (1007, [frame_bytes(TEXT, b"\xe2\x82")]),
    (1007, [frame_bytes(TEXT, b"\xe2\x82", final=False), frame_bytes(0, b"(")]),
    (1009, [frame_bytes(TEXT, b"", length=64 << 20)]),
    (1009, [frame_bytes(TEXT, b"", length=(1 << 63) - 1)]),
    (1009, [frame_bytes(TEXT, b" " * 500_000, final=False)] + 4 * [frame_bytes(0, b" " * 500_000, final=False)]),
], ids=["unmasked", "rsv1", "rsv2", "rsv3", "opcode-3", "opcode-11", "continuation-alone", "text-inside-fragments",
        "fragmented-ping", "long-ping", "one-byte-close", "close-1005", "close-999", "close-reason-not-utf-8",
        "not-utf-8", "surrogate-in-utf-8", "overlong-utf-8", "utf-8-cut-short", "utf-8-broken-across-fragments",
        "64-MiB", "2^63-1", "fragments-beyond-the-limit"])
def test_what_the_rfc_forbids_closes_with_its_code(one, code, frames):
    with raw(one) as wire:
        for frame in frames:
            wire.send(frame)
        assert wire.closed_with() == code
        wire.frame(CLOSE, code.to_bytes(2, "big"))
        assert wire.ends()
    assert one.alive()


def test_a_length_with_its_highest_bit_set_is_refused(one):
    with raw(one) as wire:
        wire.send(bytes([0x81, 0x80 | 127]) + b"\xff" * 8 + b"mask")
        assert wire.closed_with() in (1002, 1009)
    assert one.alive()


def test_ping_is_answered_with_its_payload_also_between_fragments(one):
    with raw(one) as wire:
        wire.frame(PING, b"hello")
        assert wire.next_frame() == (PONG, b"hello")
        wire.frame(TEXT, PING_TEXT[:5], final=False).frame(PING, b"").frame(0, PING_TEXT[5:])
        assert wire.next_frame() == (PONG, b"")
        assert wire.next_frame() == (TEXT, b'{"type":"pong"}')


def test_a_character_may_be_cut_between_fragments(one):
    with raw(one) as wire:
        text = json.dumps({"type": "publish", "ref": "grün🌱", "event": event()}, ensure_ascii=False).encode()
        for n in range(len(text)):
            wire.frame(0 if n else TEXT, text[n : n + 1], final=n == len(text) - 1)
        while (message := json.loads(wire.next_frame()[1]))["type"] != "published":
            pass
        assert message["ref"] == "grün🌱"


def test_frames_may_come_byte_by_byte_or_many_at_once(one):
    with raw(one) as wire:
        for byte in frame_bytes(TEXT, PING_TEXT):
            wire.send(bytes([byte]))
        assert wire.next_frame() == (TEXT, b'{"type":"pong"}')
        wire.send(frame_bytes(TEXT, PING_TEXT) * 50)
        assert [wire.next_frame() for _ in range(50)] == [(TEXT, b'{"type":"pong"}')] * 50


@pytest.mark.parametrize("payload", [b"", (1000).to_bytes(2, "big") + b"bye", (4000).to_bytes(2, "big")])
def test_a_close_is_answered_and_the_connection_ends(one, payload):
    with raw(one) as wire:
        wire.frame(CLOSE, payload)
        opcode, answer = wire.next_frame()
        assert opcode == CLOSE and (not payload or answer[:2] in (payload[:2], b"\x03\xe8"))
        assert wire.ends()


def test_binary_messages_are_not_taken_for_text(one):
    with raw(one) as wire:
        wire.frame(BINARY, PING_TEXT)
        assert wire.closed_with() == 1003
    assert one.alive()


def test_a_client_that_vanishes_leaves_nothing_behind(one):
    for _ in range(20):
        raw(one).socket.close()
    with Client(one) as client:
        client.drain()
        stored = one.emit(event())
        assert ids(client.drain()) == [stored["id"]]


HANDSHAKE = ("Upgrade: websocket", "Connection: keep-alive, Upgrade")
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="


def shake(node, method, *headers):
    with Wire(node.host, node.http) as wire:
        wire.send(request(method, "/ws", headers=headers))
        return wire.answer()


def test_the_handshake_gives_the_proof_of_the_rfc(one):
    offer = "Sec-WebSocket-Extensions: permessage-deflate"
    reply = shake(one, "GET", *HANDSHAKE, KEY, "Sec-WebSocket-Version: 13", offer)
    assert reply.status == 101
    assert reply.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert "sec-websocket-extensions" not in reply.headers, "an extension that frames do not follow"


@pytest.mark.parametrize("status, headers", [
    (426, (*HANDSHAKE, KEY, "Sec-WebSocket-Version: 8")),
    (400, (*HANDSHAKE, "Sec-WebSocket-Version: 13")),
    (400, (*HANDSHAKE, "Sec-WebSocket-Key: c2hvcnQ=", "Sec-WebSocket-Version: 13")),
    (426, ()),
], ids=["another-version", "no-key", "short-key", "no-upgrade"])
def test_a_handshake_that_is_none_is_refused(one, status, headers):
    reply = shake(one, "GET", *headers)
    assert reply.status == status, reply
    assert reply.message
    if status == 426:
        assert reply.headers["sec-websocket-version"] == "13" and reply.headers["upgrade"] == "websocket"


def test_sessions_close_when_the_peer_is_gone(make_cluster):
    node = make_cluster(1).start()[0]
    wire = raw(node)
    node.kill()
    assert wire.ends()
    node.start()
    poll(lambda: node.is_ready(1), 10, "the peer is back")
