DROP TRIGGER users_balance_is_the_ledgers ON users;
DROP TABLE transactions;
DROP FUNCTION ledger_check_balance();
DROP FUNCTION transactions_check_line();
DROP FUNCTION transactions_refuse_change();
ALTER TABLE users DROP COLUMN ledger_seq;
ALTER TABLE users ALTER COLUMN currency_balance TYPE numeric(14, 2);
ALTER TABLE users RENAME COLUMN currency_balance TO balance;
