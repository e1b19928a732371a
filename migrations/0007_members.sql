-- Who manages a member's roles: `console` (members page, API) or `file` (the operator's declaration).
ALTER TABLE members ADD COLUMN source TEXT NOT NULL DEFAULT 'console';
ALTER TABLE members ADD COLUMN since BIGINT;

-- By a session or a token; exact to minutes.
ALTER TABLE users ADD COLUMN last_seen_at BIGINT;

-- Links that work once, kept as SHA-256 of their 256 random bits.
CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    email TEXT NOT NULL,
    role TEXT,
    types TEXT NOT NULL,
    hash TEXT NOT NULL CONSTRAINT invitations_hash_unique UNIQUE,
    -- Whose right to invite is asked for again when it is accepted.
    invited_by TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    accepted_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX invitations_by_project ON invitations (project_id, created_at);

-- One at most for each account: a new one replaces it.
CREATE TABLE password_resets (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    hash TEXT NOT NULL CONSTRAINT password_resets_hash_unique UNIQUE,
    expires_at BIGINT NOT NULL
);

-- Sessions from before can't be told apart by their person: everybody logs in once more.
DELETE FROM sessions;
ALTER TABLE sessions ADD COLUMN user_id TEXT;
ALTER TABLE sessions ADD COLUMN started_at BIGINT;
ALTER TABLE sessions ADD COLUMN address TEXT;
CREATE INDEX sessions_by_user ON sessions (user_id);

-- Where whoever asked for it was, as the slowing down of logins sees it.
ALTER TABLE activities ADD COLUMN address TEXT;

-- What no activity tells: changes of a project or the installation, and refusals (R5). Numbered with the activities.
CREATE TABLE audit_events (
    seq BIGINT PRIMARY KEY,
    id TEXT NOT NULL CONSTRAINT audit_events_id_unique UNIQUE,
    -- NULL: of the installation.
    project_id TEXT REFERENCES projects (id),
    environment_id TEXT REFERENCES environments (id),
    kind TEXT NOT NULL,
    at BIGINT NOT NULL,
    -- NULL: somebody who did not prove who they are, or the operator's own command line.
    user_id TEXT,
    name TEXT NOT NULL,
    authority TEXT NOT NULL,
    address TEXT,
    -- success | refused
    outcome TEXT NOT NULL,
    reason TEXT,
    about TEXT NOT NULL
);
CREATE INDEX audit_events_by_project ON audit_events (project_id, seq);
CREATE INDEX audit_events_by_kind ON audit_events (kind, at);

-- Both halves have columns of the same types (hence the casts): only then SQLite merges them by their indexes and reads no
-- more than a page needs.
CREATE VIEW audit AS
SELECT seq, id, project_id, environment_id, kind, created_at AS at, initiator_user AS user_id, initiator_name AS name,
       authority, address, CAST(CASE WHEN state = 'complete' THEN result ELSE state END AS TEXT) AS outcome, failure AS reason,
       payload AS about, CAST(1 AS BIGINT) AS is_activity
FROM activities WHERE initiator_user IS NOT NULL
UNION ALL
SELECT seq, id, project_id, environment_id, kind, at, user_id, name, authority, address, outcome, reason, about,
       CAST(0 AS BIGINT) AS is_activity
FROM audit_events;
