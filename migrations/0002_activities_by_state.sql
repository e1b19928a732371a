-- "Is anything running here?" and "how did the last one end?" stand on every page: without it they read the whole history.
CREATE INDEX activities_by_state ON activities (environment_id, state, seq);
