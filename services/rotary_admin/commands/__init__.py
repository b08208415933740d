"""The commands of `rotary-admin`: one module per command or command group."""
