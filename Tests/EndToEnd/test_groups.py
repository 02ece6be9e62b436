"""Queue groups over three peers: each event to one consumer; and, where peers are killed and cut off from each other, to
at least one, a second time only where somebody had reason to think that the first was in vain.

`HYPHA_GROUP_EVENTS` is how many events each of the two large tests posts, `HYPHA_GROUP_SEED` draws the faults.
"""

import collections
import http.client
import json
import os
import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

import netns
from cluster import poll
from consumers import Delivery, Shift
from consumers import __file__ as program
from durable import seed_of
from hoppers import Crews
from readers import EventStream, post_all
from test_stream import bus, ids, topic
from test_ws import Client
from workload import Agent

EVENTS = int(os.environ.get("HYPHA_GROUP_EVENTS", "4000"))
DEADLINE_MS = 5_000


def shifts(cluster, group: str, on: str, options: dict, seed: str = "s", stay_s: float = 0) -> Crews:
    """Twelve consumers in two processes, four at each peer to begin with, three of them on event streams."""
    consumers = [{"name": f"c{n}", "form": "stream" if n % 4 == 3 else "socket", "at": n % 3} for n in range(12)]
    peers = [(node.host, node.http) for node in cluster]
    return Crews([Shift(peers, consumers[n::2], group, {"topic": on}, options, seed, stay_s) for n in range(2)], program)


def wait_for_consumers(cluster, group: str, count: int):
    for node in cluster:
        poll(lambda: node.get(f"/api/groups/{group}").json().get("consumers") == count, 20,
             f"{node.name} knows of {count} consumers")


class Consumer(Client):
    """One consumer of a group on `/ws`."""

    def __init__(self, node, group: str, filter: dict, agent: str | None = None, **options):
        super().__init__(node)
        self.group = group
        if agent:
            self.send({"type": "identify", "agent": agent})
        self.send({"type": "subscribe", "group": group, "filter": filter, "ref": "s", **options})
        self.answer = self.read()
        while self.answer.get("ref") != "s":
            self.answer = self.read()

    def ack(self, *events: dict):
        self.send({"type": "ack", "group": self.group, "ids": ids(events)})

    def taken(self, count: int) -> list[dict]:
        """So many deliveries, each acknowledged."""
        found = [self.next("event") for _ in range(count)]
        self.ack(*(message["data"] for message in found))
        return found


def state(node, group: str) -> dict:
    reply = node.get(f"/api/groups/{group}")
    assert reply.status_code == 200, reply.text
    return reply.json()


def name() -> str:
    return f"g-{uuid.uuid4()}"


# One at a time


def test_every_group_gets_a_copy_and_each_event_goes_to_one_of_it(three):
    on, first, second = topic(), name(), name()
    with (Consumer(three[0], first, {"topic": on}) as a, Consumer(three[1], first, {"topic": on}) as b,
          Consumer(three[2], second, {"topic": on}) as c):
        for node in three:
            poll(lambda: state(node, first)["consumers"] == 2 and state(node, second)["consumers"] == 1, 10, "known")
        sent = [three[n % 3].emit(bus(on, data={"n": n})) for n in range(12)]
        alone = c.taken(12)
        assert sorted(ids(m["data"] for m in alone)) == sorted(ids(sent))
        assert all(m["group"] == second and m["attempt"] == 1 for m in alone)
        poll(lambda: sum(state(node, second)["acked"] for node in three) == 12, 10, "all acknowledged")
        shared = [m["data"] for consumer in (a, b) for m in consumer.until_pong() if m["type"] == "event"]
        assert sorted(ids(shared)) == sorted(ids(sent)), "each to one of the two"
        assert [three[0].get(f"/api/events/{e['id']}").json() for e in shared] == shared


def test_a_nack_comes_again_and_the_last_attempt_is_a_dead_letter(three):
    on, group = topic(), name()
    letters = f"dead-letter.{group}"
    with EventStream(three[2], {"topic": letters}) as stream, \
            Consumer(three[0], group, {"topic": on}, max_attempts=3, ack_deadline_ms=60_000) as consumer:
        stream.read()
        sent = three[1].emit(bus(on, data={"n": 7}))
        for attempt in (1, 2, 3):
            message = consumer.next("event")
            assert (message["data"], message["attempt"]) == (sent, attempt)
            consumer.send({"type": "nack", "group": group, "id": sent["id"]})
        letter = stream.event()
        assert letter["topic"] == letters and letter["correlation_id"] == sent["id"]
        assert letter["data"]["event"] == sent and letter["data"]["attempts"] == 3 and letter["data"]["group"] == group
        poll(lambda: sum(state(node, group)["dead_lettered"] for node in three) == 1, 10, "counted")
        other = three[1].emit(bus(on))
        assert consumer.next("event")["data"] == other, "the dead one does not come again"
        consumer.ack(other)


def test_a_missed_deadline_gives_the_event_to_somebody_else(three):
    on, group = topic(), name()
    with Consumer(three[0], group, {"topic": on}, ack_deadline_ms=300, max_attempts=50) as sleeper:
        sent = three[0].emit(bus(on))
        assert sleeper.next("event")["attempt"] == 1
        with Consumer(three[1], group, {"topic": on}) as worker:
            sleeper.send({"type": "unsubscribe", "group": group, "ref": "u"})
            message = worker.next("event")
            assert message["data"] == sent and message["attempt"] >= 2
            worker.ack(sent)
            poll(lambda: sum(state(node, group)["acked"] for node in three) == 1, 10, "acknowledged")


def test_what_a_consumer_holds_when_it_goes_comes_to_another_at_once(three):
    on, group = topic(), name()
    with Consumer(three[0], group, {"topic": on}, ack_deadline_ms=600_000, max_in_flight=2) as first:
        sent = [three[0].emit(bus(on, data={"n": n})) for n in range(6)]
        held = [first.next("event")["data"] for _ in range(2)]
        assert ids(held) == ids(sent[:2])
        assert first.until_pong() == [], "no more than max_in_flight"
    with Consumer(three[2], group, {"topic": on}) as second:
        found = second.taken(6)
        assert sorted(ids(m["data"] for m in found)) == sorted(ids(sent))
        assert {m["data"]["id"]: m["attempt"] for m in found} == {
            e["id"]: 2 if e in held else 1 for e in sent}


def test_any_node_takes_an_ack(three):
    on, group = topic(), name()
    with Consumer(three[0], group, {"topic": on}, ack_deadline_ms=600_000) as consumer:
        sent = [three[n].emit(bus(on)) for n in range(3)]
        got = [consumer.next("event")["data"] for _ in sent]
        for node in three:
            poll(lambda: node.get(f"/api/events/{got[2]['id']}").status_code == 200, 10, "it is everywhere")
        reply = three[2].post(f"/api/groups/{group}/ack", {"ids": ids(got)})
        assert reply.status_code == 200 and reply.json() == {"acked": 3, "unknown": []}, reply.text
        for node in three:
            poll(lambda: state(node, group)["open"] == 0, 10, f"{node.name} knows that all is done")


def test_a_stream_acknowledges_by_itself(three):
    on, group = topic(), name()
    with EventStream(three[1], {"topic": on}, agent="ada", group=group) as stream:
        assert stream.next("subscribed")["group"] == group
        sent = [three[n % 3].emit(bus(on, data={"n": n})) for n in range(9)]
        found = [stream.next("event") for _ in sent]
        assert sorted(ids(m["data"] for m in found)) == sorted(ids(sent))
        poll(lambda: sum(state(node, group)["acked"] for node in three) == 9, 10, "acknowledged")


def test_a_group_begins_with_its_first_consumer_and_waits_for_the_next(three):
    on, group = topic(), name()
    three[0].emit(bus(on))
    with Consumer(three[0], group, {"topic": on}) as consumer:
        assert consumer.until_pong() == [], "what was before the group is not its"
    for node in three:
        poll(lambda: node.get(f"/api/groups/{group}").status_code == 200, 10, f"{node.name} knows the group")
    waited = [node.emit(bus(on)) for node in three]
    poll(lambda: sum(state(node, group)["pending"] for node in three) >= 3, 10, "they wait")
    with Consumer(three[1], group, {"topic": on}) as consumer:
        assert sorted(ids(m["data"] for m in consumer.taken(3))) == sorted(ids(waited))


def test_what_makes_no_sense_is_refused(three):
    on, group = topic(), name()
    with Consumer(three[0], group, {"topic": on}, takeover="majorityOnly") as consumer:
        assert consumer.answer["type"] == "subscribed"
        for wish, word in [({"filter": {"topic": "other"}}, "filter"), ({"takeover": "never"}, "takeover"),
                           ({"ack_deadline_ms": 1}, "ack_deadline_ms"), ({"max_in_flight": 0}, "max_in_flight"),
                           ({"cursor": ""}, "cursor"), ({"filters": [{"topic": "a"}, {"topic": "b"}], "filter": None}, "filter")]:
            consumer.send({"type": "subscribe", "group": group, "filter": {"topic": on}, "ref": "w", **wish})
            error = consumer.next("error")
            assert word in error["message"], error
        consumer.send({"type": "ack", "group": group, "id": "no id", "ref": "a"})
        assert "id" in consumer.next("error")["message"]
        unknown = str(uuid.uuid4())
        consumer.send({"type": "ack", "group": group, "id": unknown, "ref": "b"})
        assert consumer.next("acked")["unknown"] == [unknown]
    assert three[0].get("/api/groups/never-made").status_code == 404
    assert three[0].post("/api/groups/never-made/ack", {"id": unknown}).status_code == 404
    assert three[0].get(f"/api/stream?topic={on}&group={group}&takeover=perhaps").status_code == 400


def test_a_deleted_group_tells_its_consumers(three):
    on, group = topic(), name()
    with Consumer(three[0], group, {"topic": on}) as here, Consumer(three[1], group, {"topic": on}) as there:
        poll(lambda: three[2].request("DELETE", f"/api/groups/{group}").status_code == 204, 10, "deleted at a third")
        assert here.next("left")["group"] == there.next("left")["group"] == group
    for node in three:
        poll(lambda: node.get(f"/api/groups/{group}").status_code == 404, 10, f"{node.name} forgets it")
        assert group not in [g["group"] for g in node.get("/api/groups").json()["groups"]]


# All at once


def deliveries(running: Crews) -> dict[str, list[Delivery]]:
    """What was handled, by event, each in the order of the moments."""
    found = collections.defaultdict(list)
    for delivery in sorted((Delivery(**d) for d in running.ask("dump")), key=lambda d: d.moment):
        found[delivery.id].append(delivery)
    return dict(found)


def handled(running: Crews) -> set[str]:
    return {id for part in running.ask("count") for id in part}


def test_without_faults_every_event_is_handled_exactly_once(make_cluster):
    cluster = make_cluster(3).start()
    on, group = topic(), name()
    with shifts(cluster, group, on, {"ack_deadline_ms": 60_000}) as running:
        wait_for_consumers(cluster, group, 12)
        began = time.monotonic()
        with ThreadPoolExecutor(3) as pool:
            parts = [pool.submit(post_all, node, [bus(on, data={"n": n}) for n in range(i, EVENTS, 3)])
                     for i, node in enumerate(cluster)]
            sent = {e["id"] for part in parts for e in part.result()}
        poll(lambda: len(handled(running)) == len(sent), 60 + EVENTS / 100, "every event is handled", every=0.25)
        seconds = time.monotonic() - began
        poll(lambda: sum(state(node, group)["acked"] for node in cluster) == len(sent), 20, "every ack has come")
        for node in cluster:
            poll(lambda: state(node, group)["open"] == 0, 20, f"{node.name} knows that all is done")
            assert state(node, group)["in_flight"] == state(node, group)["pending"] == 0
        found = deliveries(running)
        assert not running.ask("trouble")
    assert found.keys() == sent and len(sent) == EVENTS
    assert all(len(of_one) == 1 and of_one[0].attempt == 1 for of_one in found.values()), "exactly once, at first try"
    counts = collections.Counter(d.consumer for of_one in found.values() for d in of_one)
    print(f"{EVENTS} events in {seconds:.1f} s, by consumer {dict(sorted(counts.items()))}")
    # Who takes longer to acknowledge is given less: those on event streams ask for each one.
    assert len(counts) == 12, "somebody is left out"
    alike = [counts[f"c{n}"] for n in range(12) if n % 4 != 3]
    assert max(alike) < 3 * min(alike), "equals are not treated alike"
    # What was assigned to a consumer that had no room is no delivery.
    totals = collections.Counter()
    for node in cluster:
        totals.update({key: state(node, group)[key] for key in ("delivered", "acked", "redelivered", "dead_lettered")})
    assert totals == {"delivered": EVENTS, "acked": EVENTS, "redelivered": 0, "dead_lettered": 0}


class Faults:
    """Kills and cuts, one after the other, until told to stop; each with when it began and was over."""

    def __init__(self, cluster, hosts, seed: str):
        self.cluster, self.hosts, self.dice = cluster, hosts, random.Random(seed)
        self.gone: list[tuple[str, float, float]] = []
        self.stopping, self.failure = threading.Event(), None
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(120)
        assert not self.thread.is_alive() and not self.failure, self.failure

    def work(self):
        try:
            with self.hosts.inside_hub():
                while not self.stopping.wait(self.dice.uniform(0.5, 2)):
                    began, index = time.time(), self.dice.randrange(3)
                    if self.dice.random() < 0.5:
                        self.cluster[index].kill()
                        time.sleep(self.dice.uniform(0, 3))
                        self.cluster[index].start()
                    else:
                        self.hosts.cut(index)
                        time.sleep(self.dice.uniform(1, 5))
                        self.hosts.join(index)
                    self.cluster.wait_ready(60)
                    self.gone.append((self.cluster[index].name, began, time.time()))
        except BaseException as error:
            self.failure = error
            raise

    def overlap(self, start: float, end: float) -> bool:
        return any(began <= end and over >= start for _, began, over in self.gone)


@pytest.fixture
def hosts():
    netns.require()
    with netns.Hosts(3) as hosts, hosts.inside_hub():
        yield hosts


class Posters:
    """Posts events until each is acknowledged by some peer, and knows which were posted more than once."""

    def __init__(self, nodes, seed: str):
        self.nodes, self.seed, self.lock = list(nodes), seed, threading.Lock()
        self.sent: set[str] = set()
        self.again: set[str] = set()

    def run(self, hosts, number: int, on: str, count: int, pause_s: float):
        with hosts.inside_hub():
            agent = Agent(f"poster-{number}", f"{self.seed}-{number}", self.nodes)
            for n in range(count):
                self.post(agent, bus(on, source=agent.name, data={"n": n},
                                     id=str(uuid.UUID(int=agent.dice.getrandbits(128), version=4))))
                time.sleep(pause_s)
            agent.close()

    def post(self, agent: Agent, event: dict):
        deadline, unsure = time.monotonic() + 90, False
        while time.monotonic() < deadline:
            try:
                status, answer = agent.post(agent.dice.choice(self.nodes), event)
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                unsure = True
                time.sleep(0.02)
                continue
            if status in (200, 201):
                with self.lock:
                    self.sent.add(event["id"])
                    if unsure:
                        self.again.add(event["id"])
                return
            assert status == 503, f"{status} {answer}"
            time.sleep(0.02)
        raise AssertionError(f"nobody took {event}")


def test_with_kills_and_partitions_every_event_is_handled_and_a_second_time_for_a_reason(hosts, make_cluster):
    seed = seed_of("HYPHA_GROUP_SEED")
    cluster = make_cluster(3, durable=True, hosts=hosts.client_addresses, gossip_hosts=hosts.peer_addresses,
                           wrap=hosts.on).start(40)
    on, group = topic(), name()
    options = {"ack_deadline_ms": DEADLINE_MS, "max_attempts": 100}
    posters = Posters(cluster, seed)
    with shifts(cluster, group, on, options, seed, stay_s=10) as running:
        wait_for_consumers(cluster, group, 12)
        with Faults(cluster, hosts, seed) as faults, ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(posters.run, hosts, n, on, EVENTS // 4, 0.02) for n in range(4)]:
                future.result()
        cluster.wait_ready(60)
        began = time.monotonic()
        poll(lambda: posters.sent <= handled(running), 120, "every event is handled", every=0.5)
        print(f"everything handled {time.monotonic() - began:.1f} s after the last fault")
        for node in cluster:
            poll(lambda: state(node, group)["open"] == 0, 60, f"{node.name} knows that all is done", every=0.5)
        found = deliveries(running)
        trouble = running.ask("trouble")
    more = {id: of_one for id, of_one in found.items() if len(of_one) > 1}
    print(f"{len(faults.gone)} faults, {len(posters.sent)} events, {len(posters.again)} posted again; {len(more)} "
          f"handled more than once; attempts {dict(collections.Counter(d.attempt for o in found.values() for d in o))}")
    assert found.keys() == posters.sent
    assert len(faults.gone) >= 3, "too few faults to prove anything"
    for id, of_one in more.items():
        for earlier, later in zip(of_one, of_one[1:]):
            check_reason(earlier, later, id in posters.again, faults)
    assert not trouble, trouble[:5]


def check_reason(earlier: Delivery, later: Delivery, is_posted_again: bool, faults: Faults):
    """Asserts that there was a reason to hand out an event again: the consumer or the decider was gone or cut off while
    it was held, its time was over, or its id stands in two logs."""
    both = f"{earlier} and then {later}"
    if (earlier.replica, earlier.seq) != (later.replica, later.seq):
        assert is_posted_again, f"two entries of an event that was posted once: {both}"
        return
    assert later.attempt != earlier.attempt or later.attempt >= 1_000 or is_posted_again, f"the same attempt: {both}"
    is_late = later.moment - earlier.moment >= DEADLINE_MS / 1_000 * 0.9
    # Consumers move on, too: what one has acknowledged while it went may not have been heard.
    assert is_late or faults.overlap(earlier.moment - 1, later.moment) or later.attempt % 1_000 > 1, both
