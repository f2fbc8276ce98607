-- The extension stays: others may use it.

ALTER TABLE access_tokens DROP COLUMN time_up_at;
DROP INDEX users_inactive;
DROP INDEX users_search;
