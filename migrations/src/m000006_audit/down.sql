DROP TABLE audit_logs;
DROP FUNCTION audit_logs_drop_days(date);
DROP FUNCTION audit_logs_make_days(date, date);
DROP FUNCTION audit_logs_refuse_change();
