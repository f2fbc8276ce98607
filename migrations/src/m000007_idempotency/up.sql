-- What was answered to a call with an Idempotency-Key, so that a call that is repeated gets the
-- same answer and does nothing.

CREATE TABLE idempotency_keys (
    user_id    uuid        NOT NULL CONSTRAINT idempotency_keys_user_id_fkey REFERENCES users (id),
    endpoint   text        NOT NULL,
    key        text        NOT NULL,
    -- Of what was asked for: the same key for something else is an error.
    digest     bytea       NOT NULL CONSTRAINT idempotency_keys_digest_sha256 CHECK (octet_length(digest) = 32),
    -- What came of it, without secrets.
    outcome    jsonb       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, endpoint, key)
);

CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);

-- The texts of tokens that were sold so, sealed. A text goes with its key, or as soon as it opens
-- nothing any more.
CREATE TABLE sealed_texts (
    token_id uuid  PRIMARY KEY,
    user_id  uuid  NOT NULL,
    endpoint text  NOT NULL,
    key      text  NOT NULL,
    sealed   bytea NOT NULL,
    CONSTRAINT sealed_texts_key_fkey FOREIGN KEY (user_id, endpoint, key) REFERENCES idempotency_keys ON DELETE CASCADE
);

CREATE INDEX sealed_texts_key ON sealed_texts (user_id, endpoint, key);
