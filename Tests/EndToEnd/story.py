"""Agents in a story told over several peers: each step is at another peer than the one before, and stands on it.

A step carries the `Hypha-Clock` of the last answer, so that the next peer has read what the story has come to. `Ears`
hear what the bus tells of it: the same over Server-Sent Events at one peer and over `/ws` at another.
"""

import itertools
import uuid
from urllib.parse import quote

from cluster import Cluster, Node
from readers import open_reader


def named(name: str) -> str:
    """An id of its own, so that stories on a shared cluster do not meet."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def part(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="")


class Story:
    """What agents do one after the other, at peers in turn."""

    def __init__(self, nodes: Cluster | list[Node]):
        self.nodes = itertools.cycle(nodes)
        self.clock: str | None = None
        self.reply = None
        self.at: Node | None = None

    def ask(self, method: str, path: str, body=None, by: str | None = None, expect: int = 200, headers=None, **query):
        """One step, by an agent or by the operator: its answer's JSON, or None if it has no body."""
        self.at = next(self.nodes)
        headers = dict(headers or {})
        if by is not None:
            headers["Hypha-Agent"] = part(by)
        if self.clock:
            headers["Hypha-Clock"] = self.clock
        reply = self.at.request(method, path, json=body, headers=headers, params=query)
        what = f"{method} {path} by {by} with {body!r} at {self.at.name}"
        assert reply.status_code == expect, f"{what}: {reply.status_code} {reply.text!r}, expected {expect}"
        self.reply, self.clock = reply, reply.headers.get("Hypha-Clock", self.clock)
        if not reply.content:
            return None
        return reply.json() if reply.headers["Content-Type"].startswith("application/json") else reply.text

    def get(self, path: str, **more):
        return self.ask("GET", path, **more)

    def post(self, path: str, body=None, **more):
        return self.ask("POST", path, {} if body is None else body, **more)

    def refused(self, status: int, *words: str, method: str = "POST", path: str, body=None, by: str | None = None):
        """A step that is refused: the message says why, with all of these words. Returns the message."""
        answer = self.ask(method, path, {} if body is None and method != "GET" else body, by=by, expect=status)
        for word in words:
            assert word in answer["message"], f"{method} {path}: no {word!r} in {answer['message']!r}"
        return answer["message"]

    # What stories begin with

    def agent(self, name: str, **manifest) -> str:
        """Introduces an agent and returns its id."""
        id = named(name)
        self.ask("PUT", f"/api/manifests/{part(id)}", {"status": "active", **manifest}, by=id, expect=201)
        return id

    def chat(self, by: str, *others: str, **more) -> dict:
        """Makes a group chat."""
        return self.post("/api/chats", {"chat_type": "group", "participants": list(others), **more}, by=by, expect=201)

    def say(self, chat: dict, by: str, content="hi", expect: int = 201, **more) -> dict:
        message = {"message_type": "text", "content": content, **more}
        return self.post(f"/api/chats/{part(chat['id'])}/messages", message, by=by, expect=expect)


class Ears:
    """Hears a topic over Server-Sent Events at one peer and over `/ws` at another, as an agent if it says so."""

    def __init__(self, cluster, topic: str, agent: str | None = None, **filter):
        filter = {"topic": topic, **filter}
        self.readers = [open_reader("stream", cluster[1], filter, agent=agent),
                        open_reader("socket", cluster[2], filter, agent=agent)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for reader in self.readers:
            reader.close()

    def hears(self, kind: str, **fields) -> dict:
        """The `data` of the next event of a type whose data have these fields, past all others; both hear it."""
        heard = [self._hear(reader, kind, fields) for reader in self.readers]
        assert heard[0] == heard[1], f"{heard[0]} over SSE, {heard[1]} over /ws"
        data = heard[0]["data"]
        assert data["eventType"] == kind and data["timestamp"].endswith("Z"), data
        return data

    @staticmethod
    def _hear(reader, kind: str, fields: dict) -> dict:
        passed = []
        while True:
            try:
                event = reader.event()
            except (TimeoutError, AssertionError) as error:
                raise AssertionError(f"no {kind} with {fields}: {error!r}; heard {passed}") from None
            data = event["data"]
            if event["type"] == kind and all(data.get(key) == value for key, value in fields.items()):
                return event
            passed.append((event["type"], data))
