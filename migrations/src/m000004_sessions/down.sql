-- Forgets who used what, and which cuts there were.

DROP TABLE proxy_session_figures;
DROP TABLE proxy_sessions;
ALTER TABLE access_tokens DROP COLUMN cut_device;
ALTER TABLE access_tokens DROP COLUMN cut_code;
ALTER TABLE access_tokens DROP COLUMN cut_gen;
