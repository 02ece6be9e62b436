"""The base API, as a SEMP client and a curious one see it."""

import json
import re
import time
import uuid
from datetime import datetime, timezone
from urllib.parse import quote

import pytest

import oracle
from cluster import poll
from rawsocket import Wire, request

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
STAMP = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")


def event(kind="proposal", scope=None, payload=None, **more) -> dict:
    """An event in a scope of its own, so that tests on a shared cluster do not see each other."""
    scope = scope or f"test.{uuid.uuid4()}"
    payload = {"action": "build"} if payload is None else payload
    return {"type": kind, "scope": scope, "trace_id": f"trace-{uuid.uuid4()}", "agent_id": "ada", "payload": payload,
            **more}


def in_scope(node, scope, query="") -> list[dict]:
    reply = node.get(f"/api/events/scope/{quote(scope, safe='')}{query}")
    assert reply.status_code == 200, reply.text
    return reply.json()


# Events


def test_a_post_is_answered_with_the_whole_event(three):
    sent = event()
    before = time.time()
    reply = three[0].post("/api/events", sent)
    assert reply.status_code == 201, reply.text
    assert reply.headers["Content-Type"].split(";")[0] == "application/json"
    assert int(reply.headers["Content-Length"]) == len(reply.content)
    stored = reply.json()
    assert {key: stored[key] for key in sent} == sent
    assert UUID.fullmatch(stored["id"])
    assert MOMENT.fullmatch(stored["timestamp"])
    moment = datetime.strptime(stored["timestamp"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()
    assert before - 1 <= moment <= time.time() + 1
    assert stored["parent_ids"] == []
    assert re.fullmatch(r"[0-9a-f]{16}", stored["replica"])
    assert type(stored["seq"]) is int and stored["seq"] > 0
    assert stored["origin"] == three[0].name
    assert STAMP.fullmatch(stored["stamp"]) and stored["stamp"].endswith(stored["replica"])
    assert oracle.iso(oracle.stamp_ms(stored)) == stored["timestamp"]
    assert stored["signals"] == ["build"]
    assert three[0].get(f"/api/events/{stored['id']}").json() == stored


@pytest.mark.parametrize("kind, payload, signals", [
    ("proposal", {"action": "a", "params": {"x": [1, 2]}, "estimated_effort": 3, "priority": "high"}, ["a"]),
    ("ready", {"status": "complete", "result": None, "next_action": "deploy"}, []),
    ("test", {"status": "passed", "suite": "unit", "coverage": 0.875, "failures": []}, []),
    ("test", {"status": "passed", "pattern": "p", "action": "a"}, ["p"]),
    ("reward", {"value": 0.25, "α": 1.5, "pattern": "p", "reason": "gut gemacht ✓"}, ["p"]),
    ("penalty", {"value": -0.5, "pattern": "p", "reason": "broke it"}, ["p"]),
])
def test_all_five_types_keep_their_payload_exactly(three, kind, payload, signals):
    stored = three[0].emit(event(kind, payload=payload))
    assert stored["payload"] == payload
    assert stored["signals"] == signals
    assert three[0].get(f"/api/events/{stored['id']}").json() == stored


def test_unknown_fields_are_kept_and_ours_are_replaced(three):
    sent = event(payload={"action": "build", "custom": {"deep": [True, None, 1.5, "é"]}}, mood="curious",
                 nested={"list": [1, {"two": 2}]})
    forged = {"replica": "0" * 16, "seq": 999_999, "origin": "nobody", "stamp": "f" * 16 + "-" + "f" * 16,
              "signals": ["stolen"]}
    stored = three[0].emit({**sent, **forged})
    assert {key: stored[key] for key in sent} == sent
    for name, value in forged.items():
        assert stored[name] != value, f"a client's {name} was taken over"
    assert stored["signals"] == ["build"]
    assert three[0].get(f"/api/events/{stored['id']}").json() == stored


def test_the_same_id_again_is_answered_with_the_event_as_first_stored(three):
    sent = event(id=str(uuid.uuid4()))
    stored = three[0].emit(sent)
    assert stored["id"] == sent["id"]
    assert three[0].emit(sent, expected=200) == stored
    assert len(in_scope(three[0], sent["scope"])) == 1


def test_blanks_escapes_and_the_order_of_fields_make_no_other_body(three):
    sent = event(id=str(uuid.uuid4()), payload={"action": "grün", "x": [1, 2]})
    stored = three[0].emit(sent)
    turned = json.dumps({key: sent[key] for key in reversed(sent)}, indent=2, ensure_ascii=False).encode()
    reply = three[0].request("POST", "/api/events", data=turned, headers={"Content-Type": "application/json"})
    assert reply.status_code == 200 and reply.json() == stored, reply.text


def test_another_body_under_a_known_id_is_a_conflict(three):
    sent = event(id=str(uuid.uuid4()))
    stored = three[0].emit(sent)
    reply = three[0].post("/api/events", {**sent, "payload": {"action": "destroy"}})
    assert reply.status_code == 409, reply.text
    assert sent["id"] in reply.json()["message"]
    assert three[0].get(f"/api/events/{sent['id']}").json() == stored


def test_the_same_id_at_another_peer_is_known_there(three):
    sent = event(id=str(uuid.uuid4()))
    stored = three[0].emit(sent)
    for other in (three[1], three[2]):
        poll(lambda: other.get(f"/api/events/{sent['id']}").status_code == 200, 5, f"{other.name} has the event")
        assert other.emit(sent, expected=200) == stored
        assert other.post("/api/events", {**sent, "agent_id": "eve"}).status_code == 409


def test_what_one_peer_accepted_all_can_read(three):
    stored = [node.emit(event(scope="read.everywhere")) for node in three]
    for node in three:
        for one_event in stored:
            found = poll(lambda: node.get(f"/api/events/{one_event['id']}").status_code == 200
                         and node.get(f"/api/events/{one_event['id']}").json(), 5, f"{node.name} has the event")
            assert found == one_event
        assert [e["id"] for e in in_scope(node, "read.everywhere")] == [
            e["id"] for e in sorted(stored, key=lambda e: e["stamp"], reverse=True)]


def test_lists_are_newest_first_and_page(one):
    stored = [one.emit(event(scope="pages", payload={"action": "a", "n": n})) for n in range(25)]
    newest_first = [e["id"] for e in reversed(stored)]
    assert [e["id"] for e in one.get("/api/events?limit=25").json()] == newest_first
    assert [e["id"] for e in one.get("/api/events?limit=10").json()] == newest_first[:10]
    assert [e["id"] for e in one.get(f"/api/events?limit=10&before={newest_first[9]}").json()] == newest_first[10:20]
    assert [e["id"] for e in in_scope(one, "pages", f"?limit=3&before={newest_first[0]}")] == newest_first[1:4]
    trace = stored[3]["trace_id"]
    assert [e["id"] for e in one.get(f"/api/events/trace/{trace}").json()] == [stored[3]["id"]]
    assert one.get(f"/api/events?limit=1000&before={one.events()[-1]['id']}").json() == []


def test_before_takes_a_time(one):
    stored = [one.emit(event(scope="times"))]
    poll(lambda: time.time() * 1_000 > oracle.stamp_ms(stored[0]) + 5, 5, "the clock goes on", every=0.001)
    stored.append(one.emit(event(scope="times")))
    assert stored[0]["timestamp"] < stored[1]["timestamp"]
    older = in_scope(one, "times", f"?before={stored[1]['timestamp']}")
    assert [e["id"] for e in older] == [stored[0]["id"]]


def test_the_default_page_holds_100(one):
    for n in range(101):
        one.emit(event(scope="hundred", payload={"action": "a", "n": n}))
    assert len(one.get("/api/events").json()) == 100
    assert [e["payload"]["n"] for e in one.get("/api/events").json()] == list(range(100, 0, -1))
    assert [e["payload"]["n"] for e in in_scope(one, "hundred")] == list(range(100, -1, -1)), "a scope is listed whole"


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=ten", "limit=1e3", "limit=99999999999999999999",
                                   "before=neither-id-nor-time"])
def test_a_page_that_makes_no_sense_is_refused(one, query):
    reply = one.get(f"/api/events?{query}")
    assert reply.status_code == 400, reply.text
    assert query.split("=")[0] in reply.json()["message"]


@pytest.mark.parametrize("missing", [str(uuid.UUID(int=7)), "not-a-uuid", "%20"])
def test_an_unknown_event_is_not_found(one, missing):
    reply = one.get(f"/api/events/{missing}")
    assert reply.status_code == 404, reply.text
    assert reply.json()["message"]


NAMES = ["ui/login", "a:b:c", "with space", "größe/日本", "100%", "a+b", "q?x=1&y=2#z", "🌱"]


@pytest.mark.parametrize("name", NAMES)
def test_scopes_and_traces_may_hold_any_character(one, name):
    scope, trace = f"{name}.{uuid.uuid4()}", f"{name}-{uuid.uuid4()}"
    stored = one.emit(event(scope=scope, payload={"action": name}, trace_id=trace))
    assert in_scope(one, scope) == [stored]
    assert one.get(f"/api/events/trace/{quote(trace, safe='')}").json() == [stored]
    reply = one.get(f"/api/signals/{quote(scope, safe='')}/{quote(name, safe='')}")
    assert reply.status_code == 200, reply.text
    assert (reply.json()["scope"], reply.json()["pattern"]) == (scope, name)
    assert [s["pattern"] for s in one.get("/api/signals", params={"scope": scope}).json()] == [name]


# Signals


def signal(node, scope, pattern, at=None):
    reply = node.get(f"/api/signals/{scope}/{pattern}" + (f"?at={at}" if at else ""))
    return reply.json() if reply.status_code == 200 else None


def test_a_signal_has_all_its_fields(one):
    stored = one.emit(event())
    found = signal(one, stored["scope"], "build", at=oracle.stamp_ms(stored))
    assert found.keys() >= {"id", "scope", "pattern", "strength", "last_updated", "alpha", "lambda"}
    assert (found["scope"], found["pattern"], found["strength"]) == (stored["scope"], "build", 0.3)
    assert (found["alpha"], found["lambda"], found["last_updated"]) == (1.2, 0.95, stored["timestamp"])


def test_rewards_and_penalties_follow_the_formulas_to_the_last_digit(one):
    scope = f"formulas.{uuid.uuid4()}"
    steps = [
        ("penalty", {"value": 0.1, "pattern": "p"}), ("reward", {"value": 0.07, "pattern": "p"}),
        ("reward", {"value": 0.1, "α": 1.7, "pattern": "p"}), ("penalty", {"value": -0.033, "pattern": "p"}),
        ("reward", {"value": 0.3, "alpha": 0.9, "pattern": "p"}), ("ready", {"status": "ok", "pattern": "p"}),
        ("reward", {"value": 5, "pattern": "p"}), ("penalty", {"value": 0.995, "pattern": "p"}),
        ("test", {"status": "ok", "pattern": "p"}),
    ]
    stored = []
    for kind, payload in steps:
        stored.append(one.emit(event(kind, scope, payload)))
        at = oracle.stamp_ms(stored[-1])
        answer = one.get("/api/signals", params={"scope": scope, "at": at})
        assert answer.status_code == 200, answer.text
        oracle.check(answer.json(), stored, at)


def test_a_signal_decays_per_tick_and_vanishes(one):
    stored = one.emit(event())
    start = oracle.stamp_ms(stored)
    present = 0
    for minutes in range(0, 90):
        at = start + minutes * 60_000
        expected = oracle.signals([stored], at).get((stored["scope"], "build"))
        found = signal(one, stored["scope"], "build", at)
        assert (found and found["strength"]) == (expected and expected[0]), f"after {minutes} minutes"
        present += found is not None
    assert 60 < present < 70, "0.3 × 0.95ⁿ falls below 0.01 after 67 ticks"


def test_at_reads_at_that_moment_and_the_answer_says_so(three):
    stored = three[0].emit(event())
    at = oracle.stamp_ms(stored) + 10 * 60_000
    poll(lambda: three[2].get(f"/api/events/{stored['id']}").status_code == 200, 5, "the event is everywhere")
    query = {"at": at, "scope": stored["scope"]}
    first, other = (node.get("/api/signals", params=query) for node in (three[0], three[2]))
    assert first.headers["Hypha-Tick"] == str(at)
    assert first.content == other.content
    assert first.json()[0]["strength"] == oracle.decayed(0.3, at // 60_000 - oracle.stamp_ms(stored) // 60_000)
    now = three[0].get("/api/signals")
    assert abs(int(now.headers["Hypha-Tick"]) - time.time() * 1_000) < 5_000
    single = three[0].get(f"/api/signals/{stored['scope']}/build?at={at}")
    assert single.headers["Hypha-Tick"] == str(at)
    assert single.json() == first.json()[0]


def test_signals_can_be_filtered(one):
    scope = f"filters.{uuid.uuid4()}"
    for pattern, value in (("weak", 0.1), ("middle", 0.4), ("strong", 0.7)):
        one.emit(event("reward", scope, {"value": value, "pattern": pattern}))

    def patterns(**query):
        reply = one.get("/api/signals", params=query)
        assert reply.status_code == 200, reply.text
        return sorted(s["pattern"] for s in reply.json() if s["scope"] == scope)

    assert patterns() == ["middle", "strong", "weak"]
    assert patterns(scope=scope, min_strength=0.4) == ["middle", "strong"]
    assert patterns(scope=scope, pattern="weak") == ["weak"]
    assert patterns(pattern="strong") == ["strong"]
    assert patterns(scope=scope, pattern="weak", min_strength=0.5) == []
    assert patterns(scope="nowhere") == []


@pytest.mark.parametrize("query", ["min_strength=much", "min_strength=nan", "min_strength=0x1p-2", "at=yesterday",
                                   "at=-5", f"at={1 << 48}", f"at={(1 << 64) - 1}", f"at={1 << 70}"])
def test_a_reading_that_makes_no_sense_is_refused(one, query):
    reply = one.get(f"/api/signals?{query}")
    assert reply.status_code == 400, reply.text
    assert query.split("=")[0] in reply.json()["message"]


def test_an_unknown_signal_is_not_found(one):
    reply = one.get("/api/signals/no.such.scope/pattern")
    assert reply.status_code == 404 and reply.json()["message"]


def test_a_reward_without_a_pattern_goes_to_its_nearest_ancestors(one):
    scope = f"ancestors.{uuid.uuid4()}"
    plan = one.emit(event(scope=scope, payload={"action": "plan"}))
    draw = one.emit(event(scope=scope, payload={"action": "draw"}, parent_ids=[plan["id"]]))
    ready = one.emit(event("ready", scope, {"status": "complete"}, parent_ids=[plan["id"]]))

    def touched(*parents, kind="reward"):
        return one.emit(event(kind, scope, {"value": 0.1}, parent_ids=list(parents)))["signals"]

    assert touched(plan["id"]) == ["plan"]
    assert touched(draw["id"]) == ["draw"], "the parent has a pattern of its own, its parent is not asked"
    assert touched(ready["id"]) == ["plan"], "the parent has none, so the grandparent counts"
    assert sorted(touched(plan["id"], draw["id"])) == ["draw", "plan"]
    assert touched(ready["id"], kind="penalty") == ["plan"]
    assert touched(str(uuid.uuid4())) == [], "an unknown parent decides nothing"
    own = one.emit(event("reward", scope, {"value": 0.1, "action": "own"}, parent_ids=[plan["id"]]))
    assert own["signals"] == ["own"]


def test_a_reward_without_parents_goes_to_the_256_strongest_of_its_scope(one):
    scope = f"strongest.{uuid.uuid4()}"
    for n in range(260):
        one.emit(event("reward", scope, {"value": 0.2 + n / 1_000, "pattern": f"p{n:03d}"}))
    touched = one.emit(event("reward", scope, {"value": 0.01}))["signals"]
    assert sorted(touched) == [f"p{n:03d}" for n in range(4, 260)]
    assert one.emit(event("penalty", f"empty.{scope}", {"value": 0.01}))["signals"] == []


# The graph


def test_graph_nodes_and_edges(three):
    created = three[0].post("/api/nodes", {"type": "service", "data": {"port": 80, "tags": ["a"]}})
    assert created.status_code == 201, created.text
    node = created.json()
    assert node["id"] and node["type"] == "service" and node["data"] == {"port": 80, "tags": ["a"]}
    assert node["edges"] == []
    other = three[0].post("/api/nodes", {"type": "store", "data": {}}).json()

    for kind in ("reads", "writes", "reads"):
        reply = three[0].post(f"/api/nodes/{node['id']}/edges", {"to": other["id"], "type": kind})
        assert reply.status_code in (200, 201), reply.text
    edges = [{"to": other["id"], "type": "reads"}, {"to": other["id"], "type": "writes"}]

    for peer in three:
        found = poll(lambda: (reply := peer.get(f"/api/nodes/{node['id']}")).status_code == 200
                     and len(reply.json()["edges"]) == 2 and reply.json(), 5, f"{peer.name} has node and edges")
        assert sorted(found["edges"], key=lambda edge: edge["type"]) == edges
        assert {node["id"], other["id"]} <= {n["id"] for n in peer.get("/api/nodes").json()}


def test_edges_from_two_peers_both_stay(three):
    node, other = (three[0].post("/api/nodes", {"type": kind, "data": {}}).json() for kind in ("hub", "leaf"))
    for peer in three:
        poll(lambda: peer.get(f"/api/nodes/{node['id']}").status_code == 200, 5, f"{peer.name} has the node")
    for peer in three:
        edge = {"to": other["id"], "type": peer.name}
        assert peer.post(f"/api/nodes/{node['id']}/edges", edge).status_code in (200, 201)
    for peer in three:
        poll(lambda: sorted(e["type"] for e in peer.get(f"/api/nodes/{node['id']}").json()["edges"])
             == ["n1", "n2", "n3"], 5, f"{peer.name} shows all three edges")


@pytest.mark.parametrize("path, body, status, word", [
    ("/api/nodes", {"data": {}}, 400, "type"),
    ("/api/nodes", {"type": 5, "data": {}}, 400, "type"),
    ("/api/nodes", {"type": "x", "data": []}, 400, "data"),
    (f"/api/nodes/{uuid.UUID(int=9)}/edges", {"to": str(uuid.UUID(int=8)), "type": "y"}, 404, ""),
])
def test_a_bad_graph_node_is_refused(one, path, body, status, word):
    reply = one.post(path, body)
    assert reply.status_code == status, reply.text
    assert word in reply.json()["message"]


def test_a_bad_edge_is_refused(one):
    node = one.post("/api/nodes", {"type": "x", "data": {}}).json()
    reply = one.post(f"/api/nodes/{node['id']}/edges", {"type": "y"})
    assert reply.status_code == 400 and "to" in reply.json()["message"]
    assert one.get(f"/api/nodes/{uuid.uuid4()}").status_code == 404


# The node about itself


def test_health(three):
    for node in three:
        reply = node.get("/health")
        health = reply.json()
        assert reply.status_code == 200 and health["status"] == "ok", health
        assert health["name"] == node.name and health["version"]
        assert health["peers_alive"] in (2, 3) and health["loop_lag_ms"] >= 0


def test_the_cluster_shows_every_member(three):
    replicas = set()
    for node in three:
        shown = node.get("/api/cluster").json()
        assert shown["name"] == node.name and shown["cluster"] and shown["reachable"] == 3
        assert re.fullmatch(r"[0-9a-f]{16}", shown["replica"])
        replicas.add(shown["replica"])
        members = {member["name"]: member for member in shown["members"]}
        assert sorted(members) == ["n1", "n2", "n3"] and len(shown["members"]) == 3
        assert members[node.name]["replica"] == shown["replica"]
        for peer in three:
            member = members[peer.name]
            assert member["state"] == "alive", member
            assert member["http"] == f"{peer.host}:{peer.http}" and member["gossip"] == peer.gossip_address
            assert "incarnation" in member and "read" in member
    assert len(replicas) == 3


def test_metrics_are_prometheus_text(one):
    reply = one.get("/metrics")
    assert reply.status_code == 200 and reply.headers["Content-Type"].startswith("text/plain")
    lines = [line for line in reply.text.splitlines() if line and not line.startswith("#")]
    assert lines, "no metric"
    for line in lines:
        assert re.fullmatch(r'hypha_[a-z0-9_]+(\{[^}]*\})? -?[0-9.eE+-]+', line), line


# HTTP


def test_browsers_may_ask_from_anywhere(one):
    reply = one.request("OPTIONS", "/api/events", headers={
        "Origin": "http://example.test", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type"})
    assert reply.status_code in (200, 204), reply.text
    assert reply.headers["Access-Control-Allow-Origin"] in ("*", "http://example.test")
    assert "POST" in reply.headers["Access-Control-Allow-Methods"]
    allowed = {name.strip() for name in reply.headers["Access-Control-Allow-Headers"].lower().split(",")}
    assert allowed & {"*", "content-type"}
    plain = one.get("/api/events", headers={"Origin": "http://example.test"})
    assert plain.headers["Access-Control-Allow-Origin"] in ("*", "http://example.test")
    refused = one.get("/nowhere", headers={"Origin": "http://example.test"})
    assert "Access-Control-Allow-Origin" in refused.headers, "a browser shows no error without it"


def test_head_is_get_without_the_body(one):
    one.emit(event())
    with Wire(one.host, one.http) as wire:
        wire.send(request("HEAD", "/api/events?limit=1") + request("GET", "/api/events?limit=1"))
        head, get = wire.answer(head=True), wire.answer()
    assert head.status == get.status == 200
    assert int(head.headers["content-length"]) == len(get.body) > 2
    assert head.headers["content-type"] == get.headers["content-type"]


def test_a_connection_serves_many_requests(one):
    with Wire(one.host, one.http) as wire:
        for _ in range(50):
            wire.send(request("GET", "/health"))
            assert wire.answer().status == 200
        wire.send(request("GET", "/health", headers=("Connection: close",)))
        assert wire.answer().headers["connection"].lower() == "close"
        assert wire.ends()


def test_pipelined_requests_are_answered_in_order(one):
    scope = f"pipeline.{uuid.uuid4()}"
    bodies = [event(scope=scope, payload={"action": "a", "n": n}) for n in range(100)]
    with Wire(one.host, one.http) as wire:
        wire.send(b"".join(request("POST", "/api/events", _json(body)) for body in bodies)
                  + request("GET", f"/api/events/scope/{scope}?limit=1") + request("GET", "/nowhere"))
        for n in range(100):
            reply = wire.answer()
            assert reply.status == 201 and _parsed(reply)["payload"]["n"] == n
        assert _parsed(wire.answer())[0]["payload"]["n"] == 99
        assert wire.answer().status == 404


def test_a_request_may_come_byte_by_byte(one):
    with Wire(one.host, one.http) as wire:
        for byte in request("POST", "/api/events", _json(event())):
            wire.send(bytes([byte]))
        assert wire.answer().status == 201


def test_a_chunked_body_is_put_together(one):
    body = _json(event())
    pieces = [body[:1], body[1:40], body[40:]]
    chunks = b"".join(f"{len(piece):X};note=x\r\n".encode() + piece + b"\r\n" for piece in pieces)
    with Wire(one.host, one.http) as wire:
        wire.send(b"POST /api/events HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nTrailer: yes\r\n\r\n"
                  + request("GET", "/health"))
        assert wire.answer().status == 201
        assert wire.answer().status == 200


def test_expect_continue_is_answered_before_the_body(one):
    body = _json(event())
    with Wire(one.host, one.http) as wire:
        wire.send(f"POST /api/events HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                  f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n")
        assert wire.answer().status == 100
        wire.send(body)
        assert wire.answer().status == 201


def test_header_names_come_in_any_case(one):
    body = _json(event())
    with Wire(one.host, one.http) as wire:
        wire.send(f"POST /api/events HTTP/1.1\r\nhOsT: t\r\ncontent-TYPE: Application/JSON; charset=utf-8\r\n"
                  f"CONTENT-length: {len(body)}\r\n\r\n".encode() + body)
        assert wire.answer().status == 201


def _json(body) -> bytes:
    return json.dumps(body).encode()


def _parsed(reply):
    return json.loads(reply.body)


@pytest.mark.parametrize("payload", [{"pattern": 5}, {"action": None}, {"pattern": "", "action": {}}])
def test_what_cannot_name_a_signal_names_none(one, payload):
    """A payload is the client's own: only a text in it names a signal."""
    assert one.emit(event(scope="nameless", payload=payload))["signals"] == []


def test_a_pattern_that_is_no_name_leaves_the_action_to_name_the_signal(one):
    assert one.emit(event(scope="nameless", payload={"pattern": None, "action": "build"}))["signals"] == ["build"]
