"""Bulk imports: the file is stored with the request, and a process of its own applies it in one transaction."""
