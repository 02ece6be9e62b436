"""A peer whose disk forgot something that its peers have: after a power failure whose last syncs were a lie, or from an
old image of its disk. Nobody loses anything by it, and no number of a log comes to mean two events.

HYPHA_STALE_ROUNDS is the number of rounds under load, HYPHA_STALE_SEED repeats the dice of an earlier run.
"""

import os
import random

import pytest

import oracle
from cluster import poll
from durable import (Directory, Writers, check_kept, check_numbers, files, fill, last_batch, replica, seed_of, shown)


ROUNDS = int(os.environ.get("HYPHA_STALE_ROUNDS", "8"))


@pytest.fixture
def trio(make_cluster):
    """Three durable peers, running, that hold a few events of each."""
    cluster = make_cluster(3, durable=True).start()
    for node in cluster:
        fill(node, 10, node.name)
    return cluster


def settled(cluster, count: int):
    """Until all peers hold so many events."""
    poll(lambda: {len(node.events()) for node in cluster} == {count}, 20, f"all peers hold {count} events")


def check_all(cluster, acknowledged):
    def complete():
        stored = cluster.same_events()
        check_kept(acknowledged, stored)
        return stored
    stored = poll(complete, 30, "all peers store the same, and all of it", every=0.2)
    at = max(map(oracle.stamp_ms, stored.values()))
    oracle.check(cluster.same_signals(at), stored.values(), at)
    return stored


def cut_commits(node, count: int):
    """Cuts the last few commits off the end of the newest segment, and the room behind them."""
    newest = files(node.data, "log-")[-1]
    for _ in range(count):
        start, end = last_batch(newest)
        with open(newest, "r+b") as file:
            file.truncate(start)


def tear_commit(node):
    """Leaves only half of the last commit."""
    newest = files(node.data, "log-")[-1]
    start, end = last_batch(newest)
    with open(newest, "r+b") as file:
        file.truncate((start + end) // 2)


def lose_the_end(node):
    cut_commits(node, 5)


def lose_and_tear(node):
    cut_commits(node, 3)
    tear_commit(node)


@pytest.mark.parametrize("lose", [tear_commit, lose_the_end, lose_and_tear])
def test_an_end_that_only_the_peers_have_comes_back(trio, lose):
    """The last commits of a killed peer are gone from its disk, and its peers have them. It is started and written to at
    once, before it can know: everything is at all peers afterwards, what was acknowledged before and after, and where
    the end was torn no number was used twice."""
    cluster, victim = trio, trio[0]
    kept = fill(victim, 30, "before")
    settled(cluster, 60)
    me = replica(victim)
    victim.kill()
    lose(victim)
    victim.start()
    with Writers([victim], agents=4, seed="at once", pause_s=0.001) as writers:
        cluster.wait_ready(30)
        poll(lambda: len(writers.so_far()) > 50, 30, "it takes writes")
    assert not writers.failures, writers.failures[:3]
    poll(lambda: replica(victim) != me, 20, "it has found out that its peers know its log to be longer")
    stored = check_all(cluster, kept | writers.acknowledged)
    assert len(stored) == 60 + len(writers.acknowledged)
    if lose is tear_commit:
        check_numbers(kept | writers.acknowledged, stored)


def test_an_old_image_of_a_disk_takes_nothing_back(trio):
    """All three are killed, one is put back to an hour ago (as an image of its disk would be), and all are started and
    written to at once: all that was ever acknowledged is at all peers."""
    cluster, victim = trio, trio[2]
    victim.kill()
    image = Directory(victim.data)
    victim.start()
    cluster.wait_ready(30)
    kept = fill(victim, 40, "after the image") | fill(cluster[0], 10, "elsewhere")
    settled(cluster, 80)
    me = replica(victim)
    for node in cluster:
        node.kill()
    image.restore()
    for node in cluster:
        node.start()
    with Writers(cluster, agents=6, seed="at once", pause_s=0.001) as writers:
        cluster.wait_ready(30)
        poll(lambda: len(writers.so_far()) > 100, 30, "they take writes")
    assert not writers.failures, writers.failures[:3]
    poll(lambda: replica(victim) != me, 20, "it has found out that its log was longer")
    check_all(cluster, kept | writers.acknowledged)
    # And once more from the disks alone.
    for node in cluster:
        node.kill()
    for node in cluster:
        node.start()
    cluster.wait_ready(30)
    check_all(cluster, kept | writers.acknowledged)


def test_old_images_again_and_again(trio):
    """Under load, one peer after the other is killed and started on an old image of its own disk, or with its end cut
    off. Whatever was acknowledged is at all peers in the end: two of three had it whenever one forgot."""
    seed = seed_of("HYPHA_STALE_SEED")
    dice = random.Random(seed)
    cluster = trio
    acknowledged = {}
    for round in range(ROUNDS):
        victim = dice.choice(cluster.nodes)
        victim.kill()
        image = Directory(victim.data)
        victim.start()
        cluster.wait_ready(30)
        with Writers(cluster, agents=4, seed=f"{seed}-{round}", pause_s=0.005) as writers:
            poll(lambda: len(writers.so_far()) > 60, 30, "there is something to forget")
        # Acknowledged by one disk only, it would be lost with it: that is what `local` promises.
        acknowledged |= writers.acknowledged
        check_all(cluster, acknowledged)
        victim.kill()
        if dice.random() < 0.5:
            image.restore()
        else:
            cut_commits(victim, 2)
        victim.start()
        with Writers(cluster, agents=4, seed=f"{seed}-{round}-after", pause_s=0.002) as writers:
            cluster.wait_ready(30)
        assert not writers.failures, writers.failures[:3]
        acknowledged |= writers.acknowledged
        check_all(cluster, acknowledged)
    before = shown(cluster[0])
    for node in cluster:
        node.kill()
    for node in cluster:
        node.start()
    cluster.wait_ready(30)
    for node in cluster:
        now = shown(node, before.at)
        assert (now.signals, now.graph) == (before.signals, before.graph)
    check_all(cluster, acknowledged)
