"""Test hosts as network namespaces, made and removed by the test itself with `ip` (needs root and iproute2).

Each host has two cards: one on the network of the peers, one on the network of the clients. The bridges of both are in
a namespace of their own, the hub, where the test's threads sit. So cutting a host off from its peers leaves its clients
connected, and nothing of the machine's own network is touched. The addresses are those that RFC 2544 sets aside for
tests; no packet can leave the hub.

The network of the peers is a bridge of the kernel, or, for bad weather, the switch of `switch.py` (`SwitchedHosts`).
"""

import contextlib
import ctypes
import fcntl
import itertools
import os
import shutil
import socket
import struct
import subprocess

import pytest

CLONE_NEWNET = 0x4000_0000
# <linux/sockios.h> and <linux/ethtool.h>
SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM = 0x17

_made = itertools.count()


def unavailable() -> str | None:
    """Why there can be no namespaces here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "`ip` is missing: install iproute2"
    name = f"hy{os.getpid()}probe"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode:
        return f"`ip netns add` is not permitted: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


def require():
    """Skips the test where there can be no namespaces, or fails it where they are required."""
    if reason := unavailable():
        assert not os.environ.get("HYPHA_REQUIRE_NAMESPACES"), reason
        pytest.skip(reason)


def ip(*words: str):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"


@contextlib.contextmanager
def inside(name: str):
    """Moves the calling thread into a namespace: its sockets, new threads and child processes are there."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(path):
        with open(path) as namespace:
            if libc.setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)

    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        enter(f"/run/netns/{name}")
        yield
    finally:
        enter(f"/proc/self/fd/{home}")
        os.close(home)


class Hosts:
    """`count` hosts; host i is 198.18.0.(i + 1) to its peers and 198.19.0.(i + 1) to its clients."""

    bridges = ("peers", "clients")

    def __init__(self, count: int):
        prefix = f"hy{os.getpid()}x{next(_made)}"
        self.hub, self.names = f"{prefix}hub", [f"{prefix}n{i + 1}" for i in range(count)]
        self.peer_addresses = [f"198.18.0.{i + 1}" for i in range(count)]
        self.client_addresses = [f"198.19.0.{i + 1}" for i in range(count)]

    def __enter__(self):
        try:
            ip("netns", "add", self.hub)
            ip("-n", self.hub, "link", "set", "lo", "up")
            for bridge in self.bridges:
                ip("-n", self.hub, "link", "add", bridge, "type", "bridge")
                ip("-n", self.hub, "link", "set", bridge, "up")
            ip("-n", self.hub, "addr", "add", "198.19.0.254/24", "dev", "clients")
            for index, name in enumerate(self.names):
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
                self.card(index, "clients", self.client_addresses[index])
                self.card(index, "peers", self.peer_addresses[index])
        except BaseException:
            self.remove()
            raise
        return self

    def card(self, index: int, bridge: str, address: str):
        """One cable between a host's card, called after the network, and a port in the hub."""
        name, port = self.names[index], f"{bridge}{index + 1}"
        ip("-n", self.hub, "link", "add", port, "type", "veth", "peer", "name", bridge, "netns", name)
        ip("-n", self.hub, "link", "set", port, *(("master", bridge) if bridge in self.bridges else ()), "up")
        ip("-n", name, "addr", "add", f"{address}/24", "dev", bridge)
        ip("-n", name, "link", "set", bridge, "up")

    def cut(self, index: int):
        """Pulls the host's cable to its peers at the bridge's side; its clients stay connected."""
        ip("-n", self.hub, "link", "set", f"peers{index + 1}", "down")

    def join(self, index: int):
        ip("-n", self.hub, "link", "set", f"peers{index + 1}", "up")

    def on(self, index: int) -> tuple[str, ...]:
        """What stands before a command that is to run on a host."""
        return ("ip", "netns", "exec", self.names[index])

    def inside_hub(self):
        """Moves the calling thread to where the clients are."""
        return inside(self.hub)

    def remove(self):
        for name in [*self.names, self.hub]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def __exit__(self, *_):
        self.remove()


class SwitchedHosts(Hosts):
    """Hosts whose ports to their peers are left to a `Switch`, which finds host i under `hardware_address(i)`.

    They know each other's hardware addresses, so that a cut of one direction is one of IP packets and no ARP request
    goes unanswered for it. Their cards compute checksums and cut segments themselves, so that what the switch reads is
    what would go over a cable.
    """

    bridges = ("clients",)

    @property
    def ports(self) -> list[str]:
        return [f"peers{index + 1}" for index in range(len(self.names))]

    def card(self, index: int, bridge: str, address: str):
        super().card(index, bridge, address)
        if bridge in self.bridges:
            return
        name = self.names[index]
        ip("-n", name, "link", "set", bridge, "address", hardware_address(index))
        for other, theirs in enumerate(self.peer_addresses):
            if other != index:
                ip("-n", name, "neigh", "add", theirs, "lladdr", hardware_address(other), "dev", bridge,
                   "nud", "permanent")
        with inside(name):
            send_whole_frames(bridge)


def hardware_address(index: int) -> str:
    """A locally administered Ethernet address, whose last byte is the host's number."""
    return f"02:00:00:00:00:{index + 1:02x}"


def send_whole_frames(card: str):
    """Turns checksum offloading off, and with it segmentation offloading (`ethtool -K CARD tx off`)."""
    value = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_STXCSUM, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL, struct.pack("16sP", card.encode(), ctypes.addressof(value)))
