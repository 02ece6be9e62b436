"""An Ethernet switch in user space, with bad weather: per direction it loses, delays, reorders and cuts frames.

As a program: `python switch.py SEED PORT…` joins these cards of its network namespace, host i behind the i-th one (see
`netns.SwitchedHosts`). It is a process of its own, so that the load's interpreter does not become part of the weather.
Each line on standard input is a JSON object that may change one direction's rule; each is answered with a line: what
happened so far in every direction. It needs nothing of the kernel but packet sockets (`tc netem` is a module that many
kernels come without).
"""

import heapq
import json
import random
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field

# <linux/if_ether.h>, <linux/if_packet.h>
ETH_P_ALL = 3
ETH_HLEN = 14
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23

# Frames read from one port before the others have their turn.
BURST = 64
# Frames held back at most, all directions together; what comes beyond is dropped and counted.
HELD_FRAMES = 20_000
# Three hosts' TCP bursts fit while another process has the core.
RECEIVE_BYTES = 4 << 20


@dataclass
class Rule:
    """The weather in one direction. Each frame draws its own delay, so jitter reorders."""

    loss_rate: float = 0.0
    delay_ms: float = 0.0
    # Added to the delay: uniformly from none to all of it.
    jitter_ms: float = 0.0
    cut: bool = False


@dataclass
class Count:
    """Frames of one direction. `overtook`: sent on before one that had come earlier."""

    passed: int = 0
    lost: int = 0
    cut: int = 0
    overtook: int = 0
    overflowed: int = 0


@dataclass
class Direction:
    dice: random.Random
    rule: Rule = field(default_factory=Rule)
    count: Count = field(default_factory=Count)
    # When the latest of the frames sent on so far is due.
    latest: float = 0.0


class Switch:
    """A running switch over the ports of `hosts`, for the tests: `switch.set(0, 2, cut=True)`."""

    def __init__(self, hosts, seed: str):
        self.size = len(hosts.ports)
        self.child = subprocess.Popen(
            [sys.executable, __file__, seed, *hosts.ports], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.counts()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        self.child.wait(10)
        self.child.stdout.close()

    def ask(self, what: dict) -> dict[tuple[int, int], Count]:
        self.child.stdin.write(json.dumps(what) + "\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline()
        assert answer, "the switch has ended; see its standard error"
        return {(source, target): Count(**count) for source, target, count in json.loads(answer)}

    def set(self, source: int, target: int, **rule):
        """Changes the named fields of one direction's rule, for every frame that comes from now on."""
        self.ask({"from": source, "to": target, "rule": rule})

    def set_all(self, **rule):
        for source in range(self.size):
            for target in range(self.size):
                if source != target:
                    self.set(source, target, **rule)

    def counts(self) -> dict[tuple[int, int], Count]:
        """By (from, to): what happened since the start."""
        return self.ask({})


class Fabric:
    """The program's side: frames in, frames out."""

    def __init__(self, seed: str, names: list[str]):
        self.ports = [packet_socket(name) for name in names]
        self.directions = {
            (source, target): Direction(random.Random(f"{seed} {source} {target}"))
            for source in range(len(names)) for target in range(len(names)) if source != target
        }
        # (due, order of arrival, direction, frame)
        self.held: list[tuple[float, int, tuple[int, int], bytes]] = []
        self.arrivals = 0

    def run(self, commands, answers):
        selector = selectors.DefaultSelector()
        for source, port in enumerate(self.ports):
            selector.register(port, selectors.EVENT_READ, source)
        selector.register(commands, selectors.EVENT_READ, None)
        while True:
            wait = max(0.0, self.held[0][0] - time.monotonic()) if self.held else None
            for key, _ in selector.select(wait):
                if key.data is not None:
                    self.receive(key.data)
                elif line := commands.readline():
                    print(json.dumps(self.obey(json.loads(line))), file=answers, flush=True)
                else:
                    return
            self.release()

    def obey(self, command: dict) -> list:
        if "rule" in command:
            direction = self.directions[command["from"], command["to"]]
            direction.rule = Rule(**{**asdict(direction.rule), **command["rule"]})
        return [(*pair, asdict(direction.count)) for pair, direction in self.directions.items()]

    def receive(self, source: int):
        now = time.monotonic()
        for _ in range(BURST):
            try:
                frame = self.ports[source].recv(65_536)
            except BlockingIOError:
                return
            # Hosts find each other without ARP, so a frame to another address than a host's is only noise.
            pair = (source, frame[5] - 1)
            if len(frame) >= ETH_HLEN and frame[0] == 2 and pair in self.directions:
                self.take(pair, frame, now)

    def take(self, pair: tuple[int, int], frame: bytes, now: float):
        direction = self.directions[pair]
        rule, count, dice = direction.rule, direction.count, direction.dice
        if rule.cut:
            count.cut += 1
        elif dice.random() < rule.loss_rate:
            count.lost += 1
        elif len(self.held) >= HELD_FRAMES:
            count.overflowed += 1
        else:
            due = now + (rule.delay_ms + dice.uniform(0, rule.jitter_ms)) / 1_000
            count.overtook += due < direction.latest
            direction.latest = max(direction.latest, due)
            heapq.heappush(self.held, (due, self.arrivals, pair, frame))
            self.arrivals += 1

    def release(self):
        now = time.monotonic()
        while self.held and self.held[0][0] <= now:
            _, _, pair, frame = heapq.heappop(self.held)
            try:
                self.ports[pair[1]].send(frame)
                self.directions[pair].count.passed += 1
            except OSError:
                # The port's queue is full, or its host is gone: as on any switch the frame is lost.
                self.directions[pair].count.overflowed += 1


def packet_socket(card: str) -> socket.socket:
    """Reads every frame that comes over the cable of a card, and sends frames into it."""
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    port.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    port.bind((card, ETH_P_ALL))
    port.setblocking(False)
    return port


if __name__ == "__main__":
    Fabric(sys.argv[1], sys.argv[2:]).run(sys.stdin, sys.stdout)
