-- What a definition does about missed and overlapping firings, as JSON; without a row: the defaults.
CREATE TABLE mqtasks_cron_policy (
    cron_id INTEGER PRIMARY KEY,
    policy BLOB NOT NULL
);

-- Each firing once. kind: 0 scheduled, 1 manual, 2 backfill; state: 0 fired, 1 skipped, 2 missed.
CREATE TABLE mqtasks_cron_firing (
    cron_id INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    fire_time INTEGER NOT NULL,
    state INTEGER NOT NULL,
    task TEXT NOT NULL,
    fired_at INTEGER NOT NULL,
    PRIMARY KEY (cron_id, kind, fire_time)
);
CREATE INDEX mqtasks_cron_firing_fired_at ON mqtasks_cron_firing (fired_at);
