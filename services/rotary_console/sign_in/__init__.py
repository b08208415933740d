"""Signing in: passwords, codes, sessions, and what slows down guessing."""
