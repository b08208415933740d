"""`python -m rotary_stack` is `rotary-stack`."""

from rotary.runtime.programs import stack

if __name__ == "__main__":
    stack()
