"""The consumer: folds events into Redis, keeps the facts believable and projects the definitions."""
