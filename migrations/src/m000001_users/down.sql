-- Forgets every account.

DROP TABLE password_links;
DROP TABLE ended_jwts;
DROP TABLE users;
