"""Bearer tokens and rate limits. Both need Redis alone."""
