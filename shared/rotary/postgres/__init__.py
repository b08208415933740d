"""PostgreSQL: connections, migrations, the change feed, the record of the event logs, and reads for the projector."""
