"""Two replicas of a Worker of the unmodified Soorma SDK at different peers: they share the tasks, and when one is
killed, the other does what it had. A task may then be worked on twice; no part of it is answered twice."""

import pytest

from cluster import poll
from sdk import Stage, VERSIONS, names_of, parts_of, settled, wait_all, work
from soorma_agents import TASK_DONE
from test_soorma import IN_FLIGHT, SECONDS, TASKS, check_invocations


@pytest.mark.parametrize("version", VERSIONS)
def test_two_replicas_share_the_tasks(make_cluster, tmp_path, version):
    """As the SDK's documentation has it: who is given the last result sees the others, whoever else is at work."""
    cluster = make_cluster(3).start()
    items = work(TASKS // 4)
    with Stage(version, tmp_path) as stage:
        tool = stage.add("tool", cluster.url(2))
        workers = [stage.add("worker", cluster.url(n)) for n in range(2)]
        listener = stage.add("listener", cluster.url(2))
        client = stage.add("client", cluster.url(1))
        stage.wait_started(cluster)
        client.tell({"publish": items, "in_flight": IN_FLIGHT})
        wait_all(client, items, SECONDS)
        settled(stage)
        shares = [worker.ids("began") for worker in workers]
        print(f"soorma-core {version}: {len(items)} tasks, {[len(share) for share in shares]} of them by each replica")
        assert all(shares) and shares[0] + shares[1] == names_of(items, "task")
        assert listener.ids("heard", type=TASK_DONE) == names_of(items, "task")
        check_invocations(listener, tool, workers)


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "durable"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_replica_of_the_worker_is_killed(make_cluster, tmp_path, version, durable):
    cluster = make_cluster(3, durable=durable).start()
    items = work(TASKS)
    with Stage(version, tmp_path) as stage:
        tool = stage.add("tool", cluster.url(2))
        victim = stage.add("worker", cluster.url(0), looks_again=True)
        heir = stage.add("worker", cluster.url(1), looks_again=True)
        listener = stage.add("listener", cluster.url(2))
        client = stage.add("client", cluster.url(1))
        stage.wait_started(cluster)
        client.tell({"publish": items, "in_flight": IN_FLIGHT})
        poll(lambda: len(victim.ids("completed")) >= TASKS / 8, SECONDS, "both replicas work", every=0.02)
        victim.kill()
        wait_all(client, items, SECONDS)
        settled(stage)

        done = listener.ids("heard", type=TASK_DONE)
        assert done.keys() == names_of(items, "task").keys(), "every task is completed"
        begun = victim.ids("began") + heir.ids("began")
        twice = [id for id, count in begun.items() if count > 1]
        inherited = victim.ids("began").keys() & heir.ids("completed").keys()
        print(f"soorma-core {version}: {TASKS} tasks; the killed worker completed {len(victim.ids('completed'))}, the "
              f"other {len(heir.ids('completed'))}, {len(inherited)} of them begun by the killed one; begun twice "
              f"{len(twice)}, completed twice {sum(count > 1 for count in done.values())}; looked again "
              f"{len(heir.ids('looked again'))}")
        assert heir.ids("completed") and victim.ids("completed"), "both had their share"
        check_invocations(listener, tool, [victim, heir])
        # What is done twice was with the one that was killed.
        parts = parts_of(listener)
        kept = victim.ids("began").keys() | {parts[id] for id in victim.ids("resumed")}
        assert set(twice) <= kept
        assert {id for id, count in done.items() if count > 1} <= kept

