"""`python -m rotary_query` is `rotary-query`."""

from rotary.runtime.programs import query

if __name__ == "__main__":
    query()
