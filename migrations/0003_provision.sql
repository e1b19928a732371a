-- How new environments of the project are made, as JSON; NULL: they are not.
ALTER TABLE projects ADD COLUMN provision TEXT;
