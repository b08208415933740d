"""Rotation: which caller ID a call shows. Requests, plans, and the model of the atomic function."""
