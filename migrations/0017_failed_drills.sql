-- When the last drill of it failed to load it (R13): retention keeps the newest that can be restored. NULL: it did not.
ALTER TABLE snapshots ADD COLUMN drill_failed_at BIGINT;

-- Which schedules a snapshot was taken for: each keeps a number of its own. One that is asked for shares what another one's run
-- takes at that moment.
CREATE TABLE schedule_runs (
    activity_id TEXT NOT NULL REFERENCES activities (id) ON DELETE CASCADE,
    schedule_id TEXT NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    PRIMARY KEY (activity_id, schedule_id)
);
CREATE INDEX schedule_runs_by_schedule ON schedule_runs (schedule_id);

-- What an unfinished ticket asks for, asked for once (R28). NULL: filed before this was written down.
ALTER TABLE tickets ADD COLUMN wants TEXT;
CREATE UNIQUE INDEX tickets_unfinished ON tickets (project_id, wants) WHERE state IN ('open', 'in_progress');

-- Whoever is told what fails is told what is taken away, too.
UPDATE channels SET notices = REPLACE(notices, '"snapshot_failed"', '"snapshot_failed","snapshot_deleted"');
