"""Clients that hop at random between three durable peers, which are killed, cut off from each other and asked to leave
all the while: each has every event that its filter wants once, and causes before effects.

`HYPHA_HOPPING_SECONDS` is how long the faults go on, `HYPHA_HOPPING_SEED` draws them.
"""

import collections
import os
import random
import time

import pytest

import netns
from cluster import poll
from durable import seed_of
from hoppers import Crew, Crews, Posted, matches

SECONDS = float(os.environ.get("HYPHA_HOPPING_SECONDS", "25"))
FILTERS = [
    {}, {"scope": "ui.>"}, {"scope": "*.login"}, {"types": ["reward", "test"]}, {"agents": ["w0", "w3"]},
    {"topic": ">"}, {"topic": "tasks.*.asked"}, {"topic": "tasks.>", "types": ["ask", "answer"]},
    {"topic": "notes", "agents": ["w1", "w2", "w4"]}, {"topic": "*.*"},
]


@pytest.fixture
def hosts():
    netns.require()
    with netns.Hosts(3) as hosts, hosts.inside_hub():
        yield hosts


def crews(cluster, seed: str) -> Crews:
    """30 clients, three with each filter and both forms among them, and six writers, in two processes."""
    clients = [{"form": ["stream", "socket"][(n + n // 10) % 2], "filter": FILTERS[n % 10]} for n in range(30)]
    # Two of those who see what is asked answer it.
    clients[6]["answers"], clients[15]["answers"] = "answerer-1", "answerer-2"
    peers = [(node.host, node.http) for node in cluster]
    return Crews([Crew(peers, clients[n::2], [f"w{w}" for w in range(n, 6, 2)], f"{seed}-{n}", pause_s=0.08)
                  for n in range(2)])


class Faults:
    """One after the other, drawn at random, until a moment; afterwards all peers run and are joined."""

    def __init__(self, cluster, hosts, seed: str):
        self.cluster, self.hosts, self.dice = cluster, hosts, random.Random(seed)
        self.counts: collections.Counter[str] = collections.Counter()

    def run(self, seconds: float):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            fault = self.dice.choices([self.kill, self.kill_all, self.cut, self.cut_and_kill, self.leave],
                                      [5, 1, 4, 2, 2])[0]
            self.counts[fault.__name__] += 1
            fault()
            self.pause(0.2, 2)
            if self.dice.random() < 0.6:
                self.cluster.wait_ready(60)
        self.cluster.wait_ready(60)

    def pause(self, least: float, most: float):
        # Moments drawn at random, not waits for something.
        time.sleep(self.dice.uniform(least, most))

    def node(self):
        return self.dice.choice(self.cluster.nodes)

    def kill(self, node=None):
        node = node or self.node()
        assert node.running, f"{node.name} ended by itself with {node.child.returncode}:\n{node.log(20)}"
        node.kill()
        self.pause(0, 3)
        node.start()

    def kill_all(self):
        for node in self.cluster:
            node.kill()
        for node in self.dice.sample(self.cluster.nodes, 3):
            self.pause(0, 0.5)
            node.start()

    def cut(self):
        index = self.dice.randrange(3)
        self.hosts.cut(index)
        try:
            self.pause(1, 6)
        finally:
            self.hosts.join(index)

    def cut_and_kill(self):
        """A peer falls on one side of a cut, the same or another one."""
        index = self.dice.randrange(3)
        self.hosts.cut(index)
        try:
            self.pause(0.5, 3)
            self.kill()
            self.pause(0, 2)
        finally:
            self.hosts.join(index)

    def leave(self):
        node = self.node()
        node.end()
        self.pause(0, 2)
        node.start()


def test_clients_that_hop_get_everything_once_and_causes_first(hosts, make_cluster):
    seed = seed_of("HYPHA_HOPPING_SEED")
    cluster = make_cluster(3, durable=True, hosts=hosts.client_addresses, gossip_hosts=hosts.peer_addresses,
                           wrap=hosts.on).start(40)
    with crews(cluster, seed) as running:
        clients = [client for crew in running.crews for client in crew.clients]
        faults = Faults(cluster, hosts, seed)
        faults.run(SECONDS)
        posted = {posted["event"]["id"]: Posted(**posted) for posted in running.ask("rest")}
        wanted = [{id for id, p in posted.items() if matches(client["filter"], p.event)} for client in clients]

        def complete():
            counts = running.ask("count")
            assert all(count >= len(ids) for count, ids in zip(counts, wanted)), (counts, [len(ids) for ids in wanted])
            return True

        poll(complete, 60, "every client has every event", every=0.25)
        # Some more hops, at which nothing may come again.
        time.sleep(3)
        found = running.ask("dump")
    print(f"{SECONDS:.0f} s with {dict(faults.counts)}: {len(posted)} events, "
          f"{sum(p.tries > 1 for p in posted.values())} of them posted more than once, "
          f"{sum(p.is_effect and bool(p.event['parent_ids']) for p in posted.values())} effects; "
          f"{sum(hops for _, hops, _ in found)} hops, {sum(len(received) for received, _, _ in found)} deliveries")
    assert len(posted) > 10 * SECONDS, "the load was too small to prove anything"
    copies = 0
    for client, ids, (received, hops, trouble) in zip(clients, wanted, found):
        assert not trouble, f"{client}: {trouble[:5]}"
        assert hops > SECONDS / 4, f"{client} hopped {hops} times"
        copies += check(client, ids, received, posted)
    print(f"{copies} deliveries of a second copy")


def check(client: dict, wanted: set[str], received: list, posted: dict[str, Posted]) -> int:
    """Asserts that a client got what its filter wants, once, causes first; how many second copies of one event it got.

    An event whose writer tried again elsewhere may stand in two logs. A peer that knows of one copy only cannot know
    that the client has seen the other: that, and nothing else, may be shown twice.
    """
    entries = collections.Counter((replica, seq) for _, replica, seq in received)
    twice = [entry for entry, count in entries.items() if count > 1]
    assert not twice, f"{client} got {len(twice)} entries twice, e.g. {twice[:3]}"
    # What nodes tell of their own accord (cluster.healed), nobody posted.
    received = [delivery for delivery in received if delivery[0] in posted]
    times = collections.Counter(id for id, _, _ in received)
    missing, beyond = wanted - times.keys(), times.keys() - wanted
    assert not missing and not beyond, f"{client}: {len(missing)} missing, {len(beyond)} beyond, of {len(wanted)}"
    again = [id for id, count in times.items() if count > 1]
    assert all(posted[id].tries > 1 for id in again), f"{client} got an event twice that was accepted once"
    place: dict[str, int] = {}
    for at, (id, _, _) in enumerate(received):
        place.setdefault(id, at)
    for id, at in place.items():
        if posted[id].is_effect:
            late = [parent for parent in posted[id].event["parent_ids"] if place.get(parent, -1) > at]
            assert not late, f"{client} got {id} before its parents {late}: {posted[id].event}"
    return len(again)
