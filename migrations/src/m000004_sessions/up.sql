-- Who used a token from where, and how much; and cuts of what is open, which leave the token itself
-- as it is.

-- Counts the cuts: what was admitted before this one ends.
ALTER TABLE access_tokens ADD COLUMN cut_gen bigint NOT NULL DEFAULT 0;
-- Why: the code of a WebSocket's close frame.
ALTER TABLE access_tokens ADD COLUMN cut_code integer;
-- Whom it meets; every device where there is none.
ALTER TABLE access_tokens ADD COLUMN cut_device text;

-- One token on one device, from its first request until its lease lapses. Times are by Redis'
-- clock.
CREATE TABLE proxy_sessions (
    id                     uuid        PRIMARY KEY,
    token_id               uuid        NOT NULL CONSTRAINT proxy_sessions_token_id_fkey REFERENCES access_tokens (id),
    -- Whose token it is. Without a constraint, which would lock users after tokens; the token's own
    -- sees to it.
    user_id                uuid        NOT NULL,
    device_id              text        NOT NULL,
    ip_address             text,
    user_agent             text,
    started_at             timestamptz NOT NULL,
    last_activity          timestamptz NOT NULL,
    ended_at               timestamptz,
    -- Then no later report opens it again, as it does a session that only idleness ended.
    ended_by_administrator boolean     NOT NULL DEFAULT false
);

CREATE INDEX proxy_sessions_started_at ON proxy_sessions (started_at DESC, id DESC);
CREATE INDEX proxy_sessions_user_id ON proxy_sessions (user_id, started_at DESC, id DESC);
CREATE INDEX proxy_sessions_token_id ON proxy_sessions (token_id, started_at DESC, id DESC);
CREATE INDEX proxy_sessions_open ON proxy_sessions (last_activity) WHERE ended_at IS NULL;

-- What each edge process has counted of a session, only ever more: a session is the sum. So a
-- report that is read twice, or late, changes nothing.
CREATE TABLE proxy_session_figures (
    session_id       uuid        NOT NULL CONSTRAINT proxy_session_figures_session_id_fkey
                                 REFERENCES proxy_sessions (id) ON DELETE CASCADE,
    instance_id      uuid        NOT NULL,
    requests         bigint      NOT NULL,
    bytes_in         bigint      NOT NULL,
    bytes_out        bigint      NOT NULL,
    last_activity    timestamptz NOT NULL,
    reported_at      timestamptz NOT NULL,
    -- At the latest report: the one figure that also falls.
    open_connections integer     NOT NULL,
    PRIMARY KEY (session_id, instance_id)
);
