-- What requests of the management API leave behind, beside the definitions that they change.

-- Under which key which request was answered how. Written by the transaction that the request is about.
CREATE TABLE idempotency_keys (
  customer_id bigint NOT NULL REFERENCES customers ON DELETE CASCADE,
  key text NOT NULL CHECK (char_length(key) BETWEEN 1 AND 255),
  request_sha256 bytea NOT NULL CHECK (length(request_sha256) = 32),
  created_at timestamptz NOT NULL DEFAULT now(),
  status integer,
  body bytea,
  etag text NOT NULL DEFAULT '',
  location text NOT NULL DEFAULT '',
  PRIMARY KEY (customer_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- A cooldown that somebody ended. The event itself is in the log; this says in audit_log who asked for it.
CREATE TABLE cooldown_clears (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer_id bigint NOT NULL REFERENCES customers ON DELETE CASCADE,
  caller_id_id bigint NOT NULL,
  requested_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX cooldown_clears_of_caller ON cooldown_clears (customer_id, caller_id_id);
SELECT rotary_audit_table('cooldown_clears', 'cooldown_clear', 'customer_id', 'caller_id_id', 'id', '{}');

-- Bulk imports. The file is kept until it has been applied; a worker that dies leaves it for another one.
CREATE TABLE imports (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer_id bigint NOT NULL REFERENCES customers ON DELETE CASCADE,
  actor text NOT NULL,
  format text NOT NULL CHECK (format IN ('csv', 'yaml')),
  dry_run boolean NOT NULL,
  status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'succeeded', 'failed')),
  content bytea,
  rows_total integer NOT NULL DEFAULT 0,
  rows_done integer NOT NULL DEFAULT 0,
  summary jsonb,
  errors jsonb,
  error_count integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  attempts integer NOT NULL DEFAULT 0
);
ALTER TABLE imports ALTER COLUMN content SET STORAGE EXTERNAL;
CREATE INDEX imports_of_customer ON imports (customer_id, id);
CREATE INDEX imports_open ON imports (id) WHERE status IN ('queued', 'running');

-- What an import changed, or would have changed, in the order in which it was written.
CREATE TABLE import_changes (
  import_id bigint NOT NULL REFERENCES imports ON DELETE CASCADE,
  position integer NOT NULL,
  action text NOT NULL,
  what text NOT NULL,
  name text NOT NULL,
  fields text[] NOT NULL DEFAULT '{}',
  PRIMARY KEY (import_id, position)
);

-- A worker waits for this, and looks every few seconds for one that was lost.
CREATE FUNCTION rotary_wake_importer() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  NOTIFY rotary_imports;
  RETURN NULL;
END
$$;
CREATE TRIGGER wake_importer AFTER INSERT ON imports FOR EACH STATEMENT EXECUTE FUNCTION rotary_wake_importer();
