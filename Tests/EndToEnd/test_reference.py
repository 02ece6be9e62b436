"""What a node says that it serves, held against what it does: schemathesis asks three real nodes for everything that their
own description names, as it should be asked and as it should not."""

import re
import subprocess
import sys
from pathlib import Path

from cluster import poll

CONFIG = Path(__file__).with_name("schemathesis.toml")
SECONDS = 240


def test_the_reference_is_the_same_at_every_node_and_needs_nothing_else(three):
    documents = [node.get("/openapi.json").json() for node in three]
    assert documents[0]["openapi"].startswith("3.1.") and documents.count(documents[0]) == 3
    page = three[0].get("/docs")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert not re.search(r"<script|src=|https?://(?!127\.0\.0\.1:5000)", page.text)
    for path in documents[0]["paths"]:
        assert path in page.text, path


def test_lists_say_how_much_of_the_cluster_they_can_be(make_cluster):
    cluster = make_cluster(3).start()
    lists = ["/api/events", "/api/events/scope/a", "/api/nodes", "/api/signals", "/api/bus/history", "/api/presence"]
    for path in lists:
        assert cluster[0].get(path).headers["Hypha-Reachable"] == "3/3", path
    assert "Hypha-Reachable" not in cluster[0].get("/api/bus/stats").headers
    cluster[2].kill()
    for path in lists:
        poll(lambda: cluster[0].get(path).headers["Hypha-Reachable"] == "2/3", 20, f"{path} says that one is missing")


def test_every_answer_is_as_the_reference_says(make_cluster, tmp_path):
    # What cannot be decided is refused soon, so that it does not take the time of what can.
    nodes = make_cluster(3, extra=("--clock-wait", "200ms", "--ack-timeout", "300ms")).start()
    command = [
        str(Path(sys.executable).with_name("st")), "--config-file", str(CONFIG), "--no-color", "run",
        f"{nodes[0].url}/openapi.json", "--max-examples", "8",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert all(node.alive() for node in nodes)
