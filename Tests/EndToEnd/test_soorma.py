"""A Tool, a Worker that delegates in parallel and resumes, and a Planner that completes plans: agents of the unmodified
Soorma SDK, each connected to another peer of three.

`HYPHA_SOORMA_TASKS` is how many tasks each test has done, `HYPHA_SOORMA_IN_FLIGHT` how many of them at a time.
"""

import collections
import os
import time

import pytest

from cluster import poll
from sdk import Program, Stage, VERSIONS, names_of, settled, wait_all, work
from soorma_agents import GOAL_DONE, TASK_DONE, TENANT, USER

TASKS = int(os.environ.get("HYPHA_SOORMA_TASKS", "200"))
GOALS = max(2, TASKS // 20)
IN_FLIGHT = int(os.environ.get("HYPHA_SOORMA_IN_FLIGHT", "8"))
SECONDS = 60 + TASKS / 4


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "durable"])
@pytest.mark.parametrize("version", VERSIONS)
def test_each_agent_at_another_peer(make_cluster, tmp_path, version, durable):
    cluster = make_cluster(3, durable=durable).start()
    items = work(TASKS, GOALS)
    with Stage(version, tmp_path) as stage:
        tool = stage.add("tool", cluster.url(0))
        worker = stage.add("worker", cluster.url(1))
        planner = stage.add("planner", cluster.url(2))
        listener = stage.add("listener", cluster.url(2))
        client = stage.add("client", cluster.url(0))
        stage.wait_started(cluster)
        began = time.monotonic()
        client.tell({"publish": items, "in_flight": IN_FLIGHT})
        wait_all(client, items, SECONDS)
        seconds = time.monotonic() - began
        settled(stage)
        print(f"soorma-core {version}: {TASKS} tasks and {GOALS} plans in {seconds:.1f} s")

        # Each task and each plan is completed once, as the client and the listener's group see it.
        assert listener.ids("heard", type=TASK_DONE) == names_of(items, "task", "goal"), "tasks, those of plans too"
        assert listener.ids("heard", type=GOAL_DONE) == names_of(items, "goal")
        assert worker.ids("began") == worker.ids("completed") == names_of(items, "task", "goal")
        assert planner.ids("began") == planner.ids("completed") == names_of(items, "goal")
        check_invocations(listener, tool, [worker])
        # No group is given an event twice.
        events = collections.Counter(line["event"] for line in listener.read() if line["did"] == "heard")
        assert set(events.values()) == {1}
        for program in stage.programs:
            assert not program.said("", "ERROR"), program.said("", "ERROR")[:5]
            assert len(program.said("Connecting to SSE stream")) == 1, "nobody connects again"

        # What is left behind: no task is open, each plan is over, at every peer.
        for node in cluster:
            headers = {"X-Tenant-ID": TENANT, "X-User-ID": USER} if version == "0.7.7" else {}
            for kind, id in items[-5:]:
                poll(lambda: node.get(f"/v1/memory/task-context/{id}", headers=headers).status_code == 404, 10, "gone")
            for id in names_of(items, "goal"):
                def over():
                    plan = node.get(f"/v1/memory/plan-context/{id}", headers=headers).json()
                    return plan["state"]["status"] == "completed" and plan["currentState"] == "done"
                poll(over, 10, f"{node.name} has plan {id} as completed")


def check_invocations(listener: Program, tool: Program, workers: list[Program]):
    """Each invocation of the tool was handled once and answered once, and the tool was asked for nothing else."""
    asked = listener.ids("heard", topic="action-requests", part=True)
    answered = listener.ids("heard", topic="action-results", part=True)
    # A step of a plan has the plan's id, and so has its task; parts of tasks have ids of their own.
    assert set(asked.values()) == {1}, [id for id, count in asked.items() if count > 1]
    assert asked == answered == tool.ids("invoked")
