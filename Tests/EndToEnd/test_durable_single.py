"""One durable peer alone: what it acknowledged is on its disk, a torn end of its log costs that end only, and a restart
in good order changes nothing."""

import http.client
import json
import random
import subprocess
import threading
import time
import uuid

import pytest

from cluster import clean_environment, hypha_binary, poll
from durable import (Writers, check_kept, check_numbers, draw_graph, epoch, files, fill, last_batch, overwrite, replica,
                     seed_of, shown, written)
from workload import Agent

KILLS = 8


LONG = 12 << 20


class Gardener:
    """Changes nodes of the graph that are its own, one request after the other, each until it is acknowledged; `model`
    is what the graph must show of them whenever no request is under way."""

    def __init__(self, node, seed: str):
        self.node, self.agent, self.dice = node, Agent(seed, seed, [node]), random.Random(seed)
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
        self.agent.close()

    def work(self):
        try:
            while not self.stopping.is_set():
                self.step()
                self.done += 1
                self.stopping.wait(0.005)
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


def test_acknowledged_writes_of_all_kinds_survive_kill_9(make_cluster):
    """Events, and nodes of the graph that are made, patched, linked, unlinked and removed, by several clients at once,
    while their only peer is killed again and again: every acknowledged write is there afterwards, and no removal is
    undone."""
    seed = seed_of("HYPHA_SINGLE_SEED")
    dice = random.Random(seed)
    node = make_cluster(1, durable=True).start()[0]
    with Writers([node], agents=4, seed=seed, pause_s=0.005) as writers, Gardener(node, f"{seed}-a") as first, \
            Gardener(node, f"{seed}-b") as second:
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.05, 0.5))
            assert node.running, node.log(20)
            node.kill()
            node.start()
            if dice.random() < 0.7:
                poll(node.alive, 20, "the peer is back")
        poll(node.alive, 20, "the peer is back for good")
    assert not writers.failures and not first.failure and not second.failure, (
        writers.failures[:3], first.failure, second.failure)
    print(f"{len(writers.acknowledged)} events and {first.done + second.done} changes of the graph acknowledged")
    assert len(writers.acknowledged) > 20 * KILLS and first.done + second.done > 10 * KILLS

    before = shown(node)
    node.kill()
    node.start()
    poll(node.alive, 20, "the peer is back once more")
    now = shown(node, before.at)
    assert now == before
    stored = now.by_id()
    assert len(stored) == len(now.events) and stored.keys() == writers.acknowledged.keys()
    check_kept(writers.acknowledged, stored)
    check_numbers(writers.acknowledged, stored)
    for gardener in (first, second):
        gardener.check(now.graph)


def test_a_long_log_is_read_back(make_cluster):
    """Many clients at once make commits of many records, and a log of many times what is read at once: after kill -9
    all of it is shown as before."""
    node = make_cluster(1, durable=True).start()[0]
    for _ in range(60):
        done = subprocess.run([hypha_binary(), "bench", "post", "--node", node.url, "--connections", "64", "--seconds",
                               "1", "--warmup", "0"], capture_output=True, text=True, timeout=60, env=clean_environment())
        assert done.returncode == 0, done
        if node.get("/health").json()["log_bytes"] > LONG:
            break
    before = shown(node)
    assert written(files(node.data, "log-")[0]) > LONG
    node.kill()
    node.start()
    poll(node.alive, 30, "the peer is back")
    assert shown(node, before.at) == before


def cut_in_the_middle(path, start, end):
    with open(path, "r+b") as file:
        file.truncate((start + end) // 2)


def cut_its_last_byte(path, start, end):
    with open(path, "r+b") as file:
        file.truncate(end - 1)


def lose_its_middle(path, start, end):
    middle = (start + end) // 2
    overwrite(path, middle, bytes(end - middle))


def garble_its_end(path, start, end):
    overwrite(path, end - 9, random.Random(7).randbytes(300))


@pytest.mark.parametrize("tear", [cut_in_the_middle, cut_its_last_byte, lose_its_middle, garble_its_end])
def test_a_torn_tail_costs_what_was_torn_and_nothing_else(make_cluster, tear):
    """After a crash that tore the last commit (by hand, as a power failure would) the node says so, serves everything
    before it, takes writes again, gives no number twice, and shows the same after a further start."""
    node = make_cluster(1, durable=True).start()[0]
    kept = fill(node, 40, "before")
    draw_graph(node, 10, "graph")
    whole = shown(node)
    torn = node.emit({"type": "ready", "scope": "torn", "trace_id": "t", "agent_id": "a", "payload": {}})
    node.kill()
    newest = files(node.data, "log-")[-1]
    tear(newest, *last_batch(newest))

    node.start()
    poll(node.alive, 20, "the peer is back")
    node.wait_said(newest.name)
    assert shown(node, whole.at) == whole
    assert node.get(f"/api/events/{torn['id']}").status_code == 404

    fresh = {**fill(node, 20, "after"), **kept}
    all_of_it = shown(node)
    check_kept(fresh, all_of_it.by_id())
    # The torn event left the node once, under a number that must not name another one.
    check_numbers(fresh, {**all_of_it.by_id(), torn["id"]: torn})
    node.kill()
    node.start()
    poll(node.alive, 20, "the peer is back again")
    assert shown(node, all_of_it.at) == all_of_it


def test_garbage_behind_the_last_commit_is_said_and_costs_nothing(make_cluster):
    """What a crash may leave behind the last whole commit is no data: the node says so and has lost nothing."""
    node = make_cluster(1, durable=True).start()[0]
    fill(node, 40, "before")
    whole = shown(node)
    node.kill()
    newest = files(node.data, "log-")[-1]
    overwrite(newest, written(newest), random.Random(3).randbytes(5_000))
    node.start()
    poll(node.alive, 20, "the peer is back")
    node.wait_said(newest.name)
    assert shown(node, whole.at) == whole
    kept = fill(node, 20, "after")
    node.kill()
    node.start()
    poll(node.alive, 20, "the peer is back again")
    check_kept(kept, shown(node).by_id())


def test_a_restart_in_good_order_keeps_the_id_and_raises_the_epoch(make_cluster):
    """SIGTERM and a new start: the same replica id, the same data, numbers that go on, and an epoch that counts the
    starts."""
    node = make_cluster(1, durable=True).start()[0]
    me, kept, epochs = replica(node), {}, [epoch(node)]
    for start in range(3):
        kept |= fill(node, 10, f"start-{start}")
        draw_graph(node, 5, f"graph-{start}")
        before = shown(node)
        node.end()
        node.start()
        poll(node.alive, 20, "the peer is back")
        assert replica(node) == me
        epochs.append(epoch(node))
        assert shown(node, before.at) == before
    assert epochs == list(range(epochs[0], epochs[0] + 4)), epochs
    last = node.emit({"type": "ready", "scope": "s", "trace_id": "t", "agent_id": "a", "payload": {}})
    assert last["replica"] == me and last["seq"] > max(ack.answer["seq"] for ack in kept.values())
    check_kept(kept, shown(node).by_id())
    check_numbers(kept, {last["id"]: last})
