-- Every token may be used from everywhere.

ALTER TABLE access_tokens DROP COLUMN allowed_networks, DROP COLUMN denied_networks;
ALTER TABLE users DROP COLUMN allowed_networks, DROP COLUMN denied_networks;
