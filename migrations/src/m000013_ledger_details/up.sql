-- What a line of the ledger is for, as kind and figures, so that it can be shown in any language.
-- Lines from before have their description alone.
ALTER TABLE transactions ADD COLUMN details jsonb;
