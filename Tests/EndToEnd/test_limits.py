"""The last value that passes, next to each limit that test_bad_input.py exceeds by one."""

import json

from test_bad_input import MIB, nested, post
from test_semp import event


def test_a_depth_of_128_passes_and_is_kept(one):
    reply = post(one, nested(128).encode())
    assert reply.status == 201, reply
    assert json.loads(reply.body)["payload"] == json.loads(nested(128))["payload"]


def test_a_body_of_1_mib_passes(one):
    empty = json.dumps(event(payload={"action": "a", "x": ""})).encode()
    body = empty.replace(b'"x": ""', b'"x": "' + b"x" * (MIB - len(empty)) + b'"')
    assert len(body) == MIB
    reply = post(one, body)
    assert reply.status == 201, reply
    assert one.get(f"/api/events/{json.loads(reply.body)['id']}").json()["payload"] == json.loads(body)["payload"]


def test_a_list_ends_at_16_mib_and_says_where_to_go_on(make_cluster):
    node = make_cluster(1).start()[0]
    stored = [node.emit(event(scope="large", payload={"action": "a", "x": "x" * 1_000_000}))["id"] for _ in range(20)]
    found, more, pages = [], None, 0
    while pages == 0 or more:
        reply = node.get("/api/events/scope/large", params={"before": more} if more else {})
        assert len(reply.content) < 18 * MIB
        found += [one["id"] for one in reply.json()]
        more, pages = reply.headers.get("Hypha-More"), pages + 1
    assert pages == 2 and found == stored[::-1]


def test_a_header_of_almost_16_kib_passes(one):
    assert one.get("/health", headers={"X": "x" * 15_000}).status_code == 200


def test_numbers_survive_as_they_are(one):
    numbers = [0, -0.0, 1e308, 5e-324, 0.1, 123456789.123456789, 9007199254740993, -9223372036854775808, 1e23, 1.0]
    stored = one.emit(event(payload={"action": "a", "n": numbers}))
    assert stored["payload"]["n"] == numbers
    assert [type(n) for n in stored["payload"]["n"]] == [type(n) for n in numbers]


def test_strings_survive_as_they_are(one):
    strings = ["", "\u0000\u001f\u007f", "\"\\/\b\f\n\r\t", "é", "日本", "🌱", "\u2028", "\ufeff", "𝄞" * 100,
               "\\u0041"]
    for ascii_only in (True, False):
        payload = {"action": "a", "s": strings, **{s: 1 for s in strings}}
        body = json.dumps(event(payload=payload), ensure_ascii=ascii_only)
        reply = post(one, body.encode())
        assert reply.status == 201, reply
        assert json.loads(reply.body)["payload"] == json.loads(body)["payload"]
