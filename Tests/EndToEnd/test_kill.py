"""`kill -9` of one peer halfway: the others do not notice, nothing they acknowledged is lost, and the peer that comes
back empty holds everything again within five seconds."""

import time

import oracle
from cluster import poll
from listeners import Listeners
from test_cluster_10k import EVENTS, TWICE, check_signals
from workload import Load

BACK_WITHIN_S = 5


def test_a_killed_peer_costs_nothing_and_comes_back_whole(make_cluster):
    cluster = make_cluster(3).start()
    victim, survivors = cluster[1], [cluster[0], cluster[2]]
    names = {node.name for node in survivors}
    with Listeners(cluster, per_node=2) as listeners:
        load = Load(cluster, EVENTS, agents=50, twice=TWICE, seed="kill", always_own_ids=True)

        def kill():
            load.gone.add(victim.name)
            victim.kill()

        outcome = load.run(halfway=kill)
        assert not victim.running

        assert outcome.failures == [], "a request to a surviving peer failed"
        kept = outcome.ids(names)
        assert len(outcome.ids()) == EVENTS
        assert len(kept) > EVENTS // 2 and outcome.ids({victim.name}), "both kinds of peer took part"

        for heard in listeners.wait_for(kept, survivors, seconds=30):
            assert heard.closed is None, f"the node closed the client of {heard.url} with {heard.closed}"
            heard.check_once_and_rising()
        poll(lambda: all(node.reachable() == 2 for node in survivors), 15, "the survivors know that they are two")
        replica = survivors[0].get("/api/cluster").json()["replica"]

        began = time.monotonic()
        victim.start()
        poll(lambda: victim.is_ready(3), BACK_WITHIN_S, "the peer is back and ready")
        before = {event["id"] for event in survivors[0].events()}
        poll(lambda: {event["id"] for event in victim.events()} >= before,
             began + BACK_WITHIN_S - time.monotonic(), "the peer holds everything again within 5 s of its start")
        print(f"whole again {time.monotonic() - began:.2f} s after its start")

        stored = poll(cluster.same_events, 10, "all peers store the same copies")
        assert kept <= stored.keys(), f"{len(kept - stored.keys())} acknowledged events are lost"
        assert stored.keys() <= outcome.ids()
        check_signals(cluster, stored)

        # Nothing is delivered again because a peer came back, and it takes part as before.
        fresh = victim.emit({"type": "ready", "scope": "back", "trace_id": "t", "agent_id": "a", "payload": {}})
        for heard in listeners.wait_for(kept | {fresh["id"]}, survivors, seconds=10):
            heard.check_once_and_rising()
            assert heard.ids == stored.keys() | {fresh["id"]}
        shown = survivors[0].get("/api/cluster").json()
        assert shown["replica"] == replica
        back = [m for m in shown["members"] if m["name"] == victim.name and m["state"] == "alive"]
        assert len(back) == 1 and back[0]["replica"] == victim.get("/api/cluster").json()["replica"]
        assert fresh["replica"] == back[0]["replica"]
        assert all(oracle.stamp_ms(event) <= oracle.stamp_ms(fresh) for event in stored.values())
