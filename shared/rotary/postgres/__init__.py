"""PostgreSQL: the definitions' migrations, the change feed, and the reads of whoever projects them."""
