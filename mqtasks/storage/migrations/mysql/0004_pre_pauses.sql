-- What shall not be started until somebody says so: executors, keys, tenants, runners.
CREATE TABLE IF NOT EXISTS mqtasks_pause (
    kind VARBINARY(16) NOT NULL,
    name VARBINARY(255) NOT NULL,
    reason BLOB NOT NULL,
    paused_at BIGINT NOT NULL,
    PRIMARY KEY (kind, name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;
