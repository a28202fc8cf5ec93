"""Transfers between bank accounts as tasks, each applied exactly once.

The money moves and the task completes in one transaction. There is no key that would refuse a
transfer applied twice: only the task's epoch, checked at commit, keeps that from happening.
"""

from __future__ import annotations

import threading
from typing import Any

import pymysql

from mqtasks import InvalidTask, MQTasks
from mqtasks.storage.mysql.address import parse_address
from mqtasks.worker import current_context

ACCOUNTS = 100
START = 1000
TABLES = (
    "CREATE TABLE account (id INT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB",
    # Append only and without a unique key: whatever is applied twice stands here twice.
    "CREATE TABLE ledger (entry BIGINT AUTO_INCREMENT PRIMARY KEY, transfer INT NOT NULL,"
    " source INT NOT NULL, target INT NOT NULL, amount INT NOT NULL, epoch INT NOT NULL)"
    " ENGINE=InnoDB",
    "CREATE TABLE refusal (entry BIGINT AUTO_INCREMENT PRIMARY KEY, transfer INT NOT NULL,"
    " why VARCHAR(255) NOT NULL) ENGINE=InnoDB",
)

app = MQTasks()
_local = threading.local()


def connect(url: str, *, autocommit: bool = False) -> Any:
    """Open a connection to the bank, which lives in the database of the tasks."""
    address = parse_address(url)
    return pymysql.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        database=address.database,
        autocommit=autocommit,
        # A worker that freezes inside a transaction must not lock accounts for hours.
        init_command="SET SESSION wait_timeout = 20",
    )


def _connection() -> Any:
    found = getattr(_local, "connection", None)
    if found is None or not found.open:
        found = _local.connection = connect(app.settings.url)
    return found


@app.task(max_retry_times=1000, retry_interval=0.2, backoff_factor=1.0)
def transfer(number: int, source: int, target: int, amount: int, pause: float) -> None:
    """Move ``amount``; ``pause`` (seconds) stands for work between the writes."""
    context = current_context()
    connection = _connection()
    try:
        with context.transaction(connection), connection.cursor() as cursor:
            # In the order of their ids, so that two transfers never deadlock.
            for account in sorted((source, target)):
                change = amount if account == target else -amount
                cursor.execute(
                    "UPDATE account SET balance = balance + %s WHERE id = %s", (change, account)
                )
                threading.Event().wait(pause)
            cursor.execute(
                "INSERT INTO ledger (transfer, source, target, amount, epoch)"
                " VALUES (%s, %s, %s, %s, %s)",
                (number, source, target, amount, context.epoch),
            )
    except InvalidTask as error:
        # All above is rolled back. Noted apart from it, so that the runner script can count.
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO refusal (transfer, why) VALUES (%s, %s)", (number, str(error)[:255])
            )
        connection.commit()
        raise
