"""What the tests of durable peers share: writers that never give up, all that a peer shows, and the files of its
directory.

The layout of the files is written down here a second time, from its description alone, so that a test can cut and
damage them where it chooses.
"""

import collections
import http.client
import json
import os
import random
import shutil
import struct
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import oracle
from cluster import clean_environment, hypha_binary
from workload import Agent


def seed_of(variable: str) -> str:
    """The seed that a variable names, else a new one; printed, so that a failure can be tried again with it."""
    seed = os.environ.get(variable) or f"{random.SystemRandom().randrange(1 << 32):08x}"
    print(f"seed: {variable}={seed}")
    return seed


# Writing


@dataclass
class Acknowledged:
    """An event as it was posted, and as the peer that acknowledged it answered."""

    posted: dict
    answer: dict
    peer: str


class Writers:
    """Agents that post events under ids of their own, each one until some peer has acknowledged it.

    A request that is cut off or answered with 503 or 507 is repeated with the same id at a peer drawn anew. Everything
    drawn comes from the seed; what is drawn when depends on the answers.
    """

    GIVE_UP_S = 90

    def __init__(self, nodes, agents: int = 6, seed: str = "hypha", pause_s: float = 0.01, padding: int = 0):
        self.nodes, self.pause_s, self.padding = list(nodes), pause_s, padding
        self.acknowledged: dict[str, Acknowledged] = {}
        self.refused: collections.Counter[tuple[str, int]] = collections.Counter()
        self.messages: dict[int, str] = {}
        self.failures: list[str] = []
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.agents = [Agent(f"agent-{n:02d}", f"{seed}-{n}", self.nodes) for n in range(agents)]
        self.threads = [threading.Thread(target=self.work, args=(agent,), daemon=True) for agent in self.agents]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Lets each agent finish the event that it is at."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(self.GIVE_UP_S + 30)
            assert not thread.is_alive(), "a writer hangs"
        for agent in self.agents:
            agent.close()

    def work(self, agent: Agent):
        while not self.stopping.is_set() and not self.failures:
            event = agent.event(own_id=True)
            if self.padding:
                event["payload"]["padding"] = "x" * self.padding
            self.post(agent, event)
            self.stopping.wait(agent.dice.uniform(0, 2 * self.pause_s))

    def post(self, agent: Agent, event: dict):
        deadline, last = time.monotonic() + self.GIVE_UP_S, "nothing was tried"
        while time.monotonic() < deadline:
            node = agent.dice.choice(self.nodes)
            try:
                status, answer = agent.post(node, event)
            except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
                last = f"{node.name}: {error!r}"
                time.sleep(0.01)
                continue
            if status in (200, 201):
                with self.lock:
                    self.acknowledged[event["id"]] = Acknowledged(event, answer, node.name)
                return agent.remember(event["id"])
            last = f"{node.name}: {status} {answer}"
            if status not in (503, 507):
                break
            with self.lock:
                self.refused[node.name, status] += 1
                self.messages[status] = answer["message"]
            # With one peer that takes nothing there is nobody to go to.
            if self.stopping.wait(0.02) and len(self.nodes) == 1:
                return
        with self.lock:
            self.failures.append(f"nobody took {event}; last seen: {last}")

    def so_far(self) -> dict[str, Acknowledged]:
        """What is acknowledged by now, while they go on."""
        with self.lock:
            return dict(self.acknowledged)


def check_kept(acknowledged: dict[str, Acknowledged], stored: dict[str, dict]):
    """Asserts that every acknowledged event is among the stored ones, with the body that was posted."""
    lost = acknowledged.keys() - stored.keys()
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged events are lost, e.g. {example(lost, acknowledged)}"
    for id, ack in acknowledged.items():
        kept = {key: stored[id].get(key) for key in ack.posted}
        assert kept == ack.posted, f"posted as {ack.posted}, stored as {stored[id]}"


def example(ids, acknowledged) -> str:
    """A few of the lost ones, for a failure's message."""
    return "; ".join(f"{acknowledged[id].peer} answered {acknowledged[id].answer}" for id in sorted(ids)[:3])


def check_numbers(acknowledged: dict[str, Acknowledged], stored: dict[str, dict]):
    """Asserts that no number of a log names two events, over all that was ever answered and all that is stored."""
    named: dict[tuple[str, int], str] = {}
    for event in [*(ack.answer for ack in acknowledged.values()), *stored.values()]:
        id = named.setdefault((event["replica"], event["seq"]), event["id"])
        assert id == event["id"], f"{event['replica']}:{event['seq']} was given to {id} and to {event['id']}"


# Reading


@dataclass
class Shown:
    """All that a peer shows of its data, with the signals at one moment."""

    events: list[dict]
    signals: bytes
    graph: list[dict]
    at: int

    def by_id(self) -> dict[str, dict]:
        return {event["id"]: event for event in self.events}


def shown(node, at: int | None = None) -> Shown:
    """Asks a peer for everything; without a moment, the signals are read when its newest event came."""
    events = node.events()
    at = at or max(map(oracle.stamp_ms, events), default=0) + 1
    signals, graph = node.get(f"/api/signals?at={at}"), node.get("/api/nodes?limit=100000")
    assert (signals.status_code, graph.status_code) == (200, 200), f"{signals.text} {graph.text}"
    return Shown(events, signals.content, sorted(graph.json(), key=lambda node: node["id"]), at)


def replica(node) -> str:
    return node.get("/api/cluster").json()["replica"]


def own_read(node) -> dict[str, int]:
    """How far a peer says to have read in each log."""
    cluster = node.get("/api/cluster").json()
    return next(member["read"] for member in cluster["members"] if member["replica"] == cluster["replica"])


def epoch(node) -> int:
    """How often a peer was started, as it tells its cluster."""
    cluster = node.get("/api/cluster").json()
    mine = next(member for member in cluster["members"] if member["replica"] == cluster["replica"])
    return int(mine["incarnation"].split(".")[0])


# The commands


def data_command(*arguments) -> subprocess.CompletedProcess:
    """`hypha data …`."""
    return subprocess.run([hypha_binary(), "data", *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, env=clean_environment())


# The files

PREAMBLE_BYTES, HEAD_BYTES = 16, 12
ENTRY, COMMIT = 2, 3
_castagnoli = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte >> 1 ^ (0x82F6_3B78 if _byte & 1 else 0)
    _castagnoli.append(_byte)


def crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720, B.4), a byte at a time."""
    sum = 0xFFFF_FFFF
    for byte in data:
        sum = sum >> 8 ^ _castagnoli[(sum ^ byte) & 0xFF]
    return sum ^ 0xFFFF_FFFF


@dataclass
class Record:
    """One record: where it stands, where the next one does, and what it is."""

    start: int
    end: int
    kind: int


def files(directory: Path, prefix: str = "") -> list[Path]:
    """The data files of a directory, of one kind ("log-" or "state-") or of both, the oldest first."""
    return sorted(path for path in directory.iterdir()
                  if path.name.startswith(prefix or ("log-", "state-")) and not path.name.endswith(".tmp"))


def records(path: Path) -> list[Record]:
    """The records of a file up to the first thing that is none."""
    content, number = path.read_bytes(), int(path.name[-16:], 16)
    found, at = [], PREAMBLE_BYTES
    while at + HEAD_BYTES < len(content):
        length, body, head = struct.unpack_from("<III", content, at)
        end = at + HEAD_BYTES + length
        if length == 0 or end > len(content) or head != crc32c(struct.pack("<QQII", number, at, length, body)):
            break
        found.append(Record(at, end, content[at + HEAD_BYTES]))
        at = end
    return found


def last_batch(path: Path) -> tuple[int, int]:
    """Where the records of the last commit that holds entries begin, and where its commit record ends."""
    start, has_entries, found = PREAMBLE_BYTES, False, None
    for record in records(path):
        has_entries |= record.kind == ENTRY
        if record.kind == COMMIT:
            found = (start, record.end) if has_entries else found
            start, has_entries = record.end, False
    assert found, f"{path} holds no entry"
    return found


def written(path: Path) -> int:
    """Where the written part of a file ends, and the room that was kept ahead begins."""
    return max((record.end for record in records(path)), default=min(PREAMBLE_BYTES, path.stat().st_size))


def overwrite(path: Path, offset: int, data: bytes):
    """Changes bytes of a file in its place."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(path: Path, offset: int, bit: int):
    overwrite(path, offset, bytes([path.read_bytes()[offset] ^ 1 << bit]))


class Directory:
    """The bytes of a data directory, to be put back into the same files, as a copy of the lock file is not the lock
    file."""

    def __init__(self, path):
        self.path = path
        self.kept = {name.name: name.read_bytes() for name in path.iterdir() if name.is_file()}

    def restore(self):
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in self.kept:
                path.unlink()
        for name, content in self.kept.items():
            path = self.path / name
            with open(path, "r+b" if path.exists() else "w+b") as file:
                file.write(content)
                file.truncate(len(content))

    def flip_one(self, dice) -> str:
        """Flips a bit of some file, mostly where something is written; returns where."""
        name = dice.choice(sorted(self.kept))
        path, size = self.path / name, len(self.kept[name])
        if name != "lock" and dice.random() < 0.8:
            size = max(1, written(path))
        offset, bit = dice.randrange(size), dice.randrange(8)
        flip(path, offset, bit)
        return f"bit {bit} of byte {offset} of {name}"


# Small workloads


def patiently(ask, seconds: float = 20):
    """The answer to a request, which is repeated while the peer says 503: just started, it asks its peers before it
    takes writes."""
    deadline = time.monotonic() + seconds
    while True:
        status, answer = ask()
        if status != 503 or time.monotonic() > deadline:
            return status, answer
        time.sleep(0.01)


def fill(node, count: int, seed: str, padding: int = 0) -> dict[str, Acknowledged]:
    """Posts so many events of all types to one peer, one after the other."""
    agent, kept = Agent(f"filler-{seed}", seed, [node]), {}
    for _ in range(count):
        event = agent.event(own_id=True)
        if padding:
            event["payload"]["padding"] = "x" * padding
        status, answer = patiently(lambda: agent.post(node, event))
        assert status == 201, f"{status} {answer}"
        kept[event["id"]] = Acknowledged(event, answer, node.name)
        agent.remember(event["id"])
    agent.close()
    return kept


def draw_graph(node, count: int, seed: str):
    """Makes nodes of the graph with data and edges, and changes and removes some of them."""
    dice, made = random.Random(seed), []

    def write(expected: int, method: str, path: str, body: dict | None = None):
        def ask():
            reply = node.request(method, f"/api/nodes{path}", json=body)
            return reply.status_code, reply.text
        status, text = patiently(ask)
        assert status == expected, f"{status} {text}"

    for number in range(count):
        id = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        write(201, "POST", "", {"id": id, "type": "idea", "data": {"n": number, "tags": ["a", "b"]}})
        if made:
            write(201, "POST", f"/{id}/edges", {"to": dice.choice(made), "type": "feeds"})
        if number % 3 == 1:
            write(200, "PATCH", f"/{dice.choice(made)}", {"data": {"n": None, "m": number}})
        made.append(id)
        if number % 5 == 4:
            write(204, "DELETE", f"/{made.pop(0)}")
