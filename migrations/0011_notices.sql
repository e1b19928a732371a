-- Where a project's notices go: an e-mail address, or an address that takes signed posts.
CREATE TABLE channels (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- mail | webhook
    way TEXT NOT NULL,
    -- Some services put their password into it.
    sealed_address TEXT NOT NULL,
    -- A JSON list of words.
    notices TEXT NOT NULL,
    -- Signs the posts of a webhook.
    sealed_secret TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX channels_by_project ON channels (project_id);

-- What is to be sent, and what was: written in the transaction of what it tells of.
CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    channel_id TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    -- NULL: a trial.
    activity_id TEXT REFERENCES activities (id) ON DELETE CASCADE,
    notice TEXT NOT NULL,
    -- waiting | delivered | given_up
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    -- When it is to be tried again; while it is tried: until when nobody else does.
    next_at BIGINT NOT NULL,
    -- Why the last try failed.
    error TEXT,
    created_at BIGINT NOT NULL,
    done_at BIGINT
);
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE state = 'waiting';
CREATE INDEX deliveries_by_project ON deliveries (project_id, created_at);
CREATE INDEX deliveries_by_channel ON deliveries (channel_id, created_at);
