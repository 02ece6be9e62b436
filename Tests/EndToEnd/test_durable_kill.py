"""`kill -9` of durable peers under load, again and again: whatever a peer acknowledged is there afterwards, at every
peer, once, and means the same.

HYPHA_KILL_ROUNDS is the number of rounds, HYPHA_KILL_SEED repeats the dice of an earlier run.
"""

import contextlib
import os
import random
import signal
import time

import pytest

import oracle
from cluster import poll
from durable import Writers, check_kept, check_numbers, files, own_read, seed_of, shown
from gardener import Gardener
from watcher import Watcher

ROUNDS = int(os.environ.get("HYPHA_KILL_ROUNDS", "25"))
# How often all three are killed at once, how often a killed peer stays away for a while, and how often the next round
# does not wait until this one's peers are back: then a peer may be killed while it reads its log.
ALL_AT_ONCE, STAYS_AWAY, NOT_AWAITED = 0.15, 0.4, 0.25


def kill_at_once(nodes):
    for node in nodes:
        assert node.running, f"{node.name} ended by itself with {node.child.returncode}:\n{node.log(20)}"
        node.child.send_signal(signal.SIGKILL)
    for node in nodes:
        node.kill()


@pytest.mark.parametrize("rounds, options, padding, pause_s", [
    (ROUNDS, (), 0, 0.01), (max(1, ROUNDS // 3), ("--log-bytes", "16MiB"), 4_000, 0.02),
], ids=["small events", "large ones, with snapshots"])
def test_what_was_acknowledged_survives_any_kill(make_cluster, rounds, options, padding, pause_s):
    """Three durable peers under load are killed one at a time, sometimes all at once, at random moments, and started
    again. Afterwards every acknowledged event is at every peer exactly once, as it was posted and in the same order,
    every acknowledged change of the graph too, and whatever a subscriber was shown. The signals are those of one broker
    to the last bit, no number of any log was used twice, and a last start of all three from their disks alone shows the
    very same."""
    seed = seed_of("HYPHA_KILL_SEED")
    dice = random.Random(seed)
    cluster = make_cluster(3, durable=True, extra=options).start()
    with contextlib.ExitStack() as stack:
        watchers = [stack.enter_context(Watcher(node)) for node in cluster]
        gardeners = [stack.enter_context(Gardener(node, f"{seed}-{node.name}", pause_s=0.03)) for node in cluster]
        writers = stack.enter_context(Writers(cluster, agents=6, seed=seed, pause_s=pause_s, padding=padding))
        kills = kill_again_and_again(cluster, rounds, dice, writers, limit=10_000_000 // max(padding, 1))
        cluster.wait_ready(60)
    assert not writers.failures, writers.failures[:3]
    assert not any(gardener.failure for gardener in gardeners), [gardener.failure for gardener in gardeners]
    acknowledged = writers.acknowledged
    print(f"{rounds} rounds, {kills} kills, {len(acknowledged)} events and {sum(g.done for g in gardeners)} changes "
          f"acknowledged, refused meanwhile: {dict(writers.refused)}")
    assert len(acknowledged) > 10 * rounds, "the load was too small to prove anything"
    assert all(node.metric("hypha_log_dropped_total") == 0 for node in cluster)
    assert not options or all(files(node.data, "state-") for node in cluster), "there were no snapshots"

    stored = poll(cluster.same_events, 60, "all peers store the same copies", every=0.5)
    assert stored.keys() == acknowledged.keys(), "each writer went on until its event was acknowledged"
    check_kept(acknowledged, stored)
    check_numbers(acknowledged, stored)
    for watcher in watchers:
        assert watcher.connections > 1 and watcher.seen
        watcher.check(stored)
        check_numbers(acknowledged, watcher.seen)
    check_same(cluster, acknowledged)
    before = [shown(node) for node in cluster]
    for node, all_of_it in zip(cluster, before):
        assert [e["id"] for e in all_of_it.events] == [e["id"] for e in before[0].events], f"{node.name}: another order"
        assert all_of_it.graph == before[0].graph, f"{node.name}: another graph"
        for gardener in gardeners:
            gardener.check(all_of_it.graph)

    kill_at_once(cluster)
    for node in cluster:
        node.start()
    cluster.wait_ready(60)
    for node, all_of_it in zip(cluster, before):
        assert shown(node, all_of_it.at) == all_of_it, f"{node.name} shows something else after another start"
    check_same(cluster, acknowledged)


def kill_again_and_again(cluster, rounds: int, dice, writers, limit: int) -> int:
    """The rounds; ends early once so many events are acknowledged. How many peers were killed."""
    kills = 0
    for _ in range(rounds):
        # A moment drawn at random, not a wait for something.
        time.sleep(dice.uniform(0, 0.4))
        victims = list(cluster) if dice.random() < ALL_AT_ONCE else [dice.choice(cluster.nodes)]
        kill_at_once(victims)
        kills += len(victims)
        for victim in dice.sample(victims, len(victims)):
            if dice.random() < STAYS_AWAY:
                time.sleep(dice.uniform(0, 0.6))
            victim.start()
        if dice.random() >= NOT_AWAITED:
            cluster.wait_ready(30)
        assert not writers.failures, writers.failures[:3]
        if len(writers.so_far()) > limit:
            break
    return kills


def check_same(cluster, acknowledged):
    """All peers have read equally far, as far as every acknowledged event, and read the oracle's signals."""
    def vectors():
        found = [own_read(node) for node in cluster]
        assert all(read == found[0] for read in found), found
        return found[0]
    read = poll(vectors, 30, "all peers have read equally far")
    for ack in acknowledged.values():
        replica, seq = ack.answer["replica"], ack.answer["seq"]
        assert read.get(replica, 0) >= seq, f"{ack.peer} acknowledged {replica}:{seq}, and now the log reads {read}"

    stored = cluster.same_events().values()
    newest = max(map(oracle.stamp_ms, stored))
    for at in (newest, *(newest + minutes * 60_000 for minutes in (1, 3, 20, 60))):
        oracle.check(cluster.same_signals(at), stored, at)
