"""Real `hypha` processes for the tests: started, killed and restarted here, and asked over their own HTTP port.

Ports are chosen at run time, below the kernel's range for outgoing connections, so that a peer that is started
again finds its own ports free. Every wait is a poll on a condition with a bound. Each process keeps one log file
for all its starts, which pytest shows when a test fails (see conftest.py).
"""

import functools
import gc
import json
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"


@functools.cache
def hypha_binary() -> str:
    """The program under test: HYPHA_BIN, else the release build of this checkout."""
    if named := os.environ.get("HYPHA_BIN"):
        return str(Path(named).resolve())
    shown = subprocess.run(
        ["swift", "build", "-c", "release", "--show-bin-path"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    binary = Path(shown.stdout.strip()) / "hypha"
    assert binary.exists(), f"{binary} is not there; build it with `swift build -c release`, or set HYPHA_BIN"
    return str(binary)


def poll(condition, seconds: float, what: str, every: float = 0.02):
    """Waits until `condition()` is true and returns its value; fails with the last value after `seconds`.

    An assertion or a refused connection inside the condition counts as "not yet" and is named in the failure.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            last = condition()
            if last:
                return last
        except (AssertionError, requests.RequestException, OSError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}; last seen: {last!r}")
        time.sleep(every)


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without the HYPHA_ variables, which would be settings of the nodes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HYPHA_")}
    return {**kept, **variables}


_given: set[int] = set()


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether nobody has the port, neither with TCP nor with UDP."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((host, port))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.bind((host, port))
        return True
    except OSError:
        return False


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that are free and that no earlier call has given away."""
    low, high = (int(end) for end in os.environ.get("HYPHA_TEST_PORTS", "20000-29999").split("-"))
    firsts = range(low, high + 2 - count)
    for first in random.SystemRandom().sample(firsts, len(firsts)):
        row = range(first, first + count)
        if not _given & set(row) and all(is_free(port) for port in row):
            _given.update(row)
            return first
    raise AssertionError(f"no {count} free ports from {low} to {high}; set HYPHA_TEST_PORTS=low-high to another range")


class Process:
    """One child process with one log file. It is ended by its own id and waited for."""

    def __init__(self, name: str, command: list[str], log: Path):
        self.name, self.command, self.log_path = name, command, log
        self.child: subprocess.Popen | None = None
        self.started_at = 0

    def start(self):
        assert not self.running, f"{self.name} runs already"
        with open(self.log_path, "ab") as log:
            self.started_at = log.tell()
            log.write(f"--- {time.strftime('%H:%M:%S')} {' '.join(self.command)}\n".encode())
            log.flush()
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment()
            )
        return self

    @property
    def running(self) -> bool:
        return self.child is not None and self.child.poll() is None

    @property
    def pid(self) -> int:
        return self.child.pid

    def kill(self):
        """`kill -9`: no farewell, nothing flushed."""
        self.child.send_signal(signal.SIGKILL)
        self.child.wait(10)

    def log(self, lines: int = 80) -> str:
        """The end of its log."""
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    def said(self) -> str:
        """What it has written since it was last started."""
        with open(self.log_path, "rb") as log:
            log.seek(self.started_at)
            return log.read().decode(errors="replace").partition("\n")[2]

    def wait_said(self, text: str, seconds: float = 10) -> str:
        """Waits until it has written a text since it was last started, and returns all that it has."""
        try:
            poll(lambda: text in self.said(), seconds, text)
        except AssertionError:
            raise AssertionError(f"{self.name} did not say {text!r} within {seconds} s; it said:\n{self.said()}") from None
        return self.said()

    def refused(self, seconds: float = 20) -> str:
        """Waits until it has ended by itself with exit code 1, and returns what it said."""
        try:
            code = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} was expected to end, and runs:\n{self.said()}") from None
        assert code == 1, f"{self.name} ended with {code}:\n{self.said()}"
        return self.said()

    def end(self):
        """SIGTERM, and a farewell in good order."""
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(10) == 0, f"{self.name} ended with {self.child.returncode}:\n{self.log(20)}"


class Node(Process):
    """One peer: its process and a client to its HTTP port."""

    def __init__(self, name, host, http, gossip, join, profile, directory: Path, extra=(), wrap=(), gossip_host=None,
                 data: Path | None = None):
        self.host, self.http, self.gossip, self.data = host, http, gossip, data
        self.url = f"http://{host}:{http}"
        self.ws_url = f"ws://{host}:{http}/ws"
        self.gossip_address = f"{gossip_host or host}:{gossip}"
        command = [*wrap, hypha_binary(), "serve", "--name", name, "--http", f"{host}:{http}"]
        command += ["--gossip", self.gossip_address, "--profile", profile]
        if join:
            command += ["--join", ",".join(join)]
        if data:
            command += ["--data", str(data)]
        super().__init__(name, command + list(extra), directory / f"{name}.log")
        self.session = requests.Session()
        self.session.trust_env = False

    def end(self):
        close_sessions([self])
        super().end()

    def request(self, method: str, path: str, **options) -> requests.Response:
        return self.session.request(method, self.url + path, **{"timeout": 20, **options})

    def get(self, path: str, **options) -> requests.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, body, **options) -> requests.Response:
        return self.request("POST", path, json=body, **options)

    def emit(self, event: dict, expected: int = 201) -> dict:
        """Posts an event, checks the status and returns the whole event of the answer."""
        reply = self.post("/api/events", event)
        assert reply.status_code == expected, f"{self.name} answered {reply.status_code} {reply.text!r} to {event!r}"
        return reply.json()

    def events(self, page: int = 1_000) -> list[dict]:
        """Every stored event, newest first, page by page."""
        found: list[dict] = []
        before = ""
        while True:
            reply = self.get(f"/api/events?limit={page}{before}")
            assert reply.status_code == 200, f"{self.name} answered {reply.status_code} {reply.text!r}"
            batch = reply.json()
            if not batch:
                return found
            found += batch
            before = f"&before={batch[-1]['id']}"

    def reachable(self) -> int:
        return self.get("/api/cluster", timeout=2).json()["reachable"]

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def is_ready(self, peers: int) -> bool:
        return self.get("/health", timeout=2).status_code == 200 and self.reachable() == peers

    def alive(self) -> bool:
        """Whether the process runs and says that it is well."""
        return self.running and self.get("/health", timeout=5).status_code == 200


def close_sessions(nodes):
    """Closes this process's own connections: a node that ends would wait two seconds for them."""
    for node in nodes:
        node.session.close()
    # Its sockets are in cycles.
    gc.collect()


class Cluster:
    """Peers that know each other's addresses. `wrap(i)` and `hosts` put them into network namespaces; `data(i)` is the
    directory in which peer i keeps its log, `durable` gives each one of its own."""

    live: list["Cluster"] = []

    def __init__(self, size: int, directory: Path, profile: str = "fast", extra=(), hosts=None, gossip_hosts=None,
                 wrap=lambda index: (), durable: bool = False, data=None):
        data = data or (lambda index: directory / f"n{index + 1}.data" if durable else None)
        hosts = hosts or [LOOPBACK] * size
        gossip_hosts = gossip_hosts or hosts
        # Elsewhere than on the loopback the hosts are empty namespaces: every port is free, and none can be tried.
        ports = [(free_ports(1), free_ports(1)) for _ in hosts]
        gossip = [f"{host}:{port[1]}" for host, port in zip(gossip_hosts, ports)]
        self.directory, self.profile, self.extra = directory, profile, extra
        self.nodes = [
            Node(f"n{i + 1}", hosts[i], *ports[i], [a for a in gossip if a != gossip[i]], profile, directory, extra,
                 wrap(i), gossip_hosts[i], data(i))
            for i in range(size)
        ]
        Cluster.live.append(self)

    def add(self, data: Path | None = None) -> Node:
        """One more peer on the loopback, which joins by the others' addresses; not started yet."""
        join = [node.gossip_address for node in self.nodes]
        name = f"n{len(self.nodes) + 1}"
        self.nodes.append(Node(name, LOOPBACK, free_ports(1), free_ports(1), join, self.profile, self.directory,
                               self.extra, data=data))
        return self.nodes[-1]

    def __getitem__(self, index: int) -> Node:
        return self.nodes[index]

    def __iter__(self):
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def url(self, index: int) -> str:
        return self.nodes[index].url

    def start(self, seconds: float = 20) -> "Cluster":
        for node in self.nodes:
            node.start()
        self.wait_ready(seconds)
        return self

    def wait_ready(self, seconds: float = 20):
        """Until every running peer answers /health with 200 and reaches all that run."""
        running = [node for node in self.nodes if node.child is not None]
        for node in running:
            def ready():
                assert node.running, f"{node.name} exited with {node.child.returncode}:\n{node.log(20)}"
                return node.is_ready(len(running))
            poll(ready, seconds, f"{node.name} is ready and reaches {len(running)} peers")

    def same_events(self) -> dict[str, dict]:
        """Asserts that all peers store the same copies and returns them by id."""
        lists = [node.events() for node in self.nodes]
        first = {event["id"]: event for event in lists[0]}
        for node, found in zip(self.nodes, lists):
            assert len(found) == len({event["id"] for event in found}), f"{node.name} lists an id twice"
            ids = {event["id"] for event in found}
            assert ids == first.keys(), (
                f"{node.name} has {len(ids)} events, {self.nodes[0].name} {len(first)}; "
                f"missing {len(first.keys() - ids)}, beyond {len(ids - first.keys())}"
            )
            for event in found:
                assert event == first[event["id"]], (
                    f"{node.name} and {self.nodes[0].name} show different copies:\n"
                    f"{json.dumps(event)}\n{json.dumps(first[event['id']])}"
                )
        return first

    def same_signals(self, at: int) -> list[dict]:
        """Asserts that all peers read the same signals at a moment, to the byte, and returns them."""
        replies = [node.get(f"/api/signals?at={at}") for node in self.nodes]
        for node, reply in zip(self.nodes, replies):
            assert reply.status_code == 200, f"{node.name} answered {reply.status_code} {reply.text!r}"
            assert reply.headers["Hypha-Tick"] == str(at), f"{node.name} says it read at {reply.headers['Hypha-Tick']}"
            assert reply.content == replies[0].content, (
                f"{node.name} and {self.nodes[0].name} differ: {differences(reply.json(), replies[0].json())}"
            )
        return replies[0].json()

    def stop(self):
        """Asks all that run to end at once; each must exit with 0 within five seconds, whatever a test did to it."""
        running = [node for node in self.nodes if node.running]
        close_sessions(self.nodes)
        for node in running:
            node.child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        late = []
        for node in running:
            try:
                node.child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                late.append(f"{node.name} still ran 5 s after SIGTERM:\n{node.log(10)}")
                node.kill()
        Cluster.live.remove(self)
        late += [f"{n.name} exited with {n.child.returncode}:\n{n.log(20)}" for n in running if n.child.returncode > 0]
        assert not late, "\n".join(late)


def differences(mine: list[dict], theirs: list[dict]) -> str:
    """The first few entries in which two lists differ, for a failure's message."""
    pairs = [(a, b) for a, b in zip(mine, theirs) if a != b][:3]
    return f"{len(mine)} and {len(theirs)} entries, first differences {pairs}"
