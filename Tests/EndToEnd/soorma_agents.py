"""Agents of the unmodified Soorma SDK, as a program.

`python soorma_agents.py` in an environment with `soorma-core` reads one line of JSON, the `Part` that it is to be. Each
further line tells a client what to publish; the end of the input stops the agents in good order.

Everything it does goes into a file of JSON lines: what its handlers were given, what came of it, and every record that
the SDK itself logs. Nothing of the SDK is changed; all that is counted is counted from these lines.

Who does what: a client publishes tasks and goals. A planner makes a plan of two steps of each goal: a task for the
worker, then one for the tool. A worker has the parts of each task done by the tool, in parallel, and answers once all
are.
"""

import asyncio
import json
import logging
import os
import sys
import time
from dataclasses import dataclass
from uuid import uuid4

TENANT, USER = "acme", "ada"
TASK, TASK_DONE = "report.requested", "report.completed"
GOAL, GOAL_DONE = "review.goal", "review.completed"
POLISHED = "part.polished"
# The SDK finds the data of a delegation by its event type, so that each part has a type of its own.
PARTS = ["part.count", "part.shout", "part.turn"]


@dataclass
class Part:
    """What one process is to be."""

    role: str
    # Its name for other agents, and so its queue group.
    name: str
    log: str
    # The URL of all services, for each of its agents in turn.
    urls: list[str]
    # How many agents it is, of the role `crowd`.
    agents: int = 1
    heartbeat_s: float = 30
    # Whether a worker looks again for results that another replica may have noted at the same time.
    looks_again: bool = False


class Log(logging.Handler):
    """Lines of JSON: what the agents note, and what the SDK logs."""

    def __init__(self, path: str):
        super().__init__(logging.DEBUG)
        self.file = open(path, "a", buffering=1)
        for name, level in (("soorma", logging.DEBUG), ("httpx", logging.INFO)):
            logger = logging.getLogger(name)
            logger.setLevel(level)
            logger.addHandler(self)
            logger.propagate = False

    def note(self, did: str, **more):
        self.file.write(json.dumps({"at": time.time(), "did": did, **more}) + "\n")

    def emit(self, record: logging.LogRecord):
        self.note("log", logger=record.name, level=record.levelname, text=record.getMessage())


def set_urls(url: str):
    """The SDK reads them when an agent is made."""
    for service in ("REGISTRY", "EVENT_SERVICE", "MEMORY", "MEMORY_SERVICE", "TRACKER"):
        os.environ[f"SOORMA_{service}_URL"] = url


def make_tool(part: Part, log: Log):
    from soorma import Tool

    tool = Tool(name=part.name, description="counts, shouts and turns texts")

    def serve(kind: str, work):
        @tool.on_invoke(f"{kind}.requested")
        async def handle(request, context):
            log.note("invoked", id=request.correlation_id, type=request.event_type)
            return {"value": work(request.data["text"])}

    for kind, work in zip(PARTS, (len, str.upper, lambda text: text[::-1])):
        serve(kind, work)
    return tool


def make_worker(part: Part, log: Log):
    from soorma import Worker
    from soorma.task_context import DelegationSpec

    worker = Worker(name=part.name, description="writes reports", capabilities=["reports"])

    @worker.on_task(TASK)
    async def begin(task, context):
        log.note("began", id=task.task_id)
        kinds = PARTS[: 2 + int(task.data["n"]) % 2]
        await task.delegate_parallel([DelegationSpec(event_type=f"{kind}.requested", response_event=f"{kind}.done",
                                                     data={"text": task.data["text"], "report": task.task_id})
                                      for kind in kinds])

    async def resume(result, context):
        log.note("resumed", id=result.correlation_id, success=result.success)
        try:
            task = await result.restore_task()
        except ValueError:
            # Another replica of this worker has completed it.
            log.note("gone", id=result.correlation_id)
            return
        info = task.sub_tasks[result.correlation_id]
        task.update_sub_task_result(result.correlation_id, result.data)
        await task.save()
        if not await complete(task, info.parallel_group_id) and part.looks_again:
            # When one replica dies, another may be given some results while it cannot see yet what was noted of others.
            rank = sorted(s for s, i in task.sub_tasks.items() if i.parallel_group_id == info.parallel_group_id)
            background(look_again(result, info.parallel_group_id, 0.5 + 0.5 * rank.index(result.correlation_id)))

    async def complete(task, group: str) -> bool:
        parts = task.aggregate_parallel_results(group)
        if parts is None:
            return False
        log.note("completes", id=task.task_id)
        values = {task.sub_tasks[id].event_type: done["result"]["value"] for id, done in parts.items()}
        await task.complete({"parts": values})
        log.note("completed", id=task.task_id)
        return True

    async def look_again(result, group: str, pause: float):
        """Completes a task whose last results were read apart; a task that is gone was completed."""
        for _ in range(8):
            await asyncio.sleep(pause)
            pause *= 1.5
            try:
                task = await result.restore_task()
            except ValueError:
                return
            except Exception as error:
                log.note("trouble", text=repr(error))
                continue
            if task.aggregate_parallel_results(group):
                await task.save()
                log.note("looked again", id=task.task_id)
                if await complete(task, group):
                    return

    running = set()

    def background(work):
        running.add(job := asyncio.create_task(work))
        job.add_done_callback(running.discard)

    for kind in PARTS:
        worker.on_result(f"{kind}.done")(resume)
    return worker


def states():
    from soorma_common.state import StateAction, StateConfig, StateTransition

    return {
        "start": StateConfig(state_name="start", description="nothing done", default_next="write"),
        "write": StateConfig(
            state_name="write", description="the worker writes",
            # The worker answers under the id of its task: with the plan's, the planner knows whose answer it is.
            action=StateAction(event_type=TASK, response_event=TASK_DONE, data={
                "task_id": "{{goal_data.task_id}}", "n": "{{goal_data.n}}", "text": "{{goal_data.text}}"}),
            transitions=[StateTransition(on_event=TASK_DONE, to_state="polish")]),
        "polish": StateConfig(
            state_name="polish", description="the tool polishes",
            action=StateAction(event_type=f"{PARTS[1]}.requested", response_event=POLISHED,
                               data={"text": "{{goal_data.text}}"}),
            transitions=[StateTransition(on_event=POLISHED, to_state="done")]),
        "done": StateConfig(state_name="done", description="all done", is_terminal=True),
    }


async def make_plan(goal, context):
    """The plan of a goal, stored. SDK 0.7 leaves to its users what 0.9 does in one call."""
    from soorma.plan_context import PlanContext

    if hasattr(PlanContext, "create_from_goal"):
        return await PlanContext.create_from_goal(goal=goal, context=context, state_machine=states(),
                                                  current_state="start", status="pending")
    await context.memory.create_plan(plan_id=goal.correlation_id, goal_event=goal.event_type, goal_data=goal.data,
                                     tenant_id=goal.tenant_id, user_id=goal.user_id, session_id=goal.session_id)
    plan = PlanContext(
        plan_id=goal.correlation_id, goal_event=goal.event_type, goal_data=goal.data, status="pending",
        response_event=goal.response_event, state_machine=states(), current_state="start", results={},
        correlation_id=goal.correlation_id, session_id=goal.session_id, user_id=goal.user_id,
        tenant_id=goal.tenant_id, _context=context)
    await plan.save()
    return plan


def make_planner(part: Part, log: Log):
    from soorma import Planner

    planner = Planner(name=part.name, description="plans reviews", capabilities=["reviews"])

    @planner.on_goal(GOAL)
    async def begin(goal, context):
        log.note("began", id=goal.correlation_id)
        plan = await make_plan(goal, context)
        await plan.execute_next()

    @planner.on_transition()
    async def go_on(event, context, plan, next_state):
        log.note("went on", id=plan.plan_id, to=next_state)
        plan.results[plan.current_state] = event.data
        if plan.state_machine[next_state].is_terminal:
            plan.current_state = next_state
            await plan.finalize(result={"steps": sorted(plan.results)})
            log.note("completed", id=plan.plan_id)
        else:
            await plan.execute_next(trigger_event=event)

    return planner


class Client:
    """Publishes what it is asked to, not more at a time than it is told, and notes what comes back."""

    TOPICS = ["action-results"]

    def __init__(self, part: Part, log: Log):
        from soorma.events import EventClient

        self.log, self.open, self.room = log, set(), asyncio.Event()
        self.bus = EventClient(event_service_url=part.urls[0], agent_id=f"{part.name}-{uuid4()}", source=part.name,
                               tenant_id=TENANT)
        self.bus.on_all_events(self.take)

    async def take(self, event):
        if event.type in (TASK_DONE, GOAL_DONE):
            self.log.note("answered", id=event.correlation_id, type=event.type)
            self.open.discard(event.correlation_id)
            self.room.set()

    async def start(self):
        await self.bus.connect(self.TOPICS)

    async def stop(self):
        await self.bus.disconnect()

    async def told(self, work: dict):
        for n, (kind, id) in enumerate(work["publish"]):
            while len(self.open) >= work["in_flight"]:
                self.room.clear()
                await self.room.wait()
            self.open.add(id)
            event, done = (TASK, TASK_DONE) if kind == "task" else (GOAL, GOAL_DONE)
            try:
                await self.bus.publish(event, "action-requests", {"task_id": id, "n": n, "text": f"text {n}"},
                                       correlation_id=id, response_event=done, response_topic="action-results",
                                       user_id=USER)
                self.log.note("published", id=id, type=event)
            except ConnectionError as error:
                self.open.discard(id)
                self.log.note("refused", id=id, text=str(error))
            await asyncio.sleep(work.get("pause_s", 0))


class Listener(Client):
    """Notes every event of a task."""

    TOPICS = ["action-requests", "action-results"]

    async def take(self, event):
        self.log.note("heard", event=event.id, topic=event.topic, type=event.type, id=event.correlation_id,
                      source=event.source, part=event.type.startswith("part."), of=(event.data or {}).get("report"))


class Crowd:
    """Many agents of all kinds that have nothing to do but to hear a fact now and then."""

    def __init__(self, part: Part, log: Log):
        self.agents = []
        for n in range(part.agents):
            set_urls(part.urls[n % len(part.urls)])
            name = f"{part.name}-{n}"
            agent = [make_tool, make_worker, make_planner][n % 3](
                Part(part.role, name, part.log, part.urls, heartbeat_s=part.heartbeat_s), log)
            self.listen(agent, log)
            agent.config.heartbeat_interval = part.heartbeat_s
            self.agents.append(agent)

    def listen(self, agent, log: Log):
        from soorma_common.events import EventTopic

        @agent.on_event("bell.rang", topic=EventTopic.BUSINESS_FACTS)
        async def hear(event, context):
            log.note("heard", agent=agent.name, id=event.correlation_id)

        @agent.on_startup
        async def warm():
            # A connection to the memory service, kept in the client's pool.
            await agent.context.memory.store("mood", "calm", plan_id=agent.name, tenant_id=TENANT, user_id=USER)

    async def start(self):
        await asyncio.gather(*(agent.start() for agent in self.agents))

    async def stop(self):
        await asyncio.gather(*(agent.stop() for agent in self.agents))


ROLES = {"tool": make_tool, "worker": make_worker, "planner": make_planner, "client": Client, "listener": Listener,
         "crowd": Crowd}


async def run(part: Part, log: Log):
    set_urls(part.urls[0])
    agent = ROLES[part.role](part, log)
    if hasattr(agent, "config"):
        agent.config.heartbeat_interval = part.heartbeat_s
    await agent.start()
    log.note("started")
    loop = asyncio.get_running_loop()
    jobs = []
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        jobs.append(asyncio.create_task(agent.told(json.loads(line))))
    for job in jobs:
        job.cancel()
    await agent.stop()
    log.note("stopped")


if __name__ == "__main__":
    part = Part(**json.loads(sys.stdin.readline()))
    asyncio.run(run(part, Log(part.log)))
