DROP TABLE sealed_texts;
DROP TABLE idempotency_keys;
