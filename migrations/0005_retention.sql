-- R13: what a protected snapshot is kept for.
ALTER TABLE snapshots ADD COLUMN protection_note TEXT;
-- R14: who deleted it, and when its data leaves the repository; NULL once it has left.
ALTER TABLE snapshots ADD COLUMN deleted_by TEXT;
ALTER TABLE snapshots ADD COLUMN forget_at BIGINT;
CREATE INDEX snapshots_to_forget ON snapshots (forget_at) WHERE forget_at IS NOT NULL;
-- What the project's snapshots may take together, bytes; NULL: as much as there is.
ALTER TABLE projects ADD COLUMN storage_budget BIGINT;
-- When freed space is to be taken out of the repository; NULL: there is none that we know of.
ALTER TABLE projects ADD COLUMN prune_at BIGINT;
-- Plans that were declared in a file, beside the built-in ones: the text that a project gets which is put under one now.
CREATE TABLE offered_plans (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL REFERENCES plans (hash)
);
