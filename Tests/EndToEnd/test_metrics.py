"""`/metrics` of real nodes, read with Prometheus' own parser: well-formed, complete, and true to what was done."""

import contextlib
import re
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from cluster import ROOT, poll

PAGE = "docs/metrics.md"
KINDS = {"counter", "gauge", "histogram"}


def scrape(node) -> dict:
    """The families of a node by full name. The parser takes `_total` off a counter's name."""
    reply = node.get("/metrics")
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert reply.text.endswith("\n")
    names = re.findall(r"^# TYPE (\S+)", reply.text, re.M)
    assert len(names) == len(set(names)), f"named twice: {sorted(n for n in names if names.count(n) > 1)}"
    found = {}
    for family in text_string_to_metric_families(reply.text):
        assert family.type in KINDS, f"{family.name} is of type {family.type}; a sample stands outside its family"
        assert family.documentation, f"{family.name} has no HELP"
        found[family.name + ("_total" if family.type == "counter" else "")] = family
    assert sorted(found) == sorted(names)
    return found


def values(families: dict, name: str) -> dict[tuple, float]:
    """The samples of one family by their labels."""
    return {tuple(sorted(sample.labels.items())): sample.value for sample in families[name].samples}


def value(families: dict, name: str, **labels: str) -> float:
    return values(families, name).get(tuple(sorted(labels.items())), 0)


def histograms(families: dict):
    """Every histogram as (name, labels, buckets from low to high, sum, count)."""
    for name, family in families.items():
        if family.type != "histogram":
            continue
        groups: dict[tuple, dict] = {}
        for sample in family.samples:
            labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
            group = groups.setdefault(labels, {"buckets": []})
            part = sample.name.removeprefix(name)
            if part == "_bucket":
                group["buckets"].append((float(sample.labels["le"]), sample.value))
            else:
                assert part in ("_sum", "_count") and part not in group, sample
                group[part] = sample.value
        for labels, group in groups.items():
            yield name, labels, group["buckets"], group["_sum"], group["_count"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two durable peers that have seen traffic of all sorts."""
    from cluster import Cluster

    cluster = Cluster(2, tmp_path_factory.mktemp("metrics"), durable=True)
    try:
        cluster.start()
        first, second = cluster
        for number in range(20):
            event = {"type": "ready", "scope": "metrics", "trace_id": "t", "agent_id": "a", "payload": {"pattern": "p"}}
            reply = first.post("/api/events", event, params={"ack": "2"} if number % 4 == 0 else {})
            assert reply.status_code == 201, reply.text
        assert second.get("/api/events", headers={"Hypha-Clock": reply.headers["Hypha-Clock"]}).status_code == 200
        assert first.get("/api/signals").status_code == 200
        assert first.get("/no/such/thing").status_code == 404
        assert first.post("/api/events", {"type": "?"}).status_code == 400
        assert first.post("/api/nodes", {"type": "idea"}).status_code == 201
        with connect(first.ws_url, proxy=None) as client:
            client.send("{}")
            client.recv(10)
        with socket.create_connection((first.host, first.http), 5) as raw:
            raw.sendall(b"nonsense\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while raw.recv(4096):
                    pass
        yield cluster
    finally:
        cluster.stop()


def test_the_page_names_every_family_and_no_other(pair):
    families = scrape(pair[0])
    page = (ROOT / PAGE).read_text()
    rows = {}
    for name, kind, labels in re.findall(r"^\| `(hypha_\w+)` \| (\w+) \| ([^|]*)\|", page, re.M):
        assert name not in rows, f"{PAGE} has two rows for {name}"
        rows[name] = (kind, [label.strip() for label in labels.split(",") if label.strip()])
    missing, stray = sorted(families.keys() - rows.keys()), sorted(rows.keys() - families.keys())
    assert not missing, f"a node shows {missing}; give each a row in {PAGE} (name, type, labels, meaning, what to watch)"
    assert not stray, f"{PAGE} names {stray}, which no node shows; take the rows out, or write the families where their " \
        "noun is (Sources/Node/Core/Metrics)"
    for name, family in families.items():
        kind, labels = rows[name]
        assert family.type == kind, f"{name} is a {family.type}; correct its row in {PAGE}"
        assert family.samples, f"{name} has no sample after traffic of all sorts; make some in this file's `pair`"
        for sample in family.samples:
            shown = [label for label in sample.labels if label != "le"]
            assert sorted(shown) == sorted(labels), f"{name} has the labels {shown}; correct its row in {PAGE}"


def test_histograms_are_cumulative(pair):
    found = list(histograms(scrape(pair[0])))
    assert {name for name, *_ in found} >= {
        "hypha_http_request_seconds", "hypha_loop_turn_seconds", "hypha_fsync_seconds", "hypha_commit_seconds",
        "hypha_commit_bytes", "hypha_ack_wait_seconds", "hypha_clock_wait_seconds"}
    bounds = {}
    for name, labels, buckets, total, count in found:
        limits, counts = zip(*buckets)
        assert list(limits) == sorted(set(limits)) and limits[-1] == float("inf"), (name, labels, limits)
        assert list(counts) == sorted(counts) and counts[-1] == count, (name, labels, counts, count)
        assert total >= 0 and (count > 0 or total == 0), (name, labels, total, count)
        # What is in a bucket is at most its end, so the sum cannot be above that of all ends.
        inside = [high - low for low, high in zip((0, *counts), counts)]
        assert inside[-1] or total <= sum(limit * number for limit, number in zip(limits, inside) if number), name
        assert bounds.setdefault(name, limits) == limits, f"{name} has other buckets under other labels"


def test_counters_never_fall(pair):
    before = scrape(pair[0])
    pair[0].emit({"type": "ready", "scope": "metrics", "trace_id": "t", "agent_id": "a", "payload": {"pattern": "q"}})
    after = scrape(pair[0])
    for name, family in before.items():
        if family.type == "counter" or family.type == "histogram":
            later = {(sample.name, tuple(sample.labels.items())): sample.value for sample in after[name].samples}
            for sample in family.samples:
                assert later[sample.name, tuple(sample.labels.items())] >= sample.value >= 0, sample


def test_the_numbers_are_true(pair):
    first, second = pair
    before = scrape(first)
    for _ in range(10):
        first.emit({"type": "ready", "scope": "metrics", "trace_id": "t", "agent_id": "a", "payload": {"pattern": "r"}})
    assert first.get("/nothing").status_code == 404
    after = scrape(first)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("hypha_http_requests_total", route="events_write", code="2xx") == 10
    assert grown("hypha_http_requests_total", route="other", code="4xx") == 1
    assert grown("hypha_http_requests_total", route="metrics", code="2xx") == 1, "the scrape before, and not this one"
    assert grown("hypha_events_accepted_total") == 10
    assert grown("hypha_client_received_bytes_total") > 10 * 100 and grown("hypha_client_sent_bytes_total") > 10 * 100
    assert grown("hypha_journal_entries_total") >= 10 and grown("hypha_fsyncs_total") >= 10
    counts = {(name, labels): count for name, labels, _, _, count in histograms(after)}
    assert counts["hypha_fsync_seconds", ()] == value(after, "hypha_fsyncs_total")
    assert counts["hypha_ack_wait_seconds", ()] == value(after, "hypha_ack_waits_total") >= 1
    requests = sum(count for (name, _), count in counts.items() if name == "hypha_http_request_seconds")
    assert requests == sum(values(after, "hypha_http_requests_total").values())
    assert value(after, "hypha_http_requests_total", route="ws", code="1xx") == 1
    assert value(after, "hypha_http_bad_requests_total") == 1
    assert value(after, "hypha_members_by_state", state="alive") == 2
    (labels, sent), = values(after, "hypha_peer_sent_frames_total").items()
    assert dict(labels)["peer"] == second.name and sent > 0

    def has_read_all() -> bool:
        return list(values(scrape(first), "hypha_peer_unread_entries").values()) == [0]
    poll(has_read_all, 10, "the peer says that it has read everything")


def test_a_node_in_memory_shows_nothing_of_a_disk(one):
    families = scrape(one)
    assert "hypha_events" in families
    assert not [name for name in families if "fsync" in name or "commit_" in name or "disk" in name]
