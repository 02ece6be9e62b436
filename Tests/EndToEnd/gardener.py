"""A client that edits the graph and does not give up: each change is asked for until it is acknowledged."""

import http.client
import json
import random
import threading
import time
import uuid


class Gardener:
    """Changes nodes of the graph that are its own at one peer, one request after the other; `model` is what the graph
    must show of them whenever no request is under way."""

    def __init__(self, node, seed: str, pause_s: float = 0.005):
        self.node, self.dice, self.pause_s = node, random.Random(seed), pause_s
        self.model: dict[str, dict] = {}
        self.removed: list[str] = []
        self.failure: str | None = None
        self.done = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(60)
        assert not self.thread.is_alive(), "a gardener hangs"

    def work(self):
        try:
            while not self.stopping.is_set():
                self.step()
                self.done += 1
                self.stopping.wait(self.pause_s)
        except AssertionError as error:
            self.failure = str(error)

    def step(self):
        """One change. Each may be sent again after an answer that did not come: done twice it is done once."""
        dice = self.dice
        id = dice.choice(list(self.model)) if len(self.model) > 3 else None
        kind = dice.choice(["make", "patch", "patch", "edge", "edge", "unedge", "remove"]) if id else "make"
        if kind == "make":
            id = str(uuid.UUID(int=dice.getrandbits(128), version=4))
            body = {"id": id, "type": "idea", "data": {"n": dice.randrange(100), "text": "grün 🌱"}}
            self.ask("POST", "/api/nodes", body, {200, 201})
            self.model[id] = {**body, "edges": []}
        elif kind == "patch":
            name, value = f"m{dice.randrange(4)}", dice.choice([None, dice.random(), ["a", {"b": 1}]])
            self.ask("PATCH", f"/api/nodes/{id}", {"data": {name: value}}, {200})
            self.model[id]["data"].pop(name, None)
            if value is not None:
                self.model[id]["data"][name] = value
        elif kind == "edge":
            edge = {"to": dice.choice(list(self.model)), "type": dice.choice(["feeds", "reads"])}
            self.ask("POST", f"/api/nodes/{id}/edges", edge, {201})
            if edge not in self.model[id]["edges"]:
                self.model[id]["edges"].append(edge)
        elif kind == "unedge" and self.model[id]["edges"]:
            edge = dice.choice(self.model[id]["edges"])
            self.ask("DELETE", f"/api/nodes/{id}/edges/{edge['to']}?type={edge['type']}", None, {204, 404})
            self.model[id]["edges"].remove(edge)
        elif kind == "remove":
            self.ask("DELETE", f"/api/nodes/{id}", None, {204, 404})
            del self.model[id]
            self.removed.append(id)

    def ask(self, method: str, path: str, body: dict | None, expected: set[int]):
        tries, deadline = 0, time.monotonic() + 60
        while time.monotonic() < deadline:
            tries += 1
            try:
                status = self.status(method, path, body)
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
                continue
            if status == 503:
                time.sleep(0.01)
                continue
            # Only what was asked for before, and done without an answer, may be gone already.
            assert status in expected and (status != 404 or tries > 1), f"{method} {path} {body}: {status}"
            return
        raise AssertionError(f"{method} {path} {body} was never answered")

    def status(self, method, path, body) -> int:
        connection = http.client.HTTPConnection(self.node.host, self.node.http, timeout=20)
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
            reply = connection.getresponse()
            reply.read()
            return reply.status
        finally:
            connection.close()

    def check(self, graph: list[dict]):
        def plain(node):
            return {**node, "edges": sorted((edge["to"], edge["type"]) for edge in node["edges"])}
        there = {node["id"]: plain(node) for node in graph}
        for id, node in self.model.items():
            assert there.get(id) == plain(node), f"acknowledged {plain(node)}, shown {there.get(id)}"
        risen = [id for id in self.removed if id in there]
        assert not risen, f"{risen[:3]} of {len(risen)} were removed, and are back"
