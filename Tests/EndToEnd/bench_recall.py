"""What searching Soorma's memory costs, in figures; not a test, and not run by CI.

    python bench_recall.py [ENTRIES [DIMENSIONS]]     100,000 and 0 unless said otherwise

One node on one core, in memory; the client that loads and measures runs on the others. Each entry has 60 words, about
430 bytes, of a vocabulary of 50,000 in which the word of rank r comes with a frequency of 1/r, as in prose; with
DIMENSIONS, a vector of so many numbers, too. Then one client asks 2,000 times of each kind, one request after the other, and
the time of each includes that client's own 30 to 50 µs.

Needs Linux (`/proc`, `taskset`). HYPHA_BIN names the binary.
"""

import bisect
import itertools
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from bench_bus import cpu_seconds
from bench_social import REQUESTS, Pipe, resident
from cluster import Cluster
from rawsocket import request

VOCABULARY = 50_000
WORDS = 60


class Prose:
    """Words as prose has them: few of them often, most of them hardly ever."""

    def __init__(self, dice: random.Random):
        self.dice = dice
        letters = "abcdefghijklmnopqrstuvwxyz"
        self.words = [
            "".join(dice.choices(letters, k=dice.randint(3, 9))) + letters[n % 26] for n in range(VOCABULARY)]
        self.sums = list(itertools.accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))

    def word(self) -> str:
        return self.words[min(bisect.bisect(self.sums, self.dice.random() * self.sums[-1]), VOCABULARY - 1)]

    def text(self, count: int) -> str:
        return " ".join(self.word() for _ in range(count))

    def between(self, low: int, high: int) -> str:
        """A word of these ranks."""
        return self.words[self.dice.randrange(low, high)]


def vector(dice: random.Random, dimensions: int) -> list[float]:
    return [round(dice.gauss(0, 1), 4) for _ in range(dimensions)]


def measure(pipe: Pipe, node, what: str, asked: list[bytes]):
    """Asks for each once, one after the other."""
    times, found, cpu = [], 0, cpu_seconds(node.pid)
    for wanted in asked:
        began = time.perf_counter()
        pipe.socket.sendall(wanted)
        status, body = pipe.answer()
        times.append((time.perf_counter() - began) * 1e3)
        assert status == 200, (status, body[:500])
        found += len(json.loads(body))
    cpu = (cpu_seconds(node.pid) - cpu) / len(asked) * 1e3
    times.sort()
    print(f"{what:<58} {times[len(times) // 2]:7.2f} {times[int(len(times) * 0.99)]:7.2f} {times[-1]:7.2f} {cpu:7.2f} "
          f"{found / len(asked):8.1f}", flush=True)


def query(words: str, limit: int = 10, body=None) -> bytes:
    path = f"/v1/memory/semantic/query?query={words.replace(' ', '+')}&limit={limit}"
    return request("POST", path, json.dumps(body or {}).encode())


def run(node, entries: int, dimensions: int, dice: random.Random):
    pipe, prose = Pipe(node), Prose(dice)

    def stored():
        for n in range(entries):
            body = {"content": prose.text(WORDS), "externalId": f"entry-{n}"}
            if dimensions:
                body["embedding"] = vector(dice, dimensions)
            yield request("POST", "/v1/memory/semantic", json.dumps(body).encode())

    start = resident(node.pid)
    took = pipe.load(stored(), 200, "entries")
    began = time.perf_counter()
    pipe.ask("POST", "/v1/memory/semantic/query?query=x", {})
    first = (time.perf_counter() - began) * 1e3
    after = resident(node.pid)
    index, vectors = (node.metric(f"hypha_recall_{what}_bytes") for what in ("index", "vector"))
    log, documents = (node.metric(f"hypha_{what}_bytes") for what in ("log", "documents"))
    print(f"{entries:,} entries in {took:.1f} s, {entries / took:,.0f}/s; the first query after that {first:.1f} ms; memory "
          f"{start >> 20} → {after >> 20} MiB: {(after - start) / entries:,.0f} bytes each, of which "
          f"{documents / entries:,.0f} documents, {log / entries:,.0f} log, {(index - vectors) / entries:,.0f} words and "
          f"{vectors / entries:,.0f} vector, by the node's own count", flush=True)

    print(f"\n{f'{REQUESTS:,} requests each':<58} {'p50 ms':>7} {'p99 ms':>7} {'max ms':>7} {'CPU ms':>7} {'found':>8}")

    def row(what: str, make):
        measure(pipe, node, what, [make(n) for n in range(REQUESTS)])

    row("one rare word (rank 5,000 to 50,000)", lambda n: query(prose.between(5_000, VOCABULARY)))
    row("three words of prose", lambda n: query(prose.text(3)))
    row("ten words of prose", lambda n: query(prose.text(10)))
    row("ten words of prose, 100 wanted", lambda n: query(prose.text(10), 100))
    row("the ten commonest words", lambda n: query(" ".join(prose.words[:10])))
    row("a word that nobody has", lambda n: query(f"nobody{n}"))
    if dimensions:
        row("a vector", lambda n: query("", body={"embedding": vector(dice, dimensions)}))
        row("a vector and three words",
            lambda n: query(prose.text(3), body={"embedding": vector(dice, dimensions)}))
    changed = [request("POST", "/v1/memory/semantic", json.dumps(
        {"content": prose.text(WORDS), "externalId": f"entry-{dice.randrange(entries)}"}).encode())
        for _ in range(REQUESTS)]
    cpu = cpu_seconds(node.pid)
    took = pipe.load(changed, 200, "changes")
    pipe.ask("POST", "/v1/memory/semantic/query?query=x", {})
    cpu = cpu_seconds(node.pid) - cpu
    print(f"{REQUESTS:,} entries changed: {REQUESTS / took:,.0f}/s, {cpu / REQUESTS * 1e6:,.0f} µs of CPU each, with the index")
    for n in range(REQUESTS):
        pipe.ask("POST", "/v1/memory/episodic", {"agentId": "bot", "role": "user", "content": prose.text(WORDS)})
    row(f"interactions, newest 10 of {REQUESTS:,}", lambda n: request("GET", "/v1/memory/episodic/recent?agent_id=bot"))
    row("the same, ten words of prose", lambda n: request(
        "GET", f"/v1/memory/episodic/search?agent_id=bot&q={prose.text(10).replace(' ', '+')}"))


def main(entries: int = 100_000, dimensions: int = 0):
    dice = random.Random(7)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:-1] or cores)
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(1, Path(directory), profile="lan", extra=("--log-bytes", "8GiB"),
                          wrap=lambda index: ("taskset", "-c", str(cores[-1]))).start()
        try:
            run(cluster[0], entries, dimensions, dice)
        finally:
            cluster.stop()


if __name__ == "__main__":
    main(*(int(word.replace(",", "")) for word in sys.argv[1:3]))
