"""Three hosts, one cut off for 30 seconds while both sides take writes: equal again within 10 seconds of the heal,
without a restart or a command."""

import time
import uuid

import pytest

import netns
import oracle
from cluster import poll
from listeners import Listeners
from test_semp import event
from workload import Agent

CUT_S = 30
EQUAL_WITHIN_S = 10
PAUSE_S = 0.05


@pytest.fixture
def hosts():
    netns.require()
    with netns.Hosts(3) as hosts, hosts.inside_hub():
        yield hosts


@pytest.fixture
def cluster(hosts, make_cluster):
    # The fixtures end in the opposite order, so the processes end before their network does.
    return make_cluster(3, profile="lan", hosts=hosts.client_addresses, gossip_hosts=hosts.peer_addresses,
                        wrap=hosts.on).start(40)


def test_a_cut_of_30_seconds_heals_by_itself(hosts, cluster):
    pids = [node.pid for node in cluster]
    agents = [Agent(f"agent-{node.name}", f"partition-{node.name}", [node]) for node in cluster]
    accepted: set[str] = set()

    def write(index: int, body: dict | None = None):
        status, answer = agents[index].post(cluster[index], body or agents[index].event(own_id=False))
        assert status in (200, 201), f"{cluster[index].name} answered {status} {answer}"
        accepted.add(answer["id"])
        agents[index].remember(answer["id"])
        return answer

    with Listeners(cluster, per_node=2) as listeners:
        for _ in range(100):
            for index in range(3):
                write(index)
        before = poll(cluster.same_events, 10, "equal before the cut")
        assert before.keys() == accepted

        hosts.cut(2)
        # One id with one body, and one with two bodies, on both sides of the cut.
        shared = event(scope="both.sides", id=str(uuid.uuid4()))
        disputed = event(scope="both.sides", id=str(uuid.uuid4()))
        copies = [write(0, disputed), write(2, {**disputed, "payload": {"action": "other"}})]
        assert write(2, shared)["stamp"] != write(1, shared)["stamp"]
        rounds, began = 0, time.monotonic()
        while time.monotonic() < began + CUT_S:
            for index in range(3):
                write(index)
            rounds += 1
            time.sleep(PAUSE_S)
        assert rounds > 100, "the cut saw too few writes"
        poll(lambda: [node.reachable() for node in cluster] == [2, 2, 1], 30, "each side knows that it is alone")
        assert {e["id"] for e in cluster[0].events()} != {e["id"] for e in cluster[2].events()}, "the cut cut nothing"
        assert all(node.get("/health").status_code == 200 for node in cluster), "a side refuses traffic"

        hosts.join(2)
        healed = time.monotonic()

        def equal():
            stored = cluster.same_events()
            assert stored.keys() == accepted, f"{len(accepted - stored.keys())} of {len(accepted)} are missing"
            at = max(oracle.stamp_ms(e) for e in stored.values()) + 120_000
            oracle.check(cluster.same_signals(at), stored.values(), at)
            return stored

        stored = poll(equal, EQUAL_WITHIN_S, "equal again within 10 s of the heal", every=0.1)
        print(f"{len(stored)} events equal {time.monotonic() - healed:.1f} s after the heal")
        poll(lambda: [node.reachable() for node in cluster] == [3, 3, 3], 30, "everybody trusts everybody")
        winner = min(copies, key=lambda copy: copy["stamp"])
        assert stored[disputed["id"]] == winner, "of two bodies under one id the lowest stamp wins"

        for heard in listeners.wait_for(accepted, cluster, seconds=10):
            assert heard.closed is None
            heard.check_once_and_rising()
            assert heard.ids == accepted
    assert [node.pid for node in cluster] == pids and all(node.running for node in cluster)
    for agent in agents:
        agent.close()
