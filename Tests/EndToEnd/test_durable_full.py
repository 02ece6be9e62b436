"""A full disk: the peer is read-only, says so, loses nothing that it acknowledged, and takes writes again by itself once
there is room."""

import contextlib
import os
import shutil
import subprocess

import pytest

import oracle
from cluster import poll
from durable import Writers, check_kept, check_numbers, shown
from listeners import Listeners

DISK = "24m"
BALLAST = 8 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with little room, and a ballast file that can be taken away."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    there = tmp_path / "disk"
    there.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "hypha-test", there], capture_output=True,
                             text=True)
    if mounted.returncode:
        assert not os.environ.get("HYPHA_REQUIRE_NAMESPACES"), mounted.stderr
        pytest.skip(f"`mount` is not permitted: {mounted.stderr.strip()}")
    with contextlib.ExitStack() as stack:
        # Lazily: a test that failed may have left a process there for a moment.
        stack.callback(subprocess.run, ["umount", "--lazy", there], check=True)
        (there / "ballast").write_bytes(bytes(BALLAST))
        yield there


@pytest.fixture
def make_cluster_there(small_disk, make_cluster):
    """Clusters whose first peer keeps its log on the small disk. They end before it is unmounted."""
    return lambda size: make_cluster(
        size, data=lambda index: small_disk / "data" if index == 0 else small_disk.parent / f"n{index + 1}.data")


def health(node) -> str:
    return node.get("/health", timeout=10).text


def taken_by(node, writers) -> int:
    return sum(ack.peer == node.name for ack in writers.so_far().values())


def is_full(node, writers) -> bool:
    return writers.refused[node.name, 507] > 0


def test_a_full_disk_makes_read_only_until_there_is_room(make_cluster_there, small_disk):
    """Writers fill the disk: their writes are answered with 507 and a message, /health says read-only, reads and /ws go
    on. The ballast is removed: writes come back without a restart. Every acknowledged event is there and came once over
    /ws, also after kill -9, and an event that was refused is there once, from when it was accepted."""
    node = make_cluster_there(1).start()[0]
    with Listeners([node], per_node=2) as listeners:
        with Writers([node], agents=4, seed="full", pause_s=0, padding=16_000) as writers:
            poll(lambda: is_full(node, writers), 60, "a write is refused as the disk is full")
            assert "full" in writers.messages[507]
            assert "read-only" in poll(lambda: health(node), 10, "the node answers /health")
            assert shutil.disk_usage(small_disk).free < BALLAST // 2
            # Reads go on, of all kinds.
            acknowledged = writers.so_far()
            stored = {event["id"]: event for event in node.events()}
            check_kept(acknowledged, stored)
            assert node.get("/api/signals").json() and node.get(f"/api/events/{min(stored)}").status_code == 200
            assert node.request("POST", "/api/nodes", json={"type": "idea", "data": {}}).status_code == 507
            listeners.wait_for(set(acknowledged), [node], seconds=20)

            # From here on slowly, so that the room is not used up before it was seen.
            writers.pause_s = 0.05
            (small_disk / "ballast").unlink()
            poll(lambda: len(writers.so_far()) > len(acknowledged) + 20, 60, "writes come back by themselves")
            poll(lambda: "read-only" not in health(node), 20, "and /health says so")
            node.wait_said("room")
        assert not writers.failures, writers.failures[:3]
        last = node.emit({"type": "ready", "scope": "s", "trace_id": "t", "agent_id": "last", "payload": {}})
        for heard in listeners.wait_for({*writers.acknowledged, last["id"]}, [node], seconds=20):
            assert heard.closed is None
            heard.check_once_and_rising()
    check_all(node, writers, last)
    before = shown(node)
    node.kill()
    node.start()
    poll(node.alive, 30, "the peer is back")
    assert shown(node, before.at) == before
    check_all(node, writers, last)


def check_all(node, writers, last):
    """Exactly what was acknowledged is there, as the oracle reads it."""
    stored = {event["id"]: event for event in node.events()}
    unanswered = stored.keys() - writers.acknowledged.keys() - {last["id"]}
    # The last event of each writer may have been under way when it stopped.
    assert len(unanswered) <= len(writers.agents), f"{len(unanswered)} events are there that nobody was told of"
    check_kept(writers.acknowledged, stored)
    check_numbers(writers.acknowledged, stored)
    at = oracle.stamp_ms(last)
    oracle.check(node.get(f"/api/signals?at={at}").json(), stored.values(), at)


def test_a_peer_killed_on_a_full_disk_comes_back_with_everything(make_cluster_there, small_disk):
    """Killed while its disk is full and started again there: nothing acknowledged is lost, and once there is room it
    takes writes, whether or not it could serve before."""
    node = make_cluster_there(1).start()[0]
    with Writers([node], agents=4, seed="killed", pause_s=0, padding=16_000) as writers:
        poll(lambda: is_full(node, writers), 60, "a write is refused as the disk is full")
        writers.stopping.set()
    # What room is left is taken too: not one block for the next start.
    with open(small_disk / "more", "wb", buffering=0) as more, contextlib.suppress(OSError):
        for _ in range(64 << 10):
            more.write(bytes(1 << 10))
    node.kill()
    node.start()
    node.wait_said("entries in")
    assert node.running, node.said()
    (small_disk / "more").unlink()
    (small_disk / "ballast").unlink()
    poll(lambda: node.alive() and "read-only" not in health(node), 30, "the peer is back and takes writes")
    last = node.emit({"type": "ready", "scope": "s", "trace_id": "t", "agent_id": "last", "payload": {}})
    check_all(node, writers, last)


def test_one_of_three_disks_is_full(make_cluster_there, small_disk):
    """Writers go to the two peers that have room; the full one stays a member, serves what it has, and catches up by
    itself when there is room again. All three show the same then, and the oracle's signals."""
    cluster = make_cluster_there(3).start()
    full = cluster[0]
    with Writers(cluster, agents=4, seed="three", pause_s=0, padding=16_000) as writers:
        poll(lambda: is_full(full, writers), 60, "the first peer's disk is full")
        # From here on slowly, so that all of it fits once the ballast is gone.
        writers.pause_s = 0.05
        before, taken = len(writers.so_far()), taken_by(full, writers)
        poll(lambda: len(writers.so_far()) > before + 60, 60, "the others take what it refuses")
        assert "read-only" in health(full)
        assert full.events() and full.get("/api/signals").status_code == 200
        for node in cluster:
            assert node.reachable() == 3, f"{node.name} reaches {node.reachable()}"
        (small_disk / "ballast").unlink()
        poll(lambda: taken_by(full, writers) > taken + 5, 60, "it takes writes again")
    assert not writers.failures, writers.failures[:3]
    stored = poll(cluster.same_events, 60, "it has caught up", every=0.5)
    assert stored.keys() == writers.acknowledged.keys()
    check_kept(writers.acknowledged, stored)
    check_numbers(writers.acknowledged, stored)
    at = max(map(oracle.stamp_ms, stored.values()))
    oracle.check(cluster.same_signals(at), stored.values(), at)
    full.kill()
    full.start()
    cluster.wait_ready(30)
    assert poll(cluster.same_events, 30, "and after a start it still has", every=0.5) == stored
