-- Payments for credits, each a state machine: pending, then succeeded, canceled or expired for
-- good. The database itself ties a payment that succeeded to the one line of the ledger that
-- credits it, with any writer.

CREATE TABLE payments (
    -- Also the key by which asking the provider to make it can be repeated.
    id                  uuid           PRIMARY KEY,
    user_id             uuid           NOT NULL CONSTRAINT payments_user_id_fkey REFERENCES users (id),
    provider            text           NOT NULL,
    -- What the provider calls it, and where it is paid; both unknown until the provider has
    -- answered, and told to nobody before.
    provider_payment_id text,
    confirmation_url    text,
    status              text           NOT NULL DEFAULT 'pending'
                                       CONSTRAINT payments_status_known CHECK (status IN ('pending', 'succeeded', 'canceled', 'expired')),
    amount_znc          numeric(12, 2) NOT NULL CONSTRAINT payments_amount_znc_positive CHECK (amount_znc > 0),
    amount_rub          numeric(14, 2) NOT NULL CONSTRAINT payments_amount_rub_positive CHECK (amount_rub > 0),
    -- Where the provider sends the payer afterwards.
    return_url          text,
    created_at          timestamptz    NOT NULL DEFAULT now(),
    updated_at          timestamptz    NOT NULL DEFAULT now(),
    -- From when on it counts as expired if the provider says that it will not be paid.
    expires_at          timestamptz    NOT NULL,
    settled_at          timestamptz,
    -- When the provider is to be asked how it stands, and how often it was.
    check_after         timestamptz    NOT NULL,
    checks              integer        NOT NULL DEFAULT 0,
    CONSTRAINT payments_provider_payment_id_key UNIQUE (provider, provider_payment_id),
    CONSTRAINT payments_made_whole CHECK ((provider_payment_id IS NULL) = (confirmation_url IS NULL)),
    CONSTRAINT payments_settled_at_fits_status CHECK ((settled_at IS NULL) = (status = 'pending'))
);

CREATE INDEX payments_user_id ON payments (user_id, id DESC);
CREATE INDEX payments_check_after ON payments (check_after) WHERE status = 'pending';

CREATE FUNCTION payments_check_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'pending' THEN
            RAISE EXCEPTION 'a payment begins as pending' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' OR OLD.status <> 'pending' THEN
        RAISE EXCEPTION 'a payment is kept, and once it is % it stays so', OLD.status USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.id, NEW.user_id, NEW.provider, NEW.amount_znc, NEW.amount_rub, NEW.return_url, NEW.created_at)
        IS DISTINCT FROM
        (OLD.id, OLD.user_id, OLD.provider, OLD.amount_znc, OLD.amount_rub, OLD.return_url, OLD.created_at)
        OR OLD.provider_payment_id IS NOT NULL AND (NEW.provider_payment_id, NEW.confirmation_url)
            IS DISTINCT FROM (OLD.provider_payment_id, OLD.confirmation_url) THEN
        RAISE EXCEPTION 'what a payment is about does not change' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER payments_check_change BEFORE INSERT OR UPDATE OR DELETE ON payments
    FOR EACH ROW EXECUTE FUNCTION payments_check_change();

ALTER TABLE transactions
    ADD COLUMN payment_id uuid CONSTRAINT transactions_payment_id_fkey REFERENCES payments (id) DEFERRABLE INITIALLY DEFERRED,
    -- Deposits of before payments have none; what is written from now on does.
    ADD CONSTRAINT transactions_deposit_is_a_payments CHECK ((type = 'deposit') = (payment_id IS NOT NULL)) NOT VALID;
-- A payment is credited once.
CREATE UNIQUE INDEX transactions_payment_id_key ON transactions (payment_id) WHERE payment_id IS NOT NULL;

-- When a transaction commits, a payment has succeeded if and only if its user was credited with all
-- of it.
CREATE FUNCTION payments_check_credit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    checked  uuid;
    payment  record;
    credited numeric;
BEGIN
    checked := CASE WHEN TG_TABLE_NAME = 'payments' THEN (to_jsonb(NEW) ->> 'id')::uuid
                    ELSE (to_jsonb(NEW) ->> 'payment_id')::uuid END;
    SELECT user_id, status, amount_znc INTO payment FROM payments WHERE id = checked;
    SELECT CASE WHEN user_id = payment.user_id THEN amount END INTO credited FROM transactions WHERE payment_id = checked;
    IF FOUND <> (payment.status = 'succeeded') OR FOUND AND credited IS DISTINCT FROM payment.amount_znc THEN
        RAISE EXCEPTION 'payment % and the ledger differ', checked USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER payments_credit_is_the_ledgers AFTER UPDATE OF status ON payments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payments_check_credit();
CREATE CONSTRAINT TRIGGER transactions_credit_is_the_payments AFTER INSERT ON transactions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.payment_id IS NOT NULL) EXECUTE FUNCTION payments_check_credit();
