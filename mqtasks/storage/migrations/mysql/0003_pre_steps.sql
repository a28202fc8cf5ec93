-- Results of steps, so that a task that runs again does only what it had not done.
CREATE TABLE IF NOT EXISTS mqtasks_step (
    task_id BIGINT UNSIGNED NOT NULL,
    name VARBINARY(255) NOT NULL,
    number INT UNSIGNED NOT NULL,
    epoch INT UNSIGNED NOT NULL,
    saved_at BIGINT NOT NULL,
    result LONGBLOB NOT NULL,
    PRIMARY KEY (task_id, name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;
