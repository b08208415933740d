"""RabbitMQ carries the events: each in exactly one log, a stream, that is folded from there."""
