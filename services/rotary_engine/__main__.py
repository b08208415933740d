"""`python -m rotary_engine` is `rotary-engine`."""

from rotary.runtime.programs import engine

if __name__ == "__main__":
    engine()
