-- Who did what, from where: written with what it tells of, never changed, and dropped by the day
-- when it is old enough.

CREATE TABLE audit_logs (
    id            uuid        NOT NULL,
    -- Who did it; none where nobody is known, as after a login that failed.
    user_id       uuid,
    action        text        NOT NULL,
    resource_type text        NOT NULL,
    resource_id   uuid,
    details       jsonb       NOT NULL,
    ip_address    inet,
    user_agent    text,
    request_id    text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (created_at, id)
) PARTITION BY RANGE (created_at);

CREATE INDEX audit_logs_id ON audit_logs (id DESC);
CREATE INDEX audit_logs_user_id ON audit_logs (user_id, id DESC);
CREATE INDEX audit_logs_action ON audit_logs (action, id DESC);
CREATE INDEX audit_logs_resource_type ON audit_logs (resource_type, id DESC);

-- Takes what no day has been made for: nothing is lost while nobody makes days.
CREATE TABLE audit_logs_default PARTITION OF audit_logs DEFAULT;

CREATE FUNCTION audit_logs_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER audit_logs_append_only BEFORE UPDATE OR DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION audit_logs_refuse_change();
CREATE TRIGGER audit_logs_no_truncate BEFORE TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION audit_logs_refuse_change();

-- Makes the days from `first` to `last` (UTC) where they are missing; a day that the default
-- partition has lines of stays there.
CREATE FUNCTION audit_logs_make_days(first date, last date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    day  date;
    name text;
BEGIN
    FOR day IN SELECT generate_series(first, last, interval '1 day')::date LOOP
        name := 'audit_logs_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        CONTINUE WHEN EXISTS (SELECT FROM audit_logs_default
            WHERE created_at >= day::timestamp AT TIME ZONE 'UTC' AND created_at < (day + 1)::timestamp AT TIME ZONE 'UTC');
        EXECUTE format('CREATE TABLE %I PARTITION OF audit_logs FOR VALUES FROM (%L) TO (%L)',
            name, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
    END LOOP;
END
$$;

-- Drops the days that lie wholly before `first`; how many.
CREATE FUNCTION audit_logs_drop_days(first date) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    name    text;
    dropped integer := 0;
BEGIN
    FOR name IN SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass LOOP
        IF name ~ '^audit_logs_\d{8}$' AND to_date(right(name, 8), 'YYYYMMDD') < first THEN
            EXECUTE format('DROP TABLE %I', name);
            dropped := dropped + 1;
        END IF;
    END LOOP;
    IF EXISTS (SELECT FROM audit_logs_default)
        AND NOT EXISTS (SELECT FROM audit_logs_default WHERE created_at >= first::timestamp AT TIME ZONE 'UTC') THEN
        DROP TABLE audit_logs_default;
        CREATE TABLE audit_logs_default PARTITION OF audit_logs DEFAULT;
        dropped := dropped + 1;
    END IF;
    RETURN dropped;
END
$$;

SELECT audit_logs_make_days((now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 7);
