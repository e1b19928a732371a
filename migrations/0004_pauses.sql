-- Environments whose `resume` command is owed: written before `pause` runs, removed when `resume` has succeeded.
CREATE TABLE pauses (
    environment_id TEXT PRIMARY KEY REFERENCES environments (id) ON DELETE CASCADE,
    activity_id TEXT NOT NULL REFERENCES activities (id) ON DELETE CASCADE,
    -- Until when somebody may be resuming it; when it is to be tried again after it failed. 0: at once.
    busy_until BIGINT NOT NULL,
    again_at BIGINT NOT NULL
);
