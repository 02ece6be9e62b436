"""Events by WebSocket in Python (pip install websockets), which go on at another node when one is gone.

    python websocket.py 'tasks.>' http://127.0.0.1:5000 http://127.0.0.1:5001
"""

import itertools
import json
import sys
import time

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

topic, *nodes = sys.argv[1:] or [">"]
nodes = nodes or ["http://127.0.0.1:5000"]
cursor = ""  # Keep it with what you made of the events, and a restart goes on where this process stopped.


def handle(event):
    print(json.dumps(event), flush=True)


def listen(node):
    global cursor
    with connect(node.replace("http", "ws", 1) + "/ws") as socket:
        socket.send(json.dumps({"type": "subscribe", "filter": {"topic": topic}, "cursor": cursor}))
        for text in socket:
            said = json.loads(text)
            match said["type"]:
                # A connection that has not subscribed yet gets SEMP events, without a cursor.
                case "event" if "cursor" in said:
                    handle(said["data"])
                case "drain":
                    nodes.extend(node for node in said["nodes"] if node not in nodes)
                case "resumed" if not said["recovered"]:
                    print("no longer kept:", said["gaps"], file=sys.stderr)
                case "error":
                    print(said["message"], file=sys.stderr)
            cursor = said.get("cursor", cursor)


for turn in itertools.count():
    try:
        listen(nodes[turn % len(nodes)])
    except (OSError, WebSocketException) as error:
        print(error, file=sys.stderr)
    time.sleep(0.5)
