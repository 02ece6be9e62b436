"""Every command of the README is run: each line of its `sh` blocks is one that something here is known to run.

A new command in the README fails this test until a row says who runs it. The two commands of the quick start are run
as they stand: `swift test` by .ci/run, the cluster below.
"""

import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from cluster import ROOT, clean_environment, hypha_binary, is_free, poll

README = ROOT / "README.md"
QUICK_START = "swift run -c release hypha cluster"

# Lines that .ci/run runs word for word, as long as they stand in it too.
IN_CI = re.compile(r"swift (test|build|format|run -c release simulate)\b.*")
# Lines that are run here, one after the other, beside the cluster of the quick start and mostly against it.
AGAINST_CLUSTER = re.compile(r"(hypha|\S*/hypha|\S*/simulate|swift run -c release hypha|curl)\s.*")
# Commands that go on until Ctrl-C: started, and ended once they have run for a moment or printed something.
ENDLESS = re.compile(r".*\bhypha (watch|serve)\b.*|curl -N\b.*")
# Lines that prepare a checkout; a test that runs has done them.
BEFOREHAND = re.compile(r"(git clone|cd)\s.*")


def commands() -> list[str]:
    """The commands of all `sh` blocks in order, continued lines joined, prompts and comments removed."""
    text = README.read_text()
    found = []
    for block in re.findall(r"^```(?:sh|bash|console|shell)\n(.*?)^```", text, flags=re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"\s+#.*$", "", re.sub(r"^\$ ", "", line.strip()))
            if line and not line.startswith("#"):
                found.append(line)
    return found


def who_runs(command: str) -> str | None:
    if command == QUICK_START:
        return "quick start"
    for pattern, who in ((IN_CI, "ci"), (ENDLESS, "endless"), (AGAINST_CLUSTER, "cluster"), (BEFOREHAND, "before")):
        if pattern.fullmatch(command):
            return who
    return None


def test_every_command_of_the_readme_is_run_by_something():
    found = commands()
    assert QUICK_START in found and "swift test" in found, "the README's two commands"
    for command in found:
        assert shlex.split(command), command
    unknown = [command for command in found if who_runs(command) is None]
    assert not unknown, f"nobody runs {unknown}: give each a row at the top of {Path(__file__).name}"
    ci = (ROOT / ".ci" / "run").read_text()
    for command in found:
        if who_runs(command) == "ci":
            assert command in ci, f"the README says `{command}`, .ci/run does not run it"


def test_the_quick_start_works_as_it_stands(tmp_path):
    """Starts the README's cluster on its own default ports, and runs what the README says to try against it."""
    taken = [port for port in (5000, 5001, 5002, 7946, 7947, 7948) if not is_free(port)]
    if taken:
        assert not os.environ.get("CI"), f"ports {taken} are taken, the README's commands use them"
        pytest.skip(f"ports {taken} are taken by another program, and the README's commands use them")
    # `hypha` by its bare name is the binary that was built.
    path = f"{Path(hypha_binary()).parent}:{os.environ['PATH']}"
    log = tmp_path / "cluster.log"

    def start(command: str, output) -> subprocess.Popen:
        return subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                                stderr=output, env=clean_environment(PATH=path))

    with open(log, "wb") as output:
        cluster = start(QUICK_START, output)
        try:
            # The first start may have to link: the build is done, but `swift run` looks at every file.
            poll(lambda: "ready:" in log.read_text() or cluster.poll() is not None, 300, f"a ready line in {log}")
            assert cluster.poll() is None, log.read_text()
            for command in commands():
                who = who_runs(command)
                if who == "cluster":
                    done = subprocess.run(
                        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120,
                        stdin=subprocess.DEVNULL, env=clean_environment(PATH=path))
                    assert done.returncode == 0, f"`{command}` exited with {done.returncode}: {done.stderr}"
                    assert done.stdout.strip(), f"`{command}` printed nothing"
                elif who == "endless":
                    run_for_a_moment(start, command)
        finally:
            cluster.send_signal(signal.SIGINT)
            cluster.wait(20)
    assert cluster.returncode == 0, log.read_text()


def run_for_a_moment(start, command: str):
    """Starts a command that goes on; it must not end by itself, and must end when asked."""
    with tempfile.TemporaryFile() as output:
        child = start(command, output)
        try:
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                assert child.poll() is None, f"`{command}` ended by itself with {child.returncode}: {shown(output)}"
                time.sleep(0.05)
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
                child.wait(20)


def shown(output) -> str:
    output.seek(0)
    return output.read().decode(errors="replace")[-2_000:]
