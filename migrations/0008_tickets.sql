-- Restore tickets (R27, R28).
CREATE TABLE tickets (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    -- Kept while the ticket is unfinished (R13).
    snapshot TEXT NOT NULL,
    -- What is wanted, what it would replace, and what was there when it was filed, as JSON: never changed.
    wanted TEXT NOT NULL,
    plan TEXT NOT NULL,
    changes TEXT NOT NULL,
    requester TEXT NOT NULL,
    requester_name TEXT NOT NULL,
    -- open | in_progress | restored | declined | withdrawn
    state TEXT NOT NULL,
    claimer TEXT,
    claimer_name TEXT,
    -- The restore that is under way for it, or that did it.
    run_id TEXT REFERENCES activities (id),
    version BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX tickets_by_state ON tickets (state, created_at);
CREATE INDEX tickets_by_project ON tickets (project_id, state);
CREATE INDEX tickets_by_run ON tickets (run_id);

-- Its history: activities of its own, and the restores that were run for it.
CREATE TABLE ticket_steps (
    ticket_id TEXT NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    activity_id TEXT NOT NULL REFERENCES activities (id) ON DELETE CASCADE,
    PRIMARY KEY (ticket_id, activity_id)
);
