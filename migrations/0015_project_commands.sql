-- Commands that an operator named for all environments of the project, as JSON; NULL: none.
ALTER TABLE projects ADD COLUMN commands TEXT;
