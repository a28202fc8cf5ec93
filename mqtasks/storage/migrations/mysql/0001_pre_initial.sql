-- The first schema. Each statement may run again after a half applied migration.

-- Keys and text in conditions are VARBINARY holding UTF-8: collations would merge case, accents
-- and trailing blanks. queue_lane and queue_rank are copies for the index: the task's lane and its
-- negated priority, but both 0 while SCHEDULED, so that due rows are one range. Times are unix
-- milliseconds of this server's clock. spare is room for what is written later (runner, result):
-- InnoDB updates a row where it stands only if it does not grow; else pages split. Measured on
-- MariaDB 10.11: without it an allocation takes 14.5 us per row, with it 8.6.
CREATE TABLE IF NOT EXISTS mqtasks_task (
    task_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    metadata_id VARBINARY(255) NOT NULL,
    executor VARBINARY(255) NOT NULL,
    context LONGBLOB NOT NULL,
    options MEDIUMBLOB NOT NULL,
    parent_task_id VARBINARY(255) NOT NULL,
    status TINYINT UNSIGNED NOT NULL,
    runner VARBINARY(255) NOT NULL DEFAULT '',
    runner_generation BIGINT UNSIGNED NOT NULL DEFAULT 0,
    epoch INT UNSIGNED NOT NULL DEFAULT 0,
    attempt INT UNSIGNED NOT NULL DEFAULT 0,
    crashes INT UNSIGNED NOT NULL DEFAULT 0,
    reassigned INT UNSIGNED NOT NULL DEFAULT 0,
    priority INT NOT NULL,
    lane BIGINT UNSIGNED NOT NULL,
    queue_lane BIGINT UNSIGNED NOT NULL,
    queue_rank INT NOT NULL,
    run_at BIGINT NOT NULL
        DEFAULT (TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000),
    created_at BIGINT NOT NULL
        DEFAULT (TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000),
    allocated_at BIGINT NOT NULL DEFAULT 0,
    started_at BIGINT NOT NULL DEFAULT 0,
    last_heartbeat BIGINT NOT NULL DEFAULT 0,
    completed_at BIGINT NOT NULL DEFAULT 0,
    result_code TINYINT UNSIGNED NULL,
    error MEDIUMBLOB NULL,
    result LONGBLOB NULL,
    progress MEDIUMBLOB NULL,
    retention_ms BIGINT NULL,
    spare VARBINARY(48) NOT NULL DEFAULT '................................................',
    PRIMARY KEY (task_id),
    UNIQUE KEY mqtasks_task_metadata_id (metadata_id),
    KEY mqtasks_task_queue (status, runner, queue_lane, queue_rank, run_at, task_id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;

-- One row per allocation that did not end in success.
CREATE TABLE IF NOT EXISTS mqtasks_attempt (
    task_id BIGINT UNSIGNED NOT NULL,
    epoch INT UNSIGNED NOT NULL,
    runner VARBINARY(255) NOT NULL,
    outcome TINYINT UNSIGNED NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    error MEDIUMBLOB NOT NULL,
    traceback MEDIUMBLOB NOT NULL,
    PRIMARY KEY (task_id, epoch)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS mqtasks_runner (
    runner_id VARBINARY(255) NOT NULL,
    generation BIGINT UNSIGNED NOT NULL,
    holder VARBINARY(255) NOT NULL,
    state TINYINT UNSIGNED NOT NULL,
    lease_expires_at BIGINT NOT NULL,
    executors LONGBLOB NOT NULL,
    labels MEDIUMBLOB NOT NULL,
    cpu DOUBLE NOT NULL,
    memory BIGINT UNSIGNED NOT NULL,
    parallelism INT UNSIGNED NOT NULL,
    max_wait_tasks INT UNSIGNED NOT NULL,
    host VARBINARY(255) NOT NULL,
    pid BIGINT UNSIGNED NOT NULL,
    version VARBINARY(255) NOT NULL,
    started_at BIGINT NOT NULL,
    stopped_at BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (runner_id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;

-- Leases with a term. An empty holder gave it up.
CREATE TABLE IF NOT EXISTS mqtasks_lease (
    name VARBINARY(255) NOT NULL,
    holder VARBINARY(255) NOT NULL,
    term BIGINT UNSIGNED NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;

-- A deleted definition stays, so that its trigger_times never starts again.
CREATE TABLE IF NOT EXISTS mqtasks_cron_task (
    cron_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    metadata_id VARBINARY(255) NOT NULL,
    executor VARBINARY(255) NOT NULL,
    context LONGBLOB NOT NULL,
    options MEDIUMBLOB NOT NULL,
    cron_expr VARBINARY(255) NOT NULL,
    timezone VARBINARY(255) NOT NULL,
    next_time BIGINT NOT NULL,
    trigger_times BIGINT UNSIGNED NOT NULL,
    version BIGINT UNSIGNED NOT NULL,
    paused TINYINT UNSIGNED NOT NULL,
    deleted TINYINT UNSIGNED NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (cron_id),
    UNIQUE KEY mqtasks_cron_task_metadata_id (metadata_id),
    KEY mqtasks_cron_task_due (deleted, paused, next_time, cron_id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;

-- Retentions that tasks asked for, rounded down to powers of two: the shortest bounds the sweep.
CREATE TABLE IF NOT EXISTS mqtasks_retention (
    floor_ms BIGINT NOT NULL,
    PRIMARY KEY (floor_ms)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;
