"""`python -m rotary_consumer` is `rotary-consumer`."""

from rotary.runtime.programs import consumer

if __name__ == "__main__":
    consumer()
