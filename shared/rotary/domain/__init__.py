"""What facts mean: pure functions of a definition, the facts and the time. No I/O, no clock, times in UTC ms."""
