"""Damaged, missing, foreign and copied data directories: a peer serves what is right or says what is wrong, and what it
tells its user to type works."""

import os
import random
import re
import shlex
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

from cluster import LOOPBACK, free_ports, hypha_binary, poll
from durable import (ENTRY, Directory, check_kept, check_numbers, crc32c, draw_graph, files, fill, flip, overwrite,
                     records, replica, seed_of, shown)

# Snapshots come with every MiB of records, and nothing is old enough to leave.
SNAPSHOTS = ("--log-bytes", "8MiB")
FLIPS = int(os.environ.get("HYPHA_FLIPS", "60"))


@pytest.fixture
def alone(make_cluster):
    """One durable peer, running."""
    return make_cluster(1, durable=True).start()[0]


@pytest.fixture
def trio(make_cluster):
    """Three durable peers, running, with a little of everything and in several segments."""
    return populated(make_cluster(3, durable=True).start())


def populated(cluster):
    """Fills each peer, and starts each one anew, so that it begins another segment."""
    for round in range(2):
        for index, node in enumerate(cluster):
            fill(node, 25, f"{node.name}-{round}")
            draw_graph(node, 6, f"{node.name}-{round}")
            poll(lambda: len({len(peer.events()) for peer in cluster}) == 1, 20, "all have what there is")
            node.end()
            node.start()
            cluster.wait_ready(30)
    return cluster


def fill_segments(node, count: int = 3):
    """Three starts, a segment each, with a little of everything in it."""
    for round in range(count):
        fill(node, 25, f"round-{round}")
        draw_graph(node, 6, f"round-{round}")
        if round < count - 1:
            again(node)


def again(node):
    """`kill -9`, and back."""
    node.kill()
    node.start()
    poll(node.alive, 20, f"{node.name} is back")


def refused(node) -> str:
    """Starts a peer that must not start, and returns why it says it did not."""
    node.start()
    return node.refused()


def an_entry(path):
    """A record of an entry somewhere in the middle of a file."""
    entries = [record for record in records(path) if record.kind == ENTRY]
    return entries[len(entries) // 2]


def spoil(path):
    """Flips a bit in the middle of an entry."""
    record = an_entry(path)
    flip(path, (record.start + record.end) // 2, 5)


def command_in(text: str, words: str) -> list[str]:
    """The command that a message tells the user to type, with the program under test for its first word."""
    match = re.search(rf"hypha {words}[^\n]*", text)
    assert match, f"no command `hypha {words}` in {text!r}"
    return [hypha_binary(), *shlex.split(match.group())[1:]]


def check_as_before(cluster, before):
    """All peers have all that there was, and the same."""
    def same():
        stored = cluster.same_events()
        missing = before.by_id().keys() - stored.keys()
        assert not missing, f"{len(missing)} of {len(before.events)} events are missing"
        return stored
    poll(same, 30, "all peers have everything again", every=0.2)
    for node in cluster:
        def equal():
            now = shown(node, before.at)
            assert now.graph == before.graph and now.signals == before.signals, f"{node.name} shows something else"
            return True
        poll(equal, 20, f"{node.name} shows the graph and the signals as before", every=0.2)


# Bits


def make_segments(node):
    fill_segments(node)
    node.kill()


def make_segments_in_good_order(node):
    fill_segments(node)
    node.end()


def make_snapshots(node):
    fill_segments(node, 2)
    fill(node, 400, "large", padding=8_000)
    poll(lambda: len(files(node.data, "state-")) == 2, 20, "there are two snapshots")
    fill(node, 25, "after")
    node.kill()


@pytest.mark.parametrize("make, options, share", [
    (make_segments, (), 0.4), (make_segments_in_good_order, (), 0.3), (make_snapshots, SNAPSHOTS, 0.3),
], ids=["killed", "ended", "with snapshots"])
def test_a_flipped_bit_is_harmless_or_said(make_cluster, make, options, share):
    """One bit of one file of a directory is flipped, drawn at random: the peer shows exactly what it did before, or
    names what is damaged, whether it starts or not. It never crashes, and never shows anything else in silence."""
    dice = random.Random(seed_of("HYPHA_FLIP_SEED"))
    node = make_cluster(1, durable=True, extra=options).start()[0]
    make(node)
    directory = Directory(node.data)
    node.start()
    poll(node.alive, 20, "the peer runs on the whole directory")
    before = shown(node)
    node.kill()
    outcomes = {"as before": 0, "said": 0, "refused": 0}
    for _ in range(int(FLIPS * share)):
        directory.restore()
        where = directory.flip_one(dice)
        outcomes[outcome(node, before, where)] += 1
    print(outcomes)
    assert outcomes["said"] + outcomes["refused"] > 0, "no flip met anything"


def outcome(node, before, where: str) -> str:
    """Starts a peer on a damaged directory and judges what it does."""
    node.start()

    def settled():
        return not node.running or node.alive()
    poll(settled, 20, f"{where}: the peer serves or ends")
    if not node.running:
        text = node.refused()
        # The files are named, the lock file by its path.
        assert re.search(r"(log|state)-[0-9a-f]{16}|lock|copy", text), f"{where}: refused without a word of what\n{text}"
        return "refused"
    now = shown(node, before.at)
    node.kill()
    if now == before:
        return "as before"
    said = [line for line in node.said().splitlines() if " warn " in line or " error " in line]
    assert any(re.search(r"(log|state)-[0-9a-f]{16}", line) for line in said), (
        f"{where}: {len(now.events)} events instead of {len(before.events)}, the same signals: "
        f"{now.signals == before.signals}, the same graph: {now.graph == before.graph}, and nothing was said:\n"
        f"{node.said()}")
    # What is still shown is as it was.
    whole = before.by_id()
    for event in now.events:
        assert event == whole.get(event["id"]), f"{where}: shows {event}, which was {whole.get(event['id'])}"
    return "said"


def test_with_peers_a_flipped_bit_costs_nothing(trio):
    """A random bit of one of three peers' directories is flipped while it is down, again and again: with its peers'
    help it has everything back each time."""
    dice = random.Random(seed_of("HYPHA_FLIP_SEED"))
    cluster = trio
    before = shown(cluster[0])
    for _ in range(FLIPS // 6):
        victim = dice.choice(cluster.nodes)
        victim.kill()
        where = Directory(victim.data).flip_one(dice)
        print(f"{victim.name}: {where}")
        victim.start()
        cluster.wait_ready(30)
        check_as_before(cluster, before)
    kept = {}
    for node in cluster:
        kept |= fill(node, 10, f"late-{node.name}")
    stored = poll(cluster.same_events, 20, "all peers store the same")
    check_kept(kept, stored)
    check_numbers(kept, stored)


# Damage in the middle


def test_damage_in_the_middle_is_mended_by_peers(trio):
    """A peer whose log is damaged in the middle says so, keeps the damaged bytes aside, goes on under a new id, and has
    everything back from its peers."""
    cluster = trio
    victim = cluster[1]
    before, me = shown(cluster[0]), replica(victim)
    victim.kill()
    segment = files(victim.data, "log-")[0]
    spoil(segment)
    damaged = segment.read_bytes()
    victim.start()
    cluster.wait_ready(30)
    victim.wait_said(segment.name)
    assert replica(victim) != me
    aside = [path for path in victim.data.rglob("*") if path.parent != victim.data and path.name.startswith(segment.name)]
    assert [path.read_bytes() for path in aside] == [damaged], f"kept aside: {aside}"
    check_as_before(cluster, before)
    kept = fill(victim, 10, "late")
    check_as_before(cluster, before)
    check_kept(kept, poll(cluster.same_events, 20, "all peers store the same"))
    # It is whole again, and no start later on says otherwise.
    before = shown(victim)
    again(victim)
    cluster.wait_ready(30)
    assert replica(victim) != me and " error " not in victim.said()
    check_as_before(cluster, before)


def test_damage_in_the_middle_without_peers_is_refused_with_the_way_on(alone):
    """A lone peer whose log is damaged in the middle does not start: it names the file and the command that goes on
    without what is lost. That command works: it serves all that is left, under a new id, and takes writes."""
    node = alone
    fill_segments(node)
    before, me = shown(node), replica(node)
    node.kill()
    segment = files(node.data, "log-")[1]
    spoil(segment)
    text = refused(node)
    assert segment.name in text and "--join" in text
    command = command_in(text, "serve")
    assert "--accept-loss" in command and str(node.data) in command, f"not the command for {node.data}: {command}"
    # Refusing changed nothing: the same again.
    assert segment.name in refused(node)

    node.command = command
    add_missing(node)
    node.start()
    poll(node.alive, 20, "the peer goes on without what is lost")
    node.wait_said(segment.name)
    assert replica(node) != me
    now, whole = shown(node, before.at), before.by_id()
    assert len(before.events) - 1 <= len(now.events) <= len(before.events)
    assert all(event == whole[event["id"]] for event in now.events)
    kept = fill(node, 10, "after")
    again(node)
    check_kept(kept, shown(node).by_id())
    # What was accepted once need not be accepted again.
    node.command.remove("--accept-loss")
    now = shown(node)
    again(node)
    assert shown(node, now.at) == now


def add_missing(node):
    """A command may leave out what was told by variables: the addresses of this test's peer."""
    for flag, value in (("--name", node.name), ("--http", f"{node.host}:{node.http}"),
                        ("--gossip", node.gossip_address), ("--profile", "fast")):
        if flag not in node.command:
            node.command += [flag, value]


@pytest.mark.parametrize("which", [0, 1])
def test_a_missing_segment_is_refused_alone(alone, which):
    """A segment that is gone from the beginning or the middle of a log is missed: a lone peer does not start without
    it."""
    fill_segments(alone)
    alone.kill()
    gone = files(alone.data, "log-")[which]
    content = gone.read_bytes()
    gone.unlink()
    text = refused(alone)
    assert "missing" in text or "lost" in text
    assert re.search(r"log-[0-9a-f]{16}", text), text
    assert "--accept-loss" in text
    gone.write_bytes(content)
    alone.start()
    poll(alone.alive, 20, "with the segment back it starts")


@pytest.mark.parametrize("which", [0, 1, -1])
def test_with_peers_a_missing_segment_costs_nothing(trio, which):
    """Whichever segment is gone, the newest too: its peers give back everything."""
    cluster, victim = trio, trio[2]
    before = shown(cluster[0])
    victim.kill()
    files(victim.data, "log-")[which].unlink()
    victim.start()
    cluster.wait_ready(30)
    check_as_before(cluster, before)
    kept = fill(victim, 10, "late")
    stored = poll(cluster.same_events, 20, "all peers store the same")
    check_kept(kept, stored)
    check_numbers(kept, {**before.by_id(), **stored})
    check_as_before(cluster, before)


def test_an_older_snapshot_takes_the_place_of_a_missing_or_damaged_one(make_cluster):
    """Two snapshots are kept so that one may go bad: without the newest, and with a damaged one, the same is shown."""
    node = make_cluster(1, durable=True, extra=SNAPSHOTS).start()[0]
    make_snapshots(node)
    directory = Directory(node.data)
    node.start()
    poll(node.alive, 20, "the peer runs on the whole directory")
    before = shown(node)
    node.kill()

    def check():
        node.start()
        poll(node.alive, 20, f"the peer is back:\n{node.said()}")
        assert shown(node, before.at) == before
        node.kill()

    directory.restore()
    newest = files(node.data, "state-")[-1]
    newest.unlink()
    check()
    directory.restore()
    flip(newest, newest.stat().st_size // 2, 3)
    check()
    assert newest.name in node.said(), node.said()


def test_without_any_snapshot_what_left_the_log_is_missed(make_cluster):
    """Where the log's beginning was trimmed and no snapshot is left, a lone peer refuses to start."""
    node = make_cluster(1, durable=True, extra=("--log-bytes", "1MiB")).start()[0]
    fill(node, 500, "large", padding=8_000)
    poll(lambda: int(files(node.data, "log-")[0].name[-16:], 16) > 1, 20, "the first segment is gone")
    node.kill()
    for snapshot in files(node.data, "state-"):
        snapshot.unlink()
    text = refused(node)
    assert "snapshot" in text and files(node.data, "log-")[0].name in text and "--accept-loss" in text


# What is not a directory of this node


def test_a_newer_format_is_refused_by_its_version(alone):
    """A segment of a later format version is not touched: the message names the version."""
    fill_segments(alone)
    alone.kill()
    segment = files(alone.data, "log-")[-1]
    preamble = segment.read_bytes()[:8] + struct.pack("<I", 4_711)
    assert crc32c(b"123456789") == 0xE306_9283, "the check value of CRC-32C"
    before = {path.name: path.read_bytes() for path in files(alone.data)}
    overwrite(segment, 0, preamble + struct.pack("<I", crc32c(preamble)))
    text = refused(alone)
    assert "4711" in text and segment.name in text
    overwrite(segment, 0, before[segment.name][:16])
    assert {path.name: path.read_bytes() for path in files(alone.data)} == before, "refusing changed something"
    alone.start()
    poll(alone.alive, 20, "as this version wrote it, it starts")


def second(node, data=None) -> subprocess.CompletedProcess:
    """Another node on a directory, with ports of its own; it must end by itself."""
    command = [hypha_binary(), "serve", "--name", "second", "--http", f"{LOOPBACK}:{free_ports(1)}",
               "--gossip", f"{LOOPBACK}:{free_ports(1)}", "--profile", "fast", "--data", str(data or node.data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)


def test_a_second_process_on_a_directory_is_refused(alone):
    """One directory, one process: the second one ends and names the first one's process id. The first one goes on."""
    kept = fill(alone, 10, "first")
    done = second(alone)
    assert done.returncode == 1 and str(alone.pid) in done.stderr and str(alone.data) in done.stderr, done
    kept |= fill(alone, 10, "still")
    again(alone)
    check_kept(kept, shown(alone).by_id())


def test_a_copied_directory_is_refused_and_restored(trio, tmp_path):
    """`cp -a` of a peer's directory makes no second peer: it is refused, with the command that makes one of it. That
    works: the new peer has an id of its own and the same data, joins the cluster, and all four agree."""
    cluster, original = trio, trio[0]
    before = shown(original)
    original.kill()
    copy = tmp_path / "copy of it"
    subprocess.run(["cp", "-a", original.data, copy], check=True)
    original.start()
    cluster.wait_ready(30)
    done = second(original, copy)
    assert done.returncode == 1, done
    command = command_in(done.stderr, "data restore")
    target = command[-1]
    assert command[2:] == ["restore", str(copy), target] and not os.path.exists(target), command
    restored = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert restored.returncode == 0, restored

    added = cluster.add(data=target)
    added.start()
    cluster.wait_ready(30)
    assert len({replica(node) for node in cluster}) == 4
    check_as_before(cluster, before)
    kept = {**fill(added, 10, "new"), **fill(original, 10, "old")}
    stored = poll(cluster.same_events, 20, "all four store the same")
    check_kept(kept, stored)
    check_numbers(kept, stored)
    check_as_before(cluster, before)


def test_a_file_is_no_directory(alone):
    """`--data` that names a file is refused with the path and what to do."""
    alone.kill()
    shutil.rmtree(alone.data)
    alone.data.write_text("not a directory")
    text = refused(alone)
    assert str(alone.data) in text and "directory" in text
    assert alone.data.read_text() == "not a directory"


def test_another_users_directory_is_refused(make_cluster):
    """A user who may not write to the directory is told so, with the path and a remedy."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("running as another user needs root and setpriv")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    probe = subprocess.run([*nobody, hypha_binary(), "--version"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"another user may not run {hypha_binary()}: {probe.stderr.strip()}")
    # Not below pytest's directory, which is for its user only.
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)
        data = Path(above) / "data"
        data.mkdir(mode=0o700)
        text = refused(make_cluster(1, wrap=lambda index: nobody, data=lambda index: data)[0])
        assert str(data) in text and "ermission" in text and "chown" in text
        assert list(data.iterdir()) == []


def test_a_read_only_file_system_is_refused(make_cluster, tmp_path):
    """A directory on a file system that is mounted read-only is refused with the path and a remedy."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    there = tmp_path / "read-only"
    there.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "hypha-test", there], capture_output=True,
                             text=True)
    if mounted.returncode:
        pytest.skip(f"`mount` is not permitted: {mounted.stderr.strip()}")
    try:
        node = make_cluster(1, data=lambda index: there / "data")[0]
        text = refused(node)
        assert str(there) in text and "read-only" in text.lower()
    finally:
        subprocess.run(["umount", there], check=True)
