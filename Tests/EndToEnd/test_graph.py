"""The graph over HTTP at three peers: nodes, members of their data and edges that are changed and removed."""

import threading
import uuid

import pytest

from cluster import poll
from rawsocket import request
from test_bad_input import answer_to


def make(node, **data) -> dict:
    reply = node.post("/api/nodes", {"type": "idea", "data": data})
    assert reply.status_code == 201, reply.text
    return reply.json()


def everywhere(three, path: str, seen, what: str):
    """Until every peer answers `path` with what satisfies `seen`, and all with the same bytes."""
    def same():
        replies = [peer.get(path) for peer in three]
        return all(seen(reply) for reply in replies) and len({reply.content for reply in replies}) == 1 and replies[0]
    return poll(same, 10, what)


def in_list(three, node_id: str) -> list[bool]:
    return [node_id in {node["id"] for node in peer.get("/api/nodes").json()} for peer in three]


def test_a_node_removed_at_one_peer_is_gone_at_all_and_can_be_made_anew(three):
    node, other = make(three[0], n=1), make(three[0])
    path = f"/api/nodes/{node['id']}"
    assert three[0].post(f"{path}/edges", {"to": other["id"], "type": "feeds"}).status_code == 201
    everywhere(three, path, lambda r: r.status_code == 200 and r.json()["edges"], "all have the node and its edge")

    removed = three[1].request("DELETE", path)
    assert (removed.status_code, removed.content) == (204, b"")
    assert "Content-Length" not in removed.headers and "Content-Type" not in removed.headers
    # Whoever shows the clock of the removal sees it done, wherever it asks.
    clock = {"Hypha-Clock": removed.headers["Hypha-Clock"]}
    for peer in three:
        gone = peer.get(path, headers=clock)
        assert gone.status_code == 404 and node["id"] in gone.json()["message"], gone.text
    assert in_list(three, node["id"]) == [False] * 3
    for peer in three:
        for method, target in (("DELETE", path), ("DELETE", f"{path}/edges/{other['id']}")):
            reply = peer.request(method, target)
            assert reply.status_code == 404 and node["id"] in reply.json()["message"], reply.text
        assert peer.request("PATCH", path, json={"type": "x"}).status_code == 404

    anew = three[2].post("/api/nodes", {"id": node["id"], "type": "new", "data": {"m": 2}})
    assert anew.status_code == 201
    assert anew.json() == {"id": node["id"], "type": "new", "data": {"m": 2}, "edges": []}
    assert anew.headers["Hypha-Stamp"] > removed.headers["Hypha-Stamp"]
    for peer in three:
        found = peer.get(path, headers={"Hypha-Clock": anew.headers["Hypha-Clock"]})
        assert found.json() == anew.json()
    assert in_list(three, node["id"]) == [True] * 3


def test_a_patch_changes_what_it_names(three):
    node = make(three[0], port=80, tags=["a"], deep={"x": 1, "y": 2})
    path = f"/api/nodes/{node['id']}"
    patch = {"data": {"port": 81, "tags": None, "deep": {"x": None, "z": {"w": 3}}}}
    reply = three[0].request("PATCH", path, json=patch)
    assert reply.status_code == 200
    assert reply.json() == {**node, "data": {"port": 81, "deep": {"y": 2, "z": {"w": 3}}}}
    merged = three[0].request("PATCH", path, data=b'{"type":"service"}',
                              headers={"Content-Type": "application/merge-patch+json"})
    assert merged.status_code == 200 and merged.json() == {**reply.json(), "type": "service"}
    everywhere(three, path, lambda r: r.status_code == 200 and r.json() == merged.json(), "all show both patches")


def test_patches_of_different_fields_at_three_peers_at_once_all_survive(three):
    node = make(three[0], gone=True, both=0)
    path = f"/api/nodes/{node['id']}"
    everywhere(three, path, lambda r: r.status_code == 200, "all have the node")
    patches = [{"type": "service"}, {"data": {"port": 80, "both": 1}}, {"data": {"gone": None, "both": 2}}]
    start = threading.Barrier(3)
    replies = [None] * 3

    def write(index: int):
        start.wait()
        replies[index] = three[index].request("PATCH", path, json=patches[index])

    writers = [threading.Thread(target=write, args=(index,)) for index in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [reply.status_code for reply in replies] == [200] * 3
    later = 1 if replies[1].headers["Hypha-Stamp"] > replies[2].headers["Hypha-Stamp"] else 2
    expected = {**node, "type": "service", "data": {"port": 80, "both": later}}
    everywhere(three, path, lambda r: r.json() == expected, "all show all three, and of one field the later one")


def test_edges_are_removed_by_type_or_all_at_once(three):
    node, other, third = make(three[0]), make(three[0]), make(three[0])
    path = f"/api/nodes/{node['id']}"
    for target, kind in ((other, "reads"), (other, "writes to"), (other, "é/b"), (third, "reads")):
        assert three[0].post(f"{path}/edges", {"to": target["id"], "type": kind}).status_code == 201
    everywhere(three, path, lambda r: r.status_code == 200 and len(r.json()["edges"]) == 4, "all have the edges")

    def kinds(reply):
        return sorted((edge["type"], edge["to"] == other["id"]) for edge in reply.json()["edges"])

    edges = f"{path}/edges/{other['id']}"
    assert three[1].request("DELETE", edges, params={"type": "é/b"}).status_code == 204
    left = [("reads", False), ("reads", True), ("writes to", True)]
    everywhere(three, path, lambda r: kinds(r) == left, "one type is gone")
    again = three[1].request("DELETE", edges, params={"type": "é/b"})
    assert again.status_code == 404 and "é/b" in again.json()["message"]
    assert three[2].request("DELETE", edges).status_code == 204
    everywhere(three, path, lambda r: kinds(r) == [("reads", False)], "all to that node are gone")
    assert three[2].post(f"{path}/edges", {"to": other["id"], "type": "reads"}).status_code == 201
    everywhere(three, path, lambda r: kinds(r) == [("reads", False), ("reads", True)], "one is drawn again")


@pytest.mark.parametrize("body, word", [
    (b"{", "JSON"), (b"[]", "object"), (b'{"type":null}', "type"), (b'{"data":3}', "data"),
    (b'{"edges":[]}', "edges"), (b'{"name":"x"}', "name"),
])
def test_a_bad_patch_is_refused(one, body, word):
    node = make(one, n=1)
    reply = one.request("PATCH", f"/api/nodes/{node['id']}", data=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400 and word in reply.json()["message"], reply.text
    assert one.get(f"/api/nodes/{node['id']}").json() == node


def test_a_patch_says_that_it_is_json(one):
    node = make(one)
    reply = one.request("PATCH", f"/api/nodes/{node['id']}", data=b"{}", headers={"Content-Type": "text/plain"})
    assert reply.status_code == 415, reply.text


def test_the_methods_of_the_graph_are_named(one):
    node_id = uuid.UUID(int=1)
    for path, methods in ((f"/api/nodes/{node_id}", {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"}),
                          (f"/api/nodes/{node_id}/edges", {"POST", "OPTIONS"}),
                          (f"/api/nodes/{node_id}/edges/{node_id}", {"DELETE", "OPTIONS"})):
        reply = answer_to(one, request("PUT", path, b"{}"))
        assert reply.status == 405, reply
        assert {name.strip() for name in reply.headers["allow"].split(",")} == methods
