"""What agents and chats cost, in figures; not a test, and not run by CI.

    python bench_social.py [MANIFESTS [MESSAGES]]     100,000 and 1,000,000 unless said otherwise

One node on one core, in memory; the load and the client that measures run on the others. It introduces the agents,
fills their chats, and says what both take of the memory. Then one client asks 2,000 times of each kind, one request after
the other, and the time of each includes that client's own 30 to 50 µs.

Needs Linux (`/proc`, `taskset`). HYPHA_BIN names the binary.
"""

import json
import os
import random
import re
import socket
import sys
import tempfile
import time
from pathlib import Path

from bench_bus import cpu_seconds
from cluster import Cluster
from rawsocket import request

REQUESTS = int(os.environ.get("HYPHA_BENCH_REQUESTS", "2000"))
AT_ONCE = 256
SKILLS = 1_000
# Of all messages this part stands in one chat, the rest in chats of a thousand.
LARGE = 0.25
SMALL_CHAT = 1_000
MEMBERS = 10

LENGTH = re.compile(rb"\r\nContent-Length: (\d+)", re.IGNORECASE)


class Pipe:
    """One keep-alive connection on which many requests may be under way."""

    def __init__(self, node):
        self.socket = socket.create_connection((node.host, node.http), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.at = 0

    def answer(self) -> tuple[int, bytes]:
        while (end := self.buffer.find(b"\r\n\r\n", self.at)) < 0:
            self._fill()
        status = int(self.buffer[self.at + 9 : self.at + 12])
        length = LENGTH.search(self.buffer, self.at, end)
        start, stop = end + 4, end + 4 + (int(length[1]) if length else 0)
        while len(self.buffer) < stop:
            missing = self.at
            self._fill()
            start, stop = start - missing, stop - missing
        self.at = stop
        return status, self.buffer[start:stop]

    def _fill(self):
        data = self.socket.recv(1 << 20)
        assert data, "the node closed the connection"
        self.buffer, self.at = self.buffer[self.at :] + data, 0

    def ask(self, method: str, path: str, body=None, expected: int = 200, agent: str | None = None):
        headers = (f"Hypha-Agent: {agent}",) if agent else ()
        self.socket.sendall(request(method, path, json.dumps(body).encode() if body is not None else b"", headers))
        status, answer = self.answer()
        assert status == expected, (method, path, status, answer[:500])
        return json.loads(answer) if answer else None

    def load(self, requests, expected: int, what: str) -> float:
        """Sends all, `AT_ONCE` under way at a time, and returns how long that took."""
        began, count, batch = time.monotonic(), 0, []

        def flush():
            self.socket.sendall(b"".join(batch))
            for _ in batch:
                status, body = self.answer()
                assert status == expected, (status, body[:500])
            batch.clear()

        for wanted in requests:
            batch.append(wanted)
            count += 1
            if len(batch) == AT_ONCE:
                flush()
                if count % (AT_ONCE * 400) == 0:
                    print(f"  {count:>9,} {what}, {count / (time.monotonic() - began):,.0f}/s", flush=True)
        flush()
        return time.monotonic() - began


def resident(pid: int) -> int:
    """Bytes, once they have settled."""
    def now() -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) << 10

    last = now()
    for _ in range(20):
        time.sleep(0.5)
        found = now()
        if abs(found - last) < 1 << 18:
            return found
        last = found
    return last


def agent(n: int) -> str:
    return f"agent-{n:06}"


def skills(agents: int) -> int:
    """How many there are: each is had by about 300 agents, but in a short trial."""
    return max(3, min(SKILLS, agents // 20))


def manifests(count: int, dice: random.Random):
    for n in range(count):
        body = {
            "status": dice.choice(["active", "busy", "idle"]), "current_activities": [f"task-{n % 977}"],
            "available_resources": [f"skill-{k}" for k in dice.sample(range(skills(count)), 3)],
            "public_profile": {"name": f"Agent {n}", "bio": "Specialist in data analysis and translation"},
        }
        yield request("PUT", f"/api/manifests/{agent(n)}", json.dumps(body).encode())


class Chats:
    """One large chat, and small ones; each has `MEMBERS` members, a row of agents."""

    def __init__(self, pipe: Pipe, agents: int, messages: int):
        self.sizes = [int(messages * LARGE)]
        while (left := messages - sum(self.sizes)) > 0:
            self.sizes.append(min(SMALL_CHAT, left))
        self.members = [[agent((k * MEMBERS + m) % agents) for m in range(MEMBERS)] for k in range(len(self.sizes))]
        # Some agent is in many chats.
        for k in range(1, min(101, len(self.members))):
            self.members[k][-1] = agent(agents - 1)
        self.ids = [
            pipe.ask("POST", "/api/chats", {"chat_type": "group", "participants": members[1:]}, 201, members[0])["id"]
            for members in self.members
        ]

    def messages(self):
        """In the chats by turns, the large one in between."""
        heads = [f"/api/chats/{id}/messages" for id in self.ids]
        content = "Hello, how can I assist you? " * 4

        def post(k: int, n: int) -> bytes:
            body = {"from": self.members[k][n % MEMBERS], "message_type": "text", "content": f"{content}{n}"}
            return request("POST", heads[k], json.dumps(body).encode())

        small = sum(self.sizes[1:])
        for n in range(max(self.sizes)):
            share = range(n * small // self.sizes[0], (n + 1) * small // self.sizes[0])
            yield post(0, n)
            for place in share:
                yield post(1 + place % (len(self.sizes) - 1), place)


def measure(pipe: Pipe, node, what: str, paths: list[str], agents: list[str | None] | None = None) -> list:
    """Asks for each path once, one after the other."""
    asked = [request("GET", path, headers=((f"Hypha-Agent: {by}",) if by else ())) for path, by in
             zip(paths, agents or [None] * len(paths))]
    times, bytes_, cpu = [], 0, cpu_seconds(node.pid)
    for wanted in asked:
        began = time.perf_counter()
        pipe.socket.sendall(wanted)
        status, body = pipe.answer()
        times.append((time.perf_counter() - began) * 1e3)
        assert status == 200, (status, body[:500], wanted)
        bytes_ += len(body)
    cpu = (cpu_seconds(node.pid) - cpu) / len(asked) * 1e3
    times.sort()
    row = [what, times[len(times) // 2], times[int(len(times) * 0.99)], times[-1], cpu, bytes_ / len(asked) / 1_024]
    print(f"{row[0]:<58} {row[1]:7.2f} {row[2]:7.2f} {row[3]:7.2f} {row[4]:7.2f} {row[5]:8.1f}", flush=True)
    return row


def main(agents: int = 100_000, messages: int = 1_000_000):
    dice = random.Random(6)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:-1] or cores)
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(1, Path(directory), profile="lan", extra=("--log-bytes", "8GiB"),
                          wrap=lambda index: ("taskset", "-c", str(cores[-1]))).start()
        try:
            run(cluster[0], agents, messages, dice)
        finally:
            cluster.stop()


def run(node, agents: int, messages: int, dice: random.Random):
    pipe = Pipe(node)
    start = resident(node.pid)
    took = pipe.load(manifests(agents, dice), 201, "manifests")
    with_agents = resident(node.pid)
    documents = node.metric("hypha_documents_bytes")
    print(f"{agents:,} manifests in {took:.1f} s, {agents / took:,.0f}/s; memory {start >> 20} → {with_agents >> 20} "
          f"MiB: {(with_agents - start) / agents:,.0f} bytes each, of which {documents / agents:,.0f} documents "
          f"and {node.metric('hypha_log_bytes') / agents:,.0f} log", flush=True)
    chats = Chats(pipe, agents, messages)
    before = resident(node.pid)
    log = node.metric("hypha_log_bytes")
    took = pipe.load(chats.messages(), 201, "messages")
    after = resident(node.pid)
    print(f"{messages:,} messages in {len(chats.ids):,} chats in {took:.1f} s, {messages / took:,.0f}/s; memory "
          f"{before >> 20} → {after >> 20} MiB: {(after - before) / messages:,.0f} bytes each, of which "
          f"{(node.metric('hypha_log_bytes') - log) / messages:,.0f} log", flush=True)

    print(f"\n{f'{REQUESTS:,} requests each':<58} {'p50 ms':>7} {'p99 ms':>7} {'max ms':>7} {'CPU ms':>7} {'KiB':>8}")
    rows = []

    def row(what: str, path, by=None):
        paths = [path(n) for n in range(REQUESTS)]
        rows.append(measure(pipe, node, what, paths, [by(n) if by else None for n in range(REQUESTS)]))

    def skill(n: int) -> str:
        return f"skill-{dice.randrange(skills(agents))}"

    row("agents by capability, 100 of about 300", lambda n: f"/api/manifests?capability={skill(n)}")
    row("agents by capability and status", lambda n: f"/api/manifests?capability={skill(n)}&status=idle")
    row("agents by status, 100 of a third of all", lambda n: "/api/manifests?status=idle")
    row("registry by capability", lambda n: f"/api/registry/agents?capability={skill(n)}")
    row("least busy by capability", lambda n: f"/api/registry/least-busy?capability={skill(n)}&key={n}")
    row("one manifest", lambda n: f"/api/manifests/{agent(dice.randrange(agents))}")
    row("page of an agent's chats", lambda n: f"/api/chats?agent={agent(agents - 1)}")
    large = f"/api/chats/{chats.ids[0]}/messages"
    middle = [pipe.ask("GET", f"{large}?limit=1&before={stamp}")[0] for stamp in stamps(pipe, large, dice)]
    small = [dice.randrange(1, len(chats.ids)) if len(chats.ids) > 1 else 0 for _ in range(REQUESTS)]
    row("history, newest 100, a chat of a thousand", lambda n: f"/api/chats/{chats.ids[small[n]]}/messages")
    row(f"history, newest 100, a chat of {chats.sizes[0]:,}", lambda n: large)
    row("history, 100 before a message in the middle, by id", lambda n: f"{large}?before={middle[n % 100]['id']}")
    row("history, 100 after a message in the middle, by stamp", lambda n: f"{large}?after={middle[n % 100]['stamp']}")
    row("history of a member, newest 100", lambda n: large, lambda n: chats.members[0][n % MEMBERS])
    row("unread, nothing read, one chat of a thousand", lambda n: f"/api/agents/{chats.members[small[n]][1]}/unread",
        lambda n: chats.members[small[n]][1])
    row("unread, nothing read, 100 chats of a thousand", lambda n: f"/api/agents/{agent(agents - 1)}/unread",
        lambda n: agent(agents - 1))
    row(f"unread, nothing read, a chat of {chats.sizes[0]:,}", lambda n: f"/api/agents/{chats.members[0][2]}/unread",
        lambda n: chats.members[0][2])
    for n, message in enumerate(middle[:MEMBERS]):
        pipe.ask("POST", f"{large}/{message['id']}/read", {}, agent=chats.members[0][n])
    row("the same, read up to the middle", lambda n: f"/api/agents/{chats.members[0][n % MEMBERS]}/unread",
        lambda n: chats.members[0][n % MEMBERS])
    late = [row[0] for row in rows if row[2] > 5]
    print(f"\nover 5 ms at p99: {', '.join(late) or 'none'}; memory at the end {resident(node.pid) >> 20} MiB")


def stamps(pipe: Pipe, path: str, dice: random.Random) -> list[str]:
    """A hundred stamps between the first and the last message."""
    first = pipe.ask("GET", f"{path}?limit=1&after=1970-01-01T00:00:00.000Z")[0]["stamp"]
    last = pipe.ask("GET", f"{path}?limit=1")[0]["stamp"]
    low, high = int(first[:16], 16), int(last[:16], 16)
    return [f"{low + int((high - low) * (0.25 + dice.random() / 2)):016x}-{first[17:]}" for _ in range(100)]


if __name__ == "__main__":
    main(*(int(word.replace(",", "")) for word in sys.argv[1:3]))
