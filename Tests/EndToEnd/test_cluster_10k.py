"""10,000 events of all five types by 50 agents hopping over three peers: each client receives each exactly once, and
three peers and the oracle read the same signals to the last digit."""

import time
from collections import Counter

import oracle
from cluster import poll
from listeners import Listeners
from workload import TYPES, Load

EVENTS = 10_000
TWICE = 300


def test_ten_thousand_events_over_three_peers(make_cluster):
    cluster = make_cluster(3).start()
    with Listeners(cluster, per_node=3) as listeners:
        load = Load(cluster, EVENTS, agents=50, twice=TWICE)
        began = time.monotonic()
        outcome = load.run()
        print(f"{EVENTS} events in {time.monotonic() - began:.1f} s")

        assert outcome.failures == []
        ids = outcome.ids()
        assert len(ids) == EVENTS and len(outcome.twice) == TWICE
        by_peer = Counter(ack.peer for ack in outcome.acknowledged)
        assert all(by_peer[node.name] > EVENTS // 5 for node in cluster), by_peer

        for heard in listeners.wait_for(ids, cluster, seconds=30):
            assert heard.closed is None, f"the node closed the client of {heard.url} with {heard.closed}"
            assert heard.ids == ids
            heard.check_once_and_rising()

        stored = poll(lambda: same(cluster, ids), 15, "all peers store the same copies")
        assert {event["type"] for event in stored.values()} == set(TYPES)
        check_doubles(stored, outcome)
        check_signals(cluster, stored)
        for heard in listeners.heard():
            assert len(heard.events) == EVENTS, "something came after everything had come"


def same(cluster, ids) -> dict[str, dict]:
    stored = cluster.same_events()
    assert stored.keys() == ids, f"{len(ids - stored.keys())} lost, {len(stored.keys() - ids)} from nowhere"
    return stored


def check_doubles(stored, outcome):
    """An id that two peers accepted is one event: at least one said 201, and each later repeat says 200."""
    statuses: dict[str, list[int]] = {}
    for ack in outcome.acknowledged:
        statuses.setdefault(ack.id, []).append(ack.status)
    for id, found in statuses.items():
        expected = 2 if id in outcome.twice else 1
        assert len(found) == expected and 201 in found, f"{id} was answered with {found}"
    doubled = sum(found == [201, 201] for found in statuses.values())
    print(f"{doubled} of {len(outcome.twice)} ids were accepted by two peers at once")
    assert outcome.twice <= stored.keys()


def check_signals(cluster, stored):
    """In the past, now, and when much has decayed: three peers and the oracle agree to the last digit."""
    events = sorted(stored.values(), key=lambda event: event["stamp"])
    oldest, newest = oracle.stamp_ms(events[0]), oracle.stamp_ms(events[-1])
    assert any(event["type"] in ("reward", "penalty") and len(event["signals"]) > 1 for event in events)
    some = 0
    for at in (oldest - 1, (oldest + newest) // 2, *(newest + m * 60_000 for m in (0, 1, 3, 20, 60))):
        answer = cluster.same_signals(at)
        oracle.check(answer, events, at)
        some += bool(answer)
    assert some >= 3, "too few readings showed any signal"
    assert cluster.same_signals(newest + 200 * 60_000) == [], "everything has decayed after 200 minutes"
