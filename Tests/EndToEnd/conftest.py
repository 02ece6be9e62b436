"""Fixtures: clusters of real processes, and their logs beside every failure."""

import pytest

from cluster import Cluster


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three peers on the loopback under the fast profile, shared by the tests of one module."""
    cluster = Cluster(3, tmp_path_factory.mktemp("three"))
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A lone peer, shared by the tests of one module."""
    cluster = Cluster(1, tmp_path_factory.mktemp("one"))
    try:
        yield cluster.start()[0]
    finally:
        cluster.stop()


@pytest.fixture
def make_cluster(tmp_path):
    """Makes clusters that end with the test: `make_cluster(3, profile="lan")`, not started yet."""
    made = []

    def make(size: int, **options) -> Cluster:
        directory = tmp_path / f"cluster{len(made)}"
        directory.mkdir()
        made.append(Cluster(size, directory, **options))
        return made[-1]

    yield make
    for cluster in made:
        cluster.stop()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for cluster in Cluster.live:
            for node in cluster:
                state = "running" if node.running else f"exit {node.child and node.child.returncode}"
                report.sections.append((f"log of {node.name} ({state}), {node.log_path}", node.log()))
