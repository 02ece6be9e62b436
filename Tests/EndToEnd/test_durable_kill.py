"""`kill -9` of durable peers under load, again and again: whatever a peer acknowledged is there afterwards, at every
peer, once, and means the same.

HYPHA_KILL_ROUNDS is the number of rounds, HYPHA_KILL_SEED repeats the dice of an earlier run.
"""

import os
import random
import signal
import time

import oracle
from cluster import poll
from durable import Writers, check_kept, check_numbers, own_read, seed_of, shown

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


def test_what_was_acknowledged_survives_any_kill(make_cluster):
    """Three durable peers under load are killed one at a time, sometimes all at once, at random moments, and started
    again. Afterwards every acknowledged event is at every peer exactly once, as it was posted and in the same order,
    the signals are those of one broker to the last bit, no number of any log was used twice, and a last start of all
    three from their disks alone shows the very same."""
    seed = seed_of("HYPHA_KILL_SEED")
    dice = random.Random(seed)
    cluster = make_cluster(3, durable=True).start()
    kills, starts = 0, 0
    with Writers(cluster, agents=6, seed=seed) as writers:
        for _ in range(ROUNDS):
            # A moment drawn at random, not a wait for something.
            time.sleep(dice.uniform(0, 0.4))
            victims = list(cluster) if dice.random() < ALL_AT_ONCE else [dice.choice(cluster.nodes)]
            kill_at_once(victims)
            kills += len(victims)
            for victim in dice.sample(victims, len(victims)):
                if dice.random() < STAYS_AWAY:
                    time.sleep(dice.uniform(0, 0.6))
                victim.start()
                starts += 1
            if dice.random() >= NOT_AWAITED:
                cluster.wait_ready(30)
            assert not writers.failures, writers.failures[:3]
        cluster.wait_ready(60)
    assert not writers.failures, writers.failures[:3]
    acknowledged = writers.acknowledged
    print(f"{ROUNDS} rounds, {kills} kills, {starts} starts, {len(acknowledged)} events acknowledged, "
          f"refused meanwhile: {dict(writers.refused)}")
    assert len(acknowledged) > 10 * ROUNDS, "the load was too small to prove anything"

    stored = poll(cluster.same_events, 60, "all peers store the same copies", every=0.5)
    assert stored.keys() == acknowledged.keys(), "each writer went on until its event was acknowledged"
    check_kept(acknowledged, stored)
    check_numbers(acknowledged, stored)
    check_same(cluster, acknowledged)
    before = [shown(node) for node in cluster]
    for node, all_of_it in zip(cluster, before):
        assert [e["id"] for e in all_of_it.events] == [e["id"] for e in before[0].events], f"{node.name}: another order"

    kill_at_once(cluster)
    for node in cluster:
        node.start()
    cluster.wait_ready(60)
    for node, all_of_it in zip(cluster, before):
        assert shown(node, all_of_it.at) == all_of_it, f"{node.name} shows something else after another start"
    check_same(cluster, acknowledged)


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
