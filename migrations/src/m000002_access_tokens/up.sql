-- What people buy, and the credentials that name it. A credential's secret is stored nowhere, only
-- its SHA-256.

CREATE TABLE access_tokens (
    id                  uuid        PRIMARY KEY,
    user_id             uuid        NOT NULL CONSTRAINT access_tokens_user_id_fkey REFERENCES users (id),
    -- The first characters of the text, for people to tell their tokens apart.
    token_prefix        text        NOT NULL,
    scope               text        NOT NULL,
    duration_hours      integer     NOT NULL CONSTRAINT access_tokens_duration_positive CHECK (duration_hours > 0),
    -- What was paid for it in all, in ZNC, and so what a refund gives back.
    cost                numeric(14, 2) NOT NULL CONSTRAINT access_tokens_cost_not_negative CHECK (cost >= 0),
    -- Bumped by every change that an edge must know, so that an older state never replaces a newer
    -- one in Redis.
    version             bigint      NOT NULL DEFAULT 1,
    -- Only credentials of this generation open anything.
    credential_gen      bigint      NOT NULL DEFAULT 1,
    -- By Redis' clock.
    activated_at        timestamptz,
    revoked_at          timestamptz,
    -- Stands while a refund is being settled.
    refund_requested_at timestamptz,
    created_at          timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX access_tokens_user_id ON access_tokens (user_id, id DESC);
CREATE INDEX access_tokens_refunds ON access_tokens (refund_requested_at) WHERE refund_requested_at IS NOT NULL;

CREATE TABLE credentials (
    digest      bytea       PRIMARY KEY CONSTRAINT credentials_digest_sha256 CHECK (octet_length(digest) = 32),
    token_id    uuid        NOT NULL CONSTRAINT credentials_token_id_fkey REFERENCES access_tokens (id) ON DELETE CASCADE,
    gen         bigint      NOT NULL,
    kind        text        NOT NULL CONSTRAINT credentials_kind_known CHECK (kind IN ('text', 'browser')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- When the browser that it was drawn for took it.
    redeemed_at timestamptz,
    -- When it was replaced or dropped; the row goes once Redis has forgotten it too.
    ended_at    timestamptz
);

CREATE INDEX credentials_token_id ON credentials (token_id, created_at DESC);
CREATE INDEX credentials_unredeemed ON credentials (created_at)
    WHERE kind = 'browser' AND redeemed_at IS NULL AND ended_at IS NULL;
CREATE INDEX credentials_ended ON credentials (ended_at) WHERE ended_at IS NOT NULL;
