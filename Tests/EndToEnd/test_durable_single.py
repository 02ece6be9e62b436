"""One durable peer alone: what it acknowledged is on its disk, a torn end of its log costs that end only, and a restart
in good order changes nothing."""

import random
import subprocess
import time

import pytest

from cluster import clean_environment, hypha_binary, poll
from durable import (Writers, check_kept, check_numbers, draw_graph, epoch, files, fill, last_batch, overwrite, replica,
                     seed_of, shown, written)
from gardener import Gardener

KILLS = 8
# Three times what is read at once.
LONG = 12 << 20


def test_acknowledged_writes_of_all_kinds_survive_kill_9(make_cluster):
    """Events, and nodes of the graph that are made, patched, linked, unlinked and removed, by several clients at once,
    while their only peer is killed again and again: every acknowledged write is there afterwards, and no removal is
    undone."""
    seed = seed_of("HYPHA_SINGLE_SEED")
    dice = random.Random(seed)
    node = make_cluster(1, durable=True).start()[0]
    with Writers([node], agents=4, seed=seed, pause_s=0.005) as writers, Gardener(node, f"{seed}-a") as first, \
            Gardener(node, f"{seed}-b") as second:
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.05, 0.5))
            assert node.running, node.log(20)
            node.kill()
            node.start()
            if dice.random() < 0.7:
                poll(node.alive, 20, "the peer is back")
        poll(node.alive, 20, "the peer is back for good")
    assert not writers.failures and not first.failure and not second.failure, (
        writers.failures[:3], first.failure, second.failure)
    print(f"{len(writers.acknowledged)} events and {first.done + second.done} changes of the graph acknowledged")
    assert len(writers.acknowledged) > 20 * KILLS and first.done + second.done > 10 * KILLS

    before = shown(node)
    node.kill()
    node.start()
    poll(node.alive, 20, "the peer is back once more")
    now = shown(node, before.at)
    assert now == before
    stored = now.by_id()
    assert len(stored) == len(now.events) and stored.keys() == writers.acknowledged.keys()
    check_kept(writers.acknowledged, stored)
    check_numbers(writers.acknowledged, stored)
    for gardener in (first, second):
        gardener.check(now.graph)


def test_a_long_log_is_read_back(make_cluster):
    """Many clients at once make commits of many records, and a log of many times what is read at once: after kill -9
    all of it is shown as before."""
    node = make_cluster(1, durable=True).start()[0]
    for _ in range(60):
        done = subprocess.run([hypha_binary(), "bench", "post", "--node", node.url, "--connections", "64", "--seconds",
                               "1", "--warmup", "0"], capture_output=True, text=True, timeout=60, env=clean_environment())
        assert done.returncode == 0, done
        if node.get("/health").json()["log_bytes"] > LONG:
            break
    before = shown(node)
    assert written(files(node.data, "log-")[0]) > LONG
    node.kill()
    node.start()
    poll(node.alive, 30, "the peer is back")
    assert shown(node, before.at) == before


def cut_in_the_middle(path, start, end):
    with open(path, "r+b") as file:
        file.truncate((start + end) // 2)


def cut_its_last_byte(path, start, end):
    with open(path, "r+b") as file:
        file.truncate(end - 1)


def lose_its_middle(path, start, end):
    middle = (start + end) // 2
    overwrite(path, middle, bytes(end - middle))


def garble_its_end(path, start, end):
    overwrite(path, end - 9, random.Random(7).randbytes(300))


@pytest.mark.parametrize("tear", [cut_in_the_middle, cut_its_last_byte, lose_its_middle, garble_its_end])
def test_a_torn_tail_costs_what_was_torn_and_nothing_else(make_cluster, tear):
    """After a crash that tore the last commit (by hand, as a power failure would) the node says so, serves everything
    before it, takes writes again, gives no number twice, and shows the same after a further start."""
    node = make_cluster(1, durable=True).start()[0]
    kept = fill(node, 40, "before")
    draw_graph(node, 10, "graph")
    whole = shown(node)
    torn = node.emit({"type": "ready", "scope": "torn", "trace_id": "t", "agent_id": "a", "payload": {}})
    node.kill()
    newest = files(node.data, "log-")[-1]
    tear(newest, *last_batch(newest))

    node.start()
    poll(node.alive, 20, "the peer is back")
    node.wait_said(newest.name)
    assert shown(node, whole.at) == whole
    assert node.get(f"/api/events/{torn['id']}").status_code == 404

    fresh = {**fill(node, 20, "after"), **kept}
    all_of_it = shown(node)
    check_kept(fresh, all_of_it.by_id())
    # The torn event left the node once, under a number that must not name another one.
    check_numbers(fresh, {**all_of_it.by_id(), torn["id"]: torn})
    node.kill()
    node.start()
    poll(node.alive, 20, "the peer is back again")
    assert shown(node, all_of_it.at) == all_of_it


def test_garbage_behind_the_last_commit_is_said_and_costs_nothing(make_cluster):
    """What a crash may leave behind the last whole commit is no data: the node says so and has lost nothing."""
    node = make_cluster(1, durable=True).start()[0]
    fill(node, 40, "before")
    whole = shown(node)
    node.kill()
    newest = files(node.data, "log-")[-1]
    overwrite(newest, written(newest), random.Random(3).randbytes(5_000))
    node.start()
    poll(node.alive, 20, "the peer is back")
    node.wait_said(newest.name)
    assert shown(node, whole.at) == whole
    kept = fill(node, 20, "after")
    node.kill()
    node.start()
    poll(node.alive, 20, "the peer is back again")
    check_kept(kept, shown(node).by_id())


def test_a_restart_in_good_order_keeps_the_id_and_raises_the_epoch(make_cluster):
    """SIGTERM and a new start: the same replica id, the same data, numbers that go on, and an epoch that counts the
    starts."""
    node = make_cluster(1, durable=True).start()[0]
    me, kept, epochs = replica(node), {}, [epoch(node)]
    for start in range(3):
        kept |= fill(node, 10, f"start-{start}")
        draw_graph(node, 5, f"graph-{start}")
        before = shown(node)
        node.end()
        node.start()
        poll(node.alive, 20, "the peer is back")
        assert replica(node) == me
        epochs.append(epoch(node))
        assert shown(node, before.at) == before
    assert epochs == list(range(epochs[0], epochs[0] + 4)), epochs
    last = node.emit({"type": "ready", "scope": "s", "trace_id": "t", "agent_id": "a", "payload": {}})
    assert last["replica"] == me and last["seq"] > max(ack.answer["seq"] for ack in kept.values())
    check_kept(kept, shown(node).by_id())
    check_numbers(kept, {last["id"]: last})
