-- What a schedule does (R29): snapshot | drill. One of each comes by itself with an environment.
ALTER TABLE schedules ADD COLUMN what TEXT NOT NULL DEFAULT 'snapshot';
-- The activity of which somebody was told that it is overdue.
ALTER TABLE schedules ADD COLUMN told_activity TEXT;
DROP INDEX schedules_of_plan;
CREATE UNIQUE INDEX schedules_of_plan ON schedules (environment_id, what) WHERE source = 'plan';
CREATE INDEX schedules_by_last_activity ON schedules (last_activity);

-- 0: nothing could be proven where it was tried.
ALTER TABLE drills ADD COLUMN proven BIGINT NOT NULL DEFAULT 1;

-- Percent of the storage budget that somebody was told of; 0: none.
ALTER TABLE projects ADD COLUMN storage_told BIGINT NOT NULL DEFAULT 0;
-- What a project's snapshots take is summed up at each.
CREATE INDEX snapshots_by_project ON snapshots (project_id, added) WHERE deleted_at IS NULL;

-- Notices that were told by these names so far.
UPDATE channels SET notices = REPLACE(notices, '"snapshot_failed"', '"snapshot_failed","snapshot_missed"');
UPDATE channels SET notices = REPLACE(notices, '"drill_failed"', '"drill_failed","drill_missed"');

-- Deliveries go to a channel, or to one person.
CREATE TABLE outbox (
    id TEXT PRIMARY KEY,
    -- channel:ID or person:ID. In order for each.
    destination TEXT NOT NULL,
    channel_id TEXT REFERENCES channels (id) ON DELETE CASCADE,
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- NULL: a trial, or what no activity tells.
    activity_id TEXT REFERENCES activities (id) ON DELETE CASCADE,
    notice TEXT NOT NULL,
    -- What is told, where the activity does not say it; a sentence.
    about TEXT,
    -- waiting | delivered | given_up
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    -- When it is to be tried again.
    next_at BIGINT NOT NULL,
    -- Until when whoever tries it has it.
    taken_until BIGINT NOT NULL DEFAULT 0,
    -- Why the last try failed.
    error TEXT,
    created_at BIGINT NOT NULL,
    done_at BIGINT
);
INSERT INTO outbox (id, destination, channel_id, project_id, activity_id, notice, state, attempts, next_at, error, created_at, done_at)
SELECT id, 'channel:' || channel_id, channel_id, project_id, activity_id, notice, state, attempts, next_at, error, created_at, done_at
FROM deliveries;
DROP TABLE deliveries;
ALTER TABLE outbox RENAME TO deliveries;
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE state = 'waiting';
CREATE INDEX deliveries_waiting ON deliveries (destination, created_at) WHERE state = 'waiting';
CREATE INDEX deliveries_by_project ON deliveries (project_id, created_at);
CREATE INDEX deliveries_by_channel ON deliveries (channel_id, created_at);
