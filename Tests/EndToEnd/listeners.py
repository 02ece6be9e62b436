"""WebSocket clients in a process of their own, so that they do not share an interpreter with the load.

As a program: `python listeners.py URL…` connects to each URL and remembers every event's id, replica and seq. A line
on standard input asks: `count` is answered with how many events each client has, `dump` with all of them.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass

from cluster import poll


@dataclass
class Heard:
    """What one client received, in order: (event id, replica, seq); and whether its connection has ended."""

    url: str
    events: list[tuple[str, str, int]]
    closed: int | None

    def check_once_and_rising(self):
        """Asserts that no id came twice and that seq rose per replica."""
        twice = [(id, n) for id, n in Counter(id for id, _, _ in self.events).items() if n > 1]
        assert not twice, f"the client of {self.url} received {len(twice)} events more than once: {twice[:5]}"
        last: dict[str, int] = {}
        for id, replica, seq in self.events:
            assert seq > last.get(replica, -1), (
                f"the client of {self.url} received {id} with seq {seq} of {replica} after {last[replica]}"
            )
            last[replica] = seq

    def check_causes_first(self, stored: dict[str, dict]):
        """Asserts that no event came before one of the stored events that it names as a parent."""
        place = {id: at for at, (id, _, _) in enumerate(self.events)}
        for id, at in place.items():
            for parent in stored[id]["parent_ids"]:
                assert place[parent] < at, f"the client of {self.url} received {id} before its parent {parent}"

    @property
    def ids(self) -> set[str]:
        return {id for id, _, _ in self.events}


class Listeners:
    """`per_node` clients on each of the given nodes."""

    def __init__(self, nodes, per_node: int):
        self.urls = [node.ws_url for node in nodes for _ in range(per_node)]
        self.child = subprocess.Popen(
            [sys.executable, __file__, *self.urls], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.child.stdout.readline() == "ready\n", "a client could not connect to /ws"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        self.child.wait(10)

    def ask(self, what: str):
        self.child.stdin.write(what + "\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def counts(self) -> list[int]:
        return self.ask("count")

    def heard(self) -> list[Heard]:
        return [Heard(url, [tuple(e) for e in events], closed) for url, (events, closed) in
                zip(self.urls, self.ask("dump"))]

    def wait_for(self, ids: set[str], nodes, seconds: float):
        """Until every client of the given nodes has received these ids, then a settled view of all clients."""
        urls = {node.ws_url for node in nodes}

        def complete():
            if any(n < len(ids) for n, url in zip(self.counts(), self.urls) if url in urls):
                return False
            return not any(ids - heard.ids for heard in self.heard() if heard.url in urls)

        def report():
            return {heard.url: f"{len(heard.events)} received, {len(ids - heard.ids)} missing, closed {heard.closed}"
                    for heard in self.heard()}

        try:
            poll(complete, seconds, "every client received every event", every=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}; {report()}") from None
        return [heard for heard in self.heard() if heard.url in urls]


async def main(urls: list[str]):
    # Imported here: the tests that only read this module's classes need no asyncio client.
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    heard: list[list] = [[[], None] for _ in urls]

    async def listen(socket, record):
        try:
            while True:
                message = json.loads(await socket.recv())
                if message["type"] == "event":
                    data = message["data"]
                    record[0].append((data["id"], data["replica"], data["seq"]))
        except ConnectionClosed as error:
            record[1] = error.rcvd.code if error.rcvd else 1006

    options = {"compression": None, "proxy": None, "max_size": None, "max_queue": None, "ping_interval": None}
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connect(url, **options)) for url in urls]
        tasks = [asyncio.create_task(listen(*pair)) for pair in zip(sockets, heard)]
        # One round trip each, so that every client is known to its node before the load starts.
        for socket in sockets:
            await (await socket.ping())
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            answer = [len(record[0]) for record in heard] if line == "count" else heard
            print(json.dumps(answer), flush=True)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
