"""`python -m rotary_stack` is `rotary-stack`."""

from rotary_stack.cli import main

if __name__ == "__main__":
    main()
