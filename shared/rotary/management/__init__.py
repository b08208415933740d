"""The write model of the definitions: who creates, changes or deletes one, by whatever door, calls these functions.

Every function takes one connection. What it writes is one unit only inside a transaction, which the caller opens; after
an error the transaction must be rolled back. All raise a RefusedError for a change that the rules do not allow, and
UnavailableError when PostgreSQL is away.
"""
