-- Several tokens sold at once for less, and the bonus of the user who recommended the buyer.

CREATE TABLE bundles (
    id               uuid          PRIMARY KEY,
    name             text          NOT NULL CONSTRAINT bundles_name_key UNIQUE,
    description      text,
    token_count      integer       NOT NULL CONSTRAINT bundles_token_count_known CHECK (token_count BETWEEN 1 AND 100),
    -- Of each token.
    duration_hours   integer       NOT NULL CONSTRAINT bundles_duration_sold CHECK (duration_hours IN (1, 12, 24, 168, 720)),
    scope            text          NOT NULL CONSTRAINT bundles_scope_known CHECK (scope IN ('full', 'certificates_only')),
    -- Off what the tokens cost one by one.
    discount_percent numeric(5, 2) NOT NULL CONSTRAINT bundles_discount_known CHECK (discount_percent BETWEEN 0 AND 100),
    -- Whether it is sold. What was sold once is never deleted.
    is_active        boolean       NOT NULL DEFAULT true,
    created_at       timestamptz   NOT NULL DEFAULT now(),
    updated_at       timestamptz   NOT NULL DEFAULT now()
);

INSERT INTO bundles (id, name, description, token_count, duration_hours, scope, discount_percent) VALUES
    (gen_random_uuid(), 'Starter Pack', '5 tokens of 24 hours', 5, 24, 'full', 10),
    (gen_random_uuid(), 'Pro Bundle', '10 tokens of 24 hours', 10, 24, 'full', 15),
    (gen_random_uuid(), 'Ultimate Package', '20 tokens of 7 days', 20, 168, 'full', 20),
    (gen_random_uuid(), 'Certificates Bundle', '10 tokens of 24 hours, for certificates alone', 10, 24, 'certificates_only', 15);

-- What the purchase of a bundle is for.
ALTER TABLE transactions ADD COLUMN bundle_id uuid CONSTRAINT transactions_bundle_id_fkey REFERENCES bundles (id);

-- Whom an account has brought, the newest first.
CREATE INDEX users_referred_by ON users (referred_by, id DESC) WHERE referred_by IS NOT NULL;

-- What a first purchase was large enough for: one for each buyer, for good.
CREATE TABLE referral_bonuses (
    -- The buyer.
    user_id     uuid           PRIMARY KEY CONSTRAINT referral_bonuses_user_id_fkey REFERENCES users (id),
    -- Who gets it. Without a constraint, which would lock a second user; that of the buyer's own
    -- row sees to it.
    referrer_id uuid           NOT NULL,
    price       numeric(12, 2) NOT NULL,
    amount      numeric(12, 2) NOT NULL CONSTRAINT referral_bonuses_amount_positive CHECK (amount > 0),
    created_at  timestamptz    NOT NULL DEFAULT now()
);

CREATE INDEX referral_bonuses_referrer_id ON referral_bonuses (referrer_id);

-- A bonus by the tokens that were bought: each one's share is due once it is activated, and paid
-- once.
CREATE TABLE referral_shares (
    token_id uuid           PRIMARY KEY CONSTRAINT referral_shares_token_id_fkey REFERENCES access_tokens (id),
    user_id  uuid           NOT NULL CONSTRAINT referral_shares_user_id_fkey REFERENCES referral_bonuses (user_id),
    amount   numeric(12, 2) NOT NULL CONSTRAINT referral_shares_amount_positive CHECK (amount > 0),
    due_at   timestamptz,
    paid_at  timestamptz CONSTRAINT referral_shares_paid_if_due CHECK (paid_at IS NULL OR due_at IS NOT NULL)
);

CREATE INDEX referral_shares_user_id ON referral_shares (user_id);
CREATE INDEX referral_shares_owed ON referral_shares (user_id) WHERE due_at IS NOT NULL AND paid_at IS NULL;

-- A token brings its bonus once, whatever else fails.
CREATE UNIQUE INDEX transactions_referral_bonus_key ON transactions (token_id) WHERE type = 'referral_bonus';
