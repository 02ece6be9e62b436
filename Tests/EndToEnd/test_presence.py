"""Which agents are connected, at which node: told by every node, without flicker when a node is killed or starts again."""

import threading
from urllib.parse import quote

import pytest

from cluster import poll
from readers import EventStream, Ended, Socket
from test_stream import topic


def sessions(node, agent: str) -> list[dict]:
    """The sessions of an agent as a node shows them; none if it shows no such agent."""
    reply = node.get(f"/api/presence/{quote(agent, safe='')}")
    if reply.status_code == 404:
        assert agent in reply.json()["message"]
        return []
    assert reply.status_code == 200 and reply.json()["agent"] == agent, reply.text
    return reply.json()["sessions"]


def places(node, agent: str) -> list[tuple[str, str]]:
    return sorted((session["node"], session["form"]) for session in sessions(node, agent))


def everywhere(cluster, agent: str, expected: list[tuple[str, str]], seconds: float = 10):
    for node in cluster:
        poll(lambda: places(node, agent) == sorted(expected), seconds, f"{node.name} shows {agent} at {expected}")


@pytest.fixture
def agent() -> str:
    return f"ada {topic()} 🌱/é"


def test_sessions_at_several_nodes_are_shown_at_all(three, agent):
    with Socket(three[0], agent=agent), EventStream(three[1], agent=agent):
        everywhere(three, agent, [("n1", "websocket"), ("n2", "stream")])
        with Socket(three[2]) as socket:
            socket.send({"type": "identify", "agent": agent})
            everywhere(three, agent, [("n1", "websocket"), ("n2", "stream"), ("n3", "websocket")])
            shown = sessions(three[0], agent)
            assert all(s["node_gone"] is False and s["groups"] == [] and s["since"].endswith("Z") for s in shown)
            assert len({(s["replica"], s["session"]) for s in shown}) == 3
            for node in three:
                answer = node.get("/api/presence").json()
                assert agent in [a["agent"] for a in answer["agents"]] and answer["reachable"] == 3
            # Another name is another agent.
            socket.send({"type": "identify", "agent": f"{agent} too"})
            everywhere(three, f"{agent} too", [("n3", "websocket")])
            everywhere(three, agent, [("n1", "websocket"), ("n2", "stream")])
        everywhere(three, f"{agent} too", [])
    everywhere(three, agent, [])


def test_the_groups_of_a_session_are_shown(three, agent):
    on = topic()
    with EventStream(three[1], {"topic": on}, agent=agent, group=f"g-{on}") as stream:
        stream.next("subscribed")
        for node in three:
            poll(lambda: [s["groups"] for s in sessions(node, agent)] == [[f"g-{on}"]], 10, "the group is shown")


def test_who_has_no_name_is_not_shown(three):
    with Socket(three[0]) as named:
        named.send({"type": "identify", "agent": "only one", "ref": "i"})
        while named.read().get("ref") != "i":
            pass
        with Socket(three[0]), EventStream(three[0]) as stream:
            assert stream.read()["type"] == "cursor"
            here = three[0].get("/api/cluster").json()["replica"]
            shown = [session for agent in three[0].get("/api/presence").json()["agents"]
                     for session in agent["sessions"] if session["replica"] == here]
            assert len(shown) == 1, shown


def test_a_killed_nodes_sessions_go_after_suspicion_and_grace(make_cluster, agent):
    cluster = make_cluster(3).start()
    with Socket(cluster[0], agent=agent), Socket(cluster[1], agent="stays"):
        everywhere(cluster, agent, [("n1", "websocket")])
        cluster[0].kill()
        others = cluster.nodes[1:]
        # Nobody has noticed yet, or it is in its grace: either way it is shown until then.
        assert all(places(node, agent) for node in others)
        poll(lambda: any(s["node_gone"] for s in sessions(others[0], agent)), 20, "shown, with its node gone")
        everywhere(others, agent, [], seconds=30)
        everywhere(others, "stays", [("n2", "websocket")])


class Looker:
    """Asks nodes again and again whether they show an agent, and notes when one does not."""

    def __init__(self, nodes, agent: str):
        self.nodes, self.agent, self.stopping = nodes, agent, threading.Event()
        self.looks, self.missing = 0, []
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self):
        while not self.stopping.wait(0.02):
            for node in self.nodes:
                self.looks += 1
                if not sessions(node, self.agent):
                    self.missing.append(node.name)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(20)


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "durable"])
def test_an_agent_whose_node_starts_again_never_flickers(make_cluster, agent, durable):
    """It connects elsewhere, or to the same node once that is back: the others show it all the while."""
    cluster = make_cluster(3, durable=durable).start()
    others = cluster.nodes[1:]
    with Socket(cluster[0], agent=agent) as first:
        everywhere(cluster, agent, [("n1", "websocket")])
        with Looker(others, agent) as looker:
            cluster[0].kill()
            cluster[0].start()
            with pytest.raises(Ended):
                while True:
                    first.read()
            poll(lambda: cluster[0].is_ready(3), 20, "it is back")
            with Socket(cluster[0], agent=agent):
                # Its old session goes, its new one is there.
                everywhere(cluster, agent, [("n1", "websocket")], seconds=30)
                cluster[0].kill()
                with Socket(cluster[1], agent=agent):
                    everywhere(others, agent, [("n2", "websocket")], seconds=30)
                    looker.stopping.set()
                    looker.thread.join(20)
        assert looker.looks > 20 and not looker.missing, f"{len(looker.missing)} of {looker.looks} looks in vain"


def test_a_node_that_leaves_takes_its_sessions_along(make_cluster, agent):
    cluster = make_cluster(3).start()
    with Socket(cluster[0], agent=agent) as socket:
        everywhere(cluster, agent, [("n1", "websocket")])
        cluster[0].child.send_signal(15)
        socket.next("drain")
    everywhere(cluster.nodes[1:], agent, [], seconds=30)
    assert cluster[0].child.wait(10) == 0
