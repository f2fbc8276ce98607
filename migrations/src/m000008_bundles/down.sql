DROP INDEX transactions_referral_bonus_key;
DROP TABLE referral_shares;
DROP TABLE referral_bonuses;
DROP INDEX users_referred_by;
ALTER TABLE transactions DROP COLUMN bundle_id;
DROP TABLE bundles;
