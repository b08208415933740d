-- name: read_version
-- Versions compare as texts in the order of the snapshots. A promoted standby begins a new timeline. Within a timeline
-- xmax never falls, and while xmax is constant the set of running transactions below it only shrinks.
SELECT
  lpad(to_hex(epoch), 8, '0')
  || lower(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))
  || lpad(to_hex(pg_snapshot_xmax(seen)::text::bigint), 16, '0')
  || lpad(to_hex(4294967295 - (SELECT count(*) FROM pg_snapshot_xip(seen))), 8, '0')
FROM definition_epoch, pg_current_snapshot() AS seen;

-- name: raise_epoch
UPDATE definition_epoch SET epoch = greatest(epoch, $1) + 1 RETURNING epoch;

-- name: request_resync
INSERT INTO definition_changes (entity) VALUES ('everything');

-- name: read_projected
SELECT part, version FROM projected_definitions;

-- name: write_projected
INSERT INTO projected_definitions (part, version)
SELECT * FROM unnest($1::text[], $2::text[])
ON CONFLICT (part) DO UPDATE SET version = excluded.version;

-- name: read_changes
-- A change of a caller ID becomes a change of every group that contains it now.
SELECT
  changed.id,
  CASE WHEN changed.entity <> 'caller_id' THEN changed.entity
       WHEN member.group_id IS NULL THEN 'nothing'
       ELSE 'group' END AS entity,
  coalesce(member.customer_id, changed.customer_id) AS customer_id,
  coalesce(member.group_id, changed.group_id) AS group_id,
  encode(changed.token_sha256, 'hex') AS token_sha256,
  changed.caller_id_ids
FROM (SELECT * FROM definition_changes ORDER BY id LIMIT $1) AS changed
LEFT JOIN caller_id_group_members AS member USING (caller_id_id)
ORDER BY changed.id;

-- name: delete_changes
DELETE FROM definition_changes WHERE id = ANY ($1::bigint[]);

-- name: customer_ids
SELECT id FROM customers ORDER BY id;

-- name: read_groups
SELECT
  customers.id AS customer_id, customers.timezone, customers.policy::text AS policy,
  groups.id, groups.name, groups.description, groups.rotation_strategy, groups.sticky_enabled, groups.status,
  groups.created_at, members.members
FROM customers
JOIN caller_id_groups AS groups ON groups.customer_id = customers.id
CROSS JOIN LATERAL (
  SELECT json_agg(json_build_array(
    caller.id, caller.number, caller.display_name, caller.carrier, caller.status, caller.trunk_name,
    caller.daily_cap, member.weight, caller.hourly_cap, caller.min_gap_seconds,
    floor(extract(epoch FROM caller.activated_at) * 1000)::bigint) ORDER BY caller.id)::text AS members
  FROM caller_id_group_members AS member
  JOIN caller_ids AS caller ON caller.id = member.caller_id_id
  WHERE member.group_id = groups.id
) AS members
WHERE customers.id = $1 AND ($2::bigint[] IS NULL OR groups.id = ANY ($2))
ORDER BY groups.id;

-- name: stream_groups
-- As read_groups, for all customers. A customer without groups has one row without a group.
SELECT
  customers.id AS customer_id, customers.timezone, customers.policy::text AS policy,
  groups.id, groups.name, groups.description, groups.rotation_strategy, groups.sticky_enabled, groups.status,
  groups.created_at, members.members
FROM customers
LEFT JOIN caller_id_groups AS groups ON groups.customer_id = customers.id
CROSS JOIN LATERAL (
  SELECT json_agg(json_build_array(
    caller.id, caller.number, caller.display_name, caller.carrier, caller.status, caller.trunk_name,
    caller.daily_cap, member.weight, caller.hourly_cap, caller.min_gap_seconds,
    floor(extract(epoch FROM caller.activated_at) * 1000)::bigint) ORDER BY caller.id)::text AS members
  FROM caller_id_group_members AS member
  JOIN caller_ids AS caller ON caller.id = member.caller_id_id
  WHERE member.group_id = groups.id
) AS members
WHERE $1::bigint[] IS NULL OR customers.id = ANY ($1)
ORDER BY customers.id, groups.id;

-- name: stream_caller_ids
SELECT customer_id, array_agg(id ORDER BY id) AS ids
FROM caller_ids
WHERE $1::bigint[] IS NULL OR customer_id = ANY ($1)
GROUP BY customer_id
ORDER BY customer_id;

-- name: read_caller_ids
-- All of a customer's caller IDs, or those in the list that are the customer's.
SELECT id FROM caller_ids WHERE customer_id = $1 AND ($2::bigint[] IS NULL OR id = ANY ($2)) ORDER BY id;

-- name: read_policy
SELECT id AS customer_id, policy::text AS policy FROM customers WHERE id = $1;

-- name: read_group_summaries
SELECT
  groups.id, groups.name, groups.description, groups.rotation_strategy, groups.sticky_enabled, groups.status,
  count(caller.id) AS caller_ids_count, groups.created_at
FROM caller_id_groups AS groups
LEFT JOIN caller_id_group_members AS member ON member.group_id = groups.id
LEFT JOIN caller_ids AS caller ON caller.id = member.caller_id_id AND caller.status = 'active'
WHERE groups.customer_id = $1
GROUP BY groups.id
ORDER BY groups.id;

-- name: read_tokens
SELECT encode(token_sha256, 'hex') AS token_sha256, id, customer_id, scopes, rate_limit_per_minute, expires_at
FROM api_tokens
WHERE revoked_at IS NULL AND ($1::bytea[] IS NULL OR token_sha256 = ANY ($1));

-- name: read_logs
SELECT name, state, created_at IS NOT NULL AS created, first_message, gap_until, retired_at, gap_accepted
FROM event_logs
ORDER BY name;

-- name: add_logs
INSERT INTO event_logs (name, state) SELECT unnest($1::text[]), $2::text ON CONFLICT (name) DO NOTHING;

-- name: mark_log_created
UPDATE event_logs SET created_at = now() WHERE name = $1 AND created_at IS NULL;

-- name: set_log_state
UPDATE event_logs SET state = $2, retired_at = CASE WHEN $2 = 'draining' THEN now() END WHERE name = $1;

-- name: record_first_message
UPDATE event_logs SET first_message = $2 WHERE name = $1 AND first_message IS NULL;

-- name: record_gap
UPDATE event_logs SET gap_until = greatest(gap_until, $2), first_message = $3 WHERE name = $1;

-- name: extend_gap
UPDATE event_logs SET gap_until = greatest(gap_until, $2) WHERE name = $1;

-- name: accept_gap
UPDATE event_logs SET gap_accepted = gap_until, gap_until = NULL WHERE name = $1 AND gap_until IS NOT NULL;

-- name: remove_log
DELETE FROM event_logs WHERE name = $1;
