"""Rolls up history: each customer's finished days, from the facts in Redis into Postgres."""
