-- The ledger: every movement of credits, for good. A balance is the sum of its lines; the database
-- itself keeps the two from parting, with any writer.

ALTER TABLE users RENAME COLUMN balance TO currency_balance;
ALTER TABLE users ALTER COLUMN currency_balance TYPE numeric(12, 2);
-- The number of the ledger's last line.
ALTER TABLE users ADD COLUMN ledger_seq bigint NOT NULL DEFAULT 0;

CREATE TABLE transactions (
    id            uuid           PRIMARY KEY,
    user_id       uuid           NOT NULL CONSTRAINT transactions_user_id_fkey REFERENCES users (id),
    -- The number of the line in its user's ledger, from 1.
    seq           bigint         NOT NULL,
    -- ZNC, in what direction it moved the balance.
    amount        numeric(12, 2) NOT NULL,
    balance_after numeric(12, 2) NOT NULL CONSTRAINT transactions_balance_after_not_negative CHECK (balance_after >= 0),
    type          text           NOT NULL,
    description   text           NOT NULL,
    -- What it is for. Deferred, so that a line may be written before what it is for.
    token_id      uuid           CONSTRAINT transactions_token_id_fkey REFERENCES access_tokens (id)
                                 DEFERRABLE INITIALLY DEFERRED,
    created_at    timestamptz    NOT NULL DEFAULT now(),
    CONSTRAINT transactions_user_id_seq_key UNIQUE (user_id, seq),
    -- What is free is bought and given back for nothing.
    CONSTRAINT transactions_amount_fits_type CHECK (CASE type
        WHEN 'deposit' THEN amount > 0
        WHEN 'purchase' THEN amount <= 0
        WHEN 'refund' THEN amount >= 0
        WHEN 'referral_bonus' THEN amount > 0
        WHEN 'adjustment' THEN amount <> 0
        ELSE false END)
);

CREATE INDEX transactions_user_id_type ON transactions (user_id, type, seq DESC);
-- For sums by day.
CREATE INDEX transactions_created_at ON transactions (created_at) INCLUDE (type, amount);
-- A token is refunded once.
CREATE UNIQUE INDEX transactions_refund_key ON transactions (token_id) WHERE type = 'refund';

-- The balances that there are.
INSERT INTO transactions (id, user_id, seq, amount, balance_after, type, description)
    SELECT gen_random_uuid(), id, 1, currency_balance, currency_balance, 'adjustment', 'Balance carried over'
    FROM users WHERE currency_balance <> 0;
UPDATE users SET ledger_seq = 1 WHERE currency_balance <> 0;

CREATE FUNCTION transactions_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER transactions_append_only BEFORE UPDATE OR DELETE ON transactions
    FOR EACH ROW EXECUTE FUNCTION transactions_refuse_change();
CREATE TRIGGER transactions_no_truncate BEFORE TRUNCATE ON transactions
    FOR EACH STATEMENT EXECUTE FUNCTION transactions_refuse_change();

-- Each line goes on from the one before.
CREATE FUNCTION transactions_check_line() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    balance_before numeric := 0;
BEGIN
    IF NEW.seq <> 1 THEN
        SELECT balance_after INTO balance_before FROM transactions
            WHERE user_id = NEW.user_id AND seq = NEW.seq - 1;
    END IF;
    IF balance_before IS NULL OR NEW.balance_after <> balance_before + NEW.amount THEN
        RAISE EXCEPTION 'a line of the ledger of user % does not go on from the one before', NEW.user_id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER transactions_check_line BEFORE INSERT ON transactions
    FOR EACH ROW EXECUTE FUNCTION transactions_check_line();

-- When a transaction commits, the last line is where the user stands. Looks at one line, however
-- long the ledger is.
CREATE FUNCTION ledger_check_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    checked uuid;
    stands  record;
    line    record;
BEGIN
    checked := CASE WHEN TG_TABLE_NAME = 'users' THEN (to_jsonb(NEW) ->> 'id')::uuid
                    ELSE (to_jsonb(NEW) ->> 'user_id')::uuid END;
    SELECT currency_balance, ledger_seq INTO stands FROM users WHERE id = checked;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT seq, balance_after INTO line FROM transactions WHERE user_id = checked ORDER BY seq DESC LIMIT 1;
    IF coalesce(line.seq, 0) <> stands.ledger_seq OR coalesce(line.balance_after, 0) <> stands.currency_balance THEN
        RAISE EXCEPTION 'the balance of user % is not what the ledger says', checked USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER users_balance_is_the_ledgers AFTER INSERT OR UPDATE OF currency_balance, ledger_seq ON users
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_balance();
CREATE CONSTRAINT TRIGGER transactions_balance_is_the_ledgers AFTER INSERT ON transactions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_balance();
