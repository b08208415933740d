"""The handlers of requests, by what they are about. Each module has the endpoints that it answers."""
