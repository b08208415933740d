"""Definitions as files: read YAML, JSON or CSV, compare with the database, apply the difference, export.

The API and `rotary-admin` import through these functions.
"""
