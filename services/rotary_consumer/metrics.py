"""What the consumer counts, for /metrics."""

from prometheus_client import Counter, Gauge, Histogram

MESSAGES = Counter("rotary_messages_folded", "Messages folded.")
EVENTS = Counter("rotary_events_folded", "Events folded, duplicates included.")
PARKED = Counter("rotary_events_parked", "Messages parked, by the first word of the reason.", ["reason"])
UNKNOWN_CALLERS = Counter("rotary_unknown_caller_ids", "Caller IDs without a definition that got facts, a day each.")
FOLD_SECONDS = Histogram(
    "rotary_fold_seconds",
    "From decoding a batch to its acknowledgement.",
    buckets=(0.002, 0.005, 0.01, 0.05, 0.2, 1, 5),
)
LAG = Gauge("rotary_fold_lag_seconds", "How far a log's reader is behind the broker.", ["log"])
LOGS_READ = Gauge("rotary_logs_read", "Logs that this consumer reads.")
POSITIONS_LOST = Counter("rotary_positions_lost", "Times that Redis was behind where it had been.", ["log"])
LOG_GAPS = Gauge("rotary_log_gap", "1 while a log lacks events that may matter: see rotary-admin log.", ["log"])
DOCUMENTS = Counter("rotary_groups_projected", "Group documents written to Redis.")
