#!/usr/bin/env bash
# The WebSocket code against the Autobahn test suite: its fuzzing client in sections 1 to 7, 9 and 10 against /ws/echo
# (the same frames, behind a flag for tests), and the cases that need no echo against /ws. The suite needs Python 2.7:
# that of PYTHON27, of the path, or of pyenv. Ends with 77 if there is none, with 1 if a case failed. About 30 s.
#
#   Tests/EndToEnd/autobahn.sh [DIRECTORY]     keeps the suite and its reports there (.build/autobahn)
set -euo pipefail
cd "$(dirname "$0")/../.."
home="$(mkdir -p "${1:-.build/autobahn}" && cd "${1:-.build/autobahn}" && pwd)"
binary="${HYPHA_BIN:-$(swift build -c release --show-bin-path)/hypha}"

# pyenv has commands on the path that fail where their version is not chosen, so each is tried.
python=""
for candidate in "${PYTHON27:-}" python2.7 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7*/bin/python2.7; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
        python="$candidate"
        break
    fi
done
if [ -z "$python" ]; then
    echo "autobahn: skipped, there is no Python 2.7 (name one in PYTHON27)"
    exit 77
fi

# virtualenv 20.15.1 is the last that makes environments of Python 2.7 on it.
if ! "$home/venv/bin/python" -c 'import autobahntestsuite' 2>/dev/null; then
    rm -rf "$home/venv" "$home/virtualenv"
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONWARNINGS=ignore
    "$python" -m pip install --quiet --target "$home/virtualenv" virtualenv==20.15.1
    PYTHONPATH="$home/virtualenv" "$python" -m virtualenv --quiet "$home/venv"
    "$home/venv/bin/pip" install --quiet autobahntestsuite==25.10.1
fi

# There from the beginning, or the first look at it may come too soon.
: >"$home/node.log"
"$binary" serve --http 127.0.0.1:0 --gossip 127.0.0.1:0 --test-echo >"$home/node.log" 2>&1 &
node=$!
trap 'kill "$node" 2>/dev/null || true' EXIT
address=""
for _ in $(seq 100); do
    address="$(sed -n 's|.*serves http://\([0-9.:]*\).*|\1|p' "$home/node.log")"
    if [ -n "$address" ]; then break; fi
    sleep 0.1
done
if [ -z "$address" ]; then
    echo "autobahn: the node did not start:"
    cat "$home/node.log"
    exit 1
fi

# run NAME PATH CASES: one run of the fuzzing client.
run() {
    rm -rf "$home/$1"
    cat >"$home/$1.json" <<END
{"outdir": "$home/$1", "servers": [{"agent": "hypha", "url": "ws://$address$2"}], "cases": [$3],
 "exclude-cases": [], "exclude-agent-cases": {}}
END
    timeout 170 "$home/venv/bin/wstest" -m fuzzingclient -s "$home/$1.json" >"$home/$1.log" 2>&1 || {
        echo "autobahn: the fuzzing client failed or took too long at $2:"
        tail -n 20 "$home/$1.log"
        exit 1
    }
}

run echo /ws/echo '"1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"'
# What a client of /ws sends is answered in JSON or refused, so these are pings, closes and what breaks the rules.
run ws /ws '"2.*", "3.1", "3.5", "3.6", "3.7", "4.1.1", "4.1.2", "4.2.1", "4.2.2", "5.1", "5.2", "5.9", "5.10", "5.11",
    "5.12", "5.13", "5.14", "5.16", "5.17", "5.18", "7.1.2", "7.1.3", "7.1.4", "7.1.5", "7.1.6", "7.3.*", "7.5.1", "7.7.*",
    "7.9.*", "7.13.*"'

if ! kill -0 "$node" 2>/dev/null; then
    echo "autobahn: the node ended:"
    tail -n 20 "$home/node.log"
    exit 1
fi

python3 - "$home" <<'END'
import collections, json, pathlib, sys

# Text that is not UTF-8 inside one frame is found when the frame is whole, not at its first bad byte: the suite calls
# that non-strict.
NON_STRICT = {"6.4.3", "6.4.4"}
# So many cases a run has: fewer would mean that the suite was cut short.
EXPECTED = {"echo": 301, "ws": 66}

passed = failed = 0
for name, expected in EXPECTED.items():
    cases = json.loads((pathlib.Path(sys.argv[1]) / name / "index.json").read_text())["hypha"]
    kinds = collections.Counter(case["behavior"] for case in cases.values())
    print(f"autobahn: {name}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    if len(cases) != expected:
        print(f"autobahn: {name}: {len(cases)} cases were run, not {expected}")
        failed += 1
    for number, case in sorted(cases.items()):
        good = {"OK", "INFORMATIONAL"} | ({"NON-STRICT"} if number in NON_STRICT else set())
        if case["behavior"] in good and case["behaviorClose"] in good:
            passed += 1
        else:
            failed += 1
            print(f"autobahn: {name}: case {number}: {case['behavior']}, close {case['behaviorClose']}; see {case['reportfile']}")
print(f"{passed} passed, {failed} failed")
sys.exit(failed != 0)
END
