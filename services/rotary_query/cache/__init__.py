"""The groups in memory, what loads them, and what keeps them current."""
