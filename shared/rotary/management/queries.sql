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
  (SELECT count(*) FROM caller_ids WHERE customer_id = customers.id) AS caller_ids,
  version
FROM customers
WHERE $1::bigint IS NULL OR id = $1
ORDER BY id;

-- name: caller_ids
-- A group's members are an array: a subquery behind OR would have every caller ID read, of all customers.
SELECT id, customer_id, number, display_name, carrier, status, trunk_name, daily_cap,
  ARRAY(SELECT group_id FROM caller_id_group_members WHERE caller_id_id = caller_ids.id ORDER BY group_id) AS groups,
  hourly_cap, min_gap_seconds, activated_at, version
FROM caller_ids
WHERE ($1::bigint IS NULL OR customer_id = $1)
  AND ($2::bigint IS NULL OR id = ANY (ARRAY(SELECT caller_id_id FROM caller_id_group_members WHERE group_id = $2)))
  AND ($3::bigint IS NULL OR id = $3)
ORDER BY id;

-- name: find_caller_ids
SELECT id, customer_id, number, display_name, carrier, status, trunk_name, daily_cap,
  ARRAY(SELECT group_id FROM caller_id_group_members WHERE caller_id_id = caller_ids.id ORDER BY group_id) AS groups,
  hourly_cap, min_gap_seconds, activated_at, version
FROM caller_ids
WHERE customer_id = $1
  AND ($2::text IS NULL OR number LIKE $2 OR display_name ILIKE $2)
  AND ($3::text IS NULL OR status = $3)
  AND ($4::text IS NULL OR carrier = $4)
  AND ($5::bigint IS NULL OR id = ANY (ARRAY(SELECT caller_id_id FROM caller_id_group_members WHERE group_id = $5)))
ORDER BY id;

-- name: find_groups
SELECT id, customer_id, name, description, rotation_strategy, sticky_enabled, status,
  (SELECT count(*) FROM caller_id_group_members AS member JOIN caller_ids AS caller ON caller.id = member.caller_id_id
   WHERE member.group_id = groups.id AND caller.status = 'active') AS caller_ids_count,
  created_at, version
FROM caller_id_groups AS groups
WHERE ($1::bigint IS NULL OR customer_id = $1)
  AND ($2::bigint IS NULL OR id = $2)
  AND ($3::text IS NULL OR name ILIKE $3)
  AND ($4::text IS NULL OR status = $4)
ORDER BY id;

-- name: find_campaigns
SELECT id, customer_id, name, description, dialer_mode, caller_id_group_id, ring_timeout_sec, preview_window_sec,
  priority, max_attempts, pdpl_enforce, abandon_rate_limit_pct, time_window::text AS time_window, status, created_at,
  updated_at, version
FROM campaigns
WHERE ($1::bigint IS NULL OR customer_id = $1)
  AND ($2::bigint IS NULL OR id = $2)
  AND ($3::text IS NULL OR status = $3)
ORDER BY id;

-- name: lock_group_status
-- The group can be neither disabled nor moved nor deleted until the transaction ends.
SELECT status FROM caller_id_groups WHERE id = $1 AND customer_id = $2 FOR SHARE;

-- name: find_changes
SELECT id, at, actor, database_user, entity, entity_id, action, before::text AS before, after::text AS after
FROM audit_log
WHERE customer_id = $1
  AND ($2::text IS NULL OR entity = $2)
  AND ($3::bigint IS NULL OR entity_id = $3)
  AND ($4::text IS NULL OR actor = $4)
ORDER BY id DESC;

-- name: act_as
SELECT set_config('rotary.actor', $1, $2);

-- name: act_as_token
-- A token of a session acts in its user's name.
SELECT set_config('rotary.actor', coalesce('user ' || users.name, format('token %s (%s)', token.id, token.name)), true)
  IS NOT NULL
FROM (
  SELECT id, name, owner_session_id
  FROM api_tokens
  WHERE token_sha256 = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
  FOR KEY SHARE
) AS token
LEFT JOIN user_sessions AS session ON session.id = token.owner_session_id
LEFT JOIN users ON users.id = session.user_id;

-- name: now
SELECT now();

-- name: record_clears
INSERT INTO cooldown_clears (customer_id, caller_id_id, reason) SELECT $1, unnest($2::bigint[]), $3;

-- name: claim_key
-- Waits for a transaction that is claiming the same key. A key whose time is over counts as new.
INSERT INTO idempotency_keys AS stored (customer_id, key, request_sha256)
VALUES ($1, $2, $3)
ON CONFLICT (customer_id, key) DO UPDATE
SET request_sha256 = excluded.request_sha256, created_at = now(), status = NULL, body = NULL
WHERE stored.created_at < now() - make_interval(hours => $4)
RETURNING true;

-- name: read_key
SELECT request_sha256, status, body, etag, location FROM idempotency_keys WHERE customer_id = $1 AND key = $2;

-- name: keep_answer
UPDATE idempotency_keys SET status = $3, body = $4, etag = $5, location = $6 WHERE customer_id = $1 AND key = $2;

-- name: forget_keys
DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(hours => $1);

-- name: named_caller_ids
-- The caller IDs that an import names, by number or by id.
SELECT id, number, display_name, carrier, status, trunk_name, daily_cap, hourly_cap, min_gap_seconds, activated_at
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
(SELECT id, name FROM customers WHERE id = $1)
UNION ALL
(SELECT id, name FROM customers WHERE id <> $1 ORDER BY id LIMIT $2);

-- name: known_groups
-- As known_customers.
(SELECT id, customer_id, name FROM caller_id_groups WHERE id = $1)
UNION ALL
(SELECT id, customer_id, name FROM caller_id_groups WHERE id <> $1 ORDER BY id LIMIT $2);

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

-- name: count_anew
ANALYZE (SKIP_LOCKED) caller_ids, caller_id_groups, caller_id_group_members;

-- name: tokens
-- The customers' own, without those that the console's sessions use.
SELECT id, customer_id, name, scopes, rate_limit_per_minute, created_at, expires_at, revoked_at, version
FROM api_tokens
WHERE owner_session_id IS NULL AND ($1::bigint IS NULL OR customer_id = $1) AND ($2::bigint IS NULL OR id = $2)
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

-- name: create_import
INSERT INTO imports (customer_id, actor, format, dry_run, content)
VALUES ($1, coalesce(nullif(current_setting('rotary.actor', true), ''), 'sql'), $2, $3, $4)
RETURNING id;

-- name: find_imports
SELECT id, customer_id, status, format, dry_run, rows_total, rows_done, summary::text AS changes, error_count,
  errors::text AS errors, created_at, finished_at
FROM imports
WHERE customer_id = $1 AND ($2::bigint IS NULL OR id = $2)
ORDER BY id DESC;

-- name: find_import_changes
SELECT action, what, name, fields FROM import_changes WHERE import_id = $1 ORDER BY position;

-- name: open_imports
SELECT id FROM imports WHERE status IN ('queued', 'running') ORDER BY id;

-- name: try_import
-- One worker for each import, until its connection closes. ("rota" and the id, which fits for two thousand million.)
SELECT pg_try_advisory_lock(1919906913, ($1::bigint % 2147483648)::integer);

-- name: begin_import
UPDATE imports SET status = 'running', attempts = attempts + 1, rows_total = 0, rows_done = 0
WHERE id = $1 AND status IN ('queued', 'running')
RETURNING id, customer_id, actor, format, dry_run, content, attempts;

-- name: record_progress
UPDATE imports SET rows_total = $2, rows_done = $3 WHERE id = $1;

-- name: finish_import
UPDATE imports SET status = 'succeeded', summary = $2, content = NULL, rows_done = rows_total, finished_at = now()
WHERE id = $1;

-- name: fail_import
UPDATE imports SET status = 'failed', error_count = $2, errors = $3, content = NULL, finished_at = now() WHERE id = $1;

-- name: forget_imports
DELETE FROM imports WHERE finished_at < now() - make_interval(days => $1);

-- name: find_webhooks
SELECT id, customer_id, url, events, status, created_at, version
FROM webhooks
WHERE customer_id = $1 AND ($2::bigint IS NULL OR id = $2)
ORDER BY id;

-- name: find_deliveries
SELECT id, webhook_id, event, status, log::text AS attempts, created_at,
  CASE WHEN status = 'pending' THEN next_attempt_at END AS next_attempt_at, finished_at
FROM webhook_deliveries
WHERE ($1::bigint IS NULL OR webhook_id = $1) AND ($2::uuid IS NULL OR id = $2)
ORDER BY created_at DESC, id;

-- name: forget_watches
DELETE FROM webhook_watches AS watch
WHERE NOT EXISTS (SELECT FROM webhooks WHERE customer_id = watch.customer_id AND status = 'active');

-- name: watched_customers
SELECT DISTINCT customer_id FROM webhooks WHERE status = 'active';

-- name: is_watched
SELECT EXISTS (SELECT FROM webhook_watches WHERE customer_id = $1);

-- name: read_conditions
SELECT kind, subject_id FROM webhook_conditions WHERE customer_id = $1;

-- name: watch
INSERT INTO webhook_watches (customer_id) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: add_conditions
INSERT INTO webhook_conditions (customer_id, kind, subject_id)
SELECT $1, * FROM unnest($2::text[], $3::bigint[])
ON CONFLICT DO NOTHING;

-- name: remove_conditions
DELETE FROM webhook_conditions AS held
USING unnest($2::text[], $3::bigint[]) AS over (kind, subject_id)
WHERE held.customer_id = $1 AND held.kind = over.kind AND held.subject_id = over.subject_id;

-- name: add_deliveries
INSERT INTO webhook_deliveries (webhook_id, customer_id, event, body)
SELECT webhook.id, $1, told.event, told.body
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS told (event, body, place)
JOIN webhooks AS webhook ON webhook.customer_id = $1 AND webhook.status = 'active' AND told.event = ANY (webhook.events)
ORDER BY told.place, webhook.id
RETURNING id;

-- name: add_test_delivery
INSERT INTO webhook_deliveries (webhook_id, customer_id, event, body, next_attempt_at)
VALUES ($1, $2, $3, $4, 'infinity')
RETURNING id;

-- name: read_outgoing
SELECT delivery.id, delivery.webhook_id, webhook.url, webhook.secret, delivery.event, delivery.body,
  delivery.created_at, delivery.attempts, webhook.status = 'active' AND delivery.status = 'pending' AS is_wanted
FROM webhook_deliveries AS delivery
JOIN webhooks AS webhook ON webhook.id = delivery.webhook_id
WHERE delivery.id = $1;

-- name: record_attempt
UPDATE webhook_deliveries
SET attempts = attempts + 1, log = log || $2::jsonb, status = $3,
  next_attempt_at = clock_timestamp() + make_interval(secs => $4),
  finished_at = CASE WHEN $3 <> 'pending' THEN clock_timestamp() END
WHERE id = $1 AND status = 'pending';

-- name: postpone_delivery
UPDATE webhook_deliveries SET next_attempt_at = clock_timestamp() + make_interval(secs => $2)
WHERE id = $1 AND status = 'pending';

-- name: close_deliveries
UPDATE webhook_deliveries
SET status = 'failed', finished_at = clock_timestamp()
WHERE status = 'pending' AND created_at < clock_timestamp() - make_interval(secs => 3600 * $1::double precision);

-- name: overdue_deliveries
-- Their messages are published again: what is late twice as long again is overdue again.
UPDATE webhook_deliveries
SET next_attempt_at = clock_timestamp()
WHERE id IN (
  SELECT delivery.id
  FROM webhook_deliveries AS delivery
  JOIN webhooks AS webhook ON webhook.id = delivery.webhook_id AND webhook.status = 'active'
  WHERE delivery.status = 'pending' AND next_attempt_at < clock_timestamp() - make_interval(secs => $1)
  ORDER BY next_attempt_at
  LIMIT $2
  FOR UPDATE OF delivery SKIP LOCKED)
RETURNING id;

-- name: forget_deliveries
DELETE FROM webhook_deliveries WHERE created_at < now() - make_interval(days => $1);

-- name: find_users
-- All users, or those with a role for a customer; or one of them.
SELECT users.id, users.name, users.display_name, users.language, users.disabled_at, users.created_at,
  users.last_sign_in_at, users.has_totp, users.password_hash IS NOT NULL AS has_password,
  users.oidc_subject IS NOT NULL AS is_linked,
  coalesce((
    SELECT json_agg(json_build_object(
      'customer_id', role.customer_id, 'role', role.role, 'disabled', role.disabled) ORDER BY role.customer_id)
    FROM user_roles AS role
    WHERE role.user_id = users.id AND ($2::bigint IS NULL OR role.customer_id = $2)), '[]')::text AS roles
FROM users
WHERE ($1::bigint IS NULL OR users.id = $1)
  AND ($2::bigint IS NULL OR EXISTS (SELECT FROM user_roles WHERE user_id = users.id AND customer_id = $2))
  AND ($3::text IS NULL OR users.name = $3)
ORDER BY users.id;

-- name: lock_user
SELECT id FROM users WHERE name = $1 FOR UPDATE;

-- name: create_user
INSERT INTO users (name, display_name, password_hash, password_changed_at)
VALUES ($1, $2, $3::text, CASE WHEN $3::text IS NOT NULL THEN now() END)
RETURNING id;

-- name: set_password
UPDATE users SET password_hash = $2, password_changed_at = now() WHERE id = $1;

-- name: set_totp
UPDATE users SET totp_secret = $2, totp_step = $3 WHERE id = $1;

-- name: set_disabled
UPDATE users SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END WHERE id = $1;

-- name: end_sessions
-- All of a user's, but for one.
DELETE FROM user_sessions WHERE user_id = $1 AND id IS DISTINCT FROM $2;

-- name: forget_devices
DELETE FROM user_devices WHERE user_id = $1;

-- name: set_role
INSERT INTO user_roles (user_id, customer_id, role, disabled)
VALUES ($1, $2, $3, coalesce($4, false))
ON CONFLICT (customer_id, user_id) DO UPDATE
SET role = excluded.role, disabled = coalesce($4, user_roles.disabled);

-- name: remove_role
DELETE FROM user_roles WHERE user_id = $1 AND customer_id = $2;

-- name: record_dialer_change
INSERT INTO dialer_changes (customer_id, dialer, change) VALUES ($1, $2, $3);
