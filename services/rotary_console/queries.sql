-- name: account
-- Whom a name stands for. A disabled user is nobody.
SELECT id, name, password_hash, totp_secret, totp_step FROM users WHERE name = $1 AND disabled_at IS NULL;

-- name: upgrade_hash
-- The hash of the same password, if nobody has changed it meanwhile.
UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2;

-- name: use_code
-- No code is accepted twice: of two requests with the same one, the second finds its step used.
UPDATE users SET totp_step = $2 WHERE id = $1 AND (totp_step IS NULL OR totp_step < $2) RETURNING true;

-- name: begin_session
-- The user stays enabled, with the password that was verified, until the transaction ends.
WITH signed_in AS (
  SELECT id FROM users
  WHERE id = $1 AND disabled_at IS NULL AND ($4::text IS NULL OR password_hash = $4)
  FOR SHARE
)
INSERT INTO user_sessions (user_id, value_sha256, expires_at)
SELECT id, $2, now() + make_interval(hours => $3) FROM signed_in
RETURNING id;

-- name: note_sign_in
UPDATE users SET last_sign_in_at = now() WHERE id = $1;

-- name: find_session
SELECT session.id, session.user_id, session.value_sha256 = $1 AS is_current, session.former_until,
  session.former_sha256 IS NOT NULL AS has_former, now() - session.rotated_at AS rotated_ago,
  now() - session.seen_at AS seen_ago, now() AS now,
  users.name, users.display_name, users.has_totp, users.language,
  coalesce((
    SELECT json_agg(json_build_object(
      'id', customer.id, 'name', customer.name, 'timezone', customer.timezone, 'role', role.role) ORDER BY customer.id)
    FROM user_roles AS role JOIN customers AS customer ON customer.id = role.customer_id
    WHERE role.user_id = users.id AND NOT role.disabled), '[]')::text AS customers
FROM user_sessions AS session
JOIN users ON users.id = session.user_id AND users.disabled_at IS NULL
WHERE (session.value_sha256 = $1
    OR (session.former_sha256 = $1 AND (session.former_until IS NULL OR session.former_until > now())))
  AND session.expires_at > now()
  AND session.seen_at > now() - make_interval(mins => $2);

-- name: touch_session
-- The former value of the cookie ends a little after its successor was used first.
UPDATE user_sessions
SET seen_at = now(),
  former_until = CASE WHEN $2 AND former_sha256 IS NOT NULL THEN coalesce(former_until, now() + make_interval(secs => $3))
    ELSE former_until END
WHERE id = $1;

-- name: rotate_session
-- Only if no other request has done so since this one looked. The value that this request came with becomes the former.
UPDATE user_sessions
SET value_sha256 = $3, former_sha256 = $2, former_until = NULL, rotated_at = now(), seen_at = now()
WHERE id = $1 AND rotated_at = $4 AND (value_sha256 = $2 OR former_sha256 = $2)
RETURNING true;

-- name: end_session
DELETE FROM user_sessions WHERE value_sha256 = $1 OR former_sha256 = $1;

-- name: end_session_by_id
DELETE FROM user_sessions WHERE id = $1;

-- name: sweep_sessions
DELETE FROM user_sessions WHERE expires_at < now() OR seen_at < now() - make_interval(mins => $1);

-- name: sweep_tokens
DELETE FROM api_tokens WHERE owner_session_id IS NOT NULL AND expires_at < now() - interval '1 minute';

-- name: sweep_attempts
DELETE FROM sign_in_attempts WHERE at < now() - make_interval(secs => $1);

-- name: sweep_devices
DELETE FROM user_devices WHERE seen_at < now() - make_interval(days => $1);

-- name: find_device
SELECT device.id
FROM user_devices AS device JOIN users ON users.id = device.user_id
WHERE device.value_sha256 = $1 AND users.name = $2 AND device.seen_at > now() - make_interval(days => $3);

-- name: touch_device
UPDATE user_devices SET seen_at = now() WHERE value_sha256 = $1;

-- name: add_device
INSERT INTO user_devices (user_id, value_sha256) VALUES ($1, $2);

-- name: trim_devices
-- Keeps the ones that were used last.
DELETE FROM user_devices
WHERE user_id = $1
  AND id NOT IN (SELECT id FROM user_devices WHERE user_id = $1 ORDER BY seen_at DESC, id DESC LIMIT $2);

-- name: lock_attempts
-- Attempts from one network, or one browser, are counted one after the other: none slips by while another is counted.
SELECT pg_advisory_xact_lock(1919907425, hashtext($1));

-- name: count_attempts
-- Those that count against an attempt on account $1 from network $2, or from device $3. Ages in seconds; null: none.
SELECT
  count(*) FILTER (WHERE device_id = $3) AS by_device,
  extract(epoch FROM now() - min(at) FILTER (WHERE device_id = $3))::float8 AS device_age,
  count(*) FILTER (WHERE device_id IS NULL AND network = $2 AND account = $1) AS by_pair,
  extract(epoch FROM now() - min(at) FILTER (WHERE device_id IS NULL AND network = $2 AND account = $1))::float8
    AS pair_age,
  count(*) FILTER (WHERE device_id IS NULL AND network = $2) AS by_network,
  extract(epoch FROM now() - min(at) FILTER (WHERE device_id IS NULL AND network = $2))::float8 AS network_age,
  count(*) FILTER (WHERE device_id IS NULL AND account = $1) AS by_account,
  count(*) FILTER (WHERE wrong_code AND account = $1) AS wrong_codes,
  extract(epoch FROM now() - min(at) FILTER (WHERE wrong_code AND account = $1))::float8 AS wrong_code_age
FROM sign_in_attempts
WHERE at > now() - make_interval(secs => $4) AND (account = $1 OR network = $2 OR device_id = $3);

-- name: add_attempt
INSERT INTO sign_in_attempts (account, network, device_id) VALUES ($1, $2, $3) RETURNING id;

-- name: mark_wrong_code
UPDATE sign_in_attempts SET wrong_code = true WHERE id = $1;

-- name: drop_attempt
DELETE FROM sign_in_attempts WHERE id = $1;

-- name: forgive_attempts
-- After a success: those of the same browser, or from the same network on the same account. Those on other accounts stay.
DELETE FROM sign_in_attempts
WHERE account = $1 AND ((device_id IS NULL AND network = $2) OR device_id = $3);

-- name: set_pending_totp
UPDATE user_sessions SET pending_totp = $2 WHERE id = $1;

-- name: pending_totp
SELECT pending_totp FROM user_sessions WHERE id = $1;

-- name: set_language
UPDATE users SET language = $2 WHERE id = $1;

-- name: password_hash
SELECT password_hash FROM users WHERE id = $1;

-- name: is_still_verified
-- Whether the session lives and its user has the password that was verified; both stay until the transaction ends. The
-- user is locked first, as by whoever changes a password.
WITH verified AS MATERIALIZED (
  SELECT users.id FROM users
  WHERE users.id = (SELECT user_id FROM user_sessions WHERE id = $1) AND password_hash = $2 AND disabled_at IS NULL
  FOR UPDATE
)
SELECT true FROM user_sessions WHERE id = $1 AND user_id = (SELECT id FROM verified) FOR UPDATE;

-- name: lock_role
SELECT true FROM user_roles WHERE user_id = $1 AND customer_id = $2 FOR UPDATE;

-- name: add_session_token
-- Only while the session lives and the role holds; both stay until the transaction ends.
WITH holder AS (
  SELECT session.id
  FROM user_sessions AS session
  JOIN user_roles AS role ON role.user_id = session.user_id AND role.customer_id = $2 AND NOT role.disabled
  WHERE session.id = $1
  FOR SHARE
)
INSERT INTO api_tokens (customer_id, name, token_sha256, scopes, rate_limit_per_minute, expires_at, owner_session_id)
SELECT $2, $3, $4, $5::text[], $6::integer, now() + make_interval(secs => $7), id FROM holder
RETURNING id, expires_at;

-- name: user_by_subject
SELECT id, name FROM users WHERE oidc_issuer = $1 AND oidc_subject = $2 AND disabled_at IS NULL;

-- name: bind_subject
-- The first time: the user who is named by the verified e-mail address, and is bound to no other account yet. Whoever made
-- the user may know the password, and need not own the address: what was set up before ends.
UPDATE users SET oidc_issuer = $1, oidc_subject = $2, password_hash = NULL, totp_secret = NULL
WHERE name = $3 AND oidc_subject IS NULL AND disabled_at IS NULL
RETURNING id, name;

-- name: is_migrated
SELECT to_regclass('public.user_sessions') IS NOT NULL;
