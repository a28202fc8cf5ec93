-- Which task a unique key belongs to, and until when; the key is a digest.
CREATE TABLE IF NOT EXISTS mqtasks_unique (
    unique_key BINARY(32) NOT NULL,
    task_id BIGINT UNSIGNED NOT NULL,
    metadata_id VARBINARY(255) NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (unique_key),
    KEY mqtasks_unique_expires_at (expires_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;
