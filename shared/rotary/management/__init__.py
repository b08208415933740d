"""The write model of the definitions."""
