-- The logs that events are in. What Redis knows of them is gone with Redis, and a stream that was deleted and made anew
-- looks like one that nobody ever wrote to: only a record outside both can tell.

CREATE TABLE event_logs (
  name text PRIMARY KEY CHECK (name ~ '^(calls|flags)\.(0|[1-9][0-9]{0,3})$'),
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('new', 'active', 'draining')),
  created_at timestamptz,
  first_message bytea CHECK (length(first_message) = 16),
  gap_until timestamptz,
  gap_accepted timestamptz,
  retired_at timestamptz
);
COMMENT ON COLUMN event_logs.state IS 'new: read, and not yet written to; draining: read, and no more written to';
COMMENT ON COLUMN event_logs.created_at IS 'when the stream was declared; null: not yet';
COMMENT ON COLUMN event_logs.first_message IS 'hash of the message at offset 0: another one is another stream';
COMMENT ON COLUMN event_logs.gap_until IS 'until when events that the log lost would matter, unless an operator accepts it';
COMMENT ON COLUMN event_logs.gap_accepted IS 'the gap_until that an operator accepted last: later gaps are not accepted by it';
COMMENT ON COLUMN event_logs.retired_at IS 'since when nothing more is written to it';
