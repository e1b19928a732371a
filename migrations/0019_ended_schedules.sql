-- Schedules that were removed: what they took goes as it would have gone had they run on, so their rhythm is kept.
CREATE TABLE ended_schedules (
    id TEXT PRIMARY KEY,
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    cron TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    ended_at BIGINT NOT NULL
);

-- Outlives its schedule.
CREATE TABLE schedule_series (
    activity_id TEXT NOT NULL REFERENCES activities (id) ON DELETE CASCADE,
    schedule_id TEXT NOT NULL,
    PRIMARY KEY (activity_id, schedule_id)
);
INSERT INTO schedule_series (activity_id, schedule_id) SELECT activity_id, schedule_id FROM schedule_runs;
DROP TABLE schedule_runs;
ALTER TABLE schedule_series RENAME TO schedule_runs;
CREATE INDEX schedule_runs_by_schedule ON schedule_runs (schedule_id);

-- When its last drill proved that it can be restored (R13). NULL: it did not, or there was none.
ALTER TABLE snapshots ADD COLUMN proven_at BIGINT;
UPDATE snapshots SET proven_at = (
    SELECT MAX(d.finished_at) FROM drills d
    WHERE d.environment_id = snapshots.environment_id AND d.proven = 1
      AND d.report LIKE '%"snapshot":"' || snapshots.name || '"%')
WHERE drill_failed_at IS NULL;
