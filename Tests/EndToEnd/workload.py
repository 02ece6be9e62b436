"""Agents at work: events of all five types from many agents that hop between the peers.

Everything is drawn from one seed, so that a failure can be repeated with the same events (not the same timing).
"""

import http.client
import json
import random
import socket
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

TYPES = ["proposal", "ready", "test", "reward", "penalty"]
SCOPES = [f"{area}.{part}" for area in ("ui", "api", "data") for part in ("login", "search", "billing", "profil-é")]
PATTERNS = [f"pattern-{n}" for n in range(12)]
ALPHAS = [0.4, 0.77, 1.0, 1.3, 2.5]


@dataclass
class Acknowledged:
    """One post that a peer answered with 200 or 201."""

    id: str
    peer: str
    status: int


@dataclass
class Outcome:
    """What the agents saw, all together."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    twice: set[str] = field(default_factory=set)

    def ids(self, peers=None) -> set[str]:
        return {ack.id for ack in self.acknowledged if peers is None or ack.peer in peers}


class Agent:
    """One agent with its own dice and its own keep-alive connection to each peer."""

    def __init__(self, name: str, seed: str, nodes):
        self.name, self.nodes, self.dice = name, nodes, random.Random(seed)
        self.connections: dict[str, http.client.HTTPConnection] = {}
        self.known: list[str] = []

    def event(self, own_id: bool) -> dict:
        """The next event. Rewards and penalties come with a pattern, with parents, and with neither."""
        dice, kind = self.dice, self.dice.choice(TYPES)
        payload: dict = {"note": dice.choice(["", "grün", "line\nbreak", "🌱"]), "n": dice.random()}
        event = {"type": kind, "scope": dice.choice(SCOPES), "trace_id": f"{self.name}-{dice.randrange(20)}",
                 "agent_id": self.name, "payload": payload}
        if kind == "proposal":
            payload["action"] = dice.choice(PATTERNS)
        elif kind in ("ready", "test"):
            payload["status"] = "complete"
            if dice.random() < 0.5:
                payload["pattern"] = dice.choice(PATTERNS)
        else:
            payload["value"] = dice.uniform(0.001, 0.2)
            if kind == "reward" and dice.random() < 0.5:
                payload[dice.choice(["α", "alpha"])] = dice.choice(ALPHAS)
            if kind == "penalty" and dice.random() < 0.5:
                payload["value"] = -payload["value"]
            if dice.random() < 0.6:
                payload[dice.choice(["pattern", "action"])] = dice.choice(PATTERNS)
        if self.known and dice.random() < 0.5:
            event["parent_ids"] = dice.sample(self.known, min(len(self.known), dice.randint(1, 3)))
        if own_id:
            event["id"] = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        return event

    def remember(self, id: str):
        self.known = self.known[-30:] + [id]

    def request(self, node, method: str, path: str, body: dict | None = None):
        """One request, answered with the status and the JSON; raises OSError or HTTPException when the peer is not
        there (any more)."""
        connection = self.connections.pop(node.name, None)
        if connection is None:
            connection = http.client.HTTPConnection(node.host, node.http, timeout=20)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        encoded = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        connection.request(method, path, encoded, {} if body is None else {"Content-Type": "application/json"})
        reply = connection.getresponse()
        answer = json.loads(reply.read())
        # Kept only after a whole answer: a connection that failed is not used again.
        self.connections[node.name] = connection
        return reply.status, answer

    def post(self, node, event: dict) -> tuple[int, dict]:
        return self.request(node, "POST", "/api/events", event)

    def close(self):
        for connection in self.connections.values():
            connection.close()


class Load:
    """`agents` agents posting `count` events over `nodes`, `twice` of them under one id at two peers at once.

    `always_own_ids` and a `gone` set of names make agents retry elsewhere: a failure of a peer in `gone` is expected,
    any other is recorded.
    """

    def __init__(self, nodes, count: int, agents: int = 50, twice: int = 0, seed: str = "hypha",
                 always_own_ids: bool = False):
        self.nodes, self.count, self.always_own_ids = list(nodes), count, always_own_ids
        self.outcome, self.gone, self.lock = Outcome(), set(), threading.Lock()
        self.done = 0
        self.agents = [Agent(f"agent-{n:02d}", f"{seed}-{n}", self.nodes) for n in range(agents)]
        dice = random.Random(seed)
        self.twice = set(dice.sample(range(count), twice))
        self.pairs = ThreadPoolExecutor(max_workers=agents, thread_name_prefix="pair")

    def run(self, halfway=None) -> Outcome:
        """Posts everything; `halfway` is called once, from one of the agents' threads, when half is done."""
        self.halfway = halfway
        share = [range(n, self.count, len(self.agents)) for n in range(len(self.agents))]
        with ThreadPoolExecutor(max_workers=len(self.agents)) as pool:
            for future in [pool.submit(self.work, agent, numbers) for agent, numbers in zip(self.agents, share)]:
                future.result()
        self.pairs.shutdown()
        for agent in self.agents:
            agent.close()
        return self.outcome

    def work(self, agent: Agent, numbers):
        for number in numbers:
            if number in self.twice:
                self.post_twice(agent, agent.event(own_id=True))
            else:
                event = agent.event(self.always_own_ids or agent.dice.random() < 0.5)
                self.post_until_accepted(agent, event)
            with self.lock:
                self.done += 1
                act = self.halfway if self.done == self.count // 2 else None
            if act:
                act()

    def post_twice(self, agent: Agent, event: dict):
        """One id, one body, two peers, at the same time."""
        first, second = agent.dice.sample(self.nodes, 2)
        other = Agent(agent.name, f"{agent.name}-{event['id']}", self.nodes)
        start = threading.Barrier(2)

        def side(poster, node):
            start.wait(20)
            self.post_until_accepted(poster, event, node)

        future = self.pairs.submit(side, other, second)
        side(agent, first)
        future.result()
        other.close()
        with self.lock:
            self.outcome.twice.add(event["id"])

    def post_until_accepted(self, agent: Agent, event: dict, node=None):
        for _ in range(20):
            node = node or agent.dice.choice(self.nodes)
            try:
                status, answer = agent.post(node, event)
            except (OSError, http.client.HTTPException) as error:
                if node.name in self.gone and "id" in event:
                    node = None
                    continue
                with self.lock:
                    self.outcome.failures.append(f"{node.name}: {error!r} to {event}")
                return
            with self.lock:
                if status in (200, 201):
                    self.outcome.acknowledged.append(Acknowledged(answer["id"], node.name, status))
                    agent.remember(answer["id"])
                else:
                    self.outcome.failures.append(f"{node.name}: {status} {answer} to {event}")
            return
        with self.lock:
            self.outcome.failures.append(f"no peer accepted {event}")
