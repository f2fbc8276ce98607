-- Forgets what waits to be published.

DROP TABLE settings;
DROP TABLE outbox;
DROP FUNCTION outbox_notify();
