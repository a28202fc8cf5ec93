"""What a figure depends on beside mqtasks: the machine, the versions, and who else used the CPU."""

from __future__ import annotations

import os
import platform
import subprocess
from collections import defaultdict
from importlib import metadata
from pathlib import Path
from typing import Any

from mqtasks.process.private import find_program

_TICKS = os.sysconf("SC_CLK_TCK")
# Words of command lines that say what a Python process of ours is.
_PROGRAMS = {
    "scheduler": "scheduler",
    "worker": "worker: supervisor",
    "mqtasks.cli.child": "worker: runner",
    "benchmarks": "benchmark",
}
_PACKAGES = ("PyMySQL", "redis", "hiredis", "msgspec")


def describe(*, servers: bool) -> dict[str, Any]:
    """Return cores, processor, system and versions."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if servers:
        versions["mariadb"] = _output("mariadbd", "mariadb-server")
        versions["redis-server"] = _output("redis-server", "redis-server")
    else:
        import sqlite3

        versions["sqlite"] = sqlite3.sqlite_version
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "system": platform.platform(),
        "versions": versions,
    }


class CpuUse:
    """CPU seconds by program of ours, and by everybody else, from now on."""

    def __init__(self) -> None:
        self._busy = _busy()
        self._ours = _ours()

    def stop(self) -> tuple[dict[str, float], float]:
        """Return CPU seconds of each program that descends from us, and of all others together."""
        busy = _busy() - self._busy
        used: dict[str, float] = defaultdict(float)
        for pid, (name, seconds) in _ours().items():
            used[name] += seconds - self._ours.get(pid, (name, 0.0))[1]
        mine = sum(used.values())
        return {name: round(value, 2) for name, value in sorted(used.items())}, max(
            0.0, busy - mine
        )


def tree(root: int) -> list[int]:
    """Return a process and all its descendants, parents first."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid, fields in _processes():
        children[int(fields[1])].append(pid)
    found = [root]
    for pid in found:
        found += children[pid]
    return found


def _ours() -> dict[int, tuple[str, float]]:
    members = set(tree(os.getpid()))
    found = {}
    for pid, fields in _processes():
        if pid in members:
            # utime, stime, and those of children that have ended and been waited for
            seconds = sum(int(item) for item in fields[11:15]) / _TICKS
            found[pid] = (_name(pid), seconds)
    return found


def _name(pid: int) -> str:
    """Return the program: for a Python process of ours, the command it runs."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "ended"
    program = Path(words[0]).name.partition(" ")[0]  # redis-server adds its address
    return next((_PROGRAMS[word] for word in words[1:] if word in _PROGRAMS), program)


def _processes() -> list[tuple[int, list[str]]]:
    """Return pid and the fields of /proc/<pid>/stat from the state on."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                text = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            found.append((int(entry.name), text.rpartition(")")[2].split()))
    return found


def _busy() -> float:
    """Return the CPU seconds that the whole machine has spent since it was started."""
    fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, *_ = (int(item) for item in fields)
    return (user + nice + system + irq + softirq) / _TICKS


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _output(program: str, package: str) -> str:
    path = find_program(program, package)
    result = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return result.stdout.strip()
