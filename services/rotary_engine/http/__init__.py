"""The engine's API: endpoints, bodies, and what is answered."""
