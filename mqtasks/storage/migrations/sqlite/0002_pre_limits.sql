-- Token buckets of rates, and named resources of runners.

-- A bucket is the time, unix microseconds of the host's clock, at which it will be full again;
-- a bucket without a row is full.
CREATE TABLE mqtasks_rate (
    bucket TEXT NOT NULL PRIMARY KEY,
    full_at_us INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX mqtasks_rate_full ON mqtasks_rate (full_at_us);

CREATE TABLE mqtasks_runner_resource (
    runner_id TEXT NOT NULL PRIMARY KEY,
    resources BLOB NOT NULL
) WITHOUT ROWID;
