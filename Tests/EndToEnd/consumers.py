"""Consumers of one queue group, as a program with one event loop.

As a program: `python consumers.py` reads one line of JSON, the `Shift` that it is to be. Each further line asks:
`count` is answered with how many different events were handled, `dump` with every delivery.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from urllib.parse import urlencode

from hoppers import read_head


@dataclass
class Shift:
    """What one process does: the peers as (host, port), each consumer's name, form and first peer, and the group."""

    peers: list
    consumers: list[dict]
    group: str
    filter: dict
    options: dict
    seed: str
    # A consumer moves on after about so long; never if 0.
    stay_s: float = 0


@dataclass
class Delivery:
    """One event that one consumer was handed, and has acknowledged."""

    id: str
    replica: str
    seq: int
    attempt: int
    moment: float
    consumer: str
    peer: int


class Program:
    def __init__(self, shift: dict):
        self.shift, self.peers = shift, [tuple(peer) for peer in shift["peers"]]
        self.handled: list[Delivery] = []
        self.trouble: list[str] = []

    async def work(self, name: str, form: str, at: int):
        dice = random.Random(f"{self.shift['seed']}-{name}")
        while True:
            stay = dice.uniform(0.3, 2) * self.shift["stay_s"] or None
            with contextlib.suppress(OSError, EOFError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                async with asyncio.timeout(stay):
                    await (self.listen if form == "stream" else self.talk)(name, at)
            await asyncio.sleep(0.05)
            at = dice.randrange(len(self.peers))

    def take(self, name: str, at: int, message: dict) -> str:
        event = message["data"]
        self.handled.append(Delivery(event["id"], event["replica"], event["seq"], message["attempt"], time.time(), name,
                                     at))
        return event["id"]

    async def talk(self, name: str, at: int):
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        host, port = self.peers[at]
        with contextlib.suppress(WebSocketException):
            socket = await connect(f"ws://{host}:{port}/ws?{urlencode({'agent': name})}", compression=None, proxy=None,
                                   ping_interval=None, max_size=None)
            try:
                await socket.send(json.dumps({"type": "subscribe", "group": self.shift["group"],
                                              "filter": self.shift["filter"], **self.shift["options"]}))
                async for text in socket:
                    message = json.loads(text)
                    if message["type"] == "event":
                        # Before it subscribed it was a plain SEMP client.
                        if "group" in message:
                            id = self.take(name, at, message)
                            await socket.send(json.dumps({"type": "ack", "group": self.shift["group"], "id": id}))
                    elif message["type"] in ("error", "left"):
                        self.trouble.append(f"{name} at {at}: {message}")
                        return
            finally:
                socket.transport.abort()

    async def listen(self, name: str, at: int):
        """On a stream events are acknowledged with a request of their own."""
        reader, writer = await asyncio.open_connection(*self.peers[at], limit=1 << 22)
        asking = await asyncio.open_connection(*self.peers[at])
        try:
            wish = {"group": self.shift["group"], "ack": "manual", "agent": name, **self.shift["filter"],
                    **self.shift["options"]}
            writer.write(f"GET /api/stream?{urlencode(wish)} HTTP/1.1\r\nHost: hypha\r\n\r\n".encode())
            status, _ = await read_head(reader)
            if status != 200:
                if status != 503:
                    self.trouble.append(f"{name} at {at}: {status} {await reader.read(500)}")
                return
            text = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                text += (await reader.readexactly(size + 2))[:-2]
                *blocks, text = text.split(b"\n\n")
                for block in blocks:
                    for line in block.decode().split("\n"):
                        if not line.startswith("data: "):
                            continue
                        message = json.loads(line[6:])
                        if message.get("type") == "event" and "group" in message:
                            await self.acknowledge(*asking, self.take(name, at, message))
        finally:
            writer.transport.abort()
            asking[1].transport.abort()

    async def acknowledge(self, reader, writer, id: str):
        body = json.dumps({"id": id}).encode()
        writer.write((f"POST /api/groups/{self.shift['group']}/ack HTTP/1.1\r\nHost: hypha\r\nContent-Length: "
                      f"{len(body)}\r\nContent-Type: application/json\r\n\r\n").encode() + body)
        status, headers = await read_head(reader)
        answer = await reader.readexactly(int(headers["content-length"]))
        if status != 200:
            self.trouble.append(f"ack of {id}: {status} {answer}")

    async def run(self):
        tasks = [asyncio.create_task(self.work(**consumer)) for consumer in self.shift["consumers"]]
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            for task in tasks:
                if task.done():
                    task.result()
            if line == "count":
                answer: list = [sorted({delivery.id for delivery in self.handled})]
            elif line == "trouble":
                answer = self.trouble
            else:
                answer = [asdict(delivery) for delivery in self.handled]
            print(json.dumps(answer), flush=True)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(Program(json.loads(sys.stdin.readline())).run())
