-- When snapshots are taken without anybody asking at that moment. A plan's own has one row for each active environment.
CREATE TABLE schedules (
    id TEXT PRIMARY KEY,
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    -- plan | person
    source TEXT NOT NULL,
    cron TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    -- The plan's, but a person changed it.
    edited BIGINT NOT NULL,
    owner_user TEXT REFERENCES users (id) ON DELETE SET NULL,
    owner_name TEXT,
    -- active | paused | stopped
    state TEXT NOT NULL,
    stopped_because TEXT,
    -- It counts from then: made, changed or resumed.
    since BIGINT NOT NULL,
    -- The next run: by its expression, and when it really begins; both NULL while there is none.
    due_at BIGINT,
    next_at BIGINT,
    -- Runs in a row that came to nothing.
    missed BIGINT NOT NULL,
    last_activity TEXT REFERENCES activities (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX schedules_by_next ON schedules (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX schedules_by_environment ON schedules (environment_id);
-- "Has any environment changed?" is asked once a second, and must not read them all.
CREATE INDEX environments_changed ON environments (status, updated_at);
-- What several servers, or a plan that is put on twice, must not make twice.
CREATE UNIQUE INDEX schedules_of_plan ON schedules (environment_id) WHERE source = 'plan';
