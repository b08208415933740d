"""RabbitMQ holds the events. Each is in exactly one log, a stream that consumers fold."""
