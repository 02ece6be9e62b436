"""Programs of the unmodified Soorma SDK, each version in a virtual environment of its own, as the tests see them.

The environments are kept in HYPHA_SOORMA_VENVS, else below .build. `python sdk.py` makes them beforehand.
"""

import collections
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from cluster import ROOT, clean_environment, poll
from soorma_agents import GOAL_DONE, TASK_DONE, Part

HERE = Path(__file__).parent
VERSIONS = ["0.7.7", "0.9.1"]
PROGRAM = HERE / "soorma_agents.py"


def requirements(version: str) -> Path:
    return HERE / f"soorma_requirements-{version}.txt"


def make_environment(version: str) -> str:
    """The Python of the environment with this version of the SDK; made if it is not there."""
    base = Path(os.environ.get("HYPHA_SOORMA_VENVS") or ROOT / ".build" / "soorma-venvs")
    base.mkdir(parents=True, exist_ok=True)
    wanted = requirements(version)
    home = base / version
    python, made_of = home / "bin" / "python", home / "made-of.txt"
    # Several workers of pytest may need it at once.
    with open(base / f"{version}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made_of.exists() or made_of.read_text() != wanted.read_text():
            shutil.rmtree(home, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=120)
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
                            "-r", str(wanted)], check=True, timeout=300)
            shutil.copyfile(wanted, made_of)
    return str(python)


def require_environment(version: str) -> str:
    try:
        return make_environment(version)
    except (OSError, subprocess.SubprocessError) as error:
        if os.environ.get("HYPHA_REQUIRE_SOORMA"):
            raise
        pytest.skip(f"soorma-core {version} cannot be installed: {error}")


class Program:
    """One process of agents: told on its input, read from its log."""

    def __init__(self, python: str, part: Part, errors: Path):
        self.part, self.errors = part, errors
        self.lines: list[dict] = []
        self.place = 0
        with open(errors, "ab") as output:
            # Not the directory of the tests, but the SDK's packages come first.
            self.child = subprocess.Popen([python, "-P", str(PROGRAM)], stdin=subprocess.PIPE, stdout=output,
                                          stderr=output, text=True,
                                          env=clean_environment(NO_PROXY="*", PYTHONDONTWRITEBYTECODE="1"))
        self.tell(asdict(part))

    def tell(self, what: dict):
        self.child.stdin.write(json.dumps(what) + "\n")
        self.child.stdin.flush()

    def read(self) -> list[dict]:
        """All lines of its log so far."""
        path = Path(self.part.log)
        if path.exists():
            with open(path, "rb") as log:
                log.seek(self.place)
                text = log.read()
            whole = text[: text.rfind(b"\n") + 1]
            self.place += len(whole)
            self.lines += [json.loads(line) for line in whole.splitlines()]
        return self.lines

    def ids(self, did: str, **wanted) -> collections.Counter:
        """How often it did something with each id."""
        return collections.Counter(
            line["id"] for line in self.read()
            if line["did"] == did and all(line[key] == value for key, value in wanted.items()))

    def asked(self, path: str) -> list[str]:
        """The requests to a path that its HTTP clients tell of, as `POST 200`."""
        found = []
        for line in self.read():
            # The log of httpx: HTTP Request: POST http://127.0.0.1:5000/v1/agents "HTTP/1.1 200 OK"
            if line["did"] == "log" and line["logger"] == "httpx":
                _, _, method, url, _, status, *_ = line["text"].split(" ")
                if urlsplit(url).path.startswith(path):
                    found.append(f"{method} {status}")
        return found

    def groups(self) -> set[str]:
        """The queue groups that its agents take part in: one for each of its topics."""
        return {f"soorma/{name}/{topic}" for text in self.said("Connecting to SSE stream")
                for query in [parse_qs(urlsplit(text.split(": ", 1)[1]).query)]
                for name in query["agent_name"] for topic in query["topics"][0].split(",")}

    def said(self, text: str, level: str | None = None) -> list[str]:
        """What the SDK logged that contains a text."""
        return [line["text"] for line in self.read()
                if line["did"] == "log" and text in line["text"] and level in (None, line["level"])]

    def wait_started(self, seconds: float = 30):
        def started():
            assert self.child.poll() is None, f"{self.part.name} ended with {self.child.returncode}: {self.tail()}"
            # An agent of the SDK starts whether it is connected or not.
            return (any(line["did"] == "started" for line in self.read())
                    and len(self.said("Connected to Event Service")) >= self.part.agents)
        poll(started, seconds, f"{self.part.name} runs", every=0.05)

    def tail(self) -> str:
        text = self.errors.read_text(errors="replace") if self.errors.exists() else ""
        lines = [json.dumps(line) for line in self.read() if line.get("level") in ("WARNING", "ERROR")]
        return "\n".join([*lines[-20:], text[-2_000:]])

    def kill(self):
        self.child.kill()
        self.child.wait(10)

    def stop(self, seconds: float = 20):
        """Ends it in good order: it leaves the registry first."""
        if self.child.poll() is not None:
            return
        self.child.stdin.close()
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()


class Stage:
    """The programs of one test. Each agent is given the URL that it is to use for every service."""

    def __init__(self, version: str, directory: Path):
        self.python, self.version, self.directory = require_environment(version), version, directory
        self.programs: list[Program] = []

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        for program in self.programs:
            if program.child.poll() is None and not program.child.stdin.closed:
                program.child.stdin.close()
        for program in self.programs:
            program.stop()
        if failure[0]:
            for program in self.programs:
                print(f"--- {program.part.name} ({program.part.role})\n{program.tail()}")

    def add(self, role: str, *urls: str, name: str | None = None, **more) -> Program:
        base = self.directory / f"{len(self.programs)}-{role}"
        part = Part(role, name or role, f"{base}.jsonl", list(urls), **more)
        self.programs.append(Program(self.python, part, Path(f"{base}.txt")))
        return self.programs[-1]

    def wait_started(self, cluster=()):
        """Until all are connected, and every node knows the queue groups that they are in."""
        for program in self.programs:
            program.wait_started()
        for node in cluster:
            poll(lambda: not self.unknown(node), 20, f"{node.name} knows all groups")

    def unknown(self, node) -> set[str]:
        """The queue groups of which a node has not heard."""
        known = {group["group"] for group in node.get("/api/groups").json()["groups"]}
        return {group for program in self.programs for group in program.groups()} - known


def work(tasks: int, goals: int = 0) -> list[tuple[str, str]]:
    """Tasks and goals with new ids, goals among the tasks."""
    items = [("task", str(uuid.uuid4())) for _ in range(tasks)]
    for n in range(goals):
        items.insert((n + 1) * len(items) // (goals + 1), ("goal", str(uuid.uuid4())))
    return items


def names_of(items: list[tuple[str, str]], *kinds: str) -> collections.Counter:
    return collections.Counter(id for kind, id in items if kind in kinds)


def parts_of(listener: Program) -> dict[str, str]:
    """The task of each of its parts."""
    return {line["id"]: line["of"] for line in listener.read() if line["did"] == "heard" and line["of"]}


def wait_all(client: Program, items: list, seconds: float, without=lambda: set()):
    """Until the client has the answer to all that it was told to publish, but for what `without` gives."""
    def all_answered():
        tasks, goals = client.ids("answered", type=TASK_DONE), client.ids("answered", type=GOAL_DONE)
        missing = (names_of(items, "task").keys() - tasks.keys()) | (names_of(items, "goal").keys() - goals.keys())
        missing -= without()
        assert not missing, f"{len(missing)} of {len(items)} are not done, e.g. {sorted(missing)[:3]}"
        return True
    poll(all_answered, seconds, "everything is done", every=0.1)


def settled(stage: Stage, quiet_s: float = 1):
    """Until nobody has had anything to do for a moment: what comes twice comes then."""
    last = [-1, time.monotonic()]

    def quiet():
        lines = sum(len(program.read()) for program in stage.programs)
        if lines != last[0]:
            last[:] = lines, time.monotonic()
        return time.monotonic() - last[1] > quiet_s
    poll(quiet, 30, "all are quiet", every=0.1)


if __name__ == "__main__":
    for version in VERSIONS:
        print(make_environment(version))
