"""Agents of the unmodified Soorma SDK that have nothing to do: nobody connects again, nobody registers again.

`HYPHA_SOORMA_IDLE_SECONDS` is how long they are left alone.
"""

import collections
import os
import re
import time
import uuid

import pytest

from cluster import poll
from sdk import Stage, VERSIONS

AGENTS = 50
SECONDS = float(os.environ.get("HYPHA_SOORMA_IDLE_SECONDS", "20"))
# As the SDK has it, or so short that each agent has some in the time there is.
HEARTBEAT_S = min(30.0, SECONDS / 4)


def requests_counted(node, route: str) -> dict[str, float]:
    """The answers of one route that a node has counted, by class of status."""
    pattern = re.compile(rf'hypha_http_requests_total{{route="{route}",code="(\dxx)"}} (\S+)')
    return {code: float(value) for code, value in pattern.findall(node.get("/metrics").text) if float(value)}


@pytest.mark.parametrize("version", VERSIONS)
def test_fifty_agents_idle(make_cluster, tmp_path, version):
    cluster = make_cluster(3).start()
    urls = [node.url for node in cluster]
    with Stage(version, tmp_path) as stage:
        crowds = [stage.add("crowd", *urls, name=f"idler-{n}", agents=AGENTS // 2, heartbeat_s=HEARTBEAT_S)
                  for n in range(2)]
        stage.wait_started()

        def said(text: str) -> int:
            return sum(len(crowd.said(text)) for crowd in crowds)

        def asked(path: str) -> collections.Counter:
            return collections.Counter(line for crowd in crowds for line in crowd.asked(path))

        assert said("Connected to Event Service") == said("Registering ") == said("✓ Registered") == AGENTS
        assert asked("/v1/memory/working") == {"PUT 200": AGENTS}
        assert asked("/v1/agents")["POST 200"] == AGENTS
        assert sum(node.metric("hypha_connections") for node in cluster) >= 3 * AGENTS, "streams and pooled connections"
        time.sleep(SECONDS)
        poll(lambda: asked("/v1/agents")["PUT 200"] >= 3 * AGENTS, 30, "everybody's heartbeats", every=0.5)

        assert said("Connecting to SSE stream") == said("Connected to Event Service") == AGENTS, "nobody connects again"
        for trouble in ("reconnect", "connection issue", "Received disconnect", "re-register", "Heartbeat failed"):
            assert said(trouble) == 0, trouble
        assert said("Registering ") == AGENTS, "nobody registers again"
        counts = asked("/v1/agents")
        assert counts["POST 200"] == AGENTS and counts.keys() == {"POST 200", "PUT 200"}, counts
        # The nodes' own counts say the same.
        def same():
            counted = [requests_counted(node, "soorma_registry") for node in cluster]
            assert sum(count.get("2xx", 0) for count in counted) == asked("/v1/agents").total(), counted
            assert not any(count.keys() - {"2xx"} for count in counted), counted
            return True
        poll(same, 20, "what was asked is what was answered")
        for crowd in crowds:
            # Twenty-five agents that start in one process at once take longer than the SDK waits before it says so.
            trouble = [text for text in crowd.said("", "WARNING") if "Connection not yet established" not in text]
            assert not trouble and not crowd.said("", "ERROR"), crowd.tail()
        print(f"soorma-core {version}: {AGENTS} agents idle for {SECONDS:.0f} s, {counts['PUT 200']} heartbeats")

        # All streams are open: each agent hears a fact once, wherever it is told.
        bells = [str(uuid.uuid4()) for _ in cluster]
        for node, bell in zip(cluster, bells):
            event = {"id": str(uuid.uuid4()), "source": "sexton", "type": "bell.rang", "topic": "business-facts",
                     "data": {}, "correlation_id": bell}
            reply = node.post("/v1/events/publish", {"event": event})
            assert reply.status_code == 200, reply.text

        def heard() -> collections.Counter:
            return sum((crowd.ids("heard") for crowd in crowds), collections.Counter())
        poll(lambda: heard().total() >= AGENTS * len(bells), 20, "everybody hears every bell")
        time.sleep(1)
        assert heard() == {bell: AGENTS for bell in bells}
