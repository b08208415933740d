"""Who may ask, and how often: bearer tokens and rate limits, from Redis alone."""
