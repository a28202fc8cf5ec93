-- The first schema.

-- Text is compared by BINARY collation, SQLite's default: byte by byte. queue_lane and queue_rank
-- are copies for the index: the task's lane and its negated priority, but both 0 while SCHEDULED,
-- so that due rows are one range. Times are unix milliseconds of the host's clock.
CREATE TABLE mqtasks_task (
    task_id INTEGER PRIMARY KEY AUTOINCREMENT,
    metadata_id TEXT NOT NULL UNIQUE,
    executor TEXT NOT NULL,
    context BLOB NOT NULL,
    options BLOB NOT NULL,
    parent_task_id TEXT NOT NULL,
    status INTEGER NOT NULL,
    runner TEXT NOT NULL DEFAULT '',
    runner_generation INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    reassigned INTEGER NOT NULL DEFAULT 0,
    priority INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    queue_lane INTEGER NOT NULL,
    queue_rank INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    allocated_at INTEGER NOT NULL DEFAULT 0,
    started_at INTEGER NOT NULL DEFAULT 0,
    last_heartbeat INTEGER NOT NULL DEFAULT 0,
    completed_at INTEGER NOT NULL DEFAULT 0,
    result_code INTEGER,
    error BLOB,
    result BLOB,
    progress BLOB,
    retention_ms INTEGER
);

CREATE INDEX mqtasks_task_queue
    ON mqtasks_task (status, runner, queue_lane, queue_rank, run_at, task_id);

-- One row per allocation that did not end in success.
CREATE TABLE mqtasks_attempt (
    task_id INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    runner TEXT NOT NULL,
    outcome INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    error BLOB NOT NULL,
    traceback BLOB NOT NULL,
    PRIMARY KEY (task_id, epoch)
) WITHOUT ROWID;

CREATE TABLE mqtasks_runner (
    runner_id TEXT NOT NULL PRIMARY KEY,
    generation INTEGER NOT NULL,
    holder TEXT NOT NULL,
    state INTEGER NOT NULL,
    lease_expires_at INTEGER NOT NULL,
    executors BLOB NOT NULL,
    labels BLOB NOT NULL,
    cpu REAL NOT NULL,
    memory INTEGER NOT NULL,
    parallelism INTEGER NOT NULL,
    max_wait_tasks INTEGER NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    stopped_at INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Leases with a term. An empty holder gave it up.
CREATE TABLE mqtasks_lease (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    term INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

-- A deleted definition stays, so that its trigger_times never starts again.
CREATE TABLE mqtasks_cron_task (
    cron_id INTEGER PRIMARY KEY,
    metadata_id TEXT NOT NULL UNIQUE,
    executor TEXT NOT NULL,
    context BLOB NOT NULL,
    options BLOB NOT NULL,
    cron_expr TEXT NOT NULL,
    timezone TEXT NOT NULL,
    next_time INTEGER NOT NULL,
    trigger_times INTEGER NOT NULL,
    version INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);

CREATE INDEX mqtasks_cron_task_due
    ON mqtasks_cron_task (deleted, paused, next_time, cron_id);

-- Retentions that tasks asked for, rounded down to powers of two: the shortest bounds the sweep.
CREATE TABLE mqtasks_retention (
    floor_ms INTEGER NOT NULL PRIMARY KEY
);
