-- What the rotation engine alone looks at. None of it changes an answer of the read API.

ALTER TABLE caller_ids
  ADD COLUMN hourly_cap integer CHECK (hourly_cap >= 1),
  ADD COLUMN min_gap_seconds integer CHECK (min_gap_seconds BETWEEN 1 AND 86400),
  ADD COLUMN activated_at timestamptz CHECK (rotary_time_is_valid(activated_at));
COMMENT ON COLUMN caller_ids.hourly_cap IS 'calls in any rolling hour that the rotation engine allows; null: no limit';
COMMENT ON COLUMN caller_ids.min_gap_seconds IS 'between two picks of the rotation engine; null: none';
COMMENT ON COLUMN caller_ids.activated_at IS 'when the number was first dialed with, for the policy''s warm_up; null: warmed up';

-- [[before_day, cap], ...]: whole numbers, up to 100 steps.
CREATE FUNCTION rotary_warm_up_is_valid(steps jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  SELECT CASE
    WHEN jsonb_typeof(steps) <> 'array' OR jsonb_array_length(steps) > 100 THEN false
    ELSE (
      SELECT coalesce(bool_and(
        CASE
          WHEN jsonb_typeof(step) <> 'array' OR jsonb_array_length(step) <> 2 THEN false
          WHEN (step -> 0)::text !~ '^[0-9]{1,10}$' OR (step -> 1)::text !~ '^[0-9]{1,10}$' THEN false
          ELSE (step -> 0)::numeric BETWEEN 1 AND 3650 AND (step -> 1)::numeric >= 1
        END), true)
      FROM jsonb_array_elements(steps) AS step)
  END
$$;

-- As before, and pick_ttl_seconds, sticky_days and warm_up.
CREATE OR REPLACE FUNCTION rotary_policy_is_valid(policy jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  SELECT coalesce(bool_and(
    CASE
      WHEN key = 'warm_up' THEN rotary_warm_up_is_valid(value)
      WHEN jsonb_typeof(value) <> 'number' THEN false
      WHEN key IN ('cooldown_user_report_seconds', 'cooldown_spam_label_seconds', 'cooldown_blocked_seconds',
                   'cooldown_window_seconds', 'cooldown_cap_seconds', 'health_half_life_seconds')
        THEN value::text ~ '^[0-9]+$' AND value::numeric BETWEEN 1 AND 30 * 86400
      WHEN key = 'volume_calls'
        THEN value::text ~ '^[0-9]+$' AND value::numeric BETWEEN 1 AND 1000000
      WHEN key = 'unknown_caller_ids_per_day'
        THEN value::text ~ '^[0-9]+$' AND value::numeric BETWEEN 0 AND 1000000
      WHEN key = 'pick_ttl_seconds'
        THEN value::text ~ '^[0-9]+$' AND value::numeric BETWEEN 1 AND 60
      WHEN key = 'sticky_days'
        THEN value::text ~ '^[0-9]+$' AND value::numeric BETWEEN 1 AND 3650
      WHEN key IN ('severity_blocked', 'severity_spam_label', 'severity_user_report', 'severity_rejected',
                   'volume_weight', 'volume_excess_limit')
        THEN value::numeric BETWEEN 0 AND 1000
      ELSE false
    END), true)
  FROM jsonb_each(CASE jsonb_typeof(policy) WHEN 'object' THEN policy ELSE '{"": 0}' END)
$$;
