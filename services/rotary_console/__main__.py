"""`python -m rotary_console` is `rotary-console`."""

from rotary.runtime.programs import console

if __name__ == "__main__":
    console()
