"""What the consumer counts, for /metrics."""

from prometheus_client import Counter, Gauge, Histogram

MESSAGES = Counter("rotary_messages_folded", "Messages folded and acknowledged.")
EVENTS = Counter("rotary_events_folded", "Events folded, duplicates included.")
PARKED = Counter("rotary_events_parked", "Events and messages parked, by the first word of the reason.", ["reason"])
FOLD_SECONDS = Histogram(
    "rotary_fold_seconds", "From taking a batch to its acknowledgement.", buckets=(0.002, 0.005, 0.01, 0.05, 0.2, 1, 5)
)
HELD = Gauge("rotary_messages_held", "Deliveries buffered and not yet taken.")
LAG = Gauge("rotary_fold_lag_seconds", "How far this consumer is behind the broker.")
REPLAYED = Counter("rotary_messages_replayed", "Messages read from the logs by rebuilds.")
REBUILDING = Gauge("rotary_rebuild_running", "1 while this consumer rebuilds the facts.")
DOCUMENTS = Counter("rotary_groups_projected", "Group documents written to Redis.")
