-- The extension stays: others may use it.

DROP INDEX access_tokens_created_at, access_tokens_revoked_at;
ALTER TABLE access_tokens DROP COLUMN time_up_at;
DROP INDEX users_inactive;
DROP INDEX users_search;
