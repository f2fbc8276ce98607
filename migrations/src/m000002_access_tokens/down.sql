-- Forgets every token and what named it.

DROP TABLE credentials;
DROP TABLE access_tokens;
