"""Events with cursors: Server-Sent Events at `GET /api/stream` and subscriptions on `/ws`, resumed at any node.

That something is *not* sent is shown without waiting: a last event that matches comes after whatever was owed before.
"""

import itertools
import json
import signal
import uuid
from pathlib import Path

import pytest

from cluster import poll
from rawsocket import CLOSE, TEXT, WebSocketWire, Wire, request
from readers import FORMS, Ended, EventStream, Socket, open_reader, post_all
from test_semp import event
from test_ws import Client

both_forms = pytest.mark.parametrize("form", FORMS)


def topic() -> str:
    """A topic of its own, so that tests on a shared cluster do not see each other."""
    return f"t.{uuid.uuid4()}"


def bus(on: str, kind: str = "note", source: str = "ada", **more) -> dict:
    return {"topic": on, "type": kind, "source": source, "data": {"n": 1}, **more}


def ids(events) -> list[str]:
    return [e["id"] for e in events]


def has(node, id: str) -> bool:
    return node.get(f"/api/events/{id}").status_code == 200


# What a browser gets


def test_a_stream_is_what_a_browser_expects(one):
    on = topic()
    with EventStream(one, {"topic": on}) as stream:
        assert stream.head.status == 200
        assert stream.head.headers["content-type"].split(";")[0] == "text/event-stream"
        assert stream.head.headers["cache-control"] in ("no-cache", "no-store")
        assert stream.head.headers["access-control-allow-origin"] == "*"
        assert stream.is_chunked and "content-length" not in stream.head.headers
        first = stream.block()
        assert first.startswith(":") and "\nid: " in first, "at once a comment, with where to resume from"
        stored = one.emit(bus(on, data={"text": "zwei\nZeilen 🌱", "empty": {}}))
        lines = stream.block().split("\n")
        assert [line.partition(": ")[0] for line in lines] == ["id", "event", "data"]
        assert lines[1] == "event: message" and json.loads(lines[2].partition(": ")[2]) == stored
        cursor = lines[0].partition(": ")[2]
        assert 0 < len(cursor) <= 64 and cursor.isascii() and cursor != first.rpartition("id: ")[2]


def test_head_says_what_get_would_and_the_connection_goes_on(one):
    with Wire(one.host, one.http) as wire:
        wire.send(request("HEAD", "/api/stream?topic=a"))
        reply = wire.answer(head=True)
        assert reply.status == 200 and reply.headers["content-type"].startswith("text/event-stream")
        wire.send(request("GET", "/health"))
        assert wire.answer().status == 200


def test_http_1_0_gets_the_same_without_chunks(one):
    on = topic()
    with EventStream(one, {"topic": on}, version="1.0") as stream:
        assert stream.head.status == 200 and not stream.is_chunked
        assert "transfer-encoding" not in stream.head.headers
        assert stream.read()["type"] == "cursor"
        stored = [one.emit(bus(on)) for _ in range(3)]
        assert [stream.event() for _ in stored] == stored


def test_a_page_of_another_origin_may_ask_with_its_last_event_id(one):
    with Wire(one.host, one.http) as wire:
        wire.send(request("OPTIONS", "/api/stream", headers=(
            "Origin: http://page.test", "Access-Control-Request-Method: GET",
            "Access-Control-Request-Headers: last-event-id")))
        reply = wire.answer()
        assert reply.status in (200, 204) and reply.headers["access-control-allow-origin"] == "*"
        allowed = reply.headers["access-control-allow-headers"].lower()
        assert "last-event-id" in allowed or "*" in allowed
        assert "GET" in reply.headers["access-control-allow-methods"]


@pytest.mark.parametrize("query, word", [
    ("scope=a&topic=b", "scope"), ("topic=a.%3E.b", "topic"), ("scope=a..b", "scope"), ("topic=", "topic"),
    ("types=rumour", "types"), ("agent=", "agent"), ("cursor=!!", "cursor"), ("cursor=zzzzzz%20", "cursor"),
    (f"topic={'x' * 1025}", "topic"), ("types=" + ",".join(f"t{n}" for n in range(65)) + "&topic=a", "types"),
    ("topic=%ff", "query"),
])
def test_what_makes_no_sense_is_refused_with_the_reason(one, query, word):
    reply = one.get(f"/api/stream?{query}", timeout=5)
    assert reply.status_code == 400, reply.text
    assert word in reply.json()["message"], reply.text
    assert reply.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("message, word", [
    ({"filter": {"topic": "a", "scope": "b"}}, "scope"), ({"filter": {"topic": "a..b"}}, "topic"),
    ({"filter": {"topic": 7}}, "topic"), ({"filter": {"topic": "a", "types": []}}, "types"),
    ({"filter": None}, "filter"), ({"filters": {}}, "filters"), ({"filters": []}, "filters"),
    ({"filters": [{"topic": "a"}] * 65}, "filters"), ({"cursor": "!!"}, "cursor"), ({"cursor": 5}, "cursor"),
    ({"signals": True, "filter": {"topic": "a"}}, "filter"), ({"signals": "yes"}, "signals"),
])
def test_a_subscription_that_makes_no_sense_is_answered_with_the_reason(one, message, word):
    with Client(one) as client:
        client.send({"type": "subscribe", "ref": 1, **message})
        error = client.next("error")
        assert error["ref"] == 1 and word in error["message"], error
        client.drain()
        stored = one.emit(event())
        assert ids(client.drain()) == [stored["id"]], "a refused message changes nothing"


def test_a_cursor_is_for_the_whole_connection(one):
    with Socket(one, {"topic": topic()}) as socket:
        socket.send({"type": "subscribe", "filter": {"topic": topic()}, "cursor": socket.cursor, "ref": "late"})
        assert "filters" in socket.next("error")["message"]


# Which events


@both_forms
@pytest.mark.parametrize("pattern, matching, others", [
    ("{}.>", ["{}.a", "{}.a.b.c"], ["{}", "{}x.a", "x.{}.a"]),
    ("{}.*", ["{}.a"], ["{}", "{}.a.b"]),
    ("{}.*.done", ["{}.a.done", "{}.ü 🌱.done"], ["{}.done", "{}.a.b.done", "{}.a.done.x"]),
    ("{}", ["{}"], ["{}.a", "a.{}"]),
    ("*.{}", ["a.{}"], ["{}", "a.b.{}", "a.{}.b"]),
])
def test_topic_patterns(one, form, pattern, matching, others):
    own = str(uuid.uuid4())
    with open_reader(form, one, {"topic": pattern.format(own)}) as reader:
        wanted = []
        for name in matching + others + matching:
            stored = one.emit(bus(name.format(own)))
            wanted += [stored["id"]] if name in matching else []
            # The same words as a scope are another surface.
            one.emit(event(scope=name.format(own)))
        assert reader.through(wanted[-1]) == wanted


@both_forms
def test_types_and_agents_narrow(one, form):
    on, scope = topic(), f"s.{uuid.uuid4()}"
    with open_reader(form, one, {"topic": on, "types": ["done", "failed"], "agents": ["ada", "bob é"]}) as reader:
        wanted = [one.emit(bus(on, "done", "ada"))["id"], one.emit(bus(on, "failed", "bob é"))["id"]]
        one.emit(bus(on, "begun", "ada")), one.emit(bus(on, "done", "eve")), one.emit(bus(topic(), "done", "ada"))
        wanted.append(one.emit(bus(on, "done", "bob é"))["id"])
        assert reader.through(wanted[-1]) == wanted
    with open_reader(form, one, {"scope": scope, "types": ["reward"], "agents": ["eve"]}) as reader:
        def emit(kind, agent):
            return one.emit({**event(kind, scope, {"value": 0.1, "pattern": "p", "status": "x"}), "agent_id": agent})
        first = emit("reward", "eve")
        emit("reward", "ada"), emit("penalty", "eve")
        last = emit("reward", "eve")
        assert reader.through(last["id"]) == [first["id"], last["id"]]


def test_several_filters_on_both_surfaces_deliver_each_event_once(three):
    on, scope = topic(), f"s.{uuid.uuid4()}"
    with Client(three[1]) as client:
        filters = [{"topic": f"{on}.>"}, {"topic": f"{on}.*"}, {"scope": scope}, {"topic": on, "agents": ["ada"]}]
        client.send({"type": "subscribe", "filters": filters, "cursor": True, "ref": "all"})
        assert client.next("subscribed")["cursor"]
        wanted = []
        for node in three:
            for sent in (bus(f"{on}.x"), event(scope=scope), bus(on), bus(on, source="eve"), bus(f"{on}.x.y")):
                stored = node.emit(sent)
                wanted += [] if sent.get("source") == "eve" else [stored["id"]]
        got = [client.next("event") for _ in wanted]
        assert sorted(message["data"]["id"] for message in got) == sorted(wanted)
        assert all(message["cursor"] for message in got)
        assert client.drain() == []


def test_the_bus_is_not_on_semps_surface(three):
    on, scope = topic(), f"s.{uuid.uuid4()}"
    with Client(three[1]) as plain, EventStream(three[2]) as stream:
        plain.drain()
        stored = three[0].emit(bus(on, correlation_id="c-1", response_event="r", response_topic="r.t", mood=[1]))
        poll(lambda: all(has(node, stored["id"]) for node in three), 10, "the bus event is everywhere")
        last = three[0].emit(event(scope=scope))
        assert plain.next("event")["data"] == last and stream.event() == last
    for node in three:
        assert node.get(f"/api/events/{stored['id']}").json() == stored
        assert node.get(f"/api/events/topic/{on}").json() == [stored]
        poll(lambda: node.get("/api/events?limit=1").json() == [last], 10, "the newest SEMP event is the newest listed")
        assert node.get(f"/api/events/scope/{on}").json() == []
        assert node.get(f"/api/events/topic/{scope}").json() == []
    sent = {"topic", "type", "source", "data", "correlation_id", "response_event", "response_topic", "mood"}
    assert stored.keys() == sent | {"id", "timestamp", "origin", "replica", "seq", "stamp"}


# Resuming


@both_forms
@pytest.mark.parametrize("surface", ["topic", "scope"])
def test_a_reader_that_hops_misses_nothing_and_gets_nothing_twice(three, form, surface):
    """At each hop the next node may be behind what the reader has seen, or ahead of it."""
    own = f"h.{uuid.uuid4()}"
    make = (lambda n: bus(own, data={"n": n})) if surface == "topic" else (lambda n: event(scope=own, payload={
        "action": "a", "n": n}))
    reader, got, sent = open_reader(form, three[0], {surface: own}), [], []
    for hop in range(1, 25):
        for n in range(8):
            sent.append(three[(hop + n) % 3].emit(make(n))["id"])
        # Sometimes all that is owed so far, sometimes some of it, sometimes nothing.
        for _ in range((len(sent) - len(got)) * (hop % 3) // 2):
            got.append(reader.event()["id"])
        reader.close()
        sent.append(three[hop % 2].emit(make(-1))["id"])
        reader = open_reader(form, three[hop % 3], {surface: own}, cursor=reader.cursor)
        assert reader.next("resumed") == {"type": "resumed", "recovered": True, "gaps": []}
    with reader:
        got += [reader.event()["id"] for _ in range(len(sent) - len(got))]
        last = three[2].emit(make(0))["id"]
        assert reader.through(last) == [last]
    assert sorted(got) == sorted(sent)


@both_forms
def test_earliest_is_all_that_is_kept_then_what_comes(three, form):
    on = topic()
    stored = [three[n % 3].emit(bus(on, data={"n": n})) for n in range(30)]
    poll(lambda: all(has(three[1], e["id"]) for e in stored), 10, "n2 has all of them")
    with open_reader(form, three[1], {"topic": on}, cursor="earliest") as reader:
        assert reader.next("resumed")["recovered"] is True
        got = [reader.event() for _ in stored]
        assert sorted(ids(got)) == sorted(ids(stored))
        last = three[0].emit(bus(on))
        assert reader.through(last["id"]) == [last["id"]]


def test_without_a_cursor_a_stream_begins_now(one):
    on = topic()
    one.emit(bus(on))
    for cursor in (None, ""):
        with EventStream(one, {"topic": on}, cursor) as stream:
            last = one.emit(bus(on))
            assert stream.through(last["id"]) == [last["id"]]


def test_the_last_event_id_counts_more_than_the_cursor_of_the_address(one):
    on = topic()
    with EventStream(one, {"topic": on}) as stream:
        start = stream.read()["cursor"]
        sent = [one.emit(bus(on))["id"] for _ in range(4)]
        stream.event(), stream.event()
        seen = stream.cursor
    with EventStream(one, {"topic": on}, start, last_event_id=seen) as stream:
        stream.next("resumed")
        assert stream.through(sent[-1]) == sent[2:]
    with EventStream(one, {"topic": on}, start, last_event_id="") as stream:
        stream.next("resumed")
        assert stream.through(sent[-1]) == sent
    assert one.get(f"/api/stream?topic={on}", headers={"Last-Event-ID": "?"}).status_code == 400


@both_forms
def test_the_same_id_posted_again_elsewhere_is_shown_once(three, form):
    on = topic()
    for _ in range(5):
        sent = bus(on, id=str(uuid.uuid4()))
        with open_reader(form, three[0], {"topic": on}) as reader:
            three[0].emit(sent)
            assert reader.event()["id"] == sent["id"]
        poll(lambda: has(three[1], sent["id"]), 10, "n2 has it")
        three[1].emit(sent, expected=200)
        with open_reader(form, three[1], {"topic": on}, cursor=reader.cursor) as reader:
            reader.next("resumed")
            last = three[2].emit(bus(on))["id"]
            assert reader.through(last) == [last]


# What is no longer kept


@both_forms
def test_a_reader_is_told_what_was_dropped_meanwhile(make_cluster, form):
    cluster = make_cluster(2, extra=("--log-events", "1000")).start()
    on = topic()
    with open_reader(form, cluster[0], {"topic": on}) as reader:
        seen = cluster[0].emit(bus(on))
        assert reader.event() == seen
    sent = post_all(cluster[0], [bus(on, data={"n": n}) for n in range(3_000)])
    poll(lambda: has(cluster[1], sent[-1]["id"]), 20, "n2 has the last one")
    for node in (cluster[1], cluster[0]):
        with open_reader(form, node, {"topic": on}, cursor=reader.cursor) as resumed:
            told = resumed.next("resumed")
            assert told["recovered"] is False
            [gap] = [gap for gap in told["gaps"] if gap["replica"] == seen["replica"]]
            assert seen["seq"] < gap["from"] <= gap["to"]
            got = resumed.through(sent[-1]["id"])
        # What it names and what it sends is all that there was.
        assert got == ids(sent[-len(got):])
        dropped = sent[:-len(got)]
        assert gap["from"] <= dropped[0]["seq"] and gap["to"] == dropped[-1]["seq"]
        assert 500 <= len(got) <= 1_100
    with open_reader(form, cluster[1], {"topic": on}, cursor="earliest") as all_of_it:
        assert all_of_it.next("resumed")["recovered"] is True, "who asks for all that is kept misses nothing"
        assert all_of_it.through(sent[-1]["id"])[-500:] == ids(sent[-500:])
    with open_reader(form, cluster[0], {"topic": on}, cursor=resumed.cursor) as again:
        assert again.next("resumed") == {"type": "resumed", "recovered": True, "gaps": []}


def test_a_quiet_stream_is_told_how_far_it_has_come(three):
    """A filter that nothing matches does not fall behind what is kept: its cursor goes on."""
    quiet = {"topic": topic()}
    with EventStream(three[0], quiet) as stream, Socket(three[1], quiet) as socket:
        before = stream.read()["cursor"], socket.cursor
        other = three[2].emit(event())
        poll(lambda: all(has(node, other["id"]) for node in three), 10, "it is everywhere")
        after = stream.next("cursor", past=("comment",))["cursor"], socket.next("cursor")["cursor"]
        assert after[0] != before[0] and after[1] != before[1]
    for node, cursor in itertools.product(three, after):
        with EventStream(node, {"scope": other["scope"]}, cursor) as stream:
            stream.next("resumed")
            last = node.emit(event(scope=other["scope"]))["id"]
            assert other["id"] not in stream.through(last), "what came before the cursor counts as read"


# Slow readers

BIG = "x" * 60_000


def resident_bytes(node) -> int:
    return int(Path(f"/proc/{node.pid}/statm").read_text().split()[1]) * 4_096


def stalled(form: str, node, on: str):
    """A client that has asked and then reads nothing, with a small window."""
    if form == "stream":
        stream = EventStream(node, {"topic": on}, receive_buffer=4_096)
        assert stream.read()["type"] == "cursor"
        return stream
    wire = WebSocketWire(node.host, node.http, receive_buffer=4_096, seconds=30)
    wire.text({"type": "subscribe", "filter": {"topic": on}, "cursor": True, "ref": "r"})
    while json.loads(wire.next_frame()[1]).get("ref") != "r":
        pass
    return wire


def read_to_the_end(form: str, client) -> tuple[list[str], str | None, dict]:
    """What a client that was too slow still gets: ids, the last cursor, and the last whole message.

    A client that reads again soon is told, and the WebSocket closed with 1013; one that does not is cut off after a
    while, in the middle of a message.
    """
    found, cursor, message = [], None, {}
    while True:
        try:
            if form == "stream":
                message = client.read()
            else:
                opcode, payload = client.next_frame()
                if opcode == CLOSE:
                    assert int.from_bytes(payload[:2], "big") == 1013, payload
                    return found, cursor, message
                assert opcode == TEXT
                message = json.loads(payload)
        except (Ended, AssertionError) as end:
            assert isinstance(end, Ended) or "the stream ended" in str(end), end
            return found, cursor, message
        if message["type"] == "event":
            found.append(message["data"]["id"])
        cursor = message.get("cursor") or cursor


@both_forms
def test_readers_that_stop_reading_are_cut_off_delay_nobody_and_resume_without_loss(three, form):
    """Twenty that read nothing cost no more memory than one."""
    on = topic()
    fast = open_reader(form, three[0], {"topic": on})
    slow = [stalled(form, three[0], on) for _ in range(20)]
    before, dropped = resident_bytes(three[0]), three[0].metric("hypha_subscriber_dropped_total")
    sent = []
    with fast:
        for first in range(0, 400, 10):
            sent += ids(post_all(three[0], [bus(on, data={"n": first + n, "weight": BIG}) for n in range(10)]))
            assert fast.through(sent[-1]) == sent[-10:]
    stored = 400 * len(BIG)
    grown = resident_bytes(three[0]) - before
    # Kept once in the log and, up to the budget of 8 MiB, once for all of the channel.
    assert grown < stored + (64 << 20), f"{grown >> 20} MiB for {stored >> 20} MiB of events and 20 stalled readers"
    assert three[0].metric("hypha_subscriber_dropped_total") == dropped + 20
    for number, client in enumerate(slow):
        got, cursor, _ = read_to_the_end(form, client)
        client.socket.close()
        assert got == sent[:len(got)] and 0 < len(got) < len(sent)
        if number % 5 == 0:
            with open_reader(form, three[1 + number // 5 % 2], {"topic": on}, cursor=cursor) as resumed:
                assert resumed.next("resumed")["recovered"] is True
                assert resumed.through(sent[-1]) == sent[len(got):], "goes on where it was cut"
    assert three[0].alive()


@both_forms
def test_a_reader_that_was_too_slow_is_told_from_where_to_go_on(three, form):
    on, sent = topic(), []
    for _ in range(5):
        client = stalled(form, three[0], on)
        dropped = three[0].metric("hypha_subscriber_dropped_total")
        sent.clear()
        while three[0].metric("hypha_subscriber_dropped_total") == dropped:
            assert len(sent) < 1_000, "60 MB were not too much"
            sent += ids(post_all(three[0], [bus(on, data={"weight": BIG}) for _ in range(10)]))
        got, cursor, last = read_to_the_end(form, client)
        client.socket.close()
        # On a machine that stands still for two seconds the client is cut off before it reads.
        if last["type"] == "overrun":
            break
    assert last["type"] == "overrun" and last["cursor"] == cursor and "too slow" in last["message"], last
    assert got == sent[:len(got)]
    with open_reader(form, three[2], {"topic": on}, cursor=cursor) as resumed:
        assert resumed.next("resumed")["recovered"] is True
        assert resumed.through(sent[-1]) == sent[len(got):]


@both_forms
def test_a_slow_reader_that_resumes_far_behind_is_given_all_of_it_in_steps(three, form):
    """A resume is longer than any budget, and the reader slow: it is sent as much as it takes."""
    on = topic()
    with open_reader(form, three[0], {"topic": on}) as reader:
        start = reader.cursor
    sent = ids(post_all(three[0], [bus(on, data={"n": n, "weight": BIG}) for n in range(300)], at_once=10))
    poll(lambda: has(three[1], sent[-1]), 10, "n2 has all of it")
    before = resident_bytes(three[1])
    readers = [open_reader(form, three[1], {"topic": on}, cursor=start) for _ in range(10)]
    poll(lambda: three[1].alive(), 10, "n2 answers")
    assert resident_bytes(three[1]) - before < (10 * 4 << 20), "each is sent some hundred KiB at a time"
    for reader in readers:
        with reader:
            reader.next("resumed")
            assert reader.through(sent[-1]) == sent


def test_signals_are_told_on_change_and_conflated_for_a_slow_reader(three):
    """A client that does not read gets fewer steps, and at the end each signal as it is."""
    scope = f"s.{uuid.uuid4()}"
    with Client(three[1]) as quick:
        quick.send({"type": "unsubscribe"})
        quick.send({"type": "subscribe", "signals": True, "filter": {"scope": scope}, "ref": "r"})
        quick.next("subscribed")
        three[0].emit(event(scope=f"{scope}x"))
        three[0].emit(event(scope=scope))
        told = quick.next("signal")["data"]
        assert (told["scope"], told["pattern"], told["strength"]) == (scope, "build", 0.3)
        assert told == three[1].get(f"/api/signals?scope={scope}").json()[0]

        slow = WebSocketWire(three[0].host, three[0].http, receive_buffer=4_096, seconds=30)
        slow.text({"type": "unsubscribe"})
        slow.text({"type": "subscribe", "signals": True, "filter": {"scope": scope}, "ref": "r"})
        while json.loads(slow.next_frame()[1]).get("ref") != "r":
            pass
        patterns = [f"{n:02d}-{'p' * 900}" for n in range(10)]
        for pattern in patterns:
            three[0].emit(event(scope=scope, payload={"action": pattern}))
        post_all(three[0], [
            event("reward", scope, {"value": (step % 7 + 1) / 10_000, "pattern": patterns[step % 10]})
            for step in range(8_000)], at_once=20)
    wanted = {signal["pattern"]: signal["last_updated"]
              for signal in three[0].get(f"/api/signals?scope={scope}").json() if signal["pattern"] in patterns}
    last, frames, steps = {}, 0, {}
    while last != wanted:
        message = json.loads(slow.next_frame()[1])
        if message["type"] == "signal" and message["data"]["pattern"] in patterns:
            frames += 1
            signal = message["data"]
            steps.setdefault(signal["pattern"], []).append(signal["last_updated"])
            last[signal["pattern"]] = signal["last_updated"]
    assert all(moments == sorted(moments) for moments in steps.values()), "an old value after a new one"
    assert frames < 6_000, f"{frames} frames for 8,000 changes to a client that read nothing"
    slow.text({"type": "ping"})
    # Behind the last one comes nothing older.
    while (message := json.loads(slow.next_frame()[1]))["type"] != "pong":
        assert message["type"] != "signal" or message["data"]["last_updated"] == wanted[message["data"]["pattern"]]
    slow.socket.close()


# Leaving


@both_forms
@pytest.mark.parametrize("durable", [False, True], ids=["memory", "durable"])
def test_a_node_that_leaves_says_where_to_go_on(make_cluster, form, durable):
    cluster = make_cluster(3, durable=durable).start()
    on = topic()
    poll(lambda: cluster[1].post("/api/events", bus(topic())).status_code == 201, 10, "n2 takes writes")
    with open_reader(form, cluster[1], {"topic": on}) as reader:
        sent = [cluster[1].emit(bus(on))["id"]]
        assert reader.event()["id"] == sent[0]
        cluster[1].child.send_signal(signal.SIGTERM)
        told = reader.next("drain")
        assert sorted(told["nodes"]) == sorted(cluster.url(n) for n in (0, 2)), told
        with pytest.raises(Ended) as ended:
            while reader.read()["type"] != "event":
                pass
        assert ended.value.code == (1001 if form == "socket" else None)
    assert cluster[1].child.wait(10) == 0
    sent += [cluster[2].emit(bus(on))["id"] for _ in range(3)]
    node = next(node for node in cluster if node.url == told["nodes"][0])
    with open_reader(form, node, {"topic": on}, cursor=told["cursor"]) as resumed:
        assert resumed.next("resumed")["recovered"] is True
        assert resumed.through(sent[-1]) == sent[1:]


def test_a_node_that_leaves_under_load_loses_nobody(make_cluster):
    """Readers of a node that leaves while events come go on at the nodes that it named, with the cursor that it gave."""
    cluster = make_cluster(3, durable=True).start()
    on = topic()
    poll(lambda: cluster[0].post("/api/events", bus(topic())).status_code == 201, 10, "n1 takes writes")
    readers = [open_reader(FORMS[n % 2], cluster[0], {"topic": on}) for n in range(10)]
    sent, got = [], [[] for _ in readers]
    for n in range(300):
        node = cluster[n % 3] if n < 150 else cluster[1 + n % 2]
        if n == 150:
            cluster[0].child.send_signal(signal.SIGTERM)
        sent.append(node.emit(bus(on, data={"n": n}))["id"])
    for reader, found in zip(readers, got):
        drained = None
        with reader:
            while drained is None:
                message = reader.read()
                if message["type"] == "event":
                    found.append(message["data"]["id"])
                drained = message if message["type"] == "drain" else None
        node = next(node for node in cluster if node.url == drained["nodes"][-1])
        with open_reader("stream", node, {"topic": on}, cursor=drained["cursor"]) as resumed:
            resumed.next("resumed")
            found += [resumed.event()["id"] for _ in range(len(sent) - len(found))]
            last = node.emit(bus(on))["id"]
            sent_after = resumed.through(last)
        assert sorted(found) == sorted(sent), f"{len(set(sent) - set(found))} missing, {len(found) - len(set(found))} twice"
        assert sent_after[-1] == last
        sent.append(last)
        found.append(last)
    assert cluster[0].child.wait(10) == 0
