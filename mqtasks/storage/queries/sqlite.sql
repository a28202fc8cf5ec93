-- Statements for SQLite 3.40+. The same names stand in mysql.sql.
-- INDEXED BY: a plan that the planner guesses must not turn a seek into a scan.
-- Writers hold the only write lock, so rows need no locks of their own.

-- ---- server ----------------------------------------------------------------------------------

-- name: now
-- The database's clock.
SELECT {now};

-- name: create_schema_version
-- The table of applied migrations; itself never migrated.
CREATE TABLE IF NOT EXISTS mqtasks_schema_version (
    version INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at INTEGER NOT NULL
);

-- name: record_migration
-- Note a migration as applied; twice is harmless.
REPLACE INTO mqtasks_schema_version (version, name, applied_at) VALUES (?, ?, {now});

-- name: schema_versions
-- Which migrations were applied.
SELECT version, name, applied_at FROM mqtasks_schema_version ORDER BY version;

-- ---- records ---------------------------------------------------------------------------------

-- name: insert_tasks
-- Create tasks; the columns left out have defaults.
-- Differs because a prepared statement runs once per row.
INSERT INTO mqtasks_task
    (metadata_id, context, executor, options, parent_task_id, status, priority, lane,
     queue_lane, queue_rank, run_at, retention_ms, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: insert_records
-- Insert whole rows (the reference's add).
-- Differs because a prepared statement runs once per row.
INSERT INTO mqtasks_task
    (metadata_id, executor, context, options, parent_task_id, status, runner, runner_generation,
     epoch, attempt, crashes, reassigned, priority, lane, queue_lane, queue_rank, run_at,
     created_at, allocated_at, started_at, last_heartbeat, completed_at, result_code, error,
     result, progress, retention_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: known_ids
-- Which of these metadata ids are stored.
SELECT metadata_id, task_id FROM mqtasks_task WHERE metadata_id IN ({in});

-- name: find
-- Tasks by metadata id.
SELECT {task_columns} FROM mqtasks_task WHERE metadata_id IN ({in});

-- name: load
-- Tasks by id.
SELECT {task_columns} FROM mqtasks_task WHERE task_id IN ({in}) ORDER BY task_id;

-- name: select_tasks
-- Tasks by conditions; the text goes on with WHERE.
SELECT {task_columns} FROM mqtasks_task;

-- name: select_doomed
-- Ids of the rows that a delete takes; the text goes on with WHERE.
SELECT task_id FROM mqtasks_task;

-- name: overwrite_task
-- Write every field but the id, metadata id and creation; the text goes on with conditions.
UPDATE mqtasks_task SET
    executor = ?, context = ?, options = ?, parent_task_id = ?, status = ?, runner = ?,
    runner_generation = ?,
    allocated_at = CASE WHEN epoch <> ? OR allocated_at = 0 THEN ? ELSE allocated_at END,
    epoch = ?, attempt = ?, crashes = ?, reassigned = ?, priority = ?, lane = ?, queue_lane = ?,
    queue_rank = ?, run_at = ?, last_heartbeat = ?, started_at = ?, completed_at = ?,
    result_code = ?, error = ?, result = ?, progress = ?, retention_ms = ?
WHERE task_id = ?;

-- name: delete_tasks
-- Delete rows by id.
DELETE FROM mqtasks_task WHERE task_id IN ({in});

-- name: delete_attempts
-- Delete the history of tasks by id.
DELETE FROM mqtasks_attempt WHERE task_id IN ({in});

-- name: attempts
-- The history of one task.
SELECT task_id, epoch, runner, outcome, started_at, ended_at, error, traceback
FROM mqtasks_attempt WHERE task_id = ? ORDER BY epoch;

-- name: count_status
-- How many rows are in a status, but no more than a cap.
SELECT COUNT(*) FROM
    (SELECT 1 FROM mqtasks_task INDEXED BY mqtasks_task_queue WHERE status = ? LIMIT ?)
    AS counted;

-- name: count_executors
-- How many rows of a status each executor has, among no more than a cap.
SELECT executor, status, failed, COUNT(*) FROM
    (SELECT executor, status, COALESCE(result_code, 0) AS failed FROM mqtasks_task
     INDEXED BY mqtasks_task_queue WHERE status = ? LIMIT ?) AS seen
GROUP BY executor, status, failed;

-- name: prune_chunk
-- The next rows by id, and since when each may go: NULL while it has not ended.
SELECT task_id, created_at,
    CASE WHEN status NOT IN (2, 3) THEN NULL
         ELSE completed_at + COALESCE(retention_ms,
             CASE WHEN status = 2 AND result_code = 0 THEN ? ELSE ? END) END,
    {now}
FROM mqtasks_task WHERE task_id >= ? ORDER BY task_id LIMIT ?;

-- name: lock_victims
-- Of these rows, the ids of those past their retention.
SELECT task_id FROM mqtasks_task
WHERE task_id IN ({in}) AND status IN (2, 3) AND completed_at + COALESCE(retention_ms,
    CASE WHEN status = 2 AND result_code = 0 THEN ? ELSE ? END) <= {now}
ORDER BY task_id;

-- name: shortest_retention
-- The shortest retention any task ever asked for.
SELECT MIN(floor_ms) FROM mqtasks_retention;

-- name: has_retention
-- Whether a retention is noted.
SELECT 1 FROM mqtasks_retention WHERE floor_ms = ?;

-- name: note_retention
-- Note a retention; twice is harmless.
REPLACE INTO mqtasks_retention (floor_ms) VALUES (?);

-- ---- scheduler's side of the queue -----------------------------------------------------------

-- name: due
-- Ids of SCHEDULED rows that are due, earliest first: one index range.
SELECT task_id FROM mqtasks_task INDEXED BY mqtasks_task_queue
WHERE status = 4 AND runner = '' AND queue_lane = 0 AND queue_rank = 0 AND run_at <= {now}
ORDER BY run_at, task_id LIMIT ?;

-- name: promote
-- Make due rows CREATED; they enter their lanes.
UPDATE mqtasks_task SET status = 0, queue_lane = lane, queue_rank = -priority
WHERE task_id IN ({in}) AND status = 4 AND run_at <= {now};

-- name: next_due
-- Milliseconds until the earliest SCHEDULED row is due.
SELECT run_at - {now} FROM mqtasks_task INDEXED BY mqtasks_task_queue
WHERE status = 4 AND runner = '' AND queue_lane = 0 AND queue_rank = 0
ORDER BY run_at LIMIT 1;

-- name: lanes
-- The lanes behind ? that hold CREATED rows.
-- Differs because a recursive query seeks from lane to lane.
WITH RECURSIVE seek (lane) AS (
    SELECT MIN(queue_lane) FROM mqtasks_task INDEXED BY mqtasks_task_queue
    WHERE status = 0 AND runner = '' AND queue_lane > ?
    UNION ALL
    SELECT (SELECT MIN(queue_lane) FROM mqtasks_task INDEXED BY mqtasks_task_queue
            WHERE status = 0 AND runner = '' AND queue_lane > seek.lane)
    FROM seek WHERE seek.lane IS NOT NULL
)
SELECT lane FROM seek WHERE lane IS NOT NULL LIMIT ?;

-- name: lane_tasks
-- The head of a lane, in index order.
SELECT {task_columns} FROM mqtasks_task INDEXED BY mqtasks_task_queue
WHERE status = 0 AND runner = '' AND queue_lane = ?
ORDER BY queue_rank, run_at, task_id LIMIT ?;

-- name: live_load
-- Live rows by runner and lane, one status at a time: index only, in index order.
SELECT runner, queue_lane, COUNT(*) FROM mqtasks_task INDEXED BY mqtasks_task_queue
WHERE status = ? GROUP BY runner, queue_lane;

-- name: created_sample
-- One CREATED row of a lane; many of these are joined by UNION ALL, each a seek of its own.
SELECT * FROM (SELECT queue_lane, executor, options
    FROM mqtasks_task INDEXED BY mqtasks_task_queue
    WHERE status = 0 AND runner = '' AND queue_lane = ? LIMIT 1) AS sample;

-- name: live_samples
-- One live row of each of these lanes.
SELECT queue_lane, MIN(task_id) FROM mqtasks_task INDEXED BY mqtasks_task_queue
WHERE status IN (1, 5) AND queue_lane IN ({in}) GROUP BY queue_lane;

-- name: signatures
-- What the signature of rows is made of.
SELECT task_id, executor, options FROM mqtasks_task WHERE task_id IN ({in});

-- name: leader
-- The leader row.
SELECT holder, term, expires_at > {now} FROM mqtasks_lease WHERE name = ?;

-- name: lock_runners
-- Runner rows.
SELECT runner_id, generation, state, lease_expires_at > {now} FROM mqtasks_runner
WHERE runner_id IN ({in}) ORDER BY runner_id;

-- name: executors_of
-- State, executor and options of tasks that are to be allocated.
SELECT task_id, status, runner, epoch, executor, options, lane FROM mqtasks_task
WHERE task_id IN ({in});

-- name: rate_buckets
-- When token buckets will be full again.
SELECT bucket, full_at_us FROM mqtasks_rate WHERE bucket IN ({in});

-- name: set_buckets
-- Take tokens from buckets; the text goes on with further rows.
REPLACE INTO mqtasks_rate (bucket, full_at_us) VALUES (?, ?);

-- name: forget_buckets
-- Drop buckets that are full: they are as good as unused.
DELETE FROM mqtasks_rate WHERE full_at_us <= ?;

-- name: allocate
-- Give CREATED rows to runners.
UPDATE mqtasks_task SET status = 1, runner = {runner}, runner_generation = {generation},
    epoch = epoch + 1, started_at = 0, last_heartbeat = {now}, allocated_at = {now}
WHERE task_id IN ({task_id}) AND status = 0 AND epoch = {epoch};

-- name: allocate_by_hand
-- Give CREATED rows, or RUNNING ones of other runners, to runners.
UPDATE mqtasks_task SET status = 1, runner = {runner}, runner_generation = {generation},
    epoch = epoch + 1, started_at = 0, last_heartbeat = {now}, allocated_at = {now}
WHERE task_id IN ({task_id}) AND epoch = {epoch}
    AND (status = 0 OR (status = 1 AND runner <> {runner}));

-- name: owners
-- Who owns tasks now.
SELECT task_id, status, runner, runner_generation, epoch FROM mqtasks_task
WHERE task_id IN ({in});

-- ---- worker's side ---------------------------------------------------------------------------

-- name: owned
-- Live rows of a generation of a runner.
SELECT task_id, epoch, status FROM mqtasks_task INDEXED BY mqtasks_task_queue
WHERE status IN (1, 5) AND runner = ? AND runner_generation = ?;

-- name: complete
-- End RUNNING rows as COMPLETED, SUCCESS.
UPDATE mqtasks_task SET status = 2, result_code = 0, error = NULL, result = {result},
    started_at = {now} - {elapsed}, completed_at = {now}
WHERE task_id IN ({task_id}) AND status = 1 AND runner = ? AND epoch = {epoch};

-- name: complete_failed
-- End RUNNING rows as COMPLETED, FAILED.
UPDATE mqtasks_task SET status = 2, result_code = 1, error = {error}, result = {result},
    started_at = {now} - {elapsed}, completed_at = {now}, crashes = crashes + {crashed}
WHERE task_id IN ({task_id}) AND status = 1;

-- name: end_canceled
-- End live rows as CANCELED.
UPDATE mqtasks_task SET status = 3, completed_at = {now}
WHERE task_id IN ({in}) AND status IN (1, 5);

-- name: retry
-- Send RUNNING rows back to SCHEDULED.
UPDATE mqtasks_task SET status = 4, run_at = {now} + {delay}, runner = '',
    attempt = attempt + {counted}, crashes = crashes + {crashed},
    runner_generation = 0, started_at = 0, queue_lane = 0, queue_rank = 0
WHERE task_id IN ({task_id}) AND status = 1;

-- name: release
-- Send RUNNING rows back to CREATED, due at once.
-- Differs because the smaller of two values is MIN here.
UPDATE mqtasks_task SET status = 0, runner = '', runner_generation = 0, started_at = 0,
    run_at = MIN(run_at, {now})
WHERE task_id IN ({in}) AND status = 1;

-- name: lock_tasks
-- What the fenced writes need to know of rows.
SELECT task_id, status, runner, epoch, started_at FROM mqtasks_task
WHERE task_id IN ({in}) ORDER BY task_id;

-- name: record_attempts
-- Write history rows ; without elapsed, the start is the row's own.
REPLACE INTO mqtasks_attempt
    (task_id, epoch, runner, outcome, started_at, ended_at, error, traceback)
SELECT task_id, epoch, runner, {outcome}, COALESCE({now} - {elapsed}, started_at), {now},
    {error}, {traceback}
FROM mqtasks_task WHERE task_id IN ({task_id});

-- name: outcomes
-- What rows show that a fenced write did not match.
SELECT task_id, status, runner, epoch, result_code, error, result FROM mqtasks_task
WHERE task_id IN ({in});

-- name: past_attempts
-- History rows of tasks, without texts.
SELECT task_id, epoch, runner, outcome FROM mqtasks_attempt WHERE task_id IN ({in});

-- name: unstarted
-- Live rows of a generation of a runner whose executor was not started.
SELECT task_id FROM mqtasks_task INDEXED BY mqtasks_task_queue
WHERE status IN (1, 5) AND runner = ? AND runner_generation = ? AND started_at = 0;

-- name: mark_started
-- Note that executors run.
UPDATE mqtasks_task SET started_at = CASE WHEN started_at = 0 THEN {now} ELSE started_at END,
    last_heartbeat = {now}
WHERE task_id IN ({task_id}) AND status IN (1, 5) AND runner = ? AND epoch = {epoch};

-- name: heartbeat
-- Note that runners are alive.
UPDATE mqtasks_task SET last_heartbeat = {now}
WHERE task_id IN ({task_id}) AND status IN (1, 5) AND runner = ? AND epoch <= {epoch};

-- name: cancel_requested
-- Tasks of a runner that somebody wants canceled.
SELECT task_id, epoch FROM mqtasks_task INDEXED BY mqtasks_task_queue
WHERE status = 5 AND runner = ?;

-- name: save_progress
-- Write the progress of one task.
UPDATE mqtasks_task SET progress = ?
WHERE task_id = ? AND status IN (1, 5) AND runner = ? AND epoch = ?;

-- ---- operator's side -------------------------------------------------------------------------

-- name: cancel_waiting
-- End waiting rows as CANCELED.
UPDATE mqtasks_task SET status = 3, completed_at = {now}, queue_lane = lane,
    queue_rank = -priority
WHERE task_id IN ({in}) AND status IN (0, 4, 6);

-- name: request_cancel
-- Ask the owners of RUNNING rows to cancel.
UPDATE mqtasks_task SET status = 5 WHERE task_id IN ({in}) AND status = 1;

-- name: lock_ended
-- FAILED and CANCELED rows.
SELECT task_id, options FROM mqtasks_task
WHERE task_id IN ({in}) AND (status = 3 OR (status = 2 AND result_code = 1))
ORDER BY task_id;

-- name: requeue
-- Send ended rows back to CREATED, due now.
UPDATE mqtasks_task SET status = 0, runner = '', runner_generation = 0, run_at = {now},
    attempt = 0, crashes = 0, reassigned = 0, started_at = 0, completed_at = 0,
    result_code = NULL, error = NULL, result = NULL
WHERE task_id IN ({in}) AND status IN (2, 3);

-- name: set_options
-- Write the options of rows that do not run.
UPDATE mqtasks_task SET options = {options} WHERE task_id IN ({task_id}) AND status = 0;

-- ---- runners ---------------------------------------------------------------------------------

-- name: lock_runner
-- One runner row.
SELECT generation, holder, state, lease_expires_at - {now}, host, pid FROM mqtasks_runner
WHERE runner_id = ?;

-- name: insert_runner
-- The first registration of a runner id.
INSERT INTO mqtasks_runner
    (runner_id, generation, holder, state, lease_expires_at, executors, labels, cpu, memory,
     parallelism, max_wait_tasks, host, pid, version, started_at)
VALUES (?, 1, ?, 1, {now} + ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {now});

-- name: restart_runner
-- A further registration of a runner id.
UPDATE mqtasks_runner SET generation = generation + 1, holder = ?, state = 1,
    lease_expires_at = {now} + ?, executors = ?, labels = ?, cpu = ?, memory = ?,
    parallelism = ?, max_wait_tasks = ?, host = ?, pid = ?, version = ?, started_at = {now},
    stopped_at = 0
WHERE runner_id = ?;

-- name: renew_runners
-- Extend leases; the text goes on with the runners.
UPDATE mqtasks_runner SET lease_expires_at = {now} + ? WHERE state <> 3;

-- name: renewable_runners
-- Which runners have a lease to extend; the text goes on with them.
SELECT runner_id FROM mqtasks_runner WHERE state <> 3;

-- name: set_runner_state
-- Change the state of a generation; STOPPED is the last one.
UPDATE mqtasks_runner SET
    stopped_at = CASE WHEN ? = 3 AND state <> 3 THEN {now} ELSE stopped_at END, state = ?
WHERE runner_id = ? AND generation = ? AND (state <> 3 OR ? = 3);

-- name: runners
-- All runner rows.
SELECT r.runner_id, generation, holder, state, lease_expires_at - {now}, executors, labels, cpu,
    memory, parallelism, max_wait_tasks, host, pid, version, started_at, resources
FROM mqtasks_runner AS r LEFT JOIN mqtasks_runner_resource AS o ON o.runner_id = r.runner_id
ORDER BY r.runner_id;

-- name: offer_resources
-- Note the named resources of a runner.
REPLACE INTO mqtasks_runner_resource (runner_id, resources) VALUES (?, ?);

-- name: withdraw_resources
-- A runner has no named resources, or is gone.
DELETE FROM mqtasks_runner_resource WHERE runner_id = ?;

-- name: fence_runner
-- End a generation whose process is known dead.
UPDATE mqtasks_runner SET generation = generation + 1,
    stopped_at = CASE WHEN state <> 3 THEN {now} ELSE stopped_at END, state = 3
WHERE runner_id = ? AND generation = ?;

-- name: fence_lapsed
-- End a generation whose lease has lapsed.
UPDATE mqtasks_runner SET generation = generation + 1, stopped_at = {now}, state = 3
WHERE runner_id = ? AND generation = ? AND state <> 3 AND lease_expires_at < {now};

-- name: owning_runners
-- Runner ids that own rows in a live status.
-- Differs because a recursive query seeks from runner to runner.
WITH RECURSIVE seek (status, runner) AS (
    SELECT status, MIN(runner) FROM mqtasks_task INDEXED BY mqtasks_task_queue WHERE status = ?
    UNION ALL
    SELECT seek.status, (SELECT MIN(runner) FROM mqtasks_task INDEXED BY mqtasks_task_queue
            WHERE status = seek.status AND runner > seek.runner)
    FROM seek WHERE seek.runner IS NOT NULL
)
SELECT runner FROM seek WHERE runner IS NOT NULL;

-- name: runner_states
-- State of every runner row.
SELECT runner_id, state FROM mqtasks_runner;

-- name: live_ids
-- Ids of the live rows of a runner: index only.
SELECT task_id FROM mqtasks_task INDEXED BY mqtasks_task_queue
WHERE status IN (1, 5) AND runner = ?;

-- name: lock_live
-- What a rescue needs to know of live rows.
SELECT task_id, epoch, status, runner_generation, started_at, last_heartbeat, allocated_at,
    crashes, reassigned, options, {now}
FROM mqtasks_task WHERE task_id IN ({in}) AND status IN (1, 5) AND runner = ?
ORDER BY task_id;

-- name: rescue
-- Send rescued rows back to CREATED.
UPDATE mqtasks_task SET status = 0, runner = '', runner_generation = 0, started_at = 0,
    crashes = crashes + {crashed}, reassigned = reassigned + 1
WHERE task_id IN ({task_id}) AND status = 1;

-- name: rescue_failed
-- End rescued rows that reached a cap as FAILED.
UPDATE mqtasks_task SET status = 2, result_code = 1, error = {error}, result = NULL,
    completed_at = {now}, crashes = crashes + {crashed}, reassigned = reassigned + 1
WHERE task_id IN ({task_id}) AND status = 1;

-- name: rescue_canceled
-- End rescued rows that were to be canceled as CANCELED.
UPDATE mqtasks_task SET status = 3, completed_at = {now}, crashes = crashes + {crashed}
WHERE task_id IN ({task_id}) AND status = 5;

-- name: crashed_attempts
-- CRASHED history rows of a runner.
SELECT task_id, epoch FROM mqtasks_attempt
WHERE task_id IN ({in}) AND runner = ? AND outcome = 3 ORDER BY task_id, epoch;

-- name: absolve_attempts
-- Turn CRASHED history rows into FENCED.
UPDATE mqtasks_attempt SET outcome = 7
WHERE task_id IN ({task_id}) AND epoch = {epoch} AND outcome = 3;

-- name: absolve_tasks
-- Take back one crash charge of tasks that have not ended.
UPDATE mqtasks_task SET crashes = crashes - 1
WHERE task_id IN ({in}) AND crashes > 0 AND status NOT IN (2, 3);

-- name: stopped_runners
-- Runners that were stopped long ago.
SELECT runner_id FROM mqtasks_runner WHERE state = 3 AND stopped_at + ? <= {now}
ORDER BY runner_id;

-- name: delete_runner
-- Delete a runner row.
DELETE FROM mqtasks_runner WHERE runner_id = ?;

-- ---- leases ----------------------------------------------------------------------------------

-- name: lock_lease
-- One lease.
SELECT holder, term, expires_at - {now} FROM mqtasks_lease WHERE name = ?;

-- name: insert_lease
-- The first holder of a lease.
INSERT INTO mqtasks_lease (name, holder, term, expires_at) VALUES (?, ?, 1, {now} + ?);

-- name: take_lease
-- The next term of a lease.
UPDATE mqtasks_lease SET holder = ?, term = term + 1, expires_at = {now} + ? WHERE name = ?;

-- name: renew_lease
-- Extend a lease.
UPDATE mqtasks_lease SET expires_at = {now} + ? WHERE name = ? AND holder = ? AND term = ?;

-- name: release_lease
-- Give a lease up.
UPDATE mqtasks_lease SET holder = '', expires_at = 0
WHERE name = ? AND term = ? AND holder IN (?, '');

-- name: lease
-- Who holds a lease.
SELECT holder, term, expires_at - {now} FROM mqtasks_lease WHERE name = ?;

-- ---- cron ------------------------------------------------------------------------------------

-- name: cron_tasks
-- All definitions that are not deleted.
SELECT cron_id, metadata_id, executor, context, options, cron_expr, timezone, next_time,
    trigger_times, version, paused, created_at, updated_at, policy
FROM mqtasks_cron_task LEFT JOIN mqtasks_cron_policy USING (cron_id)
WHERE deleted = 0 ORDER BY metadata_id;

-- name: find_cron
-- One definition.
SELECT cron_id, metadata_id, executor, context, options, cron_expr, timezone, next_time,
    trigger_times, version, paused, created_at, updated_at, policy
FROM mqtasks_cron_task LEFT JOIN mqtasks_cron_policy USING (cron_id)
WHERE metadata_id = ? AND deleted = 0;

-- name: due_cron
-- Definitions that are due, earliest first.
SELECT cron_id, metadata_id, executor, context, options, cron_expr, timezone, next_time,
    trigger_times, version, paused, created_at, updated_at, policy
FROM mqtasks_cron_task INDEXED BY mqtasks_cron_task_due
LEFT JOIN mqtasks_cron_policy USING (cron_id)
WHERE deleted = 0 AND paused = 0 AND next_time <= {now} ORDER BY next_time, cron_id LIMIT ?;

-- name: next_cron
-- Milliseconds until the next definition is due.
SELECT next_time - {now} FROM mqtasks_cron_task INDEXED BY mqtasks_cron_task_due
WHERE deleted = 0 AND paused = 0 ORDER BY next_time LIMIT 1;

-- name: lock_crons
-- What triggers and edits need to know of definitions.
SELECT cron_id, metadata_id, trigger_times, version, paused, deleted, next_time
FROM mqtasks_cron_task
WHERE metadata_id IN ({in}) ORDER BY metadata_id;

-- name: lock_cron
-- What a trigger or an edit needs to know of one definition.
SELECT cron_id, metadata_id, trigger_times, version, paused, deleted, next_time
FROM mqtasks_cron_task
WHERE metadata_id = ?;

-- name: insert_cron
-- A definition that is new.
INSERT INTO mqtasks_cron_task
    (executor, context, options, cron_expr, timezone, next_time, paused, trigger_times, version,
     created_at, updated_at, metadata_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {now}, ?);

-- name: replace_cron
-- Edit a definition, or bring a deleted one back.
UPDATE mqtasks_cron_task SET executor = ?, context = ?, options = ?, cron_expr = ?,
    timezone = ?, next_time = ?, paused = ?, version = version + 1, deleted = 0,
    updated_at = {now}
WHERE cron_id = ?;

-- name: advance_crons
-- Definitions that have fired.
UPDATE mqtasks_cron_task SET next_time = {next_time}, trigger_times = trigger_times + {times},
    updated_at = {now}
WHERE cron_id IN ({cron_id});

-- name: delete_cron
-- Delete a definition softly.
UPDATE mqtasks_cron_task SET deleted = 1, updated_at = {now}
WHERE metadata_id = ? AND deleted = 0;

-- name: cron_number
-- The number of a definition, also of a deleted one.
SELECT cron_id FROM mqtasks_cron_task WHERE metadata_id = ?;

-- name: put_cron_policy
-- What has no column in the row of a definition.
REPLACE INTO mqtasks_cron_policy (policy, cron_id) VALUES (?, ?);

-- name: record_firings
-- Firings of definitions that this transaction has locked.
INSERT INTO mqtasks_cron_firing (cron_id, kind, fire_time, state, task, fired_at) VALUES {rows};

-- name: firing
-- Whether a firing is recorded.
SELECT state FROM mqtasks_cron_firing WHERE cron_id = ? AND kind = ? AND fire_time = ?;

-- name: firings
-- The latest firings of a definition.
SELECT kind, fire_time, state, task, fired_at FROM mqtasks_cron_firing
WHERE cron_id = ? AND kind = ? AND fire_time <= ? ORDER BY fire_time DESC LIMIT ?;

-- name: manual_firings
-- What somebody triggered lately.
SELECT cron_id, task FROM mqtasks_cron_firing
WHERE cron_id IN ({in}) AND kind = 1 AND fire_time > {now} - ?;

-- name: fired_tasks
-- What has become of the tasks of firings.
SELECT metadata_id, task_id, status, result_code FROM mqtasks_task WHERE metadata_id IN ({in});

-- name: prune_firings
-- Delete the oldest records of firings. Differs because SQLite deletes without a limit.
DELETE FROM mqtasks_cron_firing WHERE rowid IN
    (SELECT rowid FROM mqtasks_cron_firing WHERE fired_at <= {now} - ? ORDER BY fired_at LIMIT ?);

-- ---- pauses ----------------------------------------------------------------------------------

-- name: lock_pause
-- Whether something is paused.
SELECT paused_at FROM mqtasks_pause WHERE kind = ? AND name = ?;

-- name: insert_pause
-- Pause something.
INSERT INTO mqtasks_pause (kind, name, reason, paused_at) VALUES (?, ?, ?, {now});

-- name: delete_pause
-- Lift a pause.
DELETE FROM mqtasks_pause WHERE kind = ? AND name = ?;

-- name: pauses
-- All pauses; there are few.
SELECT kind, name, reason, paused_at FROM mqtasks_pause ORDER BY kind, name;

-- ---- steps -----------------------------------------------------------------------------------

-- name: save_step
-- Store the result of a step if its task is live at this runner in this epoch.
INSERT INTO mqtasks_step (task_id, name, number, epoch, saved_at, result)
SELECT task_id, ?, ?, epoch, {now}, ? FROM mqtasks_task
WHERE task_id = ? AND status IN (1, 5) AND runner = ? AND epoch = ?;

-- name: step
-- One step of a task.
SELECT name, number, epoch, saved_at, result FROM mqtasks_step WHERE task_id = ? AND name = ?;

-- name: steps
-- The steps of one task, in the order in which they were stored.
SELECT name, number, epoch, saved_at, result FROM mqtasks_step WHERE task_id = ?
ORDER BY number, name;

-- name: delete_steps
-- Delete the steps of tasks by id.
DELETE FROM mqtasks_step WHERE task_id IN ({in});

-- name: unended
-- Of these tasks, those that have not ended.
SELECT task_id FROM mqtasks_task WHERE task_id IN ({in}) AND status NOT IN (2, 3);

-- ---- dependencies ----------------------------------------------------------------------------
-- A column + 0 keeps the optimizer from an index on it: the child leads.

-- name: lock_parents
-- State of tasks that others are about to wait for, locked against deletion and their end.
SELECT task_id, status, result_code FROM mqtasks_task WHERE task_id IN ({in})
ORDER BY task_id;

-- name: insert_edges
-- Links of new tasks; the text goes on with further rows.
INSERT INTO mqtasks_dependency (child_id, parent_id, position, policy, outcome)
VALUES (?, ?, ?, ?, ?);

-- name: open_parents
-- The next tasks that others wait for, each as often as some do: index only.
SELECT parent_id FROM mqtasks_dependency INDEXED BY mqtasks_dependency_open
WHERE outcome = 0 AND parent_id > ? ORDER BY parent_id LIMIT ?;

-- name: open_edges
-- Who waits for these tasks: index only.
SELECT parent_id, child_id FROM mqtasks_dependency INDEXED BY mqtasks_dependency_open
WHERE outcome = 0 AND parent_id IN ({in}) ORDER BY parent_id, child_id LIMIT ?;

-- name: lock_linked
-- What the resolver needs to know of children and parents, locked in the order of all writers.
SELECT task_id, status, result_code, metadata_id, run_at, options FROM mqtasks_task
WHERE task_id IN ({in}) ORDER BY task_id;

-- name: judged_edges
-- Open links of locked children; the text goes on with children and parents.
SELECT child_id, parent_id, position, policy FROM mqtasks_dependency WHERE outcome + 0 = 0;

-- name: settle_edges
-- Write what became of parents; the text goes on with children and parents.
UPDATE mqtasks_dependency SET outcome = ? WHERE outcome + 0 = 0;

-- name: open_counts
-- How many links of locked children are still open.
SELECT child_id, COUNT(*) FROM mqtasks_dependency
WHERE child_id IN ({in}) AND outcome + 0 = 0 GROUP BY child_id;

-- name: drop_edges
-- Children that have ended wait for nothing any more.
UPDATE mqtasks_dependency SET outcome = 6 WHERE child_id IN ({in}) AND outcome + 0 = 0;

-- name: release_waiting
-- Make WAITING rows CREATED; they enter their lanes.
UPDATE mqtasks_task SET status = 0, run_at = {run_at}, queue_lane = lane, queue_rank = -priority
WHERE task_id IN ({task_id}) AND status = 6;

-- name: schedule_waiting
-- Make WAITING rows SCHEDULED.
UPDATE mqtasks_task SET status = 4, run_at = {run_at} WHERE task_id IN ({task_id}) AND status = 6;

-- name: fail_waiting
-- End WAITING rows as COMPLETED, FAILED.
UPDATE mqtasks_task SET status = 2, result_code = 1, error = {error}, completed_at = {now},
    queue_lane = lane, queue_rank = -priority
WHERE task_id IN ({task_id}) AND status = 6;

-- name: dependencies
-- The links of one task to its parents.
SELECT child_id, parent_id, position, policy, outcome FROM mqtasks_dependency WHERE child_id = ?
ORDER BY position;

-- name: children
-- The links of one task to its children.
SELECT child_id, parent_id, position, policy, outcome
FROM mqtasks_dependency INDEXED BY mqtasks_dependency_parent
WHERE parent_id = ? AND child_id > ? ORDER BY child_id LIMIT ?;

-- name: parent_results
-- What became of the tasks that one waited for.
SELECT d.parent_id, d.outcome, p.metadata_id, p.result_code, p.error, p.result
FROM mqtasks_dependency AS d LEFT JOIN mqtasks_task AS p ON p.task_id = d.parent_id
WHERE d.child_id = ? AND d.outcome <> 5 ORDER BY d.position;

-- name: why_ended
-- What is said of these tasks' end: the error of the result, and of the attempt, if it was canceled.
SELECT p.task_id, SUBSTR(p.error, 1, 2000), SUBSTR(a.error, 1, 2000) FROM mqtasks_task AS p
LEFT JOIN mqtasks_attempt AS a
ON a.task_id = p.task_id AND a.epoch = p.epoch AND a.outcome = 6 AND p.status = 3
WHERE p.task_id IN ({in});

-- name: needed_parents
-- Of these tasks, those whose results somebody may still ask for.
SELECT DISTINCT d.parent_id
FROM mqtasks_dependency AS d INDEXED BY mqtasks_dependency_parent
JOIN mqtasks_task AS c ON c.task_id = d.child_id
WHERE d.parent_id IN ({in}) AND d.outcome <> 5 AND c.status NOT IN (2, 3);

-- name: delete_edges
-- Delete the links of children by id.
DELETE FROM mqtasks_dependency WHERE child_id IN ({in});

-- ---- unique windows --------------------------------------------------------------------------

-- name: take_windows
-- Make windows that are missing, as expired ones. Differs because the write lock is held anyway.
INSERT OR IGNORE INTO mqtasks_unique (unique_key, task_id, metadata_id, expires_at) VALUES {rows};

-- name: windows
-- Windows by key.
SELECT HEX(unique_key), expires_at > {now}, task_id, metadata_id FROM mqtasks_unique
WHERE unique_key IN ({in});

-- name: keep_windows
-- Give windows to their tasks.
REPLACE INTO mqtasks_unique (unique_key, task_id, metadata_id, expires_at) VALUES {rows};

-- name: expired_windows
-- Windows that have expired, the oldest first.
SELECT HEX(unique_key) FROM mqtasks_unique WHERE expires_at <= {now} ORDER BY expires_at LIMIT ?;

-- name: delete_windows
-- Delete windows that have expired.
DELETE FROM mqtasks_unique WHERE unique_key IN ({in}) AND expires_at <= {now};

-- ---- deadlines -------------------------------------------------------------------------------

-- name: note_deadlines
-- Note when to look at tasks; twice is harmless.
REPLACE INTO mqtasks_deadline (metadata_id, look_at) VALUES {rows};

-- name: due_deadlines
-- Deadlines to look at, the earliest first.
SELECT metadata_id, look_at FROM mqtasks_deadline
WHERE look_at <= {now} ORDER BY look_at LIMIT ?;

-- name: lock_expiring
-- What decides about the deadline of tasks, locked.
SELECT task_id, metadata_id, status, options, created_at, {now} FROM mqtasks_task
WHERE task_id IN ({in}) ORDER BY task_id;

-- name: expire
-- End tasks that nobody runs as FAILED.
UPDATE mqtasks_task SET status = 2, result_code = 1, error = {error}, result = NULL, runner = '',
    completed_at = {now}, queue_lane = lane, queue_rank = -priority
WHERE task_id IN ({task_id}) AND status IN (0, 4, 6);

-- name: delete_deadline
-- Forget a note that was looked at: by its whole key, so that no other is locked.
DELETE FROM mqtasks_deadline WHERE metadata_id = ? AND look_at = ?;
