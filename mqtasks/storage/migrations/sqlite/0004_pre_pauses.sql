-- What shall not be started until somebody says so: executors, keys, tenants, runners.
CREATE TABLE mqtasks_pause (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    reason BLOB NOT NULL,
    paused_at INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
