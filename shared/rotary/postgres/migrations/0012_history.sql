-- History: what each caller ID did on the finished days of its customer's calendar. The consumer rolls it up from the facts
-- in Redis; docs/history.md defines the figures, and says when they are final.

-- Which days are there, and what is known of them. A day keeps its bounds and the policy that it ended under, so that
-- rolling it up again gives the same figures whatever its customer changed since.
CREATE TABLE customer_days (
  customer_id bigint NOT NULL REFERENCES customers ON DELETE CASCADE,
  day date NOT NULL,
  begins_at timestamptz NOT NULL,
  ends_at timestamptz NOT NULL CHECK (ends_at >= begins_at),
  policy jsonb,
  calls_known boolean NOT NULL DEFAULT false,
  flags_known boolean NOT NULL DEFAULT false,
  resting_known boolean NOT NULL DEFAULT false,
  health_known boolean NOT NULL DEFAULT false,
  calls_final boolean NOT NULL DEFAULT false,
  final boolean NOT NULL DEFAULT false,
  PRIMARY KEY (customer_id, day)
);
COMMENT ON TABLE customer_days IS 'a day that is missing, or of which nothing is known, has no history';
COMMENT ON COLUMN customer_days.begins_at IS 'where the day before it ended, also after a change of the time zone';
COMMENT ON COLUMN customer_days.policy IS 'as customers.policy when the day ended';
COMMENT ON COLUMN customer_days.calls_known IS 'the calls of every caller ID were rolled up; likewise the other three';
COMMENT ON COLUMN customer_days.calls_final IS 'no call can still be counted: 48 hours after the end';
COMMENT ON COLUMN customer_days.final IS 'no event can still change the day: 30 days after the end';

-- A caller ID without a row on a day that is known did nothing: no calls, no flags, no rest, health 100. Null is a figure
-- that the facts could not tell.
CREATE TABLE caller_id_days (
  caller_id_id bigint NOT NULL REFERENCES caller_ids ON DELETE CASCADE,
  day date NOT NULL,
  customer_id bigint NOT NULL,
  calls integer CHECK (calls >= 0),
  spam_label integer CHECK (spam_label >= 0),
  blocked integer CHECK (blocked >= 0),
  user_report integer CHECK (user_report >= 0),
  rejected integer CHECK (rejected >= 0),
  resting_seconds integer CHECK (resting_seconds >= 0),
  health smallint CHECK (health BETWEEN 0 AND 100),
  PRIMARY KEY (caller_id_id, day)
);
COMMENT ON COLUMN caller_id_days.customer_id IS 'whose it was: a caller ID that moves leaves its history behind';
COMMENT ON COLUMN caller_id_days.health IS 'at the end of the day';

CREATE FUNCTION rotary_forget_history() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
  DELETE FROM caller_id_days WHERE caller_id_id = NEW.id;
  RETURN NULL;
END
$$;
CREATE TRIGGER forget_history AFTER UPDATE OF customer_id ON caller_ids
  FOR EACH ROW WHEN (OLD.customer_id <> NEW.customer_id) EXECUTE FUNCTION rotary_forget_history();

-- How far each customer's roll-up is. `as_of_ms` keeps a stalled one from overwriting a newer one.
CREATE TABLE history_sweeps (
  customer_id bigint PRIMARY KEY REFERENCES customers ON DELETE CASCADE,
  swept_ms bigint,
  as_of_ms bigint NOT NULL DEFAULT 0,
  flags_version bigint NOT NULL DEFAULT 0
);
COMMENT ON COLUMN history_sweeps.swept_ms IS 'when the last complete sweep began; UTC milliseconds';
COMMENT ON COLUMN history_sweeps.as_of_ms IS 'the age of the facts that were written last, by the clock of Redis';
COMMENT ON COLUMN history_sweeps.flags_version IS 'flags that changed up to this version have been seen';

-- The sweep reads caller IDs in pages.
CREATE INDEX caller_ids_customer_id ON caller_ids (customer_id, id);

-- What no log can give again: a rebuild of the facts from the logs lacks it, and history does not count what is left.
CREATE TABLE event_log_losses (
  kind text PRIMARY KEY CHECK (kind IN ('calls', 'flags')),
  lost_to timestamptz NOT NULL
);
INSERT INTO event_log_losses (kind, lost_to)
SELECT split_part(name, '.', 1), max(greatest(gap_until, gap_accepted)) FROM event_logs
WHERE gap_until IS NOT NULL OR gap_accepted IS NOT NULL
GROUP BY 1;

-- The query service reads history with a user of its own, which may read nothing else. infra/server makes it.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rotary_query') THEN
    GRANT USAGE ON SCHEMA public TO rotary_query;
    GRANT SELECT ON customer_days, caller_id_days TO rotary_query;
  END IF;
END
$$;
