"""Bad input: each with its status, a message that helps, and a node that goes on as if nothing had been."""

import json
import re
import uuid

import pytest

from rawsocket import Wire, request
from test_semp import event

GOOD = event(scope="bad.input")
MIB = 1 << 20


@pytest.fixture(autouse=True)
def goes_on(one):
    """After every bad input the node is well and takes good input, and the bad one has left no event."""
    before = one.events()
    yield
    assert one.alive()
    assert one.events() == before, "bad input has become an event"
    one.emit(event(scope="still.here"))


def post(node, body: bytes, *headers, type_header="Content-Type: application/json"):
    head = ["POST /api/events HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *headers]
    head += [type_header] if type_header else []
    with Wire(node.host, node.http) as wire:
        wire.send("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        return wire.answer()


def text(**changes) -> str:
    return json.dumps({**GOOD, **changes}, ensure_ascii=False)


# JSON


@pytest.mark.parametrize("body, position", [
    ("", 0), ("{", 1), ("nonsense", 0), ('{"type": proposal}', 9), ('{"type": "proposal",}', 20),
    ('{"type" "proposal"}', 8), ("{'type': 1}", 1), ('{"a": 01}', 6), ('{"a": +1}', 6), ('{"a": .5}', 6),
    ('{"a": 1.}', 8), ('{"a": "\t"}', 7), ('{"a": "\\x"}', 7), ('{"a": "\\u12"}', 7), ('{"a": NaN}', 6),
    ('{"a": 1} {"b": 2}', 9), ('{"a": "unfinished', 17), ('[1, 2', 5), ('{"a": tru}', 6), ("\ufeff{}", 0),
    ('{"a": 1 /* why */}', 8),
])
def test_invalid_json_is_refused_with_its_position(one, body, position):
    reply = post(one, body.encode())
    assert reply.status == 400, reply
    numbers = [int(number) for number in re.findall(r"\d+", reply.message)]
    # Whether counted from 0 or 1, and whether a bad token is named by its start or by the byte that breaks it.
    near = range(position, position + 5)
    assert any(number in near for number in numbers), f"{reply.message!r} does not say where, about {position}"
    assert "json" in reply.message.lower()


def test_the_position_counts_lines_or_bytes_past_the_first_line(one):
    body = '{\n  "type": "proposal",\n  "scope": oops\n}'
    reply = post(one, body.encode())
    assert reply.status == 400
    numbers = [int(number) for number in re.findall(r"\d+", reply.message)]
    offset = body.index("oops")
    assert {offset, offset + 1} & set(numbers) or {3, 12} <= set(numbers), reply.message


@pytest.mark.parametrize("body", ["[]", '"text"', "5", "null", "true"])
def test_a_body_that_is_no_object_is_refused(one, body):
    reply = post(one, body.encode())
    assert reply.status == 400 and "object" in reply.message, reply


def nested(levels: int) -> str:
    """The event with arrays in its payload, `levels` deep in all: the event is level 1, its payload 2."""
    arrays = levels - 2
    return text(payload={"action": "a", "deep": "@"}).replace('"@"', "[" * arrays + "]" * arrays)


def test_a_depth_of_128_is_the_last_that_passes(one):
    refused = post(one, nested(129).encode())
    assert refused.status == 400 and "128" in refused.message, refused


def test_a_depth_of_100_000_costs_a_message_only(one):
    assert post(one, b"[" * 100_000).status == 400
    assert post(one, nested(100_000).encode()).status == 400
    assert post(one, b'{"a":' * 100_000).status == 400


SURROGATES = [r"\ud800", r"\udc00", r"\ud800\ud800", r"\ud800x", r"\ud800\u0041", r"\udc00\ud800"]


@pytest.mark.parametrize("escape", SURROGATES)
@pytest.mark.parametrize("place", ["agent_id", "payload", "key"])
def test_a_lone_surrogate_is_refused(one, escape, place):
    body = {"agent_id": text(agent_id="@"), "payload": text(payload={"action": "a", "x": "@"}),
            "key": text(payload={"action": "a", "@": 1})}[place].replace("@", escape)
    reply = post(one, body.encode())
    assert reply.status == 400 and "surrogate" in reply.message, reply


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xe2\x82"])
def test_invalid_utf_8_is_refused(one, bad):
    body = text(agent_id="@").encode()
    reply = post(one, body.replace(b"@", bad))
    assert reply.status == 400 and "UTF-8" in reply.message, reply
    assert any(body.index(b"@") <= int(n) <= body.index(b"@") + 5 for n in re.findall(r"\d+", reply.message)), reply


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400, "1.5e+400"])
def test_a_number_that_does_not_fit_is_refused(one, number):
    for body in (text(payload={"action": "a", "x": "@"}), text(type="reward", payload={"value": "@", "pattern": "p"}),
                 text(extra="@")):
        reply = post(one, body.replace('"@"', number).encode())
        assert reply.status == 400 and "number" in reply.message, reply


@pytest.mark.parametrize("body, key", [
    (text()[:-1] + ', "scope": "other"}', "scope"),
    (text()[:-1] + ', "mood": 1, "mood": 2}', "mood"),
    (text(payload={"@": 1}).replace('"@": 1', '"action": "a", "action": "b"'), "action"),
    (text(type="reward", payload={"@": 1}).replace('"@": 1', '"value": 1, "α": 1, "α": 2'), "α"),
])
def test_a_field_that_stands_twice_is_refused(one, body, key):
    reply = post(one, body.encode())
    assert reply.status == 400 and "twice" in reply.message, reply
    second = len(body[: body.rindex(f'"{key}"')].encode())
    assert key in reply.message or str(second) in reply.message, reply


# Fields


WRONG = [
    *[(field, value) for field in ("type", "scope", "trace_id", "agent_id") for value in (5, None, True, [], {}, "")],
    *[("payload", value) for value in (None, 5, "text", [], True)],
    *[("parent_ids", value) for value in (None, "text", {}, [5], [None], [[]])],
    *[("id", value) for value in (5, None, "", "not-a-uuid", "12345678-1234-1234-1234-12345678901", [], {},
                                  "g2345678-1234-1234-1234-123456789012")],
]


@pytest.mark.parametrize("field, value", WRONG, ids=[f"{field}={json.dumps(value)}" for field, value in WRONG])
def test_a_field_of_the_wrong_shape_is_named(one, field, value):
    reply = post(one, text(**{field: value}).encode())
    assert reply.status == 400, reply
    assert reply.message.startswith("Validation error: ") and field in reply.message, reply.message


@pytest.mark.parametrize("field", ["type", "scope", "trace_id", "agent_id", "payload"])
def test_a_missing_field_is_named(one, field):
    body = json.dumps({key: value for key, value in GOOD.items() if key != field})
    reply = post(one, body.encode())
    assert reply.status == 400 and reply.message.startswith("Validation error: ") and field in reply.message, reply


def test_an_unknown_type_is_answered_with_the_known_ones(one):
    reply = post(one, text(type="rumour").encode())
    assert reply.status == 400 and reply.message.startswith("Validation error: "), reply
    for kind in ("proposal", "ready", "test", "reward", "penalty"):
        assert kind in reply.message


@pytest.mark.parametrize("kind, payload, field", [
    ("reward", {"pattern": "p"}, "value"), ("penalty", {"pattern": "p"}, "value"),
    ("reward", {"pattern": "p", "value": "much"}, "value"), ("penalty", {"pattern": "p", "value": None}, "value"),
    ("reward", {"pattern": "p", "value": 1, "α": "x"}, "α"),
    ("reward", {"pattern": "p", "value": 1, "alpha": []}, "α|alpha"),
])
def test_a_payload_field_of_the_wrong_shape_is_named(one, kind, payload, field):
    reply = post(one, text(type=kind, payload=payload).encode())
    assert reply.status == 400, reply
    assert reply.message.startswith("Validation error: "), reply.message
    assert re.search(field, reply.message), reply.message


# HTTP


def answer_to(node, data: bytes, then_ends=False):
    with Wire(node.host, node.http) as wire:
        wire.send(data)
        reply = wire.answer()
        if then_ends:
            assert wire.ends(), "after a request that may be a smuggled one, the connection must close"
        return reply


def test_a_body_over_1_mib_is_refused(one):
    body = text(payload={"action": "a", "x": "@"}).encode()
    too_long = body.replace(b"@", b"x" * (MIB + 2 - len(body)))
    assert len(too_long) == MIB + 1
    reply = post(one, too_long)
    assert reply.status == 413 and ("1 MiB" in reply.message or "1048576" in reply.message), reply


def test_a_body_over_1_mib_is_refused_before_it_comes(one):
    reply = answer_to(one, HEAD + b"Content-Length: 999999999999\r\n\r\n")
    assert reply.status == 413, reply


def test_a_chunked_body_over_1_mib_is_refused(one):
    reply = answer_to(one, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 17)
    assert reply.status == 413, reply


@pytest.mark.parametrize("path", ["/", "/api", "/api/nothing", "/api/event", "/api/events/x/y/z", "/ws/x", "/../etc"])
def test_an_unknown_route_is_not_found(one, path):
    reply = answer_to(one, request("GET", path))
    assert reply.status == 404 and reply.message, reply


@pytest.mark.parametrize("method, path, allowed", [
    ("DELETE", "/api/events", {"GET", "POST"}), ("PUT", "/api/events", {"GET", "POST"}),
    ("POST", "/api/signals", {"GET"}), ("POST", "/health", {"GET"}), ("PATCH", "/api/cluster", {"GET"}),
    ("DELETE", f"/api/events/{uuid.UUID(int=1)}", {"GET"}), ("BREW", "/api/events", {"GET", "POST"}),
    ("GET", f"/api/nodes/{uuid.UUID(int=1)}/edges", {"POST"}), ("POST", "/ws", {"GET"}),
])
def test_a_wrong_method_is_told_the_right_ones(one, method, path, allowed):
    reply = answer_to(one, request(method, path, b"{}" if method in ("POST", "PUT", "PATCH") else b""))
    assert reply.status == 405 and reply.message, reply
    offered = {name.strip() for name in reply.headers["allow"].split(",")}
    assert allowed <= offered and method not in offered, offered


@pytest.mark.parametrize("header", [None, "Content-Type: text/plain", "Content-Type: application/xml",
                                    "Content-Type: application/x-www-form-urlencoded", "Content-Type: ",
                                    "Content-Type: application/jsonx"])
def test_a_missing_or_wrong_content_type_is_refused(one, header):
    reply = post(one, text().encode(), type_header=header)
    assert reply.status == 415 and "application/json" in reply.message, reply


HEAD = b"POST /api/events HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
BODY = text().encode()
SIZE = str(len(BODY)).encode()


@pytest.mark.parametrize("data", [
    HEAD + b"Content-Length: " + SIZE + b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    HEAD + b"Content-Length: " + SIZE + b"\r\nContent-Length: 5\r\n\r\n" + BODY,
    HEAD + b"Content-Length: " + SIZE + b"\r\nContent-Length: " + SIZE + b"\r\n\r\n" + BODY,
    HEAD + b"Content-Length: 5, 5\r\n\r\nhello",
    HEAD + b"Content-Length: -5\r\n\r\nhello", HEAD + b"Content-Length: +5\r\n\r\nhello",
    HEAD + b"Content-Length: 0x5\r\n\r\nhello", HEAD + b"Content-Length: 5 5\r\n\r\nhello",
    HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nhello", HEAD + b"Content-Length:\r\n\r\nhello",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n",
    HEAD.replace(b"\r\n", b"\n") + b"Content-Length: " + SIZE + b"\n\n" + BODY,
    HEAD + b"X: a\nY: b\r\n\r\n", HEAD + b"X: a\r\n folded\r\n\r\n", HEAD + b"X : a\r\n\r\n",
    HEAD + b"no colon\r\n\r\n",
    HEAD + b": no name\r\n\r\n", HEAD + b"X: a\x00b\r\n\r\n", HEAD + b"X: a\rb\r\n\r\n", b" " + HEAD + b"\r\n",
    b"GET /health\r\n\r\n", b"GET  /health HTTP/1.1\r\nHost: t\r\n\r\n", b"GET /health HTTP/1.1 x\r\nHost: t\r\n\r\n",
    b"GET health HTTP/1.1\r\nHost: t\r\n\r\n", b"G\x00T /health HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET /he\x01alth HTTP/1.1\r\nHost: t\r\n\r\n", b"GET /health HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
], ids=["cl-and-te", "te-and-cl", "two-lengths", "two-equal-lengths", "list-of-lengths", "negative", "signed", "hex",
        "two-words", "overflow", "empty-length", "chunk-size-letters", "chunk-size-negative",
        "chunk-longer-than-said", "bare-lf", "bare-lf-inside", "folded", "space-before-colon",
        "no-colon", "no-name", "nul", "bare-cr", "leading-space", "no-version", "two-spaces", "four-words",
        "no-slash", "nul-in-method", "control-in-path", "no-host", "two-hosts", "tls"])
def test_a_request_that_two_readers_could_read_differently_is_refused(one, data):
    reply = answer_to(one, data, then_ends=True)
    assert reply.status == 400 and reply.message, reply


@pytest.mark.parametrize("coding", ["gzip", "identity", "gzip, chunked", "chunked, chunked"])
def test_a_transfer_coding_we_do_not_speak_is_refused(one, coding):
    reply = answer_to(one, HEAD + f"Transfer-Encoding: {coding}\r\n\r\n0\r\n\r\n".encode(), then_ends=True)
    assert reply.status in (400, 501) and reply.message, reply


@pytest.mark.parametrize("size", ["fffffffff", "f" * 16, "f" * 40, "0" * 30 + "100001"])
def test_a_chunk_over_1_mib_is_refused_by_its_size(one, size):
    reply = answer_to(one, HEAD + f"Transfer-Encoding: chunked\r\n\r\n{size}\r\n".encode(), then_ends=True)
    assert reply.status in (400, 413) and reply.message, reply


def test_a_version_we_do_not_speak_is_refused(one):
    assert answer_to(one, b"GET /health HTTP/3.0\r\nHost: t\r\n\r\n", then_ends=True).status in (400, 505)


@pytest.mark.parametrize("data", [
    b"GET /health HTTP/1.1\r\nHost: t\r\nX: " + b"x" * 17_000 + b"\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: t\r\n" + b"X: y\r\n" * 4_000 + b"\r\n",
    b"GET /health HTTP/1.1\r\nHost: t\r\nX: " + b"x" * 17_000,
], ids=["one-long", "many", "without-an-end"])
def test_a_header_over_16_kib_is_refused(one, data):
    reply = answer_to(one, data, then_ends=True)
    assert reply.status == 431 and "16" in reply.message, reply


def test_a_path_over_16_kib_is_refused(one):
    reply = answer_to(one, b"GET /" + b"x" * 17_000 + b" HTTP/1.1\r\nHost: t\r\n\r\n", then_ends=True)
    assert reply.status in (414, 431) and reply.message, reply


@pytest.mark.parametrize("path", ["/api/events/%", "/api/events/%zz", "/api/events/scope/%ff", "/api/events?limit=%4"])
def test_a_percent_that_decodes_to_nothing_is_refused(one, path):
    reply = answer_to(one, request("GET", path))
    assert reply.status == 400 and reply.message, reply


def test_headers_that_never_end_are_answered_after_ten_seconds(one):
    with Wire(one.host, one.http, seconds=20) as wire:
        wire.send(b"GET /health HTTP/1.1\r\nHost: t\r\n")
        reply = wire.answer()
        assert reply.status == 408 and reply.message, reply
        assert wire.ends()
