-- Results of steps, so that a task that runs again does only what it had not done.
CREATE TABLE mqtasks_step (
    task_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    saved_at INTEGER NOT NULL,
    result BLOB NOT NULL,
    PRIMARY KEY (task_id, name)
) WITHOUT ROWID;
