-- Snapshots that were restored beside the live data and checked (R29): those that succeeded, with their reports.
CREATE TABLE drills (
    activity_id TEXT PRIMARY KEY REFERENCES activities (id) ON DELETE CASCADE,
    environment_id TEXT NOT NULL REFERENCES environments (id),
    finished_at BIGINT NOT NULL,
    report TEXT NOT NULL
);
CREATE INDEX drills_by_environment ON drills (environment_id, finished_at);
