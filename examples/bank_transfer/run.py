"""Run transfers while workers are killed and frozen, then check that no money was lost or made.

``python examples/bank_transfer/run.py --transfers 10000 --kills 50``; exits 1 on a violation.
Starts a private MariaDB and Redis unless ``--url`` names an empty database.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from examples.bank_transfer.app import ACCOUNTS, START, TABLES, app, connect, transfer
from mqtasks.clock import SystemClock
from mqtasks.config import Settings
from mqtasks.process.guarded import GuardedProcess
from mqtasks.process.servers import MariaDBServer, RedisServer
from mqtasks.storage import MySQLTaskStorage, migrate

HEARTBEAT_TIMEOUT = 2.0
FROZEN = 2 * HEARTBEAT_TIMEOUT
WORKERS = 3
STALLED = 120.0
"""Seconds without a further transfer after which the run counts as failed."""


class Fleet:
    """A scheduler and some workers; each fault takes the next worker in turn."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._numbers = itertools.count(1)
        self._start("scheduler", "scheduler")
        self.workers = [self._worker() for _ in range(WORKERS)]
        self.frozen: list[tuple[float, GuardedProcess]] = []
        self.thawed = 0.0
        """When the last zombie came back; it needs a moment to be refused."""

    def _start(self, name: str, *arguments: str) -> GuardedProcess:
        command = [sys.executable, "-m", "mqtasks", *arguments]
        process = GuardedProcess(command, self._folder / f"{name}.log")
        self._stack.callback(self._end, process)
        return process

    def _worker(self) -> GuardedProcess:
        name = f"w{next(self._numbers)}"
        return self._start(name, "worker", "examples.bank_transfer.app:app", "--runner-id", name)

    @staticmethod
    def _signal(process: GuardedProcess, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    def _end(self, process: GuardedProcess) -> None:
        self._signal(process, signal.SIGKILL)
        process.wait(10.0)

    def kill(self) -> None:
        """SIGKILL a worker's whole tree, as the loss of its machine would; start another."""
        victim = self.workers.pop(0)
        self._end(victim)
        self.workers.append(self._worker())

    def freeze(self, now: float) -> None:
        """SIGSTOP a worker's whole tree; it comes back as a zombie, see `thaw`."""
        victim = self.workers.pop(0)
        self._signal(victim, signal.SIGSTOP)
        self.workers.append(victim)
        self.frozen.append((now + FROZEN, victim))

    def thaw(self, now: float) -> None:
        """Let those continue that were frozen for long enough to lose their tasks."""
        for item in [item for item in self.frozen if item[0] <= now]:
            self.frozen.remove(item)
            self.thawed = now
            self._signal(item[1], signal.SIGCONT)


def one(cursor: Any, sql: str) -> int:
    """Return the number that a query gives."""
    cursor.execute(sql)
    return int(cursor.fetchone()[0] or 0)


def run(fleet: Fleet, cursor: Any, total: int, kills: int, clock: SystemClock) -> tuple[int, int]:
    """Wait for all transfers; kill at even distances, and freeze one with every second."""
    killed = frozen = done = 0
    pause = threading.Event()
    changed = clock.monotonic()
    while done < total or fleet.frozen or clock.monotonic() < fleet.thawed + FROZEN / 2:
        now = clock.monotonic()
        fleet.thaw(now)
        before, done = done, one(cursor, "SELECT COUNT(*) FROM mqtasks_task WHERE status = 2")
        changed = now if done != before else changed
        if now - changed > STALLED:
            print(f"stalled at {done} of {total} transfers")
            break
        if killed < kills and done * (kills + 1) >= total * (killed + 1):
            killed += 1
            fleet.kill()
            if killed % 2 == 0 and not fleet.frozen:
                frozen += 1
                fleet.freeze(now)
        pause.wait(0.05)
    return killed, frozen


def verdict(cursor: Any, total: int) -> bool:
    """Print what the tables say; return whether every transfer was applied exactly once."""
    money = one(cursor, "SELECT SUM(balance) FROM account")
    entries = one(cursor, "SELECT COUNT(*) FROM ledger")
    distinct = one(cursor, "SELECT COUNT(DISTINCT transfer) FROM ledger")
    wrong = one(
        cursor,
        "SELECT COUNT(*) FROM account WHERE balance <> "
        f"{START} + (SELECT COALESCE(SUM(amount), 0) FROM ledger WHERE target = account.id)"
        " - (SELECT COALESCE(SUM(amount), 0) FROM ledger WHERE source = account.id)",
    )
    succeeded = one(
        cursor, "SELECT COUNT(*) FROM mqtasks_task WHERE status = 2 AND result_code = 0"
    )
    again = one(cursor, "SELECT COUNT(*) FROM mqtasks_task WHERE epoch > 1")
    refused = one(cursor, "SELECT COUNT(*) FROM refusal")
    right = money == ACCOUNTS * START and entries == distinct == succeeded == total and not wrong
    print(
        f"total {money} of {ACCOUNTS * START}; ledger {entries} entries for {distinct} transfers of"
        f" {total}; {succeeded} tasks succeeded; {wrong} accounts differ from the ledger;"
        f" {again} transfers were started more than once; {refused} zombies' writes rolled back"
    )
    print("RIGHT: each transfer was applied exactly once" if right else "VIOLATION")
    return right


def main() -> int:
    """Run the example; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transfers", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--pause", type=float, default=0.005, help="seconds between two writes")
    parser.add_argument("--url", help="an empty MySQL database; without: a private server")
    parser.add_argument("--redis", help="a Redis for hints, if --url is given")
    given = parser.parse_args()
    clock = SystemClock()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mqtasks-bank-")))
        url, redis = given.url, given.redis
        if url is None:
            url = stack.enter_context(MariaDBServer.start()).create_database("bank")
            redis = stack.enter_context(RedisServer.start()).url()
        os.environ |= {
            "PYTHONPATH": str(ROOT),
            "MQTASKS_URL": url,
            "MQTASKS_HEARTBEAT_INTERVAL": "0.3",
            "MQTASKS_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT),
            "MQTASKS_PARALLELISM": "8",
            **({"MQTASKS_REDIS": redis} if redis else {}),
        }
        with contextlib.closing(MySQLTaskStorage(url)) as storage:
            migrate.up(storage)
        app.configure(Settings.load(url=url, redis=redis))
        stack.enter_context(app)
        connection = stack.enter_context(contextlib.closing(connect(url, autocommit=True)))
        cursor = connection.cursor()
        for table in TABLES:
            cursor.execute(table)
        rows = [(number, START) for number in range(ACCOUNTS)]
        cursor.executemany("INSERT INTO account VALUES (%s, %s)", rows)
        rng = random.Random(1)
        transfer.enqueue_many(
            (number, *rng.sample(range(ACCOUNTS), 2), rng.randint(1, 50), given.pause)
            for number in range(given.transfers)
        )
        began = clock.monotonic()
        fleet = Fleet(folder, stack)
        killed, frozen = run(fleet, cursor, given.transfers, given.kills, clock)
        print(f"{killed} workers killed, {frozen} frozen, {clock.monotonic() - began:.1f} s")
        right = verdict(cursor, given.transfers) and killed == given.kills
        if not right:
            for log in sorted(folder.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}")
        return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
