"""From the console to rotary-campaigns: who may ask for what, and in whose name."""
