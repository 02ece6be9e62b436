"""What durability costs, measured with real processes: not a test, nothing is asserted about times.

    python Tests/EndToEnd/bench_durable.py post      durable against in memory, on a tmpfs
    python Tests/EndToEnd/bench_durable.py redis     durable against Redis with `appendfsync always`, on a disk
    python Tests/EndToEnd/bench_durable.py restart   from exec to the first 200 of /health with a million events

Servers run on CPU 0 and the load on CPU 1, in turns, so that what else the machine does meets all alike; what counts is
the ratio of two medians of one run. Needs `taskset` (util-linux), for `redis` also redis-server and redis-benchmark
(redis-server and redis-tools of Debian). HYPHA_BIN names the program, else it is this checkout's release build.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import requests

from cluster import LOOPBACK, Cluster, free_ports, hypha_binary, poll
from durable import files

SERVER, LOAD = ("taskset", "-c", "0"), ("taskset", "-c", "1")
KEPT = ("type", "scope", "trace_id", "agent_id", "parent_ids", "payload")


def file_system(directory: Path) -> str:
    """The type of the file system that holds a directory."""
    shown = subprocess.run(["stat", "--file-system", "--format=%T", directory], capture_output=True, text=True, check=True)
    return shown.stdout.strip()


class Hypha:
    """One node on CPU 0, in memory or in a directory of its own, for one measurement."""

    def __init__(self, above: Path, durable: bool):
        self.directory = Path(tempfile.mkdtemp(prefix="hypha-bench-", dir=above))
        self.cluster = Cluster(1, self.directory, wrap=lambda index: SERVER, durable=durable)

    def __enter__(self):
        return self.cluster.start()[0]

    def __exit__(self, *_):
        self.cluster.stop()
        shutil.rmtree(self.directory)


def post(node, seconds: float, connections: int) -> dict:
    """`hypha bench post` on CPU 1; what it measured, and how many syncs there were for each event."""
    syncs = ("hypha_fsyncs_total", "hypha_events_accepted_total")
    before = [metric(node, name) for name in syncs]
    done = subprocess.run([*LOAD, hypha_binary(), "bench", "post", "--node", node.url, "--connections", str(connections),
                           "--seconds", str(seconds), "--json"], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    spent, accepted = (metric(node, name) - was for name, was in zip(syncs, before))
    return {**result, "syncs_per_event": spent / accepted}


def metric(node, name: str) -> float:
    """A number of /metrics; 0 for what a node in memory does not count."""
    found = re.search(rf"^{name} (\S+)$", node.get("/metrics").text, flags=re.M)
    return float(found.group(1)) if found else 0.0


def body_bytes(node) -> int:
    """The size of an event of the load, as it was posted."""
    event = node.get("/api/events?limit=1").json()[0]
    return len(json.dumps({key: event[key] for key in KEPT}, separators=(",", ":"), ensure_ascii=False).encode())


def row(name: str, rates: list[float], more: str = ""):
    spread = (max(rates) - min(rates)) / statistics.median(rates)
    print(f"  {name:<28} {statistics.median(rates):>9,.0f} /s   spread {spread:4.0%}   {more}", flush=True)


def compare_with_memory(options):
    """`http-post` with and without a log, on a tmpfs, where a sync costs nothing but the calls."""
    above = Path(options.memory)
    print(f"post, {options.connections} connections, {options.rounds} rounds of {options.seconds} s in turns, "
          f"{above} ({file_system(above)})")
    rates: dict[bool, list[float]] = {False: [], True: []}
    syncs, delays = [], {False: [], True: []}
    for _ in range(options.rounds):
        for durable in (False, True):
            with Hypha(above, durable) as node:
                result = post(node, options.seconds, options.connections)
            rates[durable].append(result["requests_per_second"])
            delays[durable].append(result["p99_ms"])
            if durable:
                syncs.append(result["syncs_per_event"])
    row("in memory", rates[False], f"p99 {statistics.median(delays[False]):.2f} ms")
    row("durable", rates[True], f"p99 {statistics.median(delays[True]):.2f} ms, "
        f"{statistics.median(syncs):.4f} syncs per event")
    print(f"  durable / in memory: {statistics.median(rates[True]) / statistics.median(rates[False]):.2f}")


class Redis:
    """A Redis server on CPU 0 that syncs each write before it answers."""

    def __init__(self, above: Path):
        self.directory, self.port = Path(tempfile.mkdtemp(prefix="redis-bench-", dir=above)), free_ports(1)

    def __enter__(self):
        self.child = subprocess.Popen(
            [*SERVER, "redis-server", "--port", str(self.port), "--bind", LOOPBACK, "--dir", str(self.directory),
             "--save", "", "--appendonly", "yes", "--appendfsync", "always"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

        def answers():
            pinged = subprocess.run(["redis-cli", "-h", LOOPBACK, "-p", str(self.port), "ping"], capture_output=True)
            return pinged.stdout == b"PONG\n"
        poll(answers, 20, "Redis answers")
        return self

    def set(self, count: int, size: int, connections: int) -> float:
        """SETs each second, over `count` of them."""
        done = subprocess.run([*LOAD, "redis-benchmark", "-h", LOOPBACK, "-p", str(self.port), "-t", "set", "-n", str(count),
                               "-d", str(size), "-c", str(connections), "-r", "1000000", "--csv"],
                              capture_output=True, text=True, check=True)
        return float(re.search(r'^"SET","([0-9.]+)"', done.stdout, flags=re.M).group(1))

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait(20)
        shutil.rmtree(self.directory)


def compare_with_redis(options):
    """One acknowledged and synced write each: an event against a SET of as many bytes, on the same disk, in turns."""
    above = Path(options.disk)
    version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    print(f"synced writes, {options.connections} connections, {options.rounds} rounds of about {options.seconds} s in "
          f"turns, {above} ({file_system(above)}), Redis {version}")
    if file_system(above) == "tmpfs":
        print("  (this is no disk: name a directory on one with --disk)")
    ours, theirs, syncs = [], [], []
    size, count = 0, 0
    for _ in range(options.rounds):
        with Hypha(above, durable=True) as node:
            result = post(node, options.seconds, options.connections)
            size = size or body_bytes(node)
        ours.append(result["requests_per_second"])
        syncs.append(result["syncs_per_event"])
        with Redis(above) as redis:
            count = count or int(redis.set(5_000, size, options.connections) * options.seconds)
            theirs.append(redis.set(count, size, options.connections))
    row("hypha, durable", ours, f"{statistics.median(syncs):.4f} syncs per event")
    row(f"redis, SET of {size} bytes", theirs, "appendfsync always")
    print(f"  hypha / redis: {statistics.median(ours) / statistics.median(theirs):.2f}")


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1_024 for line in status if line.startswith("VmRSS:"))


def cpu_seconds(pid: int) -> float:
    """What a process has used of a core since it was started, in user and in system mode."""
    with open(f"/proc/{pid}/stat") as stat:
        user, system = stat.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def first_answer(node) -> tuple[float, float]:
    """Starts a node; seconds from there to its first 200 of /health, and of CPU until then."""
    with requests.Session() as session:
        session.trust_env = False
        began = time.monotonic()
        node.start()
        while time.monotonic() < began + 120:
            assert node.running, node.log(20)
            try:
                if session.get(f"{node.url}/health", timeout=60).status_code == 200:
                    return time.monotonic() - began, cpu_seconds(node.pid)
            except requests.RequestException:
                pass
            time.sleep(0.002)
    raise AssertionError(f"not ready within 120 s:\n{node.log(20)}")


def forget_pages(directory: Path):
    """Takes the files out of the page cache, as after a start of the machine."""
    for path in files(directory):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def restart(options):
    """How long a killed node with many events takes until it serves, and how much memory it has then."""
    above = Path(options.disk)
    mebibytes = 1 << 20
    with Hypha(above, durable=True) as node:
        stored = lambda: node.get("/health").json()["events"]
        for _ in range(600):
            if (missing := options.events - stored()) <= 0:
                break
            # The rate is not known beforehand; many short runs end near the number that is wanted.
            post(node, 5 if missing > 200_000 else 0.5, options.connections)
        count, before = stored(), resident(node.pid)
        assert count >= options.events, f"only {count} events could be posted"
        written = sum(path.stat().st_size for path in files(node.data))
        print(f"restart with {count:,} events, {written / mebibytes:,.0f} MiB in {len(files(node.data))} files, {above} "
              f"({file_system(above)})")
        print(f"  before    {before / mebibytes:7,.0f} MiB resident")
        for cold in (False, True, False, True):
            node.kill()
            if cold:
                forget_pages(node.data)
            seconds, used = first_answer(node)
            after = resident(node.pid)
            assert stored() == count, f"{stored()} of {count} events are there"
            # For comparison, once what follows a start has been done too.
            time.sleep(3)
            print(f"  {'cold' if cold else 'warm':<9} {after / mebibytes:7,.0f} MiB resident, "
                  f"{resident(node.pid) / mebibytes:,.0f} MiB 3 s later, ready after {seconds:.2f} s, {used:.2f} s of them "
                  f"on the CPU", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["post", "redis", "restart", "all"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--memory", default="/dev/shm", help="a directory on a tmpfs")
    parser.add_argument("--disk", default=tempfile.gettempdir(), help="a directory on a disk")
    options = parser.parse_args()
    work = {"post": compare_with_memory, "redis": compare_with_redis, "restart": restart}
    for name, measure in work.items():
        if options.what in (name, "all"):
            measure(options)


if __name__ == "__main__":
    main()
