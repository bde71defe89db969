"""A switch between two hosts, with a cable that can be cut or slowed: python switch.py PID PID, hosts named by a process.

Takes lines: ``open``, ``cut``, or ``slow SECONDS BYTES_PER_SECOND``; answers each by ``done``. Ends with its input, and the
network interfaces with it. In user space, because not every kernel can delay packets.
"""

import ctypes
import fcntl
import os
import select
import struct
import sys
import time
from collections import deque

FRAME = 1 << 16
QUEUE = 0.1
"""Seconds of frames that wait for a slow cable at most; later ones are dropped, as a switch does."""
CLONE_NEWNET, TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x40000000, 0x400454CA, 0x0002, 0x1000
NAME = "eth0"
CUT = 0.0, 0.0


def tap(pid):
    """Make an interface in the network of a process; return the file of its frames."""
    libc = ctypes.CDLL(None, use_errno=True)
    home, there = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        _enter(libc, there)
        file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", NAME.encode(), IFF_TAP | IFF_NO_PI))
        _enter(libc, home)
    finally:
        os.close(home)
        os.close(there)
    return file


def _enter(libc, namespace):
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Cable:
    """Frames on their way in one direction."""

    def __init__(self, source, target):
        self.source, self.target = source, target
        self.waiting = deque()
        self.busy = 0.0

    def take(self, now, fault):
        """Take what has come; send it on now or later, or lose it."""
        for _ in range(64):
            try:
                frame = os.read(self.source, FRAME)
            except BlockingIOError:
                return
            if fault is None:
                self.send(frame)
            elif fault is not CUT and self.busy - now < QUEUE:
                delay, rate = fault
                self.busy = max(self.busy, now) + len(frame) / rate
                self.waiting.append((self.busy + delay, frame))

    def deliver(self, now):
        """Send what is due; return the moment of the next frame, if there is one."""
        while self.waiting and self.waiting[0][0] <= now:
            self.send(self.waiting.popleft()[1])
        return self.waiting[0][0] if self.waiting else None

    def send(self, frame):
        try:
            os.write(self.target, frame)
        except OSError:  # the interface is down or full: the frame is lost
            pass


def read(line):
    """Return the fault that a command asks for: None, or (delay, rate); a rate of 0 passes nothing."""
    words = line.split()
    if words[0] == "slow":
        return float(words[1]), float(words[2])
    return {"open": None, "cut": CUT}[words[0]]


def main(first, second):
    a, b = tap(first), tap(second)
    cables = {a: Cable(a, b), b: Cable(b, a)}
    fault = None
    commands = sys.stdin.fileno()
    print("done", flush=True)
    while True:
        due = [moment for moment in (cable.deliver(time.monotonic()) for cable in cables.values()) if moment is not None]
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        ready, _, _ = select.select([*cables, commands], [], [], timeout)
        now = time.monotonic()
        for file in ready:
            if file == commands:
                line = os.read(commands, 100).decode()
                if not line:
                    return
                fault = read(line)
                if fault is CUT:
                    for cable in cables.values():
                        cable.waiting.clear()
                print("done", flush=True)
            else:
                cables[file].take(now, fault)


if __name__ == "__main__":
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -10)  # ranks that wait would starve it
    except PermissionError:
        pass
    main(*sys.argv[1:])
