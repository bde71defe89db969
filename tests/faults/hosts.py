"""Two hosts on this machine: namespaces of network and name, and a cable between them that can be cut or slowed.

Nothing outlives them: both are in one namespace of processes, whose first process ends with its input, be it that the test
leaves it or dies; the kernel then kills every other process there, wherever its launcher has put it.
"""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

from paralift.launchers import OPEN_MPI

ADDRESSES = ("10.97.0.1", "10.97.0.2")
TOOLS = ("ip", "nsenter", "unshare")
TOGETHER = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
ALONE = ["unshare", "--net", "--uts"]
HOLD = """
for name in paralift-0 paralift-1; do
    {alone} sh -c "hostname $name && echo done && exec sleep infinity" &
done
exec cat
"""
WAIT = 20.0
AGENT = """#!/bin/sh
# Called by the launcher as: agent [options] ADDRESS COMMAND...
while [ "${{1#-}}" != "$1" ]; do shift; done
case "$1" in {cases} *) echo "no host $1" >&2; exit 1;; esac
shift
exec nsenter --target $pid --net --uts sh -c "$*"
"""


def lacking():
    """Return why there can be no hosts on this machine, or nothing."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)}, not found"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "may not open /dev/net/tun"
    made = subprocess.run([*TOGETHER, *ALONE, "true"], capture_output=True, text=True, timeout=WAIT)
    return "" if made.returncode == 0 else f"may not make namespaces: {made.stderr.strip()}"




class Hosts:
    """Two hosts that are up.

    Attributes
    ----------
    first : list of int
        The first process of each host, as this machine numbers it.
    """

    def __init__(self, folder, stack):
        self.holder = _with_input([*TOGETHER, "sh", "-c", HOLD.format(alone=" ".join(ALONE))], stack)
        for _ in ADDRESSES:
            self._answer(self.holder)
        self.first = [int(pid) for pid in _children(_children(self.holder.pid)[0])]
        self.switch = _with_input([sys.executable, str(Path(__file__).with_name("switch.py")), *map(str, self.first)], stack)
        self._answer(self.switch)
        for n, address in enumerate(ADDRESSES):
            for command in (f"addr add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
                subprocess.run([*self.inside(n), "ip", *command.split()], check=True, timeout=WAIT)
        self.agent = folder / "agent"
        cases = " ".join(f"{a}) pid={_inner(pid)};;" for a, pid in zip(ADDRESSES, self.first, strict=True))
        self.agent.write_text(AGENT.format(cases=cases))
        self.agent.chmod(0o755)

    @staticmethod
    def _answer(process):
        line = process.stdout.readline()
        assert line == "done\n", f"{process.args} said {line!r} and ended with {process.wait(WAIT)}"

    def _order(self, line):
        self.switch.stdin.write(f"{line}\n")
        self.switch.stdin.flush()
        self._answer(self.switch)

    def cut(self):
        """Lose every frame from now on."""
        self._order("cut")

    def slow(self, seconds, bytes_per_second):
        """Delay every frame, and pass no more than so many bytes a second."""
        self._order(f"slow {seconds} {bytes_per_second}")

    def restore(self):
        """Pass every frame at once."""
        self._order("open")

    def inside(self, n):
        """Return the start of a command that runs on a host."""
        return ["nsenter", "--target", str(self.first[n]), "--net", "--uts", "--pid", "--mount"]

    def traffic(self, n):
        """Return the bytes that a host has sent and received over the cable."""
        text = subprocess.run(
            [*self.inside(n), "cat", "/proc/net/dev"], capture_output=True, text=True, check=True, timeout=WAIT
        ).stdout
        counts = next(line for line in text.splitlines() if line.strip().startswith("eth0:")).split(":")[1].split()
        return int(counts[8]) + int(counts[0])

    def ranks(self, n):
        """Return the ranks on a host, as this machine numbers their processes."""
        here, found = os.readlink(f"/proc/{self.first[n]}/ns/net"), []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes().split(b"\0")
                if os.readlink(path / "ns" / "net") == here and words[1:3] == [b"-m", b"mpi4py"]:
                    found.append(int(path.name))
            except OSError:  # it has ended
                continue
        return found

    def environment(self, **more):
        """Return what an Open MPI launcher on the first host needs to start a rank on each; `more` is added."""
        return {
            **OPEN_MPI.settings,
            **os.environ,
            "OMPI_MCA_btl": "self,tcp",
            "OMPI_MCA_btl_tcp_if_include": "eth0",
            "OMPI_MCA_mpi_yield_when_idle": "1",
            "PRTE_MCA_plm_ssh_agent": str(self.agent),
            "PRTE_MCA_prte_default_hostfile": str(self._hostfile()),
            "PRTE_MCA_rmaps_default_mapping_policy": "ppr:1:node",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "TMPDIR": str(self.agent.parent),  # process numbers repeat: a killed launcher has left files under the same one
            "PYTHONUNBUFFERED": "1",
            **more,
        }

    def _hostfile(self):
        path = self.agent.with_name("hostfile")
        path.write_text("".join(f"{address} slots=1\n" for address in ADDRESSES))
        return path


def _with_input(command, stack):
    """Start a command that ends when its input does; it is killed when the stack is left."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(_end, process)
    return process


def _end(process):
    process.stdin.close()
    try:
        process.wait(WAIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _inner(pid):
    """Return a process's number as the hosts see it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])


def _children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@contextmanager
def two_hosts(folder):
    """Bring two hosts up, and down again with all that runs on them.

    Parameters
    ----------
    folder : Path
        For the launcher's files.
    """
    with ExitStack() as stack:
        yield Hosts(folder, stack)
