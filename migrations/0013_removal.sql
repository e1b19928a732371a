-- An environment that was removed keeps its row, for its feed and its snapshots. Its name is free again: `name` then holds a
-- slash and its id, which is no name, and `called` what it is called. When another one takes that name, it is called by its id.
ALTER TABLE environments ADD COLUMN called TEXT;
-- What a restore made for it and in it (JSON): taken away when it is removed. NULL: nothing.
ALTER TABLE environments ADD COLUMN made TEXT;
-- A removed project is seen by operators alone.
ALTER TABLE projects ADD COLUMN removed_at BIGINT;
-- Where the region's repositories lie, as its workers see it; NULL: in the data directory, which only `local` has.
ALTER TABLE regions ADD COLUMN repositories TEXT;
