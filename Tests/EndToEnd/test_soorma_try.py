"""What docs/soorma.md says to try is tried as it stands, with other ports, by both versions of the SDK."""

import re
import subprocess

import pytest

from cluster import ROOT, clean_environment
from sdk import VERSIONS, require_environment, requirements

PAGE = ROOT / "docs" / "soorma.md"


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S)


def test_the_page_installs_what_is_tested():
    installed = set(re.findall(r"soorma-(?:core|common)==\S*\d", PAGE.read_text()))
    tested = {line for version in VERSIONS for line in requirements(version).read_text().split()}
    assert installed <= tested and {f"soorma-core=={version}" for version in VERSIONS} <= installed


@pytest.mark.parametrize("version", VERSIONS)
def test_the_page_can_be_tried(three, version):
    python = require_environment(version)
    script = blocks()[-1].replace("soorma/bin/python", python)
    for port, node in zip((5000, 5001, 5002), three):
        assert f"127.0.0.1:{port}" in script
        script = script.replace(f"127.0.0.1:{port}", f"{node.host}:{node.http}")
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120, env=clean_environment(NO_PROXY="*"))
    shown = re.search(r"It prints `(.*?)`", PAGE.read_text())[1]
    assert shown in done.stdout.splitlines(), done.stdout + done.stderr[-3_000:]
