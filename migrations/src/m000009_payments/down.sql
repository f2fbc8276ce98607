-- Takes the payments away; the ledger keeps what they credited.

DROP TRIGGER transactions_credit_is_the_payments ON transactions;
DROP INDEX transactions_payment_id_key;
ALTER TABLE transactions DROP CONSTRAINT transactions_deposit_is_a_payments, DROP COLUMN payment_id;
DROP TABLE payments;
DROP FUNCTION payments_check_credit();
DROP FUNCTION payments_check_change();
