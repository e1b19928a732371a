-- Since when nobody gets in by it; its name stays in the history. NULL: it is open.
ALTER TABLE users ADD COLUMN closed_at BIGINT;
