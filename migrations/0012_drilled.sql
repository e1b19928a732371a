-- "How did the last drill end?" stands on every page: without it an environment that has none reads its whole history.
CREATE INDEX activities_drilled ON activities (environment_id, seq) WHERE kind = 'environment.drill' AND result IS NOT NULL;
