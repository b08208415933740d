"""Webhooks: the watcher finds what began and ended, the queue keeps what is to be sent, the sender sends it."""
