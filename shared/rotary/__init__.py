"""Rotary keeps outbound caller IDs usable."""

__version__ = "0.1.0"
