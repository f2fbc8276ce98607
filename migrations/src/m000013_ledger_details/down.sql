ALTER TABLE transactions DROP COLUMN details;
