-- What a definition does about missed and overlapping firings, as JSON; without a row: the defaults.
-- A table of its own: a column could not be added again after a half applied migration.
CREATE TABLE IF NOT EXISTS mqtasks_cron_policy (
    cron_id BIGINT UNSIGNED NOT NULL,
    policy MEDIUMBLOB NOT NULL,
    PRIMARY KEY (cron_id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;

-- Each firing once. kind: 0 scheduled, 1 manual, 2 backfill; state: 0 fired, 1 skipped, 2 missed.
CREATE TABLE IF NOT EXISTS mqtasks_cron_firing (
    cron_id BIGINT UNSIGNED NOT NULL,
    kind TINYINT UNSIGNED NOT NULL,
    fire_time BIGINT NOT NULL,
    state TINYINT UNSIGNED NOT NULL,
    task VARBINARY(255) NOT NULL,
    fired_at BIGINT NOT NULL,
    PRIMARY KEY (cron_id, kind, fire_time),
    KEY mqtasks_cron_firing_fired_at (fired_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;
