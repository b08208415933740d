"""PostgreSQL, Redis and RabbitMQ: how each is configured, started and checked."""
