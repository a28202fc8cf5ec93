-- Token buckets of rates, and named resources of runners. Each statement may run again.

-- A bucket is the time, unix microseconds of this server's clock, at which it will be full again;
-- a bucket without a row is full.
CREATE TABLE IF NOT EXISTS mqtasks_rate (
    bucket VARBINARY(300) NOT NULL,
    full_at_us BIGINT NOT NULL,
    PRIMARY KEY (bucket),
    KEY mqtasks_rate_full (full_at_us)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;

-- A table of its own: a column could not be added again after a half applied migration.
CREATE TABLE IF NOT EXISTS mqtasks_runner_resource (
    runner_id VARBINARY(255) NOT NULL,
    resources MEDIUMBLOB NOT NULL,
    PRIMARY KEY (runner_id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;
