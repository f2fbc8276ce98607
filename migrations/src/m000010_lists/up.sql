-- What lists for administrators are found by, however many rows there are.

-- Accounts by any part of their e-mail or username, without regard to case.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE INDEX users_search ON users USING gin (lower(email || chr(10) || username COLLATE "und-x-icu") gin_trgm_ops);
-- Fine enough to tell a search that finds a few from one that finds a page's worth at once.
ALTER INDEX users_search ALTER COLUMN 1 SET STATISTICS 1000;
CREATE INDEX users_inactive ON users (id DESC) WHERE NOT is_active;

-- When a token's time is up, by UTC and hours that are hours; null until it is activated.
ALTER TABLE access_tokens ADD COLUMN time_up_at timestamp
    GENERATED ALWAYS AS (activated_at AT TIME ZONE 'UTC' + duration_hours * interval '1 hour') STORED;
-- Tokens that may still work.
CREATE INDEX access_tokens_time_up_at ON access_tokens (time_up_at) WHERE revoked_at IS NULL;

-- For the dashboard: what was revoked, and what was sold by the day.
CREATE INDEX access_tokens_revoked_at ON access_tokens (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX access_tokens_created_at ON access_tokens (created_at);
