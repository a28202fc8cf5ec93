"""Start, stop and show the development servers in .services/; see scripts/services."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TypedDict

from mqtasks.errors import MQTasksError
from mqtasks.process.servers import MariaDBServer, RedisServer

FOLDER = Path(__file__).resolve().parent.parent / ".services"
STATE = FOLDER / "state.json"
STOP_TIMEOUT = 20.0  # seconds until SIGKILL


class Service(TypedDict):
    """What is kept about one running server."""

    pid: int
    port: int
    url: str


def load() -> dict[str, Service]:
    """Return the servers started before that still run, by name."""
    try:
        known: dict[str, Service] = json.loads(STATE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {name: service for name, service in known.items() if alive(service["pid"])}


def save(services: dict[str, Service]) -> None:
    """Keep what runs; the file holds a password."""
    FOLDER.mkdir(exist_ok=True)
    STATE.touch(mode=0o600)
    STATE.write_text(json.dumps(services, indent=2), encoding="utf-8")


def alive(pid: int) -> bool:
    """Whether `pid` is one of our servers: each works inside FOLDER, a recycled pid does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/cwd").readlink().is_relative_to(FOLDER)
    except (ProcessLookupError, PermissionError):
        return False
    except FileNotFoundError:  # no /proc, as on macOS; or it ended between the two lines
        return not Path("/proc/self").exists()


def start() -> int:
    """Start what does not run, and print the environment that uses it."""
    services = load()
    if "mariadb" not in services:
        mariadb = MariaDBServer.start(folder=FOLDER / "mariadb", detach=True)
        services["mariadb"] = Service(
            pid=mariadb.pid, port=mariadb.port, url=mariadb.url("mqtasks")
        )
        save(services)
        with contextlib.closing(mariadb.client()) as client, client.cursor() as cursor:
            cursor.execute("CREATE DATABASE IF NOT EXISTS mqtasks")
    if "redis" not in services:
        redis = RedisServer.start(folder=FOLDER / "redis", detach=True)
        services["redis"] = Service(pid=redis.pid, port=redis.port, url=redis.url())
        save(services)
    print(f"export MQTASKS_URL={services['mariadb']['url']}")
    print(f"export MQTASKS_REDIS={services['redis']['url']}")
    return 0


def stop() -> int:
    """Stop what runs."""
    for name, service in load().items():
        deadline = time.monotonic() + STOP_TIMEOUT
        with contextlib.suppress(ProcessLookupError):
            os.kill(service["pid"], signal.SIGTERM)
            while alive(service["pid"]):
                if time.monotonic() > deadline:
                    os.kill(service["pid"], signal.SIGKILL)
                time.sleep(0.05)
        print(f"{name} stopped")
    STATE.unlink(missing_ok=True)
    return 0


def status() -> int:
    """Print what runs; the exit code is 1 unless everything does."""
    services = load()
    for name in ("mariadb", "redis"):
        service = services.get(name)
        if service is None:
            print(f"{name}: not running")
        else:
            print(f"{name}: running, pid {service['pid']}, port {service['port']}")
    return 0 if len(services) == 2 else 1  # noqa: PLR2004 - the two names above


def main() -> int:
    """Run one command; the exit code is that of the process."""
    parser = argparse.ArgumentParser(prog="scripts/services")
    commands = {"start": start, "stop": stop, "status": status}
    parser.add_argument("command", choices=commands)
    try:
        return commands[parser.parse_args().command]()
    except MQTasksError as exc:
        print(exc, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
