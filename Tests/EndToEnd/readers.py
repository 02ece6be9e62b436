"""Readers of events over `GET /api/stream` and `/ws`, which remember how far they have come, one message at a time."""

import json
import time
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from rawsocket import Answer, Wire, request

FORMS = ["stream", "socket"]


def post_all(node, events: list[dict], at_once: int = 100) -> list[dict]:
    """Posts events to one peer over one connection, many before the first answer, and returns them as accepted."""
    answers = []
    with Wire(node.host, node.http, seconds=30) as wire:
        for first in range(0, len(events), at_once):
            batch = [json.dumps(event, ensure_ascii=False).encode() for event in events[first : first + at_once]]
            wire.send(b"".join(request("POST", "/api/events", body) for body in batch))
            for body in batch:
                reply = wire.answer()
                assert reply.status == 201, f"{node.name} answered {reply.status} {reply.body!r} to {body!r}"
                answers.append(json.loads(reply.body))
    return answers


class Ended(Exception):
    """The node ended the stream; `code` is the WebSocket's close code, None on an event stream."""

    def __init__(self, code: int | None = None, reason: str = ""):
        super().__init__(f"ended with {code} {reason!r}")
        self.code, self.reason = code, reason


class Reader:
    """What both forms share. `read` gives the next message as on `/ws`: `{"type": …}`; a heartbeat is a `cursor`."""

    cursor: str | None = None
    # Heartbeats come every 15 s, so that no read alone takes longer.
    patience_s = 20

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def next(self, kind: str = "event", past=("cursor", "subscribed")) -> dict:
        """The next message, which must be of a kind, past those that only say how far the reader has come."""
        deadline = time.monotonic() + self.patience_s
        while (message := self.read())["type"] in past and message["type"] != kind:
            assert time.monotonic() < deadline, f"no {kind} within {self.patience_s} s"
        assert message["type"] == kind, f"expected {kind}, got {message}"
        return message

    def event(self) -> dict:
        return self.next()["data"]

    def through(self, id: str) -> list[str]:
        """The ids of the events that come, up to and with this one."""
        found = [self.event()["id"]]
        while found[-1] != id:
            found.append(self.event()["id"])
        return found


class EventStream(Wire, Reader):
    """Server-Sent Events over a plain socket, read as the HTML standard says (9.2.6)."""

    def __init__(self, node, filter: dict | None = None, cursor: str | None = None, last_event_id: str | None = None,
                 agent: str | None = None, group: str | None = None, version: str = "1.1", headers=(),
                 path: str = "/api/stream", **options):
        super().__init__(node.host, node.http, **{"seconds": 30, **options})
        query = {key: ",".join(value) if isinstance(value, list) else value for key, value in (filter or {}).items()}
        more = {"cursor": cursor, "agent": agent, "group": group}
        query |= {key: value for key, value in more.items() if value is not None}
        headers = [*headers, *([] if last_event_id is None else [f"Last-Event-ID: {last_event_id}"])]
        asked = request("GET", f"{path}?{urlencode(query)}", headers=tuple(headers))
        self.send(asked.replace(b"HTTP/1.1", f"HTTP/{version}".encode(), 1))
        self.head: Answer = self.answer(head=True)
        self.text = b""
        self.cursor = last_event_id or cursor
        self.is_chunked = self.head.headers.get("transfer-encoding") == "chunked"
        if self.head.status != 200:
            self.head.body = self.take(int(self.head.headers["content-length"]))

    def block(self) -> str:
        """The lines up to the next empty one."""
        while b"\n\n" not in self.text:
            if self.is_chunked:
                try:
                    size = int(self.take_through(b"\r\n"), 16)
                except AssertionError:
                    raise Ended() from None
                if size == 0:
                    raise Ended()
                self.text += self.take(size)
                assert self.take(2) == b"\r\n"
            else:
                if not self.buffer and not self.fill():
                    raise Ended()
                self.text, self.buffer = self.text + self.buffer, b""
        block, _, self.text = self.text.partition(b"\n\n")
        return block.decode()

    def read(self) -> dict:
        kind, data, said, is_cursor = "message", [], [], False
        for line in self.block().split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match field:
                case "":
                    said.append(value)
                case "id":
                    self.cursor, is_cursor = value, True
                case "event":
                    kind = value
                case "data":
                    data.append(value)
                case _:
                    raise AssertionError(f"an unknown field in {line!r}")
        if not data:
            return {"type": "cursor" if is_cursor else "comment", "cursor": self.cursor, "comment": said}
        message = json.loads("\n".join(data))
        if kind == "message" and "group" in message:
            # For a consumer of a queue group.
            return message
        if kind == "message":
            return {"type": "event", "data": message, "cursor": self.cursor}
        assert message["type"] == kind, f"an event {kind} with {message}"
        return message

    def next(self, kind: str = "event", past=("cursor", "comment")) -> dict:
        return super().next(kind, past)

    def close(self):
        self.socket.close()


class Socket(Reader):
    """`/ws` with one subscription that has cursors, from now on unless another cursor is given."""

    def __init__(self, node, filter: dict | None = None, cursor: str | bool = True, agent: str | None = None):
        url = node.ws_url + (f"?{urlencode({'agent': agent})}" if agent else "")
        self.context = connect(url, compression=None, proxy=None, max_size=None, ping_interval=None, close_timeout=1)
        self.socket = self.context.__enter__()
        # The node may have sent events before it heard of the subscription.
        self.send({"type": "unsubscribe", "ref": "all"})
        while self.read().get("ref") != "all":
            pass
        self.send({"type": "subscribe", "filter": filter or {}, "cursor": cursor, "ref": "first"})
        # What a reader that resumes has missed for good is said before anything that carries a cursor.
        self.early: list[dict] = []
        while (message := self.read()).get("ref") != "first":
            self.early.append(message)
        self.cursor = message.get("cursor")
        self.first = message

    def send(self, message: dict):
        self.socket.send(json.dumps(message))

    def read(self, seconds: float = 30) -> dict:
        if hasattr(self, "first") and self.early:
            return self.early.pop(0)
        try:
            message = json.loads(self.socket.recv(timeout=seconds))
        except ConnectionClosed as error:
            raise Ended(error.rcvd.code if error.rcvd else 1006, error.rcvd.reason if error.rcvd else "") from None
        self.cursor = message.get("cursor", self.cursor)
        return message

    def close(self):
        self.context.__exit__(None, None, None)


def open_reader(form: str, node, filter: dict | None = None, cursor: str | None = None, **options) -> Reader:
    """A reader of either form; without a cursor it reads from now on."""
    if form == "stream":
        reader = EventStream(node, filter, cursor, **options)
        assert reader.head.status == 200, (reader.head.status, reader.head.body)
        if cursor is None:
            assert reader.read()["type"] == "cursor", "the first thing is where it can resume from"
        return reader
    return Socket(node, filter, True if cursor is None else cursor, **options)
