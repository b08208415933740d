"""`python -m rotary_dialer` is `rotary-dialer`."""

from rotary.programs import dialer

if __name__ == "__main__":
    dialer()
