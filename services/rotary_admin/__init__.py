"""rotary-admin: the operator's command line. One module a command group, all registered in `__main__`."""
