"""Agents, chats, turns, attention, tasks and shared context over three peers: the flows of a whole agent network, section
by section, each step at another peer, and what happened told on the bus over SSE and `/ws`. Every refusal says why.
"""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

import netns
from cluster import poll
from readers import Ended, EventStream, Socket, open_reader
from story import Ears, Story, named, part
from test_ws import Client


TEXT = {"message_type": "text", "content": "hello"}


@pytest.fixture
def story(three):
    return Story(three)


def everywhere(three, path: str, check, what: str):
    """Waits until all peers answer a path as it should be."""
    for node in three:
        poll(lambda: check(node.get(path).json()), 10, f"{what} at {node.name}")


# Introduction


def test_an_agent_is_introduced_at_one_peer_and_known_at_all(three, story):
    id = named("agent ü")
    path = f"/api/manifests/{part(id)}"
    manifest = {"agent_id": id, "status": "active", "current_activities": ["task_001", "dialogue_010"],
                "room_participation": ["room_alpha", "room_beta"],
                "available_resources": ["data_analysis", f"translation-{id}"],
                "public_profile": {"name": "Agent <Alpha> & co", "bio": "Specialist"}, "mood": {"is": ["kept"]}}
    with Ears(three, "AgentLifecycle") as lifecycle, Ears(three, "AgentStatusUpdates") as updates:
        made = story.ask("PUT", path, manifest, by=id, expect=201)
        told = lifecycle.hears("AgentIntroduced", agentId=id)
        for shown in (made, told["manifest"], story.get(path), story.get(path)):
            for key, value in manifest.items():
                found = shown[key]
                assert sorted(found) == sorted(value) if isinstance(value, list) else found == value, (key, shown)
        assert made["online_status"] == "offline" and made["last_updated"].endswith("Z")
        assert story.ask("PUT", path, manifest, by=id) == story.get(path), "the same again changes nothing"

        story.ask("PATCH", path, {"status": "busy"}, by=id)
        update = updates.hears("AgentStatusUpdated", agentId=id)
        assert (update["newStatus"], update["oldStatus"]) == ("busy", "active")
    for query in ({"resource": f"translation-{id}"}, {"capability": f"translation-{id}"},
                  {"status": "busy", "resource": f"translation-{id}"}):
        assert [agent["agent_id"] for agent in story.get("/api/manifests", **query)] == [id]
        assert story.reply.headers["Hypha-Reachable"] == "3/3"
    assert story.get("/api/manifests", status="active", resource=f"translation-{id}") == []


def test_what_is_refused_has_not_happened(three, story):
    """Nothing is half done: what is told on the bus has the same limits as what is written."""
    def deep(levels: int):
        return [deep(levels - 1)] if levels else []

    for levels in (100, 124, 125, 126, 127, 128):
        id = named("deep")
        reply = three[levels % 3].request("PUT", f"/api/manifests/{id}", json={"x": deep(levels)})
        story.clock = reply.headers.get("Hypha-Clock", story.clock)
        assert reply.status_code in (201, 400), reply.text
        found = three[levels % 3].get(f"/api/manifests/{id}").status_code
        assert found == (200 if reply.status_code == 201 else 404), f"{levels} levels: {reply.status_code}, then {found}"


def test_a_public_profile_is_a_page_for_people_and_json_for_programs(three, story):
    id = story.agent("ada", public_profile={"name": "Ada <script>alert(1)</script>", "bio": "counts"},
                     available_resources=["data_analysis"], secret={"key": "inner"})
    page = story.get(f"/agents/{part(id)}", headers={"Accept": "text/html,application/xhtml+xml"})
    assert story.reply.headers["Content-Type"].startswith("text/html")
    assert "Ada &lt;script&gt;" in page and "<script" not in page and "data_analysis" in page and "inner" not in page
    profile = story.get(f"/agents/{part(id)}", headers={"Accept": "application/json"})
    assert profile["public_profile"]["bio"] == "counts" and "inner" not in str(profile)


def test_fields_changed_at_two_peers_at_once_both_stay(three, story):
    id = story.agent("ada", available_resources=["a"])
    path = f"/api/manifests/{part(id)}"
    for node in three:
        poll(lambda: node.get(path).status_code == 200, 10, f"known at {node.name}")
    changes = [{"status": "idle"}, {"available_resources": ["a", "b"]}, {"public_profile": {"name": "Ada"}}]
    with ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda pair: pair[0].request("PATCH", path, json=pair[1]), zip(three, changes)))
    assert [reply.status_code for reply in replies] == [200] * 3, [reply.text for reply in replies]
    everywhere(three, path, lambda m: m["status"] == "idle" and sorted(m["available_resources"]) == ["a", "b"]
               and m["public_profile"] == {"name": "Ada"}, "all three changes")


def test_whether_an_agent_is_online_is_seen_everywhere(three, story):
    id = story.agent("ada")
    path = f"/api/manifests/{part(id)}"
    with Client(three[1]) as client:
        client.send({"type": "identify", "agent": id, "ref": 1})
        client.next("identified")
        everywhere(three, path, lambda m: m["online_status"] == "online", "online")
    everywhere(three, path, lambda m: m["online_status"] == "offline" and m["last_seen"], "offline again")


def test_who_is_not_introduced_is_told_how(three, story):
    nobody, ada = named("nobody"), story.agent("ada")
    bob = story.agent("bob")
    chat = story.chat(ada, bob)["id"]
    hint = (nobody, "introduce")
    story.refused(404, *hint, method="GET", path=f"/api/manifests/{nobody}")
    story.refused(404, *hint, method="PATCH", path=f"/api/manifests/{nobody}", body={"status": "idle"}, by=nobody)
    story.refused(404, *hint, method="DELETE", path=f"/api/manifests/{nobody}")
    story.refused(404, *hint, path="/api/chats", body={"chat_type": "group", "participants": [nobody]}, by=ada)
    story.refused(404, *hint, path="/api/chats", body={"chat_type": "group", "participants": [ada]}, by=nobody)
    story.refused(404, *hint, method="PUT", path=f"/api/chats/{chat}/members/{nobody}", by=ada)
    story.refused(404, *hint, path=f"/api/chats/{chat}/messages", body=TEXT, by=nobody)
    story.refused(404, *hint, method="GET", path=f"/api/agents/{nobody}/attention")
    story.refused(404, *hint, method="PUT", path=f"/api/agents/{nobody}/attention/d", by=nobody)
    story.refused(404, *hint, path=f"/api/registry/agents/{nobody}/heartbeat")
    task = story.post("/api/tasks", {"description": "x"}, by=ada, expect=201)["id"]
    story.refused(404, *hint, path=f"/api/tasks/{task}/claim", by=nobody)
    # Somebody else's manifest is not one's own, and two names are one too many.
    story.refused(403, ada, bob, method="PATCH", path=f"/api/manifests/{ada}", body={"status": "idle"}, by=bob)
    story.refused(403, ada, bob, path=f"/api/chats/{chat}/messages", by=bob,
                  body={"from": ada, "message_type": "text", "content": "forged"})


# Retirement


def test_a_retired_agent_leaves_everything_behind_in_order(three, story):
    ada, bob = story.agent("ada"), story.agent("bob", available_resources=["cook"])
    chat = story.chat(ada, bob)
    room = f"/api/chats/{chat['id']}"
    story.say(chat, bob, "mine stays")
    turn = story.post(f"{room}/speaker/request", by=bob)
    assert turn["current_speaker"] == bob, turn
    task = story.post("/api/tasks", {"description": "soup", "skills_required": ["cook"]}, by=ada, expect=201)
    story.post(f"/api/tasks/{task['id']}/claim", by=bob)
    with (Ears(three, "AgentLifecycle") as lifecycle, Ears(three, "ChatEvents") as chats,
          Ears(three, "TaskEvents") as tasks, Socket(three[0], {"topic": "x"}, agent=bob) as here,
          EventStream(three[1], {"topic": "x"}, agent=bob) as there):
        there.read()
        everywhere(three, f"/api/manifests/{bob}", lambda m: m["online_status"] == "online", "online")
        story.ask("DELETE", f"/api/manifests/{bob}", by=bob, expect=204)
        lifecycle.hears("AgentRetired", agentId=bob)
        chats.hears("ChatUpdated", chatId=chat["id"], agentId=bob, change="member_left")
        tasks.hears("TaskReopened", taskId=task["id"])
        for reader in (here, there):
            with pytest.raises(Ended) as ended:
                while True:
                    reader.next("event")
            assert ended.value.code in (1000, None), ended.value
    story.refused(404, bob, "introduce", method="GET", path=f"/api/manifests/{bob}")
    assert bob not in story.get(room)["participants"]
    poll(lambda: story.get(f"{room}/speaker")["current_speaker"] is None, 10, "the floor is free")
    assert story.get(f"/api/tasks/{task['id']}")["status"] == "open"
    assert [m["content"] for m in story.get(f"{room}/messages", by=ada)] == ["mine stays"]
    story.refused(404, bob, path=f"{room}/messages", body=TEXT, by=bob)
    # Introduced anew it is a new agent.
    story.ask("PUT", f"/api/manifests/{bob}", {"status": "idle"}, by=bob, expect=201)
    assert story.get(f"/api/manifests/{bob}").get("available_resources", []) == []


# One-to-one chats


def test_two_agents_talk_in_a_chat_of_their_own(three, story):
    ada, bob, eve = (story.agent(name) for name in ("ada", "bob", "eve"))
    with Ears(three, "ChatEvents") as chats, Ears(three, "Messages", agent=bob) as inbox:
        chat = story.post("/api/chats", {"chat_type": "private", "participants": [bob], "topic": "us"}, by=ada,
                          expect=201)
        assert (chat["chat_type"], chat["created_by"], chat["topic"]) == ("private", ada, "us")
        assert sorted(chat["participants"]) == sorted([ada, bob]) and chat["created_at"].endswith("Z")
        created = chats.hears("ChatCreated", chatId=chat["id"], creatorId=ada)
        assert sorted(created["participants"]) == sorted([ada, bob]) and created["chatType"] == "private"
        again = story.post("/api/chats", {"chat_type": "private", "participants": [ada]}, by=bob)
        assert again["id"] == chat["id"], "two agents have one private chat"
        sent = story.say(chat, ada, "Hello, how can I assist you?")
        got = inbox.hears("MessageSent", messageId=sent["id"])
        assert (got["from"], got["chatId"], got["content"]) == (ada, chat["id"], "Hello, how can I assist you?")
    room = f"/api/chats/{chat['id']}"
    assert [m["id"] for m in story.get(f"{room}/messages", by=bob)] == [sent["id"]]
    story.refused(403, eve, "member", path=f"{room}/messages", by=eve, body=TEXT)
    story.refused(403, eve, "member", method="GET", path=f"{room}/messages", by=eve)
    story.refused(403, "private", method="PUT", path=f"{room}/members/{eve}", by=ada)
    assert chat["id"] in [c["id"] for c in story.get("/api/chats", agent=bob)]
    assert chat["id"] not in [c["id"] for c in story.get("/api/chats", agent=eve)]
    assert chat["id"] in story.get(f"/api/manifests/{ada}")["room_participation"]


# Group chats


def test_a_group_has_roles_and_tells_who_comes_and_goes(three, story):
    ada, bob, eve, kim = (story.agent(name) for name in ("ada", "bob", "eve", "kim"))
    with Ears(three, "ChatEvents") as chats:
        chat = story.chat(ada, bob, topic="plans", join="invite")
        room = f"/api/chats/{chat['id']}"
        assert chat["access_rights"] == {ada: "owner", bob: "member"}
        chats.hears("ChatCreated", chatId=chat["id"], chatType="group")

        def told(change: str, agent: str | None = None) -> dict:
            fields = {"chatId": chat["id"], "change": change} | ({"agentId": agent} if agent else {})
            return chats.hears("ChatUpdated", **fields)

        # Who may not, is told what it is and what it would have to be.
        story.refused(403, "admins", ada, method="PUT", path=f"{room}/members/{eve}", by=eve)
        story.refused(403, bob, "member", method="PUT", path=f"{room}/members/{bob}", body={"role": "admin"}, by=bob)
        story.refused(403, bob, method="PATCH", path=room, body={"topic": "mine"}, by=bob)
        story.refused(403, bob, method="DELETE", path=room, by=bob)

        story.ask("PUT", f"{room}/members/{eve}", {"role": "admin"}, by=ada, expect=201)
        assert told("member_joined", eve)["by"] == ada
        story.ask("PUT", f"{room}/members/{kim}", {"role": "guest"}, by=eve, expect=201)
        told("member_joined", kim)
        story.ask("PUT", f"{room}/members/{bob}", {"role": "guest"}, by=eve)
        told("role_changed", bob)
        story.ask("PATCH", room, {"topic": "better plans"}, by=eve)
        told("topic_changed")
        shown = story.get(room)
        assert shown["access_rights"] == {ada: "owner", bob: "guest", eve: "admin", kim: "guest"}
        assert shown["topic"] == "better plans"
        story.refused(409, "guests speak only with", path=f"{room}/messages", by=kim, body=TEXT)
        story.refused(403, ada, "owner", method="DELETE", path=f"{room}/members/{ada}", by=eve)

        story.ask("DELETE", f"{room}/members/{bob}", by=eve, expect=204)
        assert told("member_removed", bob)["by"] == eve
        story.refused(403, bob, "member", path=f"{room}/messages", by=bob, body=TEXT)
        # Without an admin, the longest member counts as one.
        story.ask("DELETE", f"{room}/members/{ada}", by=ada, expect=204)
        told("member_left", ada)
        story.ask("DELETE", f"{room}/members/{eve}", by=eve, expect=204)
        told("member_left", eve)
        assert story.get(room)["access_rights"] == {kim: "admin"}
        story.ask("PUT", f"{room}/members/{bob}", {}, by=kim, expect=201)
        told("member_joined", bob)
        story.ask("DELETE", room, expect=204)
        chats.hears("ChatDeleted", chatId=chat["id"])
    story.refused(404, chat["id"], method="GET", path=room)
    story.refused(404, chat["id"], path=f"{room}/messages", by=kim, body=TEXT)


# Message passing


def test_messages_are_sent_delivered_read_and_counted(three, story):
    ada, bob, eve = (story.agent(name) for name in ("ada", "bob", "eve"))
    chat = story.chat(ada, bob, eve)
    room = f"/api/chats/{chat['id']}"

    def unread(agent: str) -> int:
        found = story.get(f"/api/agents/{agent}/unread", by=agent)
        chats = found["chats"] if isinstance(found, dict) else found
        return next((c["unread"] for c in chats if c["chat_id"] == chat["id"]), 0)

    with Ears(three, "Messages", agent=bob) as bobs, Ears(three, "Messages", agent=eve) as eves:
        first = story.say(chat, ada, "one", langchain_context={"id": "ctx-1"}, mood="kept")
        assert first["from"] == ada and first["chat_id"] == chat["id"] and first["timestamp"].endswith("Z")
        assert first["langchain_context"] == {"id": "ctx-1"} and first["mood"] == "kept" and not first["is_private"]
        secret = story.say(chat, ada, "for bob alone", to=bob, is_private=True)
        own = str(uuid.uuid4())
        last = story.say(chat, ada, "two", id=own)
        assert story.say(chat, ada, "two", id=own, expect=200) == last, "the same id is the same message"
        story.say(chat, ada, "other", id=own, expect=409)
        assert bobs.hears("MessageSent", messageId=secret["id"])["to"] == bob
        bobs.hears("MessageSent", messageId=own)
        heard = [eves.hears("MessageSent")["messageId"] for _ in range(2)]
        assert heard == [first["id"], own], "a private message is nobody else's"
    ids = [first["id"], secret["id"], own]
    assert [m["id"] for m in story.get(f"{room}/messages", by=bob)] == ids
    assert [m["id"] for m in story.get(f"{room}/messages", by=eve)] == [first["id"], own]
    assert [m["id"] for m in story.get(f"{room}/messages", by=bob, limit=1)] == ids[2:]
    assert [m["id"] for m in story.get(f"{room}/messages", by=bob, limit=1, before=own)] == ids[1:2]
    assert [m["id"] for m in story.get(f"{room}/messages", by=bob, limit=1, after=ids[0])] == ids[1:2]
    assert (unread(bob), unread(eve), unread(ada)) == (3, 2, 0)
    story.post(f"{room}/messages/{ids[1]}/read", by=bob)
    assert unread(bob) == 1
    story.post(f"{room}/messages/{own}/read", by=bob)
    assert unread(bob) == 0

    def states() -> list[str]:
        return [m["status"] for m in story.get(f"{room}/messages", by=ada)]

    poll(lambda: states() == ["delivered", "read", "delivered"], 10, "the private one is read, the others not by all")
    story.post(f"{room}/messages/{own}/read", by=eve)
    poll(lambda: states() == ["read"] * 3, 10, "all have read all")
    fresh = story.say(chat, bob, "back to you")
    assert story.get(f"{room}/messages", by=bob)[-1]["status"] == "sent", fresh
    assert unread(ada) == 1
    story.refused(404, "message", path=f"{room}/messages/{uuid.uuid4()}/read", by=bob)
    story.refused(400, "content", path=f"{room}/messages", by=bob, body={"message_type": "text"})


def test_a_reader_of_messages_goes_on_where_it_was_at_another_peer(three, story):
    ada, bob = story.agent("ada"), story.agent("bob")
    chat = story.chat(ada, bob)
    for form in ("stream", "socket"):
        with open_reader(form, three[0], {"topic": "Messages"}, agent=bob) as reader:
            sent = [story.say(chat, ada, n)["id"] for n in range(3)]
            assert reader.event()["data"]["messageId"] == sent[0]
            cursor = reader.cursor
        sent.append(story.say(chat, ada, "while away")["id"])
        with open_reader(form, three[2], {"topic": "Messages"}, cursor=cursor, agent=bob) as reader:
            reader.next("resumed")
            assert [reader.event()["data"]["messageId"] for _ in range(3)] == sent[1:]


def test_nobody_listens_to_the_messages_of_others(three, story):
    ada, bob, eve = (story.agent(name) for name in ("ada", "bob", "eve"))
    chat, open_to_eve = story.chat(ada, bob), story.chat(ada, eve)
    with open_reader("socket", three[1], {"topic": "Messages"}, agent=eve) as reader:
        story.say(chat, ada, "not for eve")
        sent = story.say(open_to_eve, ada, "for eve")
        assert reader.event()["data"]["messageId"] == sent["id"]
    assert three[0].get("/api/stream?topic=Messages").status_code in (400, 401, 403), "who are you?"
    reply = three[0].post("/api/events", {"topic": "Messages", "type": "MessageSent", "source": eve, "data": {}})
    assert reply.status_code == 400 and "nodes alone" in reply.json()["message"]


# Turns


def test_agents_take_turns_to_speak(three, story):
    ada, bob, eve, kim = (story.agent(name) for name in ("ada", "bob", "eve", "kim"))
    chat = story.chat(ada, bob, eve)
    room = f"/api/chats/{chat['id']}"
    with Ears(three, "ChatEvents") as chats:

        def told(change: str, agent: str) -> dict:
            return chats.hears("ChatUpdated", chatId=chat["id"], change=change, agentId=agent)

        assert story.get(f"{room}/speaker")["current_speaker"] is None
        first = story.post(f"{room}/speaker/request", by=bob)
        assert first["current_speaker"] == bob and first["last_updated"].endswith("Z"), first
        told("speaker_granted", bob)
        story.post(f"{room}/speaker/request", by=eve)
        waiting = story.post(f"{room}/speaker/request", by=ada)
        told("speaker_requested", eve)
        assert [entry if isinstance(entry, str) else entry["agent_id"] for entry in waiting["queue"]] == [eve, ada]
        # Out of turn: who has it, and until when.
        message = story.refused(409, bob, "until", path=f"{room}/messages", by=eve,
                                body={"message_type": "text", "content": "me!"})
        assert "T" in message and "Z" in message, message
        story.say(chat, eve, "psst", to=ada, is_private=True)
        old = story.get(f"{room}/speaker", by=bob)["token"]
        story.say(chat, bob, "my turn", token=old)
        story.post(f"{room}/speaker/release", {"token": old}, by=bob)
        told("speaker_released", bob), told("speaker_granted", eve)
        assert story.get(f"{room}/speaker")["current_speaker"] == eve
        # Too late: the token is stale, whatever it is for.
        story.refused(409, "stale", path=f"{room}/messages", by=bob,
                      body={"message_type": "text", "content": "still me", "token": old})
        story.refused(409, path=f"{room}/speaker/release", body={"token": old}, by=bob)
        new = story.get(f"{room}/speaker", by=eve)["token"]
        assert new > old
        story.refused(403, kim, "member", path=f"{room}/speaker/request", by=kim)
        story.refused(403, eve, path=f"{room}/speaker/revoke", by=eve)
        story.post(f"{room}/speaker/revoke", by=ada)
        told("speaker_revoked", eve), told("speaker_granted", ada)
        story.post(f"{room}/speaker/release", by=ada)
        story.say(chat, eve, "the floor is free")


def test_a_moderator_grants_and_slots_end(three, story):
    ada, bob, eve = (story.agent(name) for name in ("ada", "bob", "eve"))
    chat = story.chat(ada, bob, eve)
    room = f"/api/chats/{chat['id']}"
    story.refused(403, bob, method="PATCH", path=f"{room}/speaker", body={"required": True}, by=bob)
    story.ask("PATCH", f"{room}/speaker", {"moderator": ada, "slot_ms": 700, "order": "priority", "required": True},
              by=ada)
    story.refused(409, "turn", path=f"{room}/messages", by=bob, body=TEXT)
    story.post(f"{room}/speaker/request", {"priority": 2}, by=bob)
    asked = story.post(f"{room}/speaker/request", {"priority": 9}, by=eve)
    assert asked["current_speaker"] is None, "with a moderator nobody is granted by itself"
    story.refused(403, bob, "moderator", path=f"{room}/speaker/grant", by=bob)
    with Ears(three, "ChatEvents") as chats:
        granted = story.post(f"{room}/speaker/grant", by=ada)
        assert granted["current_speaker"] == eve, "the higher priority"
        chats.hears("ChatUpdated", chatId=chat["id"], change="speaker_granted", agentId=eve)
        story.say(chat, eve, "in my slot")
        chats.hears("ChatUpdated", chatId=chat["id"], change="speaker_expired", agentId=eve)
        story.refused(409, "turn", path=f"{room}/messages", by=eve, body=TEXT)
        assert story.post(f"{room}/speaker/grant", {"agent_id": bob}, by=ada)["current_speaker"] == bob


# Attention


def test_attention_goes_to_what_matters_most_and_finds_its_state_again(three, story):
    ada, bob = story.agent("ada"), story.agent("bob")
    place = f"/api/agents/{ada}/attention"
    chat = story.chat(bob, ada)
    for dialogue, body in (("low", {"importance": 1, "state": {"page": 1}}), ("due", {"importance": 5, "deadline": 1}),
                           (chat["id"], {"importance": 6})):
        story.ask("PUT", f"{place}/{dialogue}", body, by=ada, expect=201)
    story.say(chat, bob, "look here")
    shown = story.get(place, by=ada)
    queue = {entry["dialogue_id"]: entry for entry in shown["attention_queue"]}
    assert [entry["dialogue_id"] for entry in shown["attention_queue"]] == ["due", chat["id"], "low"], shown
    assert all(entry["last_interaction"].endswith("Z") for entry in queue.values())
    assert queue[chat["id"]]["unread"] == 1 and shown["current_focus"] is None
    with Ears(three, "AgentStatusUpdates") as updates:
        switched = story.post(f"{place}/next", by=ada)
        assert switched["current_focus"] == "due"
        assert updates.hears("AgentStatusUpdated", agentId=ada)["currentFocus"] == "due"
    switched = story.post(f"{place}/next", {"state": {"line": 7}}, by=ada)
    assert switched["current_focus"] == chat["id"]
    assert story.get(f"/api/manifests/{ada}")["current_focus"] == chat["id"]
    back = story.post(f"{place}/next", by=ada)
    assert back["current_focus"] == "due" and back["dialogue"]["state"] == {"line": 7}
    story.refused(403, ada, bob, path=f"{place}/next", by=bob)
    story.refused(400, "importance", method="PUT", path=f"{place}/x", body={"importance": 11}, by=ada)
    story.ask("DELETE", f"{place}/low", by=ada, expect=204)
    assert "low" not in [entry["dialogue_id"] for entry in story.get(place, by=ada)["attention_queue"]]


# Registry


def test_the_registry_finds_who_can_and_who_is_least_busy(three, story):
    skill, names = named("skill"), [named(name) for name in ("ada", "bob", "eve")]
    for name in names:
        body = {"name": name, "agent_type": "react", "capabilities": [skill, {"name": "plan", "cost": 2}],
                "metadata": {"version": 3}}
        made = story.post("/api/registry/agents", body, expect=201)
        assert (made["name"], made["agent_type"], made["status"]) == (name, "react", "active")
        assert {"name": "plan", "cost": 2} in made["capabilities"] and made["registered_at"].endswith("Z")
    found = story.get("/api/registry/agents", capability=skill)
    assert sorted(agent["name"] for agent in found) == sorted(names)
    assert sorted(a["agent_id"] for a in story.get("/api/manifests", capability=skill)) == sorted(names), "one document"
    story.post(f"/api/registry/agents/{names[0]}/status", {"status": "busy"})
    story.post(f"/api/registry/agents/{names[1]}/heartbeat")
    assert [a["name"] for a in story.get("/api/registry/agents", capability=skill, status="busy")] == names[:1]
    # All peers name the same one, and never the busy one.
    least = {story.get("/api/registry/least-busy", capability=skill)["name"] for _ in range(3)}
    assert len(least) == 1 and least < set(names[1:])
    several = {story.get("/api/registry/least-busy", capability=skill, key=str(n))["name"] for n in range(20)}
    assert several == set(names[1:]), "ties are spread by key"
    story.refused(404, "capability", method="GET", path=f"/api/registry/least-busy?capability={named('none')}")
    story.ask("DELETE", f"/api/registry/agents/{names[0]}", expect=204)
    left = story.get("/api/registry/agents", type="react", capability=skill)
    assert sorted(agent["name"] for agent in left) == sorted(names[1:])


# Shared context


def test_shared_context_is_set_at_one_peer_and_watched_at_others(three, story):
    team, ada, bob = named("team.alpha"), named("ada"), named("bob")
    place = f"/api/context/{team}"
    with EventStream(three[1], path=f"{place}/watch") as watch, Ears(three, f"ContextEvents.{team}") as ears:
        watch.read()
        made = story.ask("PUT", f"{place}/goal%2F1", {"value": {"ship": "friday", "done": 1}}, by=ada, expect=201)
        assert (made["key"], made["agent_name"]) == ("goal/1", ada)
        story.ask("PATCH", f"{place}/goal%2F1", {"value": {"done": 2, "ship": None}}, by=bob)
        assert story.get(f"{place}/goal%2F1")["value"] == {"done": 2}
        story.ask("PUT", f"{place}/other", {"value": [1], "agent_name": ada}, expect=201)
        assert [entry["key"] for entry in story.get(place)] == ["goal/1", "other"]
        story.ask("DELETE", f"{place}/goal%2F1", by=bob, expect=204)
        for action, key, agent in (("set", "goal/1", ada), ("update", "goal/1", bob), ("set", "other", ada),
                                   ("delete", "goal/1", bob)):
            told = ears.hears("ContextChanged")
            assert (told["action"], told["key"], told["agent_name"], told["namespace"]) == (action, key, agent, team)
            event = watch.event()
            assert event["data"] == told and event["source"] == agent
            cursor = watch.cursor
        story.ask("PUT", f"{place}/late", {"value": 0}, expect=201)
    with EventStream(three[2], path=f"{place}/watch", last_event_id=cursor) as watch:
        watch.next("resumed")
        assert watch.event()["data"]["key"] == "late", "a watcher goes on at another peer"
    history = story.get(f"{place}/history", key="goal/1")
    assert [change["action"] for change in history] == ["delete", "update", "set"]
    assert [(change["old_value"], change["new_value"]) for change in history] == [
        ({"done": 2}, None), ({"ship": "friday", "done": 1}, {"done": 2}), (None, {"ship": "friday", "done": 1})]
    assert story.get(f"{place}/history", key="goal/1", limit=1, before=history[0]["id"]) == history[1:2]
    assert len(story.get(f"{place}/history")) == 5
    story.refused(404, "goal/1", team, method="GET", path=f"{place}/goal%2F1")
    story.refused(403, ada, bob, method="PUT", path=f"{place}/x", body={"value": 1, "agent_name": ada}, by=bob)
    story.refused(405, "history", method="PUT", path=f"{place}/history", body={"value": 1})


# Tasks


def test_a_task_is_claimed_once_and_done(three, story):
    ada, bob, eve = story.agent("ada"), story.agent("bob", available_resources=["data_analysis"]), story.agent("eve")
    with Ears(three, "TaskEvents") as tasks:
        task = story.post("/api/tasks", {"description": "project X", "skills_required": ["data_analysis"],
                                         "deadline": "2099-09-20T17:00:00Z"}, by=ada, expect=201)
        assert (task["created_by"], task["status"], task["skills_required"]) == (ada, "open", ["data_analysis"])
        path = f"/api/tasks/{task['id']}"
        tasks.hears("TaskPosted", taskId=task["id"])
        assert task["id"] in [t["id"] for t in story.get("/api/tasks", skill="data_analysis", status="open")]
        story.refused(403, eve, "data_analysis", path=f"{path}/claim", by=eve)
        claimed = story.post(f"{path}/claim", {"lease_ms": 60_000}, by=bob)
        token = claimed["token"]
        tasks.hears("TaskClaimed", taskId=task["id"], agentId=bob)
        assert story.get(path)["status"] == "claimed" and story.get(path)["assigned_to"] == [bob]
        story.ask("PATCH", f"/api/manifests/{eve}", {"available_resources": ["data_analysis"]}, by=eve)
        story.refused(409, bob, "until", path=f"{path}/claim", by=eve)
        assert story.post(f"{path}/claim", by=bob)["token"] == token, "claimed again, the lease is renewed"
        # It fails, and is open again for whoever comes next; the old token is worth nothing then.
        story.post(f"{path}/fail", {"token": token, "reason": "no data"}, by=bob)
        tasks.hears("TaskFailed", taskId=task["id"])
        poll(lambda: story.get(path)["status"] == "open", 10, "open again")
        second = story.post(f"{path}/claim", by=eve)
        assert second["token"] > token
        story.refused(409, "stale", path=f"{path}/complete", body={"token": token, "result": 1}, by=bob)
        story.post(f"{path}/complete", {"token": second["token"], "result": {"rows": 3}}, by=eve)
        tasks.hears("TaskCompleted", taskId=task["id"], agentId=eve)
    done = story.get(path)
    assert done["status"] == "completed" and done["result"] == {"rows": 3}
    story.refused(409, path=f"{path}/claim", by=bob)
    story.refused(403, bob, path=f"{path}/rate", body={"rating": 1}, by=bob)
    story.post(f"{path}/rate", {"rating": 1}, by=ada)
    for _ in three:
        assert (story.get(f"/api/agents/{eve}/reputation")["score"],
                story.get(f"/api/agents/{bob}/reputation")["score"]) == (2, -1)
    story.refused(404, "task", path=f"/api/tasks/{uuid.uuid4()}/claim", by=bob)


def test_of_all_who_claim_a_task_at_once_one_gets_it(three, story):
    agents = [story.agent(f"a{n}") for n in range(9)]
    task = story.post("/api/tasks", {"description": "race"}, by=agents[0], expect=201)["id"]
    for node in three:
        poll(lambda: node.get(f"/api/tasks/{task}").status_code == 200, 10, f"known at {node.name}")

    def claim(n: int) -> int:
        return three[n % 3].post(f"/api/tasks/{task}/claim", {}, headers={"Hypha-Agent": agents[n]}).status_code

    with ThreadPoolExecutor(9) as pool:
        answers = sorted(pool.map(claim, range(9)))
    assert answers == [200] + [409] * 8, answers


def test_a_claim_whose_lease_ends_is_open_again(three, story):
    ada, bob = story.agent("ada"), story.agent("bob")
    task = story.post("/api/tasks", {"description": "slow", "retry_ms": 10}, by=ada, expect=201)["id"]
    with Ears(three, "TaskEvents") as tasks:
        claim = story.post(f"/api/tasks/{task}/claim", {"lease_ms": 1_000}, by=bob)
        tasks.hears("TaskReopened", taskId=task)
    poll(lambda: story.get(f"/api/tasks/{task}")["status"] == "open", 10, "open again")
    story.refused(409, str(claim["token"]), "ended", path=f"/api/tasks/{task}/complete", body={"token": claim["token"]},
                  by=bob)


# A partition


@pytest.fixture
def hosts():
    netns.require()
    with netns.Hosts(3) as hosts, hosts.inside_hub():
        yield hosts


def test_what_two_sides_of_a_partition_did_comes_together_visibly(hosts, make_cluster):
    """n3 is cut off. Under `strict` it says how many it reaches and needs; else both sides go on, and what cannot both
    stay is settled the same everywhere and told."""
    three = make_cluster(3, profile="fast", hosts=hosts.client_addresses, gossip_hosts=hosts.peer_addresses,
                         wrap=hosts.on, extra=("--cluster-size", "3")).start(40)
    story = Story(three)
    ada, bob, eve = (story.agent(name, available_resources=["cook"]) for name in ("ada", "bob", "eve"))
    strict, loose, tidy = (story.chat(ada, bob, eve) for _ in range(3))
    story.ask("PATCH", f"/api/chats/{strict['id']}/speaker", {"strict": True}, by=ada)
    task = story.post("/api/tasks", {"description": "both"}, by=ada, expect=201)["id"]
    for node in three:
        poll(lambda: node.get(f"/api/tasks/{task}").status_code == 200, 10, f"known at {node.name}")
    many, few = Story([three[0], three[1]]), Story([three[2]])

    hosts.cut(2)
    poll(lambda: [node.reachable() for node in three] == [2, 2, 1], 30, "each side knows that it is alone")
    # Strict: the majority goes on, the minority says why it does not.
    message = few.refused(503, "1", "2", path=f"/api/chats/{strict['id']}/speaker/request", by=bob)
    assert "strict" in message, message
    assert many.post(f"/api/chats/{strict['id']}/speaker/request", by=ada)["current_speaker"] == ada
    # Not strict: both grant, both let a task be claimed.
    tokens = {agent: side.post(f"/api/chats/{loose['id']}/speaker/request", by=agent)["token"]
              for side, agent in ((many, ada), (few, bob))}
    for side, agent in ((many, ada), (few, bob)):
        side.say(loose, agent, "I have the floor")
        side.post(f"/api/tasks/{task}/claim", by=agent)
    # One field at both sides; one side removes whom the other gives a role, and who goes on talking there.
    many.ask("PATCH", f"/api/manifests/{ada}", {"status": "busy", "mood": 1}, by=ada)
    few.ask("PATCH", f"/api/manifests/{ada}", {"status": "idle", "weather": 2}, by=ada)
    many.ask("DELETE", f"/api/chats/{tidy['id']}/members/{eve}", by=ada, expect=204)
    few.ask("PUT", f"/api/chats/{tidy['id']}/members/{eve}", {"role": "admin"}, by=ada)
    few.say(tidy, eve, "am I still in?")
    assert few.get("/api/manifests") and few.reply.headers["Hypha-Reachable"] == "1/3"

    with Socket(three[0], {"topic": "ChatEvents"}) as chats, Socket(three[2], {"topic": "ClusterEvents"}) as healing:
        hosts.join(2)
        poll(lambda: [node.reachable() for node in three] == [3] * 3, 30, "one cluster again")
        while True:
            data = chats.event()["data"]
            if data["chatId"] == loose["id"] and data["change"] == "speaker_revoked":
                loser = data["agentId"]
                assert tokens[loser] == min(tokens.values()), "of equal tokens, that of the lower node"
                break
        assert healing.event()["type"] == "cluster.healed"
    everywhere(three, f"/api/chats/{loose['id']}/speaker", lambda t: t["current_speaker"] != loser, "one turn")
    everywhere(three, f"/api/manifests/{ada}", lambda m: (m["mood"], m["weather"]) == (1, 2), "both new fields")
    # Which write is the later one, the stamps say; clocks of different nodes may be some milliseconds apart.
    statuses = {node.get(f"/api/manifests/{ada}").json()["status"] for node in three}
    assert len(statuses) == 1 and statuses < {"busy", "idle"}, statuses
    everywhere(three, f"/api/chats/{tidy['id']}", lambda c: eve not in c["participants"], "removed, whatever its role")
    poll(lambda: len({tuple(node.get(f"/api/tasks/{task}").json()["assigned_to"]) for node in three}) == 1, 10,
         "one claim")
    story = Story(three)
    for agent, count in ((ada, 1), (bob, 0)):
        def tagged():
            found = story.get(f"/api/chats/{tidy['id']}/messages", by=agent)
            return len(found) == count and all(m["after_removal"] for m in found)
        for _ in three:
            poll(tagged, 10, f"{agent} sees {count} messages after the removal")
