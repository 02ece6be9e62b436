"""A subscriber that comes back: whatever a peer has shown on `/ws` must be true afterwards, however often it was killed."""

import json
import threading

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect


class Watcher:
    """A client of one peer's `/ws` that connects again and again while the peer is gone."""

    def __init__(self, node):
        self.node = node
        self.seen: dict[str, dict] = {}
        self.twice: list[str] = []
        self.connections = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(30)
        assert not self.thread.is_alive(), "a watcher hangs"

    def work(self):
        while not self.stopping.is_set():
            try:
                with connect(self.node.ws_url, compression=None, proxy=None, ping_interval=None, max_size=None,
                             open_timeout=5, close_timeout=0.2) as socket:
                    self.connections += 1
                    self.listen(socket)
            except (OSError, EOFError, TimeoutError, WebSocketException):
                self.stopping.wait(0.02)

    def listen(self, socket):
        here = set()
        while not self.stopping.is_set():
            try:
                message = json.loads(socket.recv(timeout=0.5))
            except TimeoutError:
                continue
            if message["type"] == "event":
                event = message["data"]
                if event["id"] in here:
                    self.twice.append(event["id"])
                here.add(event["id"])
                self.seen[event["id"]] = event

    def check(self, stored: dict[str, dict]):
        """Asserts that what it was shown is what is stored, and came at most once over each connection."""
        assert not self.twice, f"{self.node.name} sent {self.twice[:3]} twice over one connection"
        lost = self.seen.keys() - stored.keys()
        assert not lost, f"{self.node.name} has shown {len(lost)} events that are gone, e.g. {self.seen[min(lost)]}"
