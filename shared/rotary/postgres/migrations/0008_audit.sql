-- Two things that hold for every writer, SQL included: each row has a version that a change raises, so that nobody
-- overwrites what they have not seen; and each change is in audit_log with who, when, what, before and after.

ALTER TABLE customers ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE api_tokens ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE caller_ids ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE caller_id_groups ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE campaigns ADD COLUMN version bigint NOT NULL DEFAULT 1;

-- Arguments: the columns that are generated, which are null in NEW until this trigger has run.
CREATE FUNCTION rotary_next_version() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  NEW.version := OLD.version;  -- whatever was given
  IF (CASE
    WHEN TG_NARGS = 0 THEN NEW IS DISTINCT FROM OLD
    ELSE to_jsonb(NEW) - TG_ARGV IS DISTINCT FROM to_jsonb(OLD) - TG_ARGV
  END) THEN
    NEW.version := OLD.version + 1;
  END IF;
  RETURN NEW;
END
$$;

CREATE TABLE audit_log (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  actor text NOT NULL,
  database_user text NOT NULL,
  customer_id bigint,
  entity text NOT NULL,
  entity_id bigint,
  action text NOT NULL CHECK (action IN ('create', 'update', 'delete', 'truncate')),
  before jsonb,
  after jsonb
);
COMMENT ON TABLE audit_log IS 'every change of a definition; rows are only ever added, by the tables'' triggers';
COMMENT ON COLUMN audit_log.actor IS 'what the program says of itself in rotary.actor; "sql" for everybody else';
COMMENT ON COLUMN audit_log.database_user IS 'who was logged in to the database';
COMMENT ON COLUMN audit_log.entity_id IS 'of a member: its group';
CREATE INDEX audit_log_of_customer ON audit_log (customer_id, id);
CREATE INDEX audit_log_of_entity ON audit_log (customer_id, entity, entity_id, id);

-- Arguments: the entity, the expression for its customer, the column of its id, the columns that identify a row, and the
-- columns that are left out (secrets, and what follows from others). A row whose key was changed counts as deleted and
-- created. The function belongs to the migrating user: whoever may write definitions needs no rights on the log.
CREATE FUNCTION rotary_audit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  who text := coalesce(nullif(left(current_setting('rotary.actor', true), 200), ''), 'sql');
  head text := 'INSERT INTO audit_log (actor, database_user, customer_id, entity, entity_id, action, before, after) ';
  hidden text[] := TG_ARGV[4]::text[];
BEGIN
  IF TG_OP = 'TRUNCATE' THEN  -- before it, while the rows are there
    EXECUTE format(
      head || 'SELECT $1, session_user, %1$s, %2$L, %3$I, ''truncate'', to_jsonb(row) - $2, NULL'
      ' FROM %5$s AS row ORDER BY %4$s', TG_ARGV[1], TG_ARGV[0], TG_ARGV[2], TG_ARGV[3], TG_RELID::regclass)
      USING who, hidden;
  ELSIF TG_OP = 'INSERT' THEN
    EXECUTE format(
      head || 'SELECT $1, session_user, %1$s, %2$L, %3$I, ''create'', NULL, to_jsonb(row) - $2'
      ' FROM new_rows AS row ORDER BY %4$s', TG_ARGV[1], TG_ARGV[0], TG_ARGV[2], TG_ARGV[3]) USING who, hidden;
  ELSIF TG_OP = 'DELETE' THEN
    EXECUTE format(
      head || 'SELECT $1, session_user, %1$s, %2$L, %3$I, ''delete'', to_jsonb(row) - $2, NULL'
      ' FROM old_rows AS row ORDER BY %4$s', TG_ARGV[1], TG_ARGV[0], TG_ARGV[2], TG_ARGV[3]) USING who, hidden;
  ELSE
    EXECUTE format(
      head || 'SELECT $1, session_user, coalesce((new.row ->> %1$L)::bigint, (old.row ->> %1$L)::bigint), %2$L,'
      '  coalesce((new.row ->> %3$L)::bigint, (old.row ->> %3$L)::bigint),'
      '  CASE WHEN old.row IS NULL THEN ''create'' WHEN new.row IS NULL THEN ''delete'' ELSE ''update'' END,'
      '  old.row, new.row'
      ' FROM (SELECT %4$s, to_jsonb(row) - $2 AS row FROM old_rows AS row) AS old'
      ' FULL JOIN (SELECT %4$s, to_jsonb(row) - $2 AS row FROM new_rows AS row) AS new USING (%4$s)'
      ' WHERE old.row IS DISTINCT FROM new.row ORDER BY %4$s',
      TG_ARGV[1], TG_ARGV[0], TG_ARGV[2], TG_ARGV[3]) USING who, hidden;
  END IF;
  RETURN NULL;
END
$$;

-- Makes a table's rows audited, and versioned where they have a version. Later migrations call it for their tables.
CREATE FUNCTION rotary_audit_table(
  target regclass, entity text, customer text, id_column text, key_columns text, hidden text[]) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  operation record;
  generated text;
BEGIN
  FOR operation IN
    SELECT * FROM (VALUES
      ('insert', 'AFTER', 'REFERENCING NEW TABLE AS new_rows'),
      ('update', 'AFTER', 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'),
      ('delete', 'AFTER', 'REFERENCING OLD TABLE AS old_rows'),
      ('truncate', 'BEFORE', '')
    ) AS operations (name, moment, transition)
  LOOP
    EXECUTE format(
      'CREATE TRIGGER %I %s %s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION rotary_audit(%L, %L, %L, %L, %L)',
      'audit_' || operation.name, operation.moment, operation.name, target, operation.transition,
      entity, customer, id_column, key_columns, hidden);
  END LOOP;
  IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = target AND attname = 'version') THEN
    SELECT string_agg(quote_literal(attname), ', ') INTO generated
    FROM pg_attribute WHERE attrelid = target AND attgenerated <> '';
    EXECUTE format(
      'CREATE TRIGGER next_version BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION rotary_next_version(%s)',
      target, generated);
  END IF;
END
$$;
SELECT
  rotary_audit_table('customers', 'customer', 'id', 'id', 'id', '{version}'),
  rotary_audit_table('api_tokens', 'token', 'customer_id', 'id', 'id', '{version,token_sha256}'),
  rotary_audit_table('caller_ids', 'caller_id', 'customer_id', 'id', 'id', '{version}'),
  rotary_audit_table('caller_id_groups', 'group', 'customer_id', 'id', 'id', '{version}'),
  rotary_audit_table('caller_id_group_members', 'member', 'customer_id', 'group_id', 'group_id, caller_id_id', '{}'),
  rotary_audit_table('campaigns', 'campaign', 'customer_id', 'id', 'id', '{version,running_group_id}');

-- Append-only: by permission for everybody but superusers, whom no permission stops, and by trigger for these, too.
CREATE FUNCTION rotary_refuse_audit_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  RAISE insufficient_privilege USING MESSAGE = 'audit_log is append-only, and only changes of definitions append to it';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION rotary_refuse_audit_change();
CREATE TRIGGER appended_by_triggers BEFORE INSERT ON audit_log
  FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION rotary_refuse_audit_change();
REVOKE UPDATE, DELETE, TRUNCATE ON audit_log FROM PUBLIC;
DO $$
BEGIN
  EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON audit_log FROM %I', current_user);
END
$$;
