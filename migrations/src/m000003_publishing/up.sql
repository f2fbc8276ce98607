-- What Redis must still be told. A row says only that a token changed: the relay reads how it
-- stands when it publishes, so rows may be repeated and reordered.

CREATE TABLE outbox (
    id         bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    token_id   uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX outbox_token_id ON outbox (token_id);
CREATE INDEX outbox_created_at ON outbox (created_at);

-- Wakes the relays when the transaction commits; Postgres folds the wake-ups of one transaction
-- into one.
CREATE FUNCTION outbox_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('outbox', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER outbox_notify AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_notify();

-- What there is one of. Its epoch counts restores of this database from a backup: what was
-- published in an older one is replaced whatever its version.
CREATE TABLE settings (
    only_row boolean PRIMARY KEY DEFAULT true CONSTRAINT settings_only_row CHECK (only_row),
    epoch    bigint  NOT NULL DEFAULT 1
);

INSERT INTO settings DEFAULT VALUES;
