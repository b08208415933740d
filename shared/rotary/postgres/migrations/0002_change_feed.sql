-- The change feed: every statement that changes a definition leaves rows that say which documents are to be written
-- again. The projector reads them, re-reads what they name, and deletes them by id. A row is no event: it says only
-- that something is different, so writing it twice is harmless and forgetting it is not.

CREATE TABLE definition_changes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  entity text NOT NULL CHECK (entity IN ('everything', 'customer', 'group', 'caller_id', 'token')),
  customer_id bigint,
  group_id bigint,
  caller_id_id bigint,
  token_sha256 bytea,
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE definition_changes IS 'what the projector has yet to write; insert an "everything" row to have it all written again';

-- One function for all tables. Its argument is the select list (entity, customer_id, group_id, caller_id_id,
-- token_sha256) over a changed row. An update counts with its rows as they were and as they are, so that what moved is
-- found at both ends; rows that an update leaves equal count as nothing.
-- The functions belong to the migrating user, so that whoever may write definitions needs no rights on the feed.
CREATE FUNCTION rotary_record_changes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  changed text := CASE TG_OP
    WHEN 'INSERT' THEN 'TABLE new_rows'
    WHEN 'DELETE' THEN 'TABLE old_rows'
    ELSE '(TABLE old_rows EXCEPT TABLE new_rows) UNION ALL (TABLE new_rows EXCEPT TABLE old_rows)'
  END;
BEGIN
  EXECUTE format(
    'INSERT INTO definition_changes (entity, customer_id, group_id, caller_id_id, token_sha256) '
    'SELECT DISTINCT %s FROM (%s) AS changed', TG_ARGV[0], changed);
  RETURN NULL;
END
$$;

CREATE FUNCTION rotary_record_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
  INSERT INTO definition_changes (entity) VALUES ('everything');
  RETURN NULL;
END
$$;

-- A caller ID's change names the caller ID and not its groups: which groups hold it is found when the row is read.
-- Found here, a group that another session is just adding it to would be missed. For the same reason its insert and
-- delete leave nothing of their own: memberships do, also those that a delete takes along.
DO $$
DECLARE
  target record;
  operation record;
BEGIN
  FOR target IN
    SELECT * FROM (VALUES
      ('customers', '''customer'', id, NULL::bigint, NULL::bigint, NULL::bytea'),
      ('api_tokens', '''token'', customer_id, NULL::bigint, NULL::bigint, token_sha256'),
      ('caller_ids', '''caller_id'', customer_id, NULL::bigint, id, NULL::bytea'),
      ('caller_id_groups', '''group'', customer_id, id, NULL::bigint, NULL::bytea'),
      ('caller_id_group_members', '''group'', customer_id, group_id, NULL::bigint, NULL::bytea')
    ) AS feed (table_name, columns)
  LOOP
    FOR operation IN
      SELECT * FROM (VALUES
        ('insert', 'NEW TABLE AS new_rows'),
        ('update', 'OLD TABLE AS old_rows NEW TABLE AS new_rows'),
        ('delete', 'OLD TABLE AS old_rows')
      ) AS operations (name, transition)
      WHERE target.table_name <> 'caller_ids' OR name = 'update'
    LOOP
      EXECUTE format(
        'CREATE TRIGGER %I AFTER %s ON %I REFERENCING %s FOR EACH STATEMENT EXECUTE FUNCTION rotary_record_changes(%L)',
        'record_' || operation.name, operation.name, target.table_name, operation.transition, target.columns);
    END LOOP;
    EXECUTE format(
      'CREATE TRIGGER record_truncate AFTER TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION rotary_record_truncate()',
      target.table_name);
  END LOOP;
END
$$;

-- The wake-up has no payload: the rows are the message. One that is lost costs the projector's next poll, no more.
CREATE FUNCTION rotary_wake_projector() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  NOTIFY rotary_definitions;
  RETURN NULL;
END
$$;
CREATE TRIGGER wake_projector AFTER INSERT ON definition_changes
  FOR EACH STATEMENT EXECUTE FUNCTION rotary_wake_projector();
