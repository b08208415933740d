"""Definitions as files: read, compared with the database, applied, exported."""
