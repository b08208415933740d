"""rotary-admin: the operator's command line. `commands` has one module per command or command group."""
