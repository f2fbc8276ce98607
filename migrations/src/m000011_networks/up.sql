-- From where tokens may be used: their users' lists and their own, each of addresses and networks.
-- None but those that are allowed, or all where none is named; never those that are denied.
-- Canonical texts, as people wrote them but for the bits that say nothing.

ALTER TABLE users
    ADD COLUMN allowed_networks text[] NOT NULL DEFAULT '{}',
    ADD COLUMN denied_networks  text[] NOT NULL DEFAULT '{}',
    ADD CONSTRAINT users_networks_bounded
        CHECK (cardinality(allowed_networks) <= 64 AND cardinality(denied_networks) <= 64),
    ADD CONSTRAINT users_networks_well_formed
        CHECK (array_position(allowed_networks::cidr[], NULL) IS NULL AND array_position(denied_networks::cidr[], NULL) IS NULL);

ALTER TABLE access_tokens
    ADD COLUMN allowed_networks text[] NOT NULL DEFAULT '{}',
    ADD COLUMN denied_networks  text[] NOT NULL DEFAULT '{}',
    ADD CONSTRAINT access_tokens_networks_bounded
        CHECK (cardinality(allowed_networks) <= 64 AND cardinality(denied_networks) <= 64),
    ADD CONSTRAINT access_tokens_networks_well_formed
        CHECK (array_position(allowed_networks::cidr[], NULL) IS NULL AND array_position(denied_networks::cidr[], NULL) IS NULL);
