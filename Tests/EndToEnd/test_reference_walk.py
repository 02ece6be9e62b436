"""Every operation of the reference in the order in which it goes well, each request at another peer, each answer held against
the reference: what random requests hardly get to."""

import itertools
import json
import uuid
from urllib.parse import quote

import schemathesis
from websockets.sync.client import connect

ENDLESS = {("GET", "/api/stream"), ("GET", "/ws"), ("GET", "/api/context/{namespace}/watch"),
           ("GET", "/v1/events/stream")}


class Walker:
    """Asks one peer after the other, with the clocks of all that it has seen."""

    def __init__(self, nodes):
        self.nodes, self.turns, self.clocks = nodes, itertools.count(), {}
        self.document = nodes[0].get("/openapi.json").json()
        self.schema = schemathesis.openapi.from_dict(self.document)
        self.walked = set()

    def __call__(self, method: str, path: str, *values: str, body=None, query=None, by=None, at=None):
        node = self.nodes[next(self.turns) % len(self.nodes)] if at is None else at
        target, rest = path, list(values)
        while "{" in target:
            before, _, after = target.partition("{")
            target = before + quote(rest.pop(0), safe="") + after.partition("}")[2]
        assert not rest, (path, values)
        headers = {"Hypha-Clock": ",".join(self.clocks.values())} if self.clocks else {}
        if by:
            headers["Hypha-Agent"] = quote(by, safe="")
        reply = node.request(method, target, json=body, params=query, headers=headers)
        if clock := reply.headers.get("Hypha-Clock"):
            self.clocks[node.name, method] = clock
        assert reply.status_code < 300, f"{method} {target} at {node.name}: {reply.status_code} {reply.text}"
        operation = self.schema[path][method]
        assert str(reply.status_code) in self.document["paths"][path][method.lower()]["responses"], (path, reply)
        operation.validate_response(reply)
        self.walked.add((method, path))
        return reply.json() if "json" in reply.headers.get("Content-Type", "") else reply.text


def test_every_operation_answers_as_the_reference_says(three):
    walk = Walker(three)
    ada, bob = (f"{name}/{uuid.uuid4().hex[:8]}" for name in ("ada", "bob"))
    events(walk)
    graph(walk)
    groups(walk, ada)
    messages(walk, ada, bob)
    agents(walk, ada, bob)
    chats_and_turns(walk, ada, bob)
    tasks(walk, ada, bob)
    context(walk, ada)
    soorma_events(walk)
    soorma_registry(walk)
    soorma_memory(walk)
    recall(walk, ada)
    soorma_tracker(walk)
    for path in ("/health", "/metrics", "/api/cluster", "/docs", "/openapi.json"):
        walk("GET", path)
    for agent, path in ((ada, "/api/manifests/{agent_id}"), (bob, "/api/registry/agents/{name}")):
        walk("DELETE", path, agent)
    described = {(method.upper(), path) for path, methods in walk.document["paths"].items() for method in methods}
    assert described - walk.walked == ENDLESS


def events(walk):
    scope = f"walk.{uuid.uuid4().hex[:8]}"
    said = {"scope": scope, "trace_id": scope, "agent_id": "ada"}
    event = walk("POST", "/api/events", body={"type": "proposal", "payload": {"action": "go"}, **said})
    walk("POST", "/api/events", body={"type": "reward", "parent_ids": [event["id"]], "payload": {"value": 0.25}, **said})
    told = walk("POST", "/api/events", body={"topic": scope, "type": "t", "source": "ada", "data": [1, None]})
    walk("GET", "/api/events", query={"limit": 3})
    for path in ("/api/events/scope/{scope}", "/api/events/trace/{trace_id}"):
        assert len(walk("GET", path, scope)) == 2
    assert walk("GET", "/api/events/topic/{topic}", scope) == [told]
    assert walk("GET", "/api/events/{id}", event["id"]) == event
    assert len(walk("GET", "/api/signals", query={"scope": scope})) == 1
    walk("GET", "/api/signals/{scope}/{pattern}", scope, "go")
    # Asked again under its id, a request finds the reply that came meanwhile.
    request = {"id": str(uuid.uuid4()), "topic": scope, "type": "ask", "source": "ada", "correlation_id": scope,
               "response_topic": f"{scope}.reply"}
    walk("POST", "/api/events", body=request)
    walk("POST", "/api/events", body={"topic": f"{scope}.reply", "type": "t", "source": "bob", "correlation_id": scope})
    walk("POST", "/api/request", body=request)


def graph(walk):
    node, other = (walk("POST", "/api/nodes", body={"type": "host", "data": {"port": 80}})["id"] for _ in range(2))
    walk("PATCH", "/api/nodes/{id}", node, body={"data": {"port": None, "tls": {"on": True}}})
    walk("POST", "/api/nodes/{id}/edges", node, body={"to": other, "type": "link"})
    walk("GET", "/api/nodes/{id}", node)
    walk("GET", "/api/nodes")
    walk("DELETE", "/api/nodes/{id}/edges/{target}", node, other)
    walk("DELETE", "/api/nodes/{id}", other)


def groups(walk, ada):
    """A group, its consumer and what it is handed, all at one peer: what is handed out is not in any clock."""
    group, here = f"g{uuid.uuid4().hex[:8]}", walk.nodes[0]
    with connect(f"{here.ws_url}?agent={quote(ada, safe='')}", proxy=None) as socket:
        socket.send(json.dumps({"type": "subscribe", "group": group, "filter": {"topic": group}, "ref": 1}))

        def heard(kind):
            while (message := json.loads(socket.recv(10)))["type"] != kind:
                pass
            return message

        heard("subscribed")
        walk("GET", "/api/groups", at=here)
        walk("POST", "/api/events", body={"topic": group, "type": "t", "source": "bob"}, at=here)
        event = heard("event")["data"]["id"]
        walk("POST", "/api/groups/{name}/nack", group, body={"id": event, "delay_ms": 10.0}, at=here)
        heard("event")
        walk("GET", "/api/groups/{name}", group, at=here)
        walk("POST", "/api/groups/{name}/ack", group, body={"ids": [event]}, at=here)
        walk("GET", "/api/presence", at=here)
        walk("GET", "/api/presence/{agent}", ada, at=here)
        walk("DELETE", "/api/groups/{name}", group, at=here)


def messages(walk, ada, bob):
    walk("POST", "/api/bus/messages", body={
        "sender": ada, "receiver": bob, "message_type": "query", "content": None, "correlation_id": bob})
    for path in ("/api/bus/peek", "/api/bus/count", "/api/bus/history"):
        walk("GET", path, query={"agent": bob})
    assert len(walk("GET", "/api/bus/conversation/{correlation_id}", bob)) == 1
    assert len(walk("POST", "/api/bus/mailbox/{agent}/take", bob)) == 1
    walk("GET", "/api/bus/stats")
    walk("DELETE", "/api/bus/mailbox/{agent}", bob)


def agents(walk, ada, bob):
    walk("PUT", "/api/manifests/{agent_id}", ada, body={"status": "busy", "available_resources": ["gpu"]}, by=ada)
    walk("PATCH", "/api/manifests/{agent_id}", ada, body={"public_profile": {"motto": "x"}}, by=ada)
    walk("GET", "/api/manifests/{agent_id}", ada)
    walk("GET", "/api/manifests", query={"resource": "gpu"})
    walk("GET", "/agents/{agent_id}", ada)
    walk("POST", "/api/registry/agents", body={"agent_type": "worker", "capabilities": ["build"]}, by=bob)
    walk("POST", "/api/registry/agents/{name}/heartbeat", bob, by=bob)
    walk("POST", "/api/registry/agents/{name}/status", bob, body={"status": "idle"}, by=bob)
    walk("GET", "/api/registry/agents/{name}", bob)
    walk("GET", "/api/registry/agents", query={"capability": "build"})
    walk("GET", "/api/registry/least-busy", query={"capability": "build"})
    for dialogue in ("one", "two"):
        walk("PUT", "/api/agents/{agent_id}/attention/{dialogue_id}", ada, dialogue, body={"importance": 7}, by=ada)
    for state in (None, {"state": {"draft": "…"}}):
        walk("POST", "/api/agents/{agent_id}/attention/next", ada, body=state, by=ada)
    walk("GET", "/api/agents/{agent_id}/attention", ada)
    walk("DELETE", "/api/agents/{agent_id}/attention/{dialogue_id}", ada, "two", by=ada)


def chats_and_turns(walk, ada, bob):
    chat = walk("POST", "/api/chats", body={"chat_type": "group", "topic": "walk"}, by=ada)["id"]
    walk("PUT", "/api/chats/{id}/members/{agent_id}", chat, bob, body={"role": "member"}, by=ada)
    walk("PATCH", "/api/chats/{id}", chat, body={"topic": None, "join": "invite"}, by=ada)
    said = walk("POST", "/api/chats/{id}/messages", chat, body={"content": "hello"}, by=ada)["id"]
    walk("POST", "/api/chats/{id}/messages", chat, body={"content": 1, "to": ada, "is_private": True}, by=bob)
    assert len(walk("GET", "/api/chats/{id}/messages", chat, by=bob)) == 2
    walk("GET", "/api/agents/{agent_id}/unread", bob, by=bob)
    walk("POST", "/api/chats/{id}/messages/{message_id}/read", chat, said, by=bob)
    walk("GET", "/api/chats", by=bob)
    walk("GET", "/api/chats/{id}", chat, by=bob)

    walk("PATCH", "/api/chats/{id}/speaker", chat, body={"moderator": ada, "order": "priority"}, by=ada)
    walk("POST", "/api/chats/{id}/speaker/request", chat, body={"priority": 7}, by=bob)
    token = walk("POST", "/api/chats/{id}/speaker/grant", chat, by=ada)["token"]
    walk("POST", "/api/chats/{id}/messages", chat, body={"content": "mine", "token": token}, by=bob)
    walk("POST", "/api/chats/{id}/speaker/release", chat, body={"token": token}, by=bob)
    walk("POST", "/api/chats/{id}/speaker/grant", chat, body={"agent_id": bob}, by=ada)
    walk("GET", "/api/chats/{id}/speaker", chat, by=bob)
    walk("POST", "/api/chats/{id}/speaker/revoke", chat, by=ada)

    walk("DELETE", "/api/chats/{id}/members/{agent_id}", chat, bob, by=bob)
    walk("DELETE", "/api/chats/{id}", chat, by=ada)


def tasks(walk, ada, bob):
    def posted(**more):
        body = {"description": "walk", "skills_required": ["build"], "retry_ms": 0, **more}
        return walk("POST", "/api/tasks", body=body, by=ada)["id"]

    def claimed(task):
        return {"token": walk("POST", "/api/tasks/{id}/claim", task, by=bob)["token"]}

    done, failed, dropped = posted(), posted(max_attempts=1), posted(deadline="2099-01-01T00:00:00Z")
    walk("POST", "/api/tasks/{id}/complete", done, body={**claimed(done), "result": {"ok": True}}, by=bob)
    walk("POST", "/api/tasks/{id}/rate", done, body={"rating": 1}, by=ada)
    walk("POST", "/api/tasks/{id}/fail", failed, body={**claimed(failed), "reason": "no"}, by=bob)
    walk("DELETE", "/api/tasks/{id}", dropped, by=ada)
    walk("GET", "/api/tasks/{id}", done)
    walk("GET", "/api/tasks", query={"status": "completed"})
    walk("GET", "/api/agents/{agent_id}/reputation", bob)


def context(walk, ada):
    place, path = f"walk.{uuid.uuid4().hex[:8]}", "/api/context/{namespace}/{key}"
    walk("PUT", path, place, "plan", body={"value": {"step": 1}}, by=ada)
    walk("PATCH", path, place, "plan", body={"value": {"step": None, "next": [1]}}, by=ada)
    walk("GET", path, place, "plan")
    walk("GET", "/api/context/{namespace}", place)
    walk("GET", "/api/context")
    walk("DELETE", path, place, "plan", by=ada)
    assert len(walk("GET", "/api/context/{namespace}/history", place)) == 3


def soorma_events(walk):
    event = {"id": str(uuid.uuid4()), "source": "walker", "type": "walked", "topic": "plan-events", "planId": "p",
             "data": {"far": True}, "subject": None}
    assert walk("POST", "/v1/events/publish", body={"event": event})["event_id"] == event["id"]


def soorma_registry(walk):
    tag = uuid.uuid4().hex[:8]
    asked = {"eventName": f"{tag}.asked", "topic": "action-requests", "description": "", "payloadSchema": None}
    walk("POST", "/v1/events", body={"event": asked})
    assert walk("GET", "/v1/events", query={"event_name": asked["eventName"]}) == {"events": [asked], "count": 1}
    capability = {"taskName": tag, "description": "", "consumedEvent": asked, "producedEvents": []}
    agent = {"agentId": f"w/{tag}", "name": f"{tag}:1.0.0", "description": "walks", "capabilities": [capability],
             "consumedEvents": [asked["eventName"]], "producedEvents": []}
    walk("POST", "/v1/agents", body={"agent": agent})
    walk("POST", "/v1/agents", body={"agent_id": f"flat/{tag}", "name": "flat", "capabilities": ["x"], "events_consumed": []})
    assert walk("GET", "/v1/agents", query={"name": tag})["agents"] == [agent]
    assert walk("GET", "/v1/agents/discover", query={"consumed_event": asked["eventName"]})["count"] == 1
    for method in ("PUT", "POST"):
        walk(method, "/v1/agents/{agent_id}/heartbeat", agent["agentId"])
    for version in ("1.0.0", "1.10.0", "1.9.0"):
        walk("POST", "/v1/schemas", body={"schema": {
            "schemaName": tag, "version": version, "jsonSchema": {"type": "object"}, "ownerAgentId": tag}})
    assert walk("GET", "/v1/schemas", query={"owner_agent_id": tag})["count"] == 3
    assert walk("GET", "/v1/schemas/{schema_name}", tag)["version"] == "1.10.0"
    walk("GET", "/v1/schemas/{schema_name}/versions/{version}", tag, "1.9.0")
    for agent_id in (agent["agentId"], f"flat/{tag}"):
        walk("DELETE", "/v1/agents/{agent_id}", agent_id)


def soorma_tracker(walk):
    plan, agent = (f"{name}/{uuid.uuid4().hex[:8]}" for name in ("plan", "planner"))
    walk("POST", "/v1/plans", body={"plan_id": plan, "agent_id": agent, "goal": "g", "tasks": [{}], "metadata": {}})
    walk("POST", "/v1/plans/{plan_id}/progress", plan, body={"task_id": "t", "status": "completed", "progress": 1.0})
    for path in ("/v1/plans/{plan_id}", "/v1/tracker/plans/{plan_id}"):
        assert walk("GET", path, plan)["status"] == "completed"
    assert walk("GET", "/v1/tracker/plans/{plan_id}/actions", plan)[0]["state"] == "completed"
    assert len(walk("GET", "/v1/tracker/plans/{plan_id}/timeline", plan)["events"]) == 1
    assert walk("GET", "/v1/tracker/plans/{plan_id}/sub-plans", plan) == []
    assert walk("GET", "/v1/tracker/sessions/{session_id}/plans", plan) == []
    task, group = (uuid.uuid4().hex for _ in range(2))
    part = {"status": "pending", "parallel_group_id": group}
    walk("POST", "/v1/memory/task-context", body={
        "taskId": task, "planId": plan, "eventType": "e", "state": {"_sub_tasks": {f"{task}-1": part}}})
    assert walk("GET", "/v1/tracker/delegation-groups/{group_id}", group)["total_tasks"] == 1
    assert walk("GET", "/v1/tracker/metrics", query={"agent_id": agent, "period": "1h"})["completed_tasks"] == 1


def soorma_memory(walk):
    root, (task, sub, plan, session) = "/v1/memory", (f"{word}/{uuid.uuid4().hex[:8]}" for word in ("t", "s", "p", "c"))
    own = {"taskId": task, "eventType": "order", "subTasks": [sub], "state": {"_sub_tasks": {sub: {"status": "pending"}}}}
    walk("POST", f"{root}/task-context", body=own)
    update = {"sub_tasks": ["more"], "state": {"k": [1], "_sub_tasks": {sub: {"status": "completed"}}}}
    walk("PUT", f"{root}/task-context/{{task_id}}", task, body=update)
    # Whoever has not read of it changes nothing.
    merged = walk("POST", f"{root}/task-context", body=own)
    assert merged["subTasks"] == [sub, "more"]
    assert merged["state"] == {"k": [1], "_sub_tasks": {sub: {"status": "completed"}}}
    assert walk("GET", f"{root}/task-context/{{task_id}}", task) == merged
    assert walk("GET", f"{root}/task-context/by-subtask/{{sub_task_id}}", sub) == merged
    walk("DELETE", f"{root}/task-context/{{task_id}}", task)

    goal = {"planId": plan, "sessionId": session, "goalEvent": "g", "goalData": {"a": 1.5}}
    walk("POST", f"{root}/plans", body=goal)
    walk("POST", f"{root}/plan-context", body={**goal, "state": {"status": "running"}, "correlationIds": [sub]})
    kept = walk("PUT", f"{root}/plan-context/{{plan_id}}", plan, body={"state": {"status": "failed"}})
    assert walk("GET", f"{root}/plan-context/{{plan_id}}", plan) == kept
    assert walk("GET", f"{root}/plan-context/by-correlation/{{correlation_id}}", sub) == kept
    wanted = {"session_id": session, "status": "failed"}
    assert [found["planId"] for found in walk("GET", f"{root}/plans", query=wanted)] == [plan]
    walk("PUT", f"{root}/plans/{{plan_id}}", plan, body={"status": "paused"})
    walk("POST", f"{root}/sessions", body={"sessionId": session, "name": "walk"})
    assert walk("GET", f"{root}/sessions", query={"limit": 1})[0]["sessionId"] == session

    place = f"{root}/working/{{plan_id}}/{{key}}"
    walk("PUT", place, plan, "_soorma:goal:a/b", body={"value": None})
    assert walk("GET", place, plan, "_soorma:goal:a/b")["value"] is None
    assert walk("DELETE", place, plan, "_soorma:goal:a/b")["deleted"]
    assert walk("DELETE", f"{root}/working/{{plan_id}}", plan)["countDeleted"] == 0
    walk("DELETE", f"{root}/plan-context/{{plan_id}}", plan)
    walk("DELETE", f"{root}/plans/{{plan_id}}", plan)


def recall(walk, ada):
    knowledge = walk("POST", "/v1/memory/semantic", body={
        "content": f"{ada} knows", "tags": ["walk"], "metadata": {"a": None}, "embedding": [1, 0.5]})["id"]
    found = walk("POST", "/v1/memory/semantic/query", query={"query": ada, "limit": 1})
    assert found[0]["id"] == knowledge and 0 < found[0]["score"] < 1
    found = walk("POST", "/v1/memory/semantic/query", body={"embedding": [2, 1]})
    assert found[0]["score"] > 0.999
    walk("DELETE", "/v1/memory/semantic/{id}", knowledge)
    walk("POST", "/v1/memory/episodic", body={"agentId": ada, "role": "user", "content": "hello walker"})
    assert len(walk("GET", "/v1/memory/episodic/recent", query={"agent_id": ada})) == 1
    assert len(walk("GET", "/v1/memory/episodic/search", query={"agent_id": ada, "q": "walker"})) == 1
    procedure = walk("POST", "/v1/memory/procedural", body={
        "agentId": ada, "triggerCondition": "asked to walk", "procedureType": "system_prompt", "content": "go"})["id"]
    for q, at_least in (("walk", 0.01), ("nothing like it", 0)):
        found = walk("GET", "/v1/memory/procedural/context", query={"agent_id": ada, "q": q})
        assert found[0]["id"] == procedure and found[0]["score"] >= at_least
    walk("DELETE", "/v1/memory/procedural/{id}", procedure)
