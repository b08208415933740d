"""The API: endpoints, the handler, event streams, schemas and their documentation."""
