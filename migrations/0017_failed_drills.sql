-- When the last drill of it failed to load it (R13): retention keeps the newest that can be restored. NULL: it did not.
ALTER TABLE snapshots ADD COLUMN drill_failed_at BIGINT;
