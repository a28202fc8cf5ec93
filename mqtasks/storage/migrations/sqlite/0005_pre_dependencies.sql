-- What tasks wait for. outcome: 0 open, 1 succeeded, 2 failed, 3 canceled, 4 missing, 5 spawned (the
-- parent only made the child), 6 dropped. An edge goes when its child goes.
CREATE TABLE mqtasks_dependency (
    child_id INTEGER NOT NULL,
    parent_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    policy INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    PRIMARY KEY (child_id, parent_id)
) WITHOUT ROWID;

CREATE INDEX mqtasks_dependency_open ON mqtasks_dependency (outcome, parent_id, child_id);

CREATE INDEX mqtasks_dependency_parent ON mqtasks_dependency (parent_id, child_id);
