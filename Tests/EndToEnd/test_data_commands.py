"""`hypha data check | show | backup | restore`, as an operator uses them, beside running nodes and without."""

import json
import os
import subprocess

import pytest

from cluster import hypha_binary, poll
from durable import (Writers, check_kept, check_numbers, data_command, draw_graph, files, fill, flip, own_read, records,
                     replica, seed_of, shown)


@pytest.fixture
def filled(make_cluster):
    """One durable peer, running, with two segments and a little of everything."""
    node = make_cluster(1, durable=True).start()[0]
    for round in range(2):
        if round:
            node.end()
            node.start()
            poll(node.alive, 20, "the peer is back")
        fill(node, 30, f"round-{round}")
        draw_graph(node, 8, f"round-{round}")
    return node


def contents(directory) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def succeeded(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0, f"{done.args} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def refused(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 1 and done.stderr, f"{done.args} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stderr


# Looking


def test_check_finds_a_whole_directory_whole(filled):
    """Beside the running node and after it: one line for each file, "whole", exit code 0, and nothing is changed."""
    for _ in range(2):
        before = contents(filled.data)
        text = succeeded(data_command("check", filled.data))
        for path in files(filled.data):
            assert path.name in text, text
        assert "is whole" in text
        assert contents(filled.data) == before
        if filled.running:
            filled.kill()


@pytest.mark.parametrize("which", [0, -1])
def test_check_names_the_damaged_file(filled, which):
    """A flipped bit in the middle of a segment: exit code 1, and the file is named with what is wrong."""
    filled.end()
    victim = files(filled.data)[which]
    record = records(victim)[len(records(victim)) // 2]
    flip(victim, (record.start + record.end) // 2, 4)
    done = data_command("check", filled.data)
    assert done.returncode == 1
    assert any(victim.name in line and "damaged" in line for line in done.stdout.splitlines()), done.stdout


def test_show_tells_whose_data_it_is_and_how_much(filled):
    """The id, the cluster, the starts, how far each log is there and the numbers of things are those that the node
    shows itself, running or not."""
    me, now, read = replica(filled), shown(filled), own_read(filled)
    for _ in range(2):
        found = json.loads(succeeded(data_command("show", "--json", filled.data)))
        assert (found["replica"], found["cluster"], found["epoch"]) == (me, "hypha", 2)
        assert found["events"] == len(now.events) and found["documents"] == len(now.graph)
        assert found["logs"] == read
        assert found["damage"] == [] and {file["name"] for file in found["files"]} == {p.name for p in files(filled.data)}
        text = succeeded(data_command("show", filled.data))
        assert me in text and "whole" in text and str(len(now.events)) in text
        if filled.running:
            filled.kill()


@pytest.mark.parametrize("verb", ["check", "show"])
def test_there_must_be_something_to_look_at(tmp_path, verb):
    """An empty directory, a missing one and a file are refused with their path."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing", "file"):
        assert str(tmp_path / name) in refused(data_command(verb, tmp_path / name))


# Backup and restore


def test_a_backup_of_a_running_node_holds_all_that_was_acknowledged(make_cluster, tmp_path):
    """Backups are taken of one of three peers under load. The last one, restored, has at least everything that was
    acknowledged before the backup began, under a new id; started beside the three it joins them, and all four agree."""
    seed = seed_of("HYPHA_BACKUP_SEED")
    cluster = make_cluster(3, durable=True).start()
    node = cluster[0]
    with Writers([node], agents=6, seed=seed, pause_s=0.002) as writers:
        for number in range(4):
            wanted = len(writers.so_far()) + 150
            poll(lambda: len(writers.so_far()) >= wanted, 60, "there is more to back up")
            draw_graph(node, 5, f"{seed}-{number}")
            before = writers.so_far()
            backup = tmp_path / f"backup-{number}"
            succeeded(data_command("backup", node.data, backup))
    assert not writers.failures, writers.failures[:3]
    assert "is whole" in succeeded(data_command("check", backup))
    restored = tmp_path / "restored"
    kept = contents(backup)
    succeeded(data_command("restore", backup, restored))
    assert contents(backup) == kept, "the backup stays as it is"

    # While the others are gone, so that what it has is from the backup.
    replicas = {replica(peer) for peer in cluster}
    for peer in cluster:
        peer.kill()
    alone = make_cluster(1, data=lambda index: restored).start()[0]
    stored = {event["id"]: event for event in alone.events()}
    check_kept(before, stored)
    assert replica(alone) not in replicas
    late = fill(alone, 5, "late")
    alone.end()
    for peer in cluster:
        peer.start()
    cluster.wait_ready(30)

    added = cluster.add(data=restored)
    added.start()
    cluster.wait_ready(30)
    late |= fill(added, 10, "joined") | fill(node, 10, "original")
    expected = writers.acknowledged.keys() | late.keys()

    def agree():
        stored = cluster.same_events()
        assert stored.keys() == expected, f"{len(stored)} of {len(expected)}"
        return stored
    stored = poll(agree, 30, "all four store the same", every=0.2)
    check_kept(writers.acknowledged | late, stored)
    check_numbers(writers.acknowledged | late, stored)
    first = shown(node)
    for peer in cluster:
        now = shown(peer, first.at)
        assert (now.signals, now.graph) == (first.signals, first.graph), f"{peer.name} differs from {node.name}"


def test_a_restored_directory_shows_what_the_node_showed(filled, tmp_path):
    """Backup and restore of a node that does not run: the same events, signals and graph, and a new id, which it keeps
    from then on."""
    me, before = replica(filled), shown(filled)
    filled.end()
    succeeded(data_command("backup", filled.data, tmp_path / "backup"))
    succeeded(data_command("restore", tmp_path / "backup", tmp_path / "restored"))
    filled.command[filled.command.index("--data") + 1] = str(tmp_path / "restored")
    filled.start()
    poll(filled.alive, 20, "the restored node runs")
    fresh = replica(filled)
    assert fresh != me and shown(filled, before.at) == before
    filled.end()
    filled.start()
    poll(filled.alive, 20, "and once more")
    assert replica(filled) == fresh and shown(filled, before.at) == before


def test_a_backup_is_not_run(filled, tmp_path):
    """A node started on a backup is refused with the command that makes a node's directory of it."""
    filled.end()
    backup = tmp_path / "backup"
    succeeded(data_command("backup", filled.data, backup))
    before = contents(backup)
    filled.command[filled.command.index("--data") + 1] = str(backup)
    filled.start()
    assert f"hypha data restore {backup}" in filled.refused()
    assert contents(backup).keys() == before.keys()
    succeeded(data_command("restore", backup, tmp_path / "restored"))


@pytest.mark.parametrize("verb", ["backup", "restore"])
def test_a_target_that_is_not_empty_is_refused(filled, tmp_path, verb):
    """Nothing is ever copied over something: a target with a file in it is refused and stays as it is, an empty one is
    taken."""
    filled.end()
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").write_text("mine")
    text = refused(data_command(verb, filled.data, target))
    assert str(target) in text and "not empty" in text
    assert contents(target) == {"precious": b"mine"}
    (target / "precious").unlink()
    succeeded(data_command(verb, filled.data, target))
    assert "is whole" in succeeded(data_command("check", target))


def test_a_damaged_source_is_not_copied_as_if_it_were_whole(filled, tmp_path):
    """Neither backup nor restore makes a silent copy of damage: both name the file and leave nothing behind. What is
    left is restored on demand, and says what it lacks."""
    before = shown(filled)
    filled.end()
    victim = files(filled.data)[0]
    record = records(victim)[len(records(victim)) // 2]
    flip(victim, (record.start + record.end) // 2, 4)
    for verb in ("backup", "restore"):
        assert victim.name in refused(data_command(verb, filled.data, tmp_path / verb))
        assert not (tmp_path / verb).exists() or contents(tmp_path / verb) == {}
    done = data_command("restore", "--accept-loss", filled.data, tmp_path / "left")
    succeeded(done)
    assert victim.name in done.stdout + done.stderr
    filled.command[filled.command.index("--data") + 1] = str(tmp_path / "left")
    filled.command.append("--accept-loss")
    filled.start()
    poll(filled.alive, 20, "it serves what is left")
    now, whole = shown(filled).events, before.by_id()
    assert len(whole) - 1 <= len(now) <= len(whole)
    assert all(event == whole[event["id"]] for event in now)


def test_a_copy_that_broke_off_is_not_taken_for_a_whole_one(filled, tmp_path):
    """`kill -9` of a backup half-way, at whatever point: what is there is either refused by a restore and by a node, or
    whole."""
    fill(filled, 400, "large", padding=20_000)
    filled.end()
    broken = 0
    for number in range(6):
        target = tmp_path / f"half-{number}"
        child = subprocess.Popen([hypha_binary(), "data", "backup", str(filled.data), str(target)],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        poll(lambda: target.exists() and len(os.listdir(target)) > min(number, 2), 20, "the copy has begun", every=0)
        child.kill()
        child.wait(10)
        done = data_command("restore", target, tmp_path / f"restored-{number}")
        if done.returncode:
            broken += 1
            assert done.returncode == 1 and str(target) in done.stderr, done
        else:
            assert "is whole" in succeeded(data_command("check", tmp_path / f"restored-{number}"))
    print(f"{broken} of 6 copies were broken off")
