"""Events by Server-Sent Events in Python (pip install requests), which go on at another node when one is gone.

    python stream.py 'tasks.>' http://127.0.0.1:5000 http://127.0.0.1:5001
"""

import itertools
import json
import sys
import time

import requests

topic, *nodes = sys.argv[1:] or [">"]
nodes = nodes or ["http://127.0.0.1:5000"]
cursor = ""  # Keep it with what you made of the events, and a restart goes on where this process stopped.


def handle(event):
    print(json.dumps(event), flush=True)


def listen(node):
    global cursor
    wish = {"topic": topic, "cursor": cursor}
    # A comment comes every 15 s at least, so a silent node is a lost one.
    with requests.get(f"{node}/api/stream", params=wish, stream=True, timeout=(5, 40)) as answer:
        answer.raise_for_status()
        fields = {}
        for line in answer.iter_lines(chunk_size=None):
            name, _, value = line.decode().partition(": ")
            if line and name:
                fields[name] = value
            if line:
                continue
            data = json.loads(fields.get("data", "{}"))
            match fields.get("event"):
                case "message":
                    handle(data)
                case "drain":
                    nodes.extend(node for node in data["nodes"] if node not in nodes)
                case "resumed" if not data["recovered"]:
                    print("no longer kept:", data["gaps"], file=sys.stderr)
            cursor = fields.get("id") or data.get("cursor") or cursor
            fields = {}


for turn in itertools.count():
    try:
        listen(nodes[turn % len(nodes)])
    except requests.RequestException as error:
        print(error, file=sys.stderr)
    time.sleep(0.5)
