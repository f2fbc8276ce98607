-- Where in a trace the request stands that changed a token, so that publishing it is told as part
-- of that request.
ALTER TABLE outbox ADD COLUMN traceparent text;
