"""A Tool, a Worker and a Planner of the Soorma SDK, and somebody who asks them: `agents.py tool`, `worker`, `planner`,
`ask "a text"`. Each runs by itself and may be connected to another peer: the one that its SOORMA_…_URL name.

The planner has the worker write a report; the worker has the tool count and shout, both at a time.
"""

import asyncio
import os
import sys
from uuid import uuid4

from soorma import Planner, Tool, Worker
from soorma.events import EventClient
from soorma.plan_context import PlanContext
from soorma.task_context import DelegationSpec
from soorma_common.state import StateAction, StateConfig, StateTransition

tool = Tool(name="texts", description="counts and shouts")
worker = Worker(name="reporter", description="writes reports", capabilities=["reports"])
planner = Planner(name="editor", description="has reports written")


@tool.on_invoke("text.count")
async def count(request, context):
    return {"letters": len(request.data["text"])}


@tool.on_invoke("text.shout")
async def shout(request, context):
    return {"loud": request.data["text"].upper()}


@worker.on_task("report.requested")
async def write(task, context):
    await task.delegate_parallel([
        # Each with an event type of its own: the SDK finds the data of a delegation by it.
        DelegationSpec("text.count", {"text": task.data["text"]}, "text.counted"),
        DelegationSpec("text.shout", {"text": task.data["text"]}, "text.shouted"),
    ])


@worker.on_result("text.counted")
@worker.on_result("text.shouted")
async def collect(result, context):
    task = await result.restore_task()
    task.update_sub_task_result(result.correlation_id, result.data)
    await task.save()
    parts = task.aggregate_parallel_results(task.sub_tasks[result.correlation_id].parallel_group_id)
    if parts:
        await task.complete({key: value for part in parts.values() for key, value in part["result"].items()})


STATES = {
    "start": StateConfig(state_name="start", description="nothing done", default_next="report"),
    "report": StateConfig(
        state_name="report", description="the worker writes",
        # A worker that has delegated answers under its task's id: with that of the plan, the planner knows the answer.
        action=StateAction(event_type="report.requested", response_event="report.written",
                           data={"task_id": "{{goal_data.id}}", "text": "{{goal_data.text}}"}),
        transitions=[StateTransition(on_event="report.written", to_state="done")]),
    "done": StateConfig(state_name="done", description="all done", is_terminal=True),
}


@planner.on_goal("edition.goal")
async def plan(goal, context):
    if hasattr(PlanContext, "create_from_goal"):
        plan = await PlanContext.create_from_goal(goal, context, STATES, current_state="start")
    else:  # SDK 0.7
        plan = PlanContext(
            plan_id=goal.correlation_id, goal_event=goal.event_type, goal_data=goal.data, results={}, status="pending",
            response_event=goal.response_event, state_machine=STATES, current_state="start",
            correlation_id=goal.correlation_id, user_id=goal.user_id, tenant_id=goal.tenant_id, _context=context)
        await plan.save()
    await plan.execute_next()


@planner.on_transition()
async def go_on(event, context, plan, next_state):
    plan.current_state = next_state
    await plan.finalize(event.data["result"])


async def ask(text: str):
    answer, id = asyncio.Future(), str(uuid4())
    url = os.environ["SOORMA_EVENT_SERVICE_URL"]
    client = EventClient(event_service_url=url, source=f"asker-{id}", tenant_id="acme")

    @client.on_event("edition.published")
    async def show(event):
        if event.correlation_id == id and not answer.done():
            answer.set_result(event.data["result"])

    await client.connect(["action-results"])
    for _ in range(6):
        await client.publish("edition.goal", "action-requests", {"id": id, "text": text}, correlation_id=id,
                             response_event="edition.published", user_id="ada")
        # The planner may not have been there yet: nothing waits for a name that nobody has had.
        if (await asyncio.wait([answer], timeout=10))[0]:
            break
    await client.disconnect()
    print(answer.result() if answer.done() else "nobody answers")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ask", text]:
            asyncio.run(ask(text))
        case [role]:
            {"tool": tool, "worker": worker, "planner": planner}[role].run()
        case _:
            sys.exit(__doc__)
