"""The metrics of the consumer."""

from prometheus_client import Counter, Gauge, Histogram

MESSAGES = Counter("rotary_messages_folded", "Messages folded.")
EVENTS = Counter("rotary_events_folded", "Events folded, duplicates included.")
PARKED = Counter("rotary_events_parked", "Messages parked, by the code of the reason.", ["reason"])
UNKNOWN_CALLERS = Counter("rotary_unknown_caller_ids", "Caller IDs without a definition, admitted once a day each.")
FOLD_SECONDS = Histogram(
    "rotary_fold_seconds",
    "From decoding a batch to its acknowledgement.",
    buckets=(0.002, 0.005, 0.01, 0.05, 0.2, 1, 5),
)
LAG = Gauge("rotary_fold_lag_seconds", "Age of the last arrival marker read from a log.", ["log"])
LOGS_READ = Gauge("rotary_logs_read", "Logs read by this consumer.")
POSITIONS_LOST = Counter("rotary_positions_lost", "Times that a position in Redis went back.", ["log"])
LOG_GAPS = Gauge("rotary_log_gap", "1 while a log lacks events that may matter; see rotary-admin log list.", ["log"])
DOCUMENTS = Counter("rotary_groups_projected", "Group documents written to Redis.")
HISTORY_SWEEPS = Counter("rotary_history_sweeps", "Sweeps over a customer's caller IDs that were completed.")
HISTORY_ROWS = Counter("rotary_history_rows", "Rows of history written, corrections included.")
HISTORY_FAILURES = Counter("rotary_history_failures", "Sweeps that failed, other than because a server is away.")
HISTORY_OLDEST_DUE = Gauge("rotary_history_oldest_due_seconds", "For how long the oldest day that is due has waited.")
