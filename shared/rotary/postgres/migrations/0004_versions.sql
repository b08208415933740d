-- Definitions in Redis carry the version of the snapshot they were read in, so that an older write never replaces a
-- newer one. What is here makes the versions, remembers what Redis was given, and completes the change feed.

-- A version begins with this number. It is raised when the database went back, for instance restored from a dump: what
-- is read from then on counts as newer than everything before.
CREATE TABLE definition_epoch (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  epoch bigint NOT NULL DEFAULT 1 CHECK (epoch BETWEEN 1 AND 4294967295)
);
INSERT INTO definition_epoch DEFAULT VALUES;
COMMENT ON TABLE definition_epoch IS 'rotary-admin definitions resync raises it after a restore';

-- Up to which version each part of Redis (one bucket of customers, or the tokens) holds everything. Written together
-- with the deletion of the feed's rows: a Redis that shows another version has lost or gained something.
CREATE TABLE projected_definitions (
  part text PRIMARY KEY,
  version text NOT NULL
);
COMMENT ON TABLE projected_definitions IS 'the version that each part of Redis was brought to; part is the name of a key there';

-- Which caller IDs exist is projected as a set of ids, apart from the groups. A row of the feed carries up to a thousand
-- ids of one customer: inserting a million caller IDs leaves a thousand rows.
ALTER TABLE definition_changes ADD COLUMN caller_id_ids bigint[];
ALTER TABLE definition_changes DROP CONSTRAINT definition_changes_entity_check;
ALTER TABLE definition_changes ADD CONSTRAINT definition_changes_entity_check
  CHECK (entity IN ('everything', 'customer', 'group', 'caller_id', 'caller_ids', 'token'));

CREATE FUNCTION rotary_record_caller_ids() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
  changed text := CASE TG_OP
    WHEN 'INSERT' THEN 'SELECT customer_id, id FROM new_rows'
    WHEN 'DELETE' THEN 'SELECT customer_id, id FROM old_rows'
    ELSE '(SELECT customer_id, id FROM old_rows EXCEPT SELECT customer_id, id FROM new_rows) UNION ALL '
         '(SELECT customer_id, id FROM new_rows EXCEPT SELECT customer_id, id FROM old_rows)'
  END;
BEGIN
  EXECUTE format(
    'INSERT INTO definition_changes (entity, customer_id, caller_id_ids) '
    'SELECT ''caller_ids'', customer_id, array_agg(id ORDER BY id) FROM ('
    '  SELECT customer_id, id, (row_number() OVER (PARTITION BY customer_id ORDER BY id) - 1) / 1000 AS slice'
    '  FROM (%s) AS changed) AS sliced '
    'GROUP BY customer_id, slice', changed);
  RETURN NULL;
END
$$;
CREATE TRIGGER record_ids_insert AFTER INSERT ON caller_ids
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION rotary_record_caller_ids();
CREATE TRIGGER record_ids_update AFTER UPDATE ON caller_ids
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION rotary_record_caller_ids();
CREATE TRIGGER record_ids_delete AFTER DELETE ON caller_ids
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION rotary_record_caller_ids();

-- As before, and unknown_caller_ids_per_day: how many caller IDs without a definition get facts in a day.
CREATE OR REPLACE FUNCTION rotary_policy_is_valid(policy jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  SELECT coalesce(bool_and(
    CASE
      WHEN jsonb_typeof(value) <> 'number' THEN false
      WHEN key IN ('cooldown_user_report_seconds', 'cooldown_spam_label_seconds', 'cooldown_blocked_seconds',
                   'cooldown_window_seconds', 'cooldown_cap_seconds', 'health_half_life_seconds')
        THEN value::text ~ '^[0-9]+$' AND value::numeric BETWEEN 1 AND 30 * 86400
      WHEN key = 'volume_calls'
        THEN value::text ~ '^[0-9]+$' AND value::numeric BETWEEN 1 AND 1000000
      WHEN key = 'unknown_caller_ids_per_day'
        THEN value::text ~ '^[0-9]+$' AND value::numeric BETWEEN 0 AND 1000000
      WHEN key IN ('severity_blocked', 'severity_spam_label', 'severity_user_report', 'severity_rejected',
                   'volume_weight', 'volume_excess_limit')
        THEN value::numeric BETWEEN 0 AND 1000
      ELSE false
    END), true)
  FROM jsonb_each(CASE jsonb_typeof(policy) WHEN 'object' THEN policy ELSE '{"": 0}' END)
$$;
