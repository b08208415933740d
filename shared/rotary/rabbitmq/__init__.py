"""RabbitMQ carries the events: to the work queue for folding, to the log streams for replay."""
