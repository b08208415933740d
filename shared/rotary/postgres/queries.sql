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

-- name: read_log_losses
SELECT kind, lost_to FROM event_log_losses;

-- name: record_gap
WITH lost AS (
  INSERT INTO event_log_losses (kind, lost_to) VALUES (split_part($1, '.', 1), now())
  ON CONFLICT (kind) DO UPDATE SET lost_to = greatest(event_log_losses.lost_to, excluded.lost_to))
UPDATE event_logs SET gap_until = greatest(gap_until, $2), first_message = $3 WHERE name = $1;

-- name: extend_gap
UPDATE event_logs SET gap_until = greatest(gap_until, $2) WHERE name = $1;

-- name: accept_gap
UPDATE event_logs SET gap_accepted = gap_until, gap_until = NULL WHERE name = $1 AND gap_until IS NOT NULL;

-- name: remove_log
WITH removed AS (DELETE FROM event_logs WHERE name = $1 RETURNING name, retired_at)
INSERT INTO event_log_losses (kind, lost_to)
SELECT split_part(name, '.', 1), coalesce(retired_at, now()) FROM removed
ON CONFLICT (kind) DO UPDATE SET lost_to = greatest(event_log_losses.lost_to, excluded.lost_to);

-- name: read_history_customers
SELECT customers.id, customers.timezone, sweeps.swept_ms
FROM customers LEFT JOIN history_sweeps AS sweeps ON sweeps.customer_id = customers.id
ORDER BY customers.id;

-- name: begin_history_sweep
-- Makes the customer's row, and returns the version of flags up to which its history has seen them.
WITH made AS (
  INSERT INTO history_sweeps (customer_id) SELECT id FROM customers WHERE id = $1 ON CONFLICT DO NOTHING)
SELECT coalesce((SELECT flags_version FROM history_sweeps WHERE customer_id = $1), 0);

-- name: add_customer_days
-- A day keeps the policy that its customer has now.
INSERT INTO customer_days (customer_id, day, begins_at, ends_at, policy)
SELECT customers.id, new.day, new.begins_at, new.ends_at, customers.policy
FROM customers CROSS JOIN unnest($2::date[], $3::timestamptz[], $4::timestamptz[]) AS new (day, begins_at, ends_at)
WHERE customers.id = $1
ON CONFLICT (customer_id, day) DO NOTHING;

-- name: read_customer_days
SELECT
  customer_id, day, begins_at, ends_at, policy::text AS policy, calls_known, flags_known, resting_known, health_known,
  calls_final, final
FROM customer_days WHERE customer_id = $1 ORDER BY day;

-- name: history_caller_ids
SELECT id FROM caller_ids WHERE customer_id = $1 AND id > $2 ORDER BY id LIMIT $3;

-- name: read_figures
SELECT caller_id_id, day, calls, spam_label, blocked, user_report, rejected, resting_seconds, health
FROM caller_id_days
WHERE caller_id_id = ANY ($2::bigint[]) AND day = ANY ($3::date[]) AND customer_id = $1;

-- name: take_history_turn
-- Refuses facts that are older than what was written last. A clock that was set back by more than an hour is believed.
UPDATE history_sweeps SET as_of_ms = $2 WHERE customer_id = $1 AND (as_of_ms <= $2 OR as_of_ms > $2 + 3600000);

-- name: write_figures
-- Null is not known: it never replaces what is.
INSERT INTO caller_id_days AS stored (
  customer_id, caller_id_id, day, calls, spam_label, blocked, user_report, rejected, resting_seconds, health)
SELECT $1, new.*
FROM unnest($2::bigint[], $3::date[], $4::int[], $5::int[], $6::int[], $7::int[], $8::int[], $9::int[], $10::smallint[])
  AS new (caller_id_id, day, calls, spam_label, blocked, user_report, rejected, resting_seconds, health)
JOIN caller_ids AS caller ON caller.id = new.caller_id_id AND caller.customer_id = $1
ON CONFLICT (caller_id_id, day) DO UPDATE SET
  calls = coalesce(excluded.calls, stored.calls),
  spam_label = coalesce(excluded.spam_label, stored.spam_label),
  blocked = coalesce(excluded.blocked, stored.blocked),
  user_report = coalesce(excluded.user_report, stored.user_report),
  rejected = coalesce(excluded.rejected, stored.rejected),
  resting_seconds = coalesce(excluded.resting_seconds, stored.resting_seconds),
  health = coalesce(excluded.health, stored.health)
WHERE stored.customer_id = excluded.customer_id
  AND (stored.calls, stored.spam_label, stored.blocked, stored.user_report, stored.rejected, stored.resting_seconds,
       stored.health)
    IS DISTINCT FROM (excluded.calls, excluded.spam_label, excluded.blocked, excluded.user_report, excluded.rejected,
       excluded.resting_seconds, excluded.health);

-- name: remove_figures
DELETE FROM caller_id_days USING unnest($2::bigint[], $3::date[]) AS gone (caller_id_id, day)
WHERE caller_id_days.caller_id_id = gone.caller_id_id AND caller_id_days.day = gone.day
  AND caller_id_days.customer_id = $1;

-- name: remove_old_figures
DELETE FROM caller_id_days WHERE caller_id_id = ANY ($1::bigint[]) AND day < $2;

-- name: finish_customer_days
UPDATE customer_days AS stored SET
  calls_known = stored.calls_known OR new.calls_known,
  flags_known = stored.flags_known OR new.flags_known,
  resting_known = stored.resting_known OR new.resting_known,
  health_known = stored.health_known OR new.health_known,
  calls_final = stored.calls_final OR new.calls_final,
  final = stored.final OR new.final
FROM unnest($2::date[], $3::boolean[], $4::boolean[], $5::boolean[], $6::boolean[], $7::boolean[], $8::boolean[])
  AS new (day, calls_known, flags_known, resting_known, health_known, calls_final, final)
WHERE stored.customer_id = $1 AND stored.day = new.day;

-- name: remove_old_customer_days
DELETE FROM customer_days WHERE customer_id = $1 AND day < $2;

-- name: finish_history_sweep
UPDATE history_sweeps SET swept_ms = $2, flags_version = $3 WHERE customer_id = $1;

-- name: read_history_days
SELECT day, calls_known, flags_known, resting_known, health_known, final
FROM customer_days
WHERE customer_id = $1 AND day BETWEEN $2 AND $3 AND (calls_known OR flags_known OR resting_known OR health_known)
ORDER BY day;

-- name: read_history_totals
-- One row a day, and one a caller ID: the number of rows, and of each figure the number of those that are known and
-- their sum.
SELECT
  day, caller_id_id, count(*) AS rows,
  count(calls) AS calls_known, coalesce(sum(calls), 0) AS calls,
  count(spam_label) AS spam_label_known, coalesce(sum(spam_label), 0) AS spam_label,
  count(blocked) AS blocked_known, coalesce(sum(blocked), 0) AS blocked,
  count(user_report) AS user_report_known, coalesce(sum(user_report), 0) AS user_report,
  count(rejected) AS rejected_known, coalesce(sum(rejected), 0) AS rejected,
  count(resting_seconds) AS resting_known, coalesce(sum(resting_seconds), 0) AS resting,
  count(health) AS health_known, coalesce(sum(health), 0) AS health
FROM caller_id_days
WHERE customer_id = $1 AND caller_id_id = ANY ($2::bigint[]) AND day = ANY ($3::date[])
GROUP BY GROUPING SETS ((day), (caller_id_id));

-- name: read_history_health
SELECT caller_id_id, health FROM caller_id_days
WHERE customer_id = $1 AND caller_id_id = ANY ($2::bigint[]) AND day = $3;
