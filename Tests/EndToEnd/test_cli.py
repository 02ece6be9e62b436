"""The command line, as a person at a terminal uses it."""

import json
import os
import queue
import re
import signal
import subprocess
import threading
import time
import uuid

import pytest

from cluster import clean_environment, free_ports, hypha_binary, poll
from rawsocket import CLOSE, WebSocketWire
from test_semp import event

COMMANDS = ["serve", "cluster", "members", "emit", "signals", "events", "watch", "bench post", "bench fanout"]


def hypha(*arguments: str, seconds: float = 30, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run([hypha_binary(), *arguments], capture_output=True, text=True, timeout=seconds,
                          stdin=subprocess.DEVNULL, env=clean_environment(**variables))


def succeeded(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0, f"{done.args} exited with {done.returncode}: {done.stderr}"
    return done.stdout


class Terminal:
    """A command that goes on, with its lines of output as they come."""

    def __init__(self, *arguments: str, **variables: str):
        self.child = subprocess.Popen([hypha_binary(), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True, env=clean_environment(**variables))
        self.lines: queue.Queue[str] = queue.Queue()
        self.errors: list[str] = []
        threading.Thread(target=lambda: [self.lines.put(line) for line in self.child.stdout], daemon=True).start()
        threading.Thread(target=lambda: [self.errors.append(line) for line in self.child.stderr], daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait(10)

    def line_with(self, text: str, seconds: float = 20) -> str:
        """The next line of standard output that holds a text."""
        deadline = time.monotonic() + seconds
        seen = []
        while (left := deadline - time.monotonic()) > 0:
            try:
                seen.append(self.lines.get(timeout=left))
            except queue.Empty:
                break
            if text in seen[-1]:
                return seen[-1]
        raise AssertionError(f"{text!r} did not come within {seconds} s; output {seen}, errors {self.errors[-20:]}")


# Help and mistakes


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_names_every_command(flag):
    text = succeeded(hypha(flag))
    for command in COMMANDS:
        assert f"  {command}" in text, f"{command} is missing"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command):
    text = succeeded(hypha(*command.split(), "--help"))
    assert f"usage: hypha {command}" in text and "examples:" in text
    assert max(len(line) for line in text.splitlines()) <= 140, "too wide for a terminal"


def test_the_version_is_that_of_the_node(one):
    assert succeeded(hypha("--version")).strip() == f"hypha {one.get('/health').json()['version']}"


@pytest.mark.parametrize("arguments, words", [
    ([], ["command", "serve"]),
    (["sreve"], ["sreve", "serve"]),
    (["serve", "--nmae", "x"], ["--nmae", "--name"]),
    (["serve", "--name"], ["--name", "value"]),
    (["serve", "--http", "5000"], ["--http", "HOST:PORT", "5000"]),
    (["serve", "--http", "127.0.0.1:70000"], ["--http", "70000"]),
    (["serve", "--gossip", "127.0.0.1:x"], ["--gossip", "HOST:PORT"]),
    (["serve", "--join", "127.0.0.1:1,nowhere"], ["--join", "nowhere"]),
    (["serve", "--profile", "slow"], ["--profile", "lan", "fast", "slow"]),
    (["serve", "--decay", "1.5"], ["--decay", "0.995"]),
    (["serve", "--config", "/nonexistent/file"], ["--config", "/nonexistent/file"]),
    (["serve", "stray"], ["stray"]),
    (["cluster", "--nodes", "0"], ["--nodes", "1"]),
    (["emit", "--scope", "a"], ["--type", "--agent"]),
    (["emit", "--type", "rumour", "--scope", "a", "--agent", "b"], ["rumour", "proposal"]),
    (["emit", "--type", "ready", "--scope", "a", "--agent", "b", "--payload", "[1]"], ["--payload", "object"]),
    (["events", "--scope", "a", "--trace", "b"], ["--scope", "--trace"]),
    (["members", "--node", "https://127.0.0.1:5000"], ["--node", "TLS"]),
    (["bench"], ["post", "fanout"]),
    (["bench", "post", "--connections", "many"], ["--connections", "many"]),
], ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else None)
def test_a_mistake_is_answered_with_what_was_expected(arguments, words):
    done = hypha(*arguments)
    assert done.returncode == 2 and done.stdout == "", done
    for word in words:
        assert word in done.stderr, f"{word!r} is not in {done.stderr!r}"
    assert "--help" in done.stderr


def test_a_bad_variable_is_named():
    done = hypha("serve", HYPHA_HTTP="here")
    assert done.returncode == 2 and "HYPHA_HTTP" in done.stderr and "here" in done.stderr


def test_a_bad_line_in_a_config_file_is_named(tmp_path):
    file = tmp_path / "node.conf"
    file.write_text("# a node\nname = n1\nhtpp = 127.0.0.1:5000\n")
    done = hypha("serve", "--config", str(file))
    assert done.returncode == 2 and f"{file}:3" in done.stderr and "http" in done.stderr


def test_a_port_that_is_taken_ends_the_start(one):
    done = hypha("serve", "--http", f"{one.host}:{one.http}", "--gossip", f"{one.host}:{free_ports(1)}")
    assert done.returncode == 1 and str(one.http) in done.stderr, done


def test_a_node_that_is_not_there_is_said_to_be_not_there():
    url = f"http://127.0.0.1:{free_ports(1)}"
    for command in (["members"], ["signals"], ["events"], ["emit", "--type", "ready", "--scope", "a", "--agent", "b"]):
        done = hypha(*command, "--node", url)
        assert done.returncode == 1 and url in done.stderr, done


# Settings


def test_flags_variables_and_file_in_this_order(tmp_path):
    http, gossip = free_ports(1), free_ports(1)
    file = tmp_path / "node.conf"
    file.write_text(f"name = from-file\nhttp = 127.0.0.1:1\ngossip = 127.0.0.1:{gossip} # for peers\nprofile = fast\n")
    with Terminal("serve", "--config", str(file), HYPHA_HTTP=f"127.0.0.1:{http}", HYPHA_NAME="from-variable"):
        shown = poll(lambda: json.loads(succeeded(hypha("members", "--json", HYPHA_NODE=f"http://127.0.0.1:{http}"))
                                        .splitlines()[0]), 20, "the node answers")
    assert f"127.0.0.1:{gossip}" in json.dumps(shown) and "from-variable" in json.dumps(shown)


def test_a_node_may_listen_on_more_than_one_address():
    ports = [free_ports(1), free_ports(1)]
    flags = [word for port in ports for word in ("--http", f"127.0.0.1:{port}")]
    with Terminal("serve", *flags, "--gossip", f"127.0.0.1:{free_ports(1)}"):
        for port in ports:
            poll(lambda: hypha("members", "--node", f"127.0.0.1:{port}").returncode == 0, 20, f"port {port} answers")


def test_listening_beyond_loopback_warns():
    http = free_ports(1)
    with Terminal("serve", "--http", f"0.0.0.0:{http}", "--gossip", f"127.0.0.1:{free_ports(1)}") as node:
        poll(lambda: any("authenticated" in line for line in node.errors), 20, "a warning")
        poll(lambda: hypha("members", "--node", f"127.0.0.1:{http}").returncode == 0, 20, "it serves all the same")


def test_logs_can_be_json():
    with Terminal("serve", "--http", f"127.0.0.1:{free_ports(1)}", "--gossip", f"127.0.0.1:{free_ports(1)}",
                  "--log-format", "json", "--log-level", "debug") as node:
        poll(lambda: len(node.errors) >= 1, 20, "a line")
        for line in list(node.errors):
            assert isinstance(json.loads(line), dict)


# Clients


def test_members(three):
    text = succeeded(hypha("members", "--node", three[1].url))
    for node in three:
        assert re.search(rf"\b{node.name}\b.*\balive\b", text), text
    found = [json.loads(line) for line in succeeded(hypha("members", "--node", three[1].url, "--json")).splitlines()]
    for node in three:
        assert node.gossip_address in json.dumps(found)


def test_emit_signals_and_events(three):
    scope = f"cli.{uuid.uuid4()}"

    def emit(*flags):
        out = succeeded(hypha("emit", "--node", three[0].url, "--scope", scope, "--agent", "ada", *flags))
        return re.search(r"[0-9a-f-]{36}", out)[0]

    first = emit("--type", "proposal", "--pattern", "passkeys", "--trace", "t-1")
    own = str(uuid.uuid4())
    assert emit("--type", "reward", "--pattern", "passkeys", "--value", "0.5", "--parent", first, "--id", own) == own
    stored = three[0].get(f"/api/events/{own}").json()
    assert stored["payload"] == {"value": 0.5, "pattern": "passkeys"} and stored["parent_ids"] == [first]

    other = three[2]
    poll(lambda: other.get(f"/api/events/{own}").status_code == 200, 5, "the event is everywhere")
    shown = succeeded(hypha("signals", "--node", other.url, "--scope", scope))
    assert scope in shown and "passkeys" in shown and "0.9" in shown
    exact = [json.loads(line) for line in
             succeeded(hypha("signals", "--node", other.url, "--scope", scope, "--json")).splitlines()]
    assert [(s["pattern"], s["scope"]) for s in exact] == [("passkeys", scope)]
    assert succeeded(hypha("signals", "--node", other.url, "--scope", "nowhere", "--json")) == ""

    listed = [json.loads(line) for line in
              succeeded(hypha("events", "--node", other.url, "--scope", scope, "--json")).splitlines()]
    assert [e["id"] for e in listed] == [first, own], "the newest last, where a terminal's prompt is"
    assert [json.loads(line)["id"] for line in
            succeeded(hypha("events", "--node", other.url, "--trace", "t-1", "--json")).splitlines()] == [first]
    assert own in succeeded(hypha("events", "--node", other.url, "--id", own))
    text = succeeded(hypha("events", "--node", other.url, "--scope", scope, "--limit", "1"))
    assert "reward" in text and "proposal" not in text


def test_what_the_node_refuses_is_shown(one):
    own = str(uuid.uuid4())
    flags = ["emit", "--node", one.url, "--scope", "a", "--agent", "ada", "--id", own, "--type", "ready"]
    succeeded(hypha(*flags, "--trace", "t"))
    done = hypha(*flags, "--trace", "other")
    assert done.returncode == 1 and own in done.stderr, done
    missing = hypha("events", "--node", one.url, "--id", str(uuid.uuid4()))
    assert missing.returncode == 1 and missing.stderr


def test_watch(three):
    scope = f"watch{uuid.uuid4().hex[:6]}"
    with Terminal("watch", "--node", three[2].url, "--scope", f"{scope}.>", "--json") as watch, \
            Terminal("watch", "--node", three[2].url) as everything:
        # Posted until seen: when a watcher has subscribed is its own business.
        stored, seen = [], set()

        def arrives():
            stored.append(three[0].emit(event(scope=f"{scope}.x")))
            while not watch.lines.empty():
                seen.add(json.dumps(json.loads(watch.lines.get())))
            return any(e["id"] in line for e in stored for line in seen)

        poll(arrives, 20, "watch shows an event of another peer", every=0.2)
        three[0].emit(event(scope="elsewhere"))
        last = three[0].emit(event(scope=f"{scope}.last"))
        watch.line_with(last["id"])
        everything.line_with(f"{scope}.last")
        watch.child.send_signal(signal.SIGINT)
        assert watch.child.wait(5) in (0, 130, -signal.SIGINT)


# A cluster in one command


def test_cluster(tmp_path):
    http, gossip = free_ports(3), free_ports(3)
    with Terminal("cluster", "--nodes", "3", "--http-port", str(http), "--gossip-port", str(gossip)) as cluster:
        ready = cluster.line_with("ready:")
        urls = [f"http://127.0.0.1:{http + n}" for n in range(3)]
        assert all(url in ready for url in urls), ready
        text = succeeded(hypha("members", "--node", urls[2]))
        assert text.count("alive") == 3, text
        out = succeeded(hypha("emit", "--node", urls[0], "--type", "proposal", "--scope", "a.b", "--agent", "ada",
                              "--pattern", "p"))
        id = re.search(r"[0-9a-f-]{36}", out)[0]
        poll(lambda: hypha("events", "--node", urls[1], "--id", id).returncode == 0, 10, "the event is at another node")
        children = children_of(cluster.child.pid)
        assert len(children) == 3, "real processes, one for each node"
        assert any(line.startswith("node-2") for line in cluster.errors), "logs carry the node's name in front"
        cluster.child.send_signal(signal.SIGINT)
        assert cluster.child.wait(10) == 0
        assert not [pid for pid in children if os.path.exists(f"/proc/{pid}")], "a node outlived its cluster"


def test_a_cluster_that_is_killed_leaves_no_node_behind():
    http, gossip = free_ports(2), free_ports(2)
    with Terminal("cluster", "--nodes", "2", "--http-port", str(http), "--gossip-port", str(gossip)) as cluster:
        cluster.line_with("ready:")
        children = children_of(cluster.child.pid)
        cluster.child.kill()
        poll(lambda: not [pid for pid in children if os.path.exists(f"/proc/{pid}")], 10, "the nodes have ended too")


def children_of(parent: int) -> list[int]:
    """The processes whose parent this is, from /proc."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    if int(stat.read().rpartition(")")[2].split()[1]) == parent:
                        found.append(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


# The end of a node


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_that_is_asked_to_end_says_goodbye(make_cluster, number):
    cluster = make_cluster(3).start()
    leaver = cluster[2]
    subscriber = WebSocketWire(leaver.host, leaver.http)
    # A keep-alive client that has asked once, and one in the middle of a request, must not hold up the end.
    assert leaver.get("/health").status_code == 200
    stored = leaver.emit(event(scope="last.words"))
    began = time.monotonic()
    leaver.child.send_signal(number)
    while True:
        opcode, payload = subscriber.next_frame()
        if opcode == CLOSE:
            break
    assert int.from_bytes(payload[:2], "big") == 1001
    assert leaver.child.wait(5) == 0, leaver.log(20)
    assert time.monotonic() - began < 5
    for node in cluster.nodes[:2]:
        poll(lambda: [m["state"] for m in node.get("/api/cluster").json()["members"] if m["name"] == leaver.name]
             == ["left"], 5, f"{node.name} knows that {leaver.name} has left")
        assert node.reachable() == 2
        assert node.get(f"/api/events/{stored['id']}").status_code == 200, "the last event was not handed over"


# Measuring


def test_bench_post(one):
    text = succeeded(hypha("bench", "post", "--node", one.url, "--seconds", "0.5", "--warmup", "0.1",
                           "--connections", "4"))
    assert re.search(r"\d", text) and "p99" in text.lower(), text
    result = json.loads(succeeded(hypha("bench", "post", "--node", one.url, "--seconds", "0.5", "--warmup", "0.1",
                                        "--connections", "4", "--json")))
    assert isinstance(result, dict) and result
    assert one.alive() and len(one.get("/api/events").json()) == 100


def test_bench_fanout(three):
    nodes = ",".join(node.url for node in three)
    text = succeeded(hypha("bench", "fanout", "--node", nodes, "--seconds", "0.5", "--warmup", "0.1",
                           "--subscribers", "30", "--publishers", "2"))
    assert re.search(r"\d", text) and "p99" in text.lower(), text
    result = json.loads(succeeded(hypha("bench", "fanout", "--node", nodes, "--seconds", "0.5", "--warmup", "0.1",
                                        "--subscribers", "30", "--publishers", "2", "--rate", "100", "--json")))
    assert isinstance(result, dict) and result
    assert all(node.alive() for node in three)


def test_a_benchmark_of_nothing_fails():
    url = f"http://127.0.0.1:{free_ports(1)}"
    for kind in ("post", "fanout"):
        done = hypha("bench", kind, "--node", url, "--seconds", "0.5")
        assert done.returncode == 1 and url.removeprefix("http://") in done.stderr, done
