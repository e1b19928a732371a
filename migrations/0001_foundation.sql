-- Text ids, times as BIGINT microseconds since 1970 in UTC, flags as BIGINT 0/1, JSON as TEXT: the same on SQLite and
-- PostgreSQL. Columns named sealed_* are encrypted with the installation's key.

CREATE TABLE installation (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- Gap-free sequences in the order of commit: a feed that resumes after number n has missed nothing.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('activity', 0), ('event', 0);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL CONSTRAINT users_email_unique UNIQUE,
    password_hash TEXT NOT NULL,
    operator BIGINT NOT NULL DEFAULT 0,
    support BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    data TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    hash TEXT NOT NULL CONSTRAINT tokens_hash_unique UNIQUE,
    grants TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX tokens_by_user ON tokens (user_id);

CREATE TABLE regions (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    -- self_service | by_ticket | unavailable (R27)
    restore_elsewhere TEXT NOT NULL
);

-- Every text of a plan that a project was ever under, by its hash.
CREATE TABLE plans (
    hash TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    region_id TEXT NOT NULL REFERENCES regions (id),
    plan_id TEXT NOT NULL,
    plan_hash TEXT NOT NULL REFERENCES plans (hash),
    -- Where the repository is, and the key that opens it.
    repository TEXT NOT NULL,
    sealed_repository_key TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE members (
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- admin | viewer; NULL: only the roles by type
    role TEXT,
    -- {"production": "viewer", …}
    types TEXT NOT NULL,
    PRIMARY KEY (project_id, user_id)
);
CREATE INDEX members_by_user ON members (user_id);

CREATE TABLE environments (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    title TEXT NOT NULL,
    parent TEXT,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    live BIGINT NOT NULL,
    sealed_composition TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT environments_name_unique UNIQUE (project_id, name)
);

-- The queue, the feed and the audit record at once.
CREATE TABLE activities (
    id TEXT PRIMARY KEY,
    seq BIGINT NOT NULL CONSTRAINT activities_seq_unique UNIQUE,
    project_id TEXT NOT NULL REFERENCES projects (id),
    environment_id TEXT NOT NULL REFERENCES environments (id),
    -- A child runs under its parent's lease.
    parent_id TEXT REFERENCES activities (id),
    region_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    result TEXT,
    failure TEXT,
    initiator_user TEXT,
    initiator_name TEXT NOT NULL,
    authority TEXT NOT NULL,
    progress BIGINT NOT NULL DEFAULT 0,
    payload_version BIGINT NOT NULL,
    payload TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    started_at BIGINT,
    completed_at BIGINT,
    cancel_requested BIGINT NOT NULL DEFAULT 0,
    attempts BIGINT NOT NULL DEFAULT 0,
    lease_owner TEXT,
    -- Grows with every taking: asked again before anything final is written.
    lease_generation BIGINT NOT NULL DEFAULT 0,
    lease_expires_at BIGINT
);
CREATE INDEX activities_by_environment ON activities (environment_id, seq);
CREATE INDEX activities_by_project ON activities (project_id, seq);
CREATE INDEX activities_unfinished ON activities (state, seq) WHERE state IN ('pending', 'in_progress');

-- What an activity locks: its own environment, and for a restore its target.
CREATE TABLE activity_targets (
    activity_id TEXT NOT NULL REFERENCES activities (id) ON DELETE CASCADE,
    environment_id TEXT NOT NULL REFERENCES environments (id),
    PRIMARY KEY (activity_id, environment_id)
);
CREATE INDEX activity_targets_by_environment ON activity_targets (environment_id);

CREATE TABLE activity_log (
    activity_id TEXT NOT NULL REFERENCES activities (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (activity_id, seq)
);

-- "This activity changed": wakes feeds; the activity itself is the truth.
CREATE TABLE events (
    seq BIGINT PRIMARY KEY,
    project_id TEXT NOT NULL,
    environment_id TEXT NOT NULL,
    activity_id TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX events_by_environment ON events (environment_id, seq);

-- Complete snapshots only (R15).
CREATE TABLE snapshots (
    name TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    environment_id TEXT NOT NULL REFERENCES environments (id),
    activity_id TEXT REFERENCES activities (id),
    origin TEXT NOT NULL,
    consistency TEXT NOT NULL,
    note TEXT,
    repository_id TEXT NOT NULL,
    manifest TEXT NOT NULL,
    taken_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    protected BIGINT NOT NULL DEFAULT 0,
    deleted_at BIGINT,
    size BIGINT NOT NULL,
    added BIGINT NOT NULL,
    proof TEXT
);
CREATE INDEX snapshots_by_environment ON snapshots (environment_id, taken_at);
CREATE INDEX snapshots_by_activity ON snapshots (activity_id);

-- R14: shared for snapshot, restore and reading, exclusive for prune.
CREATE TABLE repository_leases (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    exclusive BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX repository_leases_by_project ON repository_leases (project_id);

-- R23: a swap's intent and each finished step, written durably before the next.
CREATE TABLE swaps (
    activity_id TEXT PRIMARY KEY REFERENCES activities (id),
    environment_id TEXT NOT NULL REFERENCES environments (id),
    -- loading | swapping | swapped | rolling_back | done
    stage TEXT NOT NULL,
    -- What each driver needs to commit or to roll back.
    sealed_body TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX swaps_unfinished ON swaps (environment_id) WHERE stage <> 'done';

CREATE TABLE gateways (
    id TEXT PRIMARY KEY,
    region_id TEXT NOT NULL,
    epoch TEXT NOT NULL,
    control_url TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
