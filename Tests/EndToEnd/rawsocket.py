"""Bytes as they are: HTTP and WebSocket over a plain socket, for what no client library would send."""

import base64
import hashlib
import json
import os
import socket
import struct
from dataclasses import dataclass, field


@dataclass
class Answer:
    """One HTTP response as it came."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def message(self) -> str:
        return json.loads(self.body)["message"]


class Wire:
    """One TCP connection with a read buffer and a bound on every read."""

    def __init__(self, host: str, port: int, seconds: float = 10, receive_buffer: int | None = None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(seconds)
        self.socket.connect((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data: bytes | str):
        """Sends all of it; a server that has refused and closed already is none of the sender's business."""
        try:
            self.socket.sendall(data.encode() if isinstance(data, str) else data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def fill(self) -> bool:
        """Reads once; False at the end of the stream (a reset counts as an end)."""
        try:
            data = self.socket.recv(65_536)
        except ConnectionResetError:
            return False
        self.buffer += data
        return bool(data)

    def take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            assert self.fill(), f"the stream ended, {count} bytes wanted, got {self.buffer[:200]!r}"
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def take_through(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            assert self.fill(), f"the stream ended before {mark!r}, got {self.buffer[:200]!r}"
        data, _, self.buffer = self.buffer.partition(mark)
        return data

    def answer(self, head: bool = False) -> Answer:
        """One whole response; `head` for those without a body whatever their length says."""
        lines = self.take_through(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, *_ = lines[0].split(" ")
        assert version == "HTTP/1.1", lines[0]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        reply = Answer(int(status), headers)
        if reply.status == 100 or reply.status == 101 or reply.status == 204 or head:
            return reply
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self.take_through(b"\r\n").split(b";")[0], 16):
                reply.body += self.take(size)
                self.take_through(b"\r\n")
            self.take_through(b"\r\n")
        else:
            assert "content-length" in headers, f"an answer without a length: {lines}"
            reply.body = self.take(int(headers["content-length"]))
        return reply

    def ends(self) -> bool:
        """Whether the server closes with nothing more to say."""
        while self.fill():
            pass
        return not self.buffer


def request(method: str, path: str, body: bytes = b"", headers: tuple[str, ...] = (), host: str = "test") -> bytes:
    """A request's bytes; a body brings its length and type."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class WebSocketWire(Wire):
    """A WebSocket over a plain socket: every bit of a frame can be set, also the forbidden ones (RFC 6455, 5.2)."""

    def __init__(self, host: str, port: int, path: str = "/ws", **options):
        super().__init__(host, port, **options)
        key = base64.b64encode(os.urandom(16)).decode()
        self.send(request("GET", path, headers=(
            "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13")))
        reply = self.answer()
        assert reply.status == 101, (reply.status, reply.body)
        proof = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        assert reply.headers["sec-websocket-accept"] == base64.b64encode(proof).decode()

    def frame(self, opcode: int, payload: bytes = b"", final=True, masked=True, reserved=0, length: int | None = None):
        """Sends one frame; `length` claims another length than the payload's."""
        self.send(frame_bytes(opcode, payload, final, masked, reserved, length))
        return self

    def text(self, message) -> "WebSocketWire":
        return self.frame(TEXT, message if isinstance(message, bytes) else json.dumps(message).encode())

    def next_frame(self) -> tuple[int, bytes]:
        first, second = self.take(2)
        assert first & 0x70 == 0, "the server set reserved bits"
        assert second & 0x80 == 0, "the server masked a frame"
        length = second & 0x7F
        if length == 126:
            length = struct.unpack(">H", self.take(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self.take(8))[0]
        return first & 0x0F, self.take(length)

    def closed_with(self) -> int:
        """The close code the server sends, past whatever it sends before; it must then end the connection."""
        while True:
            opcode, payload = self.next_frame()
            if opcode == CLOSE:
                assert len(payload) >= 2, "a close frame without a code"
                payload[2:].decode()
                return struct.unpack(">H", payload[:2])[0]


def frame_bytes(opcode, payload=b"", final=True, masked=True, reserved=0, length=None) -> bytes:
    """One client frame's bytes."""
    size = len(payload) if length is None else length
    mask_bit = 0x80 if masked else 0
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    if size < 126:
        head += bytes([mask_bit | size])
    elif size < 65_536:
        head += bytes([mask_bit | 126]) + struct.pack(">H", size)
    else:
        head += bytes([mask_bit | 127]) + struct.pack(">Q", size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + mask + mixed.to_bytes(len(payload), "big")
