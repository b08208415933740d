"""The cache of groups: it loads them from Redis and keeps them current."""
