"""Clients that hop between peers, and writers that build chains across them, as a program with one event loop.

As a program: `python hoppers.py` reads one line of JSON, the `Crew` that it is to be. Each further line asks: `count`
is answered with how many different events each client has, `rest` ends the writers once each event they are at is
acknowledged and answers with all that were, `dump` ends the clients and answers with what they received and what went
wrong.

A writer carries the `Hypha-Clock` of its last answer, so that the next peer has read what it names as a parent; some
clients answer what they see where they see it. What was accepted at the first try by a peer that had read as far is an
effect that nobody may see before its causes.
"""

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import uuid
from dataclasses import asdict, dataclass, field
from urllib.parse import urlencode

from workload import SCOPES, TYPES

TOPICS = ["tasks.build.asked", "tasks.test.asked", "tasks.ü 🌱.asked", "notes", "notes.daily"]


def matches(filter: dict, event: dict) -> bool:
    """Whether a subscription with this filter gets an event."""
    address, kind, agent = ("topic", "type", "source") if "topic" in filter else ("scope", "type", "agent_id")
    if address not in event or not fits(filter.get(address, ">"), event[address]):
        return False
    return event[kind] in filter.get("types", [event[kind]]) and event[agent] in filter.get("agents", [event[agent]])


def fits(pattern: str, address: str) -> bool:
    wanted, found = pattern.split("."), address.split(".")
    if wanted[-1] == ">":
        return len(found) >= len(wanted) and fits_each(wanted[:-1], found)
    return len(found) == len(wanted) and fits_each(wanted, found)


def fits_each(wanted: list[str], found: list[str]) -> bool:
    return all(one in ("*", other) for one, other in zip(wanted, found))


@dataclass
class Posted:
    """An event as a peer answered it; `is_effect` if that peer surely had read its parents."""

    event: dict
    is_effect: bool
    tries: int


@dataclass
class Crew:
    """What one process does: the peers as (host, port), each client's form and filter, the names of writers."""

    peers: list
    clients: list[dict]
    writers: list[str]
    seed: str
    pause_s: float
    dwell_s: tuple[float, float] = (0.1, 2.5)


class Crews:
    """Several processes of one program, as the test sees them: each is told what it is to be, and then asked."""

    def __init__(self, crews: list, program: str = __file__):
        self.crews = crews
        self.children = [subprocess.Popen([sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                          text=True) for _ in crews]

    def __enter__(self):
        for child, crew in zip(self.children, self.crews):
            child.stdin.write(json.dumps(asdict(crew)) + "\n")
            child.stdin.flush()
        return self

    def __exit__(self, *_):
        for child in self.children:
            child.stdin.close()
        for child in self.children:
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(10)

    def ask(self, what: str) -> list:
        """The answers of all processes, one list behind the other."""
        for child in self.children:
            child.stdin.write(what + "\n")
            child.stdin.flush()
        found = []
        for child in self.children:
            line = child.stdout.readline()
            assert line, f"a crew ended with {child.wait(10)}"
            found += json.loads(line)
        return found


@dataclass
class Client:
    """One client: where it reads, how far it has come, and what it got: (id, replica, seq) in order."""

    form: str
    filter: dict
    answers: str | None = None
    cursor: str = "earliest"
    received: list = field(default_factory=list)
    seen: set = field(default_factory=set)
    hops: int = 0
    trouble: list = field(default_factory=list)


class Program:
    def __init__(self, crew: dict):
        self.peers, self.crew = [tuple(peer) for peer in crew["peers"]], crew
        self.clients = [Client(**client) for client in crew["clients"]]
        self.posted: list[Posted] = []
        self.resting, self.pending = asyncio.Event(), set()

    # Writing

    async def post(self, peer, event: dict, clock: str | None, dice) -> tuple[Posted, str | None]:
        """Posts an event, at one peer after the other until one has acknowledged it; also the answer's clock."""
        tries = 0
        while True:
            tries += 1
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                async with asyncio.timeout(8):
                    status, headers, answer = await self.exchange(peer, event, clock)
                if status in (200, 201):
                    behind = "hypha-clock-behind" in headers or "hypha-clock-lost" in headers
                    posted = Posted(answer, tries == 1 and status == 201 and not behind, tries)
                    self.posted.append(posted)
                    return posted, headers.get("hypha-clock")
                if status not in (503, 504, 507):
                    raise RuntimeError(f"{peer} answered {status} {answer} to {event}")
            await asyncio.sleep(0.05)
            peer = dice.choice(self.peers)

    async def exchange(self, peer, event: dict, clock: str | None):
        reader, writer = await asyncio.open_connection(*peer)
        try:
            body = json.dumps(event, ensure_ascii=False).encode()
            head = [f"POST /api/events HTTP/1.1", "Host: hypha", "Content-Type: application/json", "Connection: close",
                    f"Content-Length: {len(body)}", *([f"Hypha-Clock: {clock}"] if clock else [])]
            writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
            status, headers = await read_head(reader)
            return status, headers, json.loads(await reader.readexactly(int(headers["content-length"])))
        finally:
            writer.transport.abort()

    async def write(self, name: str):
        dice, known, clock = random.Random(f"{self.crew['seed']}-{name}"), [], None
        while not self.resting.is_set():
            event = {"id": str(uuid.UUID(int=dice.getrandbits(128), version=4)),
                     "parent_ids": known[-1:] + dice.sample(known[:-1], min(len(known[:-1]), dice.randrange(3)))}
            if dice.random() < 0.5:
                event |= {"topic": dice.choice(TOPICS), "type": dice.choice(["ask", "tell"]), "source": name,
                          "data": {"n": len(self.posted)}}
            else:
                event |= {"type": dice.choice(TYPES), "scope": dice.choice(SCOPES), "trace_id": name, "agent_id": name,
                          "payload": {"action": "a", "status": "s", "value": 0.01}}
            posted, clock = await self.post(dice.choice(self.peers), event, clock, dice)
            # A peer that had not read the parents breaks the chain: the next event begins a new one.
            known = [*(known[-20:] if posted.is_effect else []), event["id"]]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.resting.wait(), dice.uniform(0, 2 * self.crew["pause_s"]))

    def answer(self, client: Client, peer, asked: dict):
        """Answers what a client was shown, where it was shown."""
        event = {"id": str(uuid.uuid4()), "topic": asked["topic"].replace("asked", "answered"), "type": "answer",
                 "source": client.answers, "data": {}, "parent_ids": [asked["id"]]}
        task = asyncio.create_task(self.post(peer, event, None, random.Random(event["id"])))
        self.pending.add(task)

    # Reading

    async def hop(self, client: Client, seed: str):
        dice = random.Random(seed)
        while True:
            peer = dice.choice(self.peers)
            with contextlib.suppress(OSError, EOFError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(dice.uniform(*self.crew["dwell_s"])):
                    await (self.listen if client.form == "stream" else self.talk)(client, peer)
            client.hops += 1
            await asyncio.sleep(0.02)

    def take(self, client: Client, peer, message: dict):
        """One message to a client."""
        match message["type"]:
            case "event" if "cursor" in message:
                event = message["data"]
                client.received.append((event["id"], event["replica"], event["seq"]))
                first = event["id"] not in client.seen
                client.seen.add(event["id"])
                client.cursor = message["cursor"]
                if client.answers and first and event["type"] == "ask" and not self.resting.is_set():
                    self.answer(client, peer, event)
            case "event" | "pong" | "subscribed":
                # What the node sent before it heard of the subscription.
                pass
            case "cursor" | "drain":
                client.cursor = message["cursor"]
            case "resumed" if message["recovered"]:
                pass
            case _:
                client.trouble.append(message)

    async def listen(self, client: Client, peer):
        reader, writer = await asyncio.open_connection(*peer, limit=1 << 22)
        try:
            # A browser would send the header.
            writer.write((f"GET /api/stream?{urlencode(query(client.filter))} HTTP/1.1\r\nHost: hypha\r\n"
                          f"Last-Event-ID: {client.cursor}\r\n\r\n").encode())
            status, _ = await read_head(reader)
            if status != 200:
                if status != 503:
                    client.trouble.append(f"{peer} answered {status}: {await reader.read(500)}")
                return
            text = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                text += (await reader.readexactly(size + 2))[:-2]
                *blocks, text = text.split(b"\n\n")
                for block in blocks:
                    self.take_block(client, peer, block.decode())
        finally:
            writer.transport.abort()

    def take_block(self, client: Client, peer, block: str):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if fields.get("event", "message") != "message":
            self.take(client, peer, json.loads(fields["data"]))
        elif "data" in fields:
            self.take(client, peer, {"type": "event", "data": json.loads(fields["data"]), "cursor": fields["id"]})
        elif "id" in fields:
            client.cursor = fields["id"]

    async def talk(self, client: Client, peer):
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        url = f"ws://{peer[0]}:{peer[1]}/ws"
        with contextlib.suppress(WebSocketException):
            socket = await connect(url, compression=None, proxy=None, ping_interval=None, max_size=None)
            try:
                await socket.send(json.dumps({"type": "subscribe", "filter": client.filter, "cursor": client.cursor}))
                async for message in socket:
                    message = json.loads(message)
                    # A peer that has just come back asks its peers first.
                    if message["type"] == "error" and "snapshot" in message["message"]:
                        return
                    self.take(client, peer, message)
            finally:
                socket.transport.abort()

    # Being asked

    async def run(self):
        seed = self.crew["seed"]
        readers = [asyncio.create_task(self.hop(client, f"{seed}-{n}")) for n, client in enumerate(self.clients)]
        writers = [asyncio.create_task(self.write(name)) for name in self.crew["writers"]]
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            for task in [*readers, *writers]:
                if task.done():
                    task.result()
            match line:
                case "count":
                    answer = [len(client.seen) for client in self.clients]
                case "rest":
                    self.resting.set()
                    await asyncio.gather(*writers, *self.pending)
                    answer = [asdict(posted) for posted in self.posted]
                case _:
                    for task in readers:
                        task.cancel()
                    answer = [[client.received, client.hops, client.trouble] for client in self.clients]
            print(json.dumps(answer), flush=True)
        for task in [*readers, *writers, *self.pending]:
            task.cancel()


def query(filter: dict) -> dict[str, str]:
    return {key: ",".join(value) if isinstance(value, list) else value for key, value in filter.items()}


async def read_head(reader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if line)
    return int(lines[0].split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}


if __name__ == "__main__":
    asyncio.run(Program(json.loads(sys.stdin.readline())).run())
