-- Where a project's repository lay before it was moved to another region. Nothing of ours removes it: the rows tell operators
-- what is still there. A project that comes back to a place has left it no more.
CREATE TABLE left_repositories (
    project_id TEXT NOT NULL REFERENCES projects (id),
    location TEXT NOT NULL,
    region_id TEXT NOT NULL,
    left_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, location)
);
