-- When to look at tasks that have a deadline. Noted before the task is stored; the task decides.
CREATE TABLE IF NOT EXISTS mqtasks_deadline (
    metadata_id VARBINARY(255) NOT NULL,
    look_at BIGINT NOT NULL,
    PRIMARY KEY (metadata_id, look_at),
    KEY mqtasks_deadline_look_at (look_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;
