-- Which task a unique key belongs to, and until when; the key is a digest.
CREATE TABLE mqtasks_unique (
    unique_key BLOB NOT NULL PRIMARY KEY,
    task_id INTEGER NOT NULL,
    metadata_id TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX mqtasks_unique_expires_at ON mqtasks_unique (expires_at);
