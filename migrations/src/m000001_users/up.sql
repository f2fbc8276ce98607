-- People: their accounts, the JWTs that were ended before their time, and one-time links that set a
-- password.

CREATE TABLE users (
    id            uuid        PRIMARY KEY,
    email         text        NOT NULL,
    username      text        NOT NULL CONSTRAINT users_username_key UNIQUE,
    password_hash text        NOT NULL,
    full_name     text,
    is_active     boolean     NOT NULL DEFAULT true,
    is_superuser  boolean     NOT NULL DEFAULT false,
    -- ZNC. Whatever runs at once, nobody spends what they do not have.
    balance       numeric(14, 2) NOT NULL DEFAULT 0 CONSTRAINT users_balance_not_negative CHECK (balance >= 0),
    referral_code text        NOT NULL CONSTRAINT users_referral_code_key UNIQUE,
    referred_by   uuid        CONSTRAINT users_referred_by_fkey REFERENCES users (id),
    -- A JWT names the epoch that it was issued in; bumping it ends every JWT issued before.
    epoch         bigint      NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

-- E-mails are kept as given and compared without regard to case. The collation is named, because
-- that of the database may fold ASCII only.
CREATE UNIQUE INDEX users_email_key ON users (lower(email COLLATE "und-x-icu"));

CREATE INDEX users_active_superusers ON users (id) WHERE is_superuser AND is_active;

-- JWTs that a logout ended, until they would have expired anyway.
CREATE TABLE ended_jwts (
    jti        uuid        PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

CREATE INDEX ended_jwts_expires_at ON ended_jwts (expires_at);

-- One-time links by which a person sets a password; only the digest of the link's code is kept. One
-- a person, the latest.
CREATE TABLE password_links (
    user_id    uuid        PRIMARY KEY CONSTRAINT password_links_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    digest     bytea       NOT NULL CONSTRAINT password_links_digest_key UNIQUE
                           CONSTRAINT password_links_digest_sha256 CHECK (octet_length(digest) = 32),
    expires_at timestamptz NOT NULL
);
