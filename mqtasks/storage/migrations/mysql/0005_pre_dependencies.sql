-- What tasks wait for. outcome: 0 open, 1 succeeded, 2 failed, 3 canceled, 4 missing, 5 spawned (the
-- parent only made the child), 6 dropped. An edge goes when its child goes.
CREATE TABLE IF NOT EXISTS mqtasks_dependency (
    child_id BIGINT UNSIGNED NOT NULL,
    parent_id BIGINT UNSIGNED NOT NULL,
    position INT UNSIGNED NOT NULL,
    policy TINYINT UNSIGNED NOT NULL,
    outcome TINYINT UNSIGNED NOT NULL,
    PRIMARY KEY (child_id, parent_id),
    KEY mqtasks_dependency_open (outcome, parent_id, child_id),
    KEY mqtasks_dependency_parent (parent_id, child_id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;
