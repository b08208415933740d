"""The rotation engine: picks a caller ID for a call and reserves it, from Redis alone."""
