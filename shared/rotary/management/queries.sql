-- name: advance_ids
-- Automatic ids continue above the highest id that was given.
SELECT setval(sequence, $2)
FROM (SELECT pg_get_serial_sequence($1, 'id')::regclass AS sequence) AS identity
WHERE $2 > coalesce(pg_sequence_last_value(sequence), 0);

-- name: allot_ids
SELECT nextval(pg_get_serial_sequence($1, 'id')) AS id FROM generate_series(1, $2);

-- name: customers
SELECT id, name, timezone, policy::text AS policy,
  (SELECT count(*) FROM caller_id_groups WHERE customer_id = customers.id) AS groups,
  (SELECT count(*) FROM caller_ids WHERE customer_id = customers.id) AS caller_ids
FROM customers
WHERE $1::bigint IS NULL OR id = $1
ORDER BY id;

-- name: caller_ids
SELECT id, customer_id, number, display_name, carrier, status, trunk_name, daily_cap, hourly_cap,
  min_gap_seconds, activated_at,
  ARRAY(SELECT group_id FROM caller_id_group_members WHERE caller_id_id = caller_ids.id ORDER BY group_id) AS groups
FROM caller_ids
WHERE ($1::bigint IS NULL OR customer_id = $1)
  AND ($2::bigint IS NULL OR id IN (SELECT caller_id_id FROM caller_id_group_members WHERE group_id = $2))
  AND ($3::bigint IS NULL OR id = $3)
ORDER BY id;

-- name: named_caller_ids
-- The caller IDs that an import names, by number or by id.
SELECT id, number, display_name, carrier, status, trunk_name, daily_cap, hourly_cap, min_gap_seconds,
  activated_at
FROM caller_ids
WHERE customer_id = $1 AND (number = ANY ($2::text[]) OR id = ANY ($3::bigint[]));

-- name: taken_caller_ids
SELECT id FROM caller_ids WHERE id = ANY ($1::bigint[]);

-- name: taken_caller_id_groups
SELECT id FROM caller_id_groups WHERE id = ANY ($1::bigint[]);

-- name: groups
SELECT id, customer_id, name, description, rotation_strategy, sticky_enabled, status, created_at
FROM caller_id_groups
WHERE customer_id = $1
ORDER BY id;

-- name: known_customers
-- The customer asked for comes first, if it exists; then others, for the error message.
SELECT id, name FROM customers ORDER BY id = $1 DESC, id LIMIT $2;

-- name: known_groups
-- As known_customers.
SELECT id, customer_id, name FROM caller_id_groups ORDER BY id = $1 DESC, id LIMIT $2;

-- name: known_caller_ids
-- Those asked for that are the customer's, then some of its others for the error message.
(SELECT id, number FROM caller_ids WHERE customer_id = $1 AND id = ANY ($2::bigint[]))
UNION ALL
(SELECT id, number FROM caller_ids WHERE customer_id = $1 AND id <> ALL ($2::bigint[]) ORDER BY id LIMIT $3);

-- name: memberships
SELECT member.group_id, member.caller_id_id, member.weight, caller.number
FROM caller_id_group_members AS member
JOIN caller_ids AS caller ON caller.id = member.caller_id_id
WHERE member.group_id = ANY ($1::bigint[])
ORDER BY member.group_id, member.caller_id_id;

-- name: write_memberships
INSERT INTO caller_id_group_members (group_id, caller_id_id, weight)
SELECT wanted.group_id, wanted.caller_id_id, coalesce(wanted.weight, 1)
FROM unnest($1::bigint[], $2::bigint[], $3::integer[]) AS wanted (group_id, caller_id_id, weight)
ON CONFLICT (group_id, caller_id_id) DO UPDATE SET weight = excluded.weight;

-- name: remove_memberships
DELETE FROM caller_id_group_members AS member
USING unnest($1::bigint[], $2::bigint[]) AS unwanted (group_id, caller_id_id)
WHERE member.group_id = unwanted.group_id AND member.caller_id_id = unwanted.caller_id_id;

-- name: tokens
SELECT id, customer_id, name, scopes, rate_limit_per_minute, created_at, expires_at, revoked_at
FROM api_tokens
WHERE ($1::bigint IS NULL OR customer_id = $1) AND ($2::bigint IS NULL OR id = $2)
ORDER BY id;

-- name: revoke_token
UPDATE api_tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL;

-- name: token_sha256
SELECT encode(token_sha256, 'hex') FROM api_tokens WHERE id = $1;

-- name: find_customers
-- By id if one is given, else by name.
SELECT id, name, timezone, policy::text AS policy
FROM customers
WHERE CASE WHEN $1::bigint IS NULL THEN name = $2 ELSE id = $1 END
ORDER BY id;
