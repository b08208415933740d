"""What facts mean: pure functions of (definition, facts, now). No I/O, no clock; times are UTC milliseconds."""
