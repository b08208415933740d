"""The control socket: how a command inside the stack starts and stops what runs in it."""
