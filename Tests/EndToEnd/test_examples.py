"""The examples of docs/examples, run as their readers would: each goes on at another node when its node is killed, and
when it leaves, with nothing missed and nothing twice."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest
from websockets.sync.client import connect

from cluster import ROOT, clean_environment, poll
from test_stream import bus, topic

EXAMPLES = ROOT / "docs" / "examples"


def node_js() -> list[str]:
    """The command of Node.js; version 20 has WebSockets behind a flag."""
    if not (found := shutil.which("node") or shutil.which("nodejs")):
        pytest.skip("Node.js is missing: apt-get install nodejs")
    version = int(subprocess.run([found, "--version"], capture_output=True, text=True).stdout[1:].partition(".")[0])
    if version < 20:
        pytest.skip(f"Node.js is of version {version}, the examples need 20")
    return [found] if version >= 22 else [found, "--experimental-websocket"]


class Printed:
    """An example that prints each event as a line of JSON."""

    def __init__(self, command: list[str], name: str, on: str, nodes: list[str]):
        self.output = tempfile.NamedTemporaryFile()
        self.errors = tempfile.NamedTemporaryFile()
        self.child = subprocess.Popen([*command, str(EXAMPLES / name), on, *nodes], stdin=subprocess.DEVNULL,
                                      stdout=self.output, stderr=self.errors, env=clean_environment())

    def numbers(self) -> list[int]:
        assert self.child.poll() is None, f"it ended with {self.child.returncode}: {self.said()}"
        lines = Path(self.output.name).read_text().splitlines(keepends=True)
        return [json.loads(line)["data"]["n"] for line in lines if line.endswith("\n")]

    def said(self) -> str:
        return Path(self.errors.name).read_text()[-1_000:]

    def close(self):
        self.child.terminate()
        self.child.wait(10)


class Page:
    """The page in a Chromium without a window, looked at through its debugging port."""

    def __init__(self, command: str, name: str, on: str, nodes: list[str]):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        page = f"file://{EXAMPLES / name}?{urlencode([('topic', on), *(('node', node) for node in nodes)])}"
        self.errors = tempfile.NamedTemporaryFile()
        self.child = subprocess.Popen(
            [command, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--no-proxy-server", f"--user-data-dir={self.profile.name}",
             "--remote-debugging-port=0", page], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=self.errors, env=clean_environment())
        try:
            browser = poll(lambda: re.search(r"ws://\S+", self.said()), 60, "Chromium listens")[0]
            self.context = connect(browser, proxy=None, max_size=None)
            self.socket, self.calls = self.context.__enter__(), 0
            target = poll(lambda: next((t for t in self.call("Target.getTargets")["targetInfos"]
                                        if t["url"].startswith("file:")), None), 30, "the page is open")
            self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        except BaseException:
            self.child.kill()
            raise

    def said(self) -> str:
        return Path(self.errors.name).read_text()[-2_000:]

    def call(self, method: str, session: str | None = None, **parameters) -> dict:
        self.calls += 1
        message = {"id": self.calls, "method": method, "params": parameters}
        self.socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while (answer := json.loads(self.socket.recv(timeout=30))).get("id") != self.calls:
            pass
        return answer["result"]

    def numbers(self) -> list[int]:
        script = "[...document.querySelectorAll('li')].map((line) => line.textContent).join('\\n')"
        shown = self.call("Runtime.evaluate", self.session, expression=script)["result"]["value"]
        return [json.loads(line.partition(": ")[2])["n"] for line in shown.splitlines()]

    def close(self):
        self.context.__exit__(None, None, None)
        self.child.terminate()
        self.child.wait(20)
        self.profile.cleanup()


def start(name: str, on: str, nodes: list[str]):
    match Path(name).suffix:
        case ".py":
            return Printed([sys.executable], name, on, nodes)
        case ".mjs":
            return Printed(node_js(), name, on, nodes)
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("Chromium is missing: apt-get install chromium")
    return Page(found, name, on, nodes)


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_an_example_goes_on_elsewhere(make_cluster, name):
    cluster = make_cluster(3, durable=True).start()
    poll(lambda: all(node.post("/api/events", bus(topic())).status_code == 201 for node in cluster), 20, "ready")
    on, sent = topic(), []

    def emit(count: int, nodes):
        for n in range(count):
            sent.append(len(sent))
            nodes[n % len(nodes)].emit(bus(on, data={"n": sent[-1]}))

    # It knows two of the three, and hears of the third when one leaves.
    example = start(name, on, [cluster.url(0), cluster.url(1)])
    try:
        def hears():
            emit(1, cluster.nodes)
            time.sleep(0.1)
            return example.numbers()
        first = poll(hears, 60, "it hears something")[0]

        def has_all():
            numbers = example.numbers()
            assert sorted(numbers) == sent[first:], f"{len(numbers)} of {len(sent) - first}; it said {example.said()}"
            return True

        emit(20, cluster.nodes)
        poll(has_all, 30, "it has everything", every=0.1)
        cluster[0].kill()
        emit(20, cluster.nodes[1:])
        poll(has_all, 30, "it goes on after a kill", every=0.1)
        # Now it is at the second, which leaves; only the third is there.
        cluster[1].end()
        emit(20, cluster.nodes[2:])
        poll(has_all, 30, "it goes on after a farewell", every=0.1)
        cluster[0].start()
        cluster[1].start()
        cluster.wait_ready(30)
        emit(20, cluster.nodes[2:])
        poll(has_all, 30, "it goes on", every=0.1)
    finally:
        example.close()
