-- When to look at tasks that have a deadline. Noted before the task is stored; the task decides.
CREATE TABLE mqtasks_deadline (
    metadata_id TEXT NOT NULL,
    look_at INTEGER NOT NULL,
    PRIMARY KEY (metadata_id, look_at)
) WITHOUT ROWID;
CREATE INDEX mqtasks_deadline_look_at ON mqtasks_deadline (look_at);
