"""What every HTTP service of ours has in common: the server, responses, errors, connection limits."""
